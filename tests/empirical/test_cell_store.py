"""Cells come back as they were put, and a damaged or foreign file is no result."""

import json
from pathlib import Path

import numpy as np
import pytest

from empirical.cell_store import CellStore, spec_text

SPEC = {"method": "planar", "vocab_size": 10, "table_seed": 0}


def test_a_cell_comes_back_as_it_was_put(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells")
    assert store.get(SPEC) is None
    store.put(SPEC, [{"held": np.int64(3), "margin_min": float("nan"), "name": "planar"}])
    kept = store.get(dict(reversed(SPEC.items())))
    assert kept is not None
    assert kept.rows == ({"held": 3, "margin_min": None, "name": "planar"},)
    assert len(kept.date) == 10
    assert [path.suffix for path in (tmp_path / "cells").iterdir()] == [".json"]


def test_another_specification_is_another_cell(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.put(SPEC, [{"held": 3}])
    assert store.get({**SPEC, "table_seed": 1}) is None
    assert store.path(SPEC) != store.path({**SPEC, "table_seed": 1})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"spec": 3}', '{"rows": {}}'])
def test_a_damaged_file_is_no_result_and_is_replaced(tmp_path: Path, text: str) -> None:
    store = CellStore(tmp_path)
    store.path(SPEC).write_text(text)
    assert store.get(SPEC) is None
    store.put(SPEC, [{"held": 4}])
    kept = store.get(SPEC)
    assert kept is not None and kept.rows[0]["held"] == 4


def test_a_file_of_another_specification_under_this_name_is_no_result(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.put(SPEC, [{"held": 4}])
    content = json.loads(store.path(SPEC).read_text())
    content["spec"]["vocab_size"] = 11
    store.path(SPEC).write_text(json.dumps(content))
    assert store.get(SPEC) is None


def test_a_number_changed_by_hand_is_no_result(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.put(SPEC, [{"held": 4}])
    path = store.path(SPEC)
    path.write_text(path.read_text().replace('"held": 4', '"held": 9999'))
    assert store.get(SPEC) is None


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    with pytest.raises(TypeError):
        store.put(SPEC, [{"held": {1, 2}}])
    assert list(tmp_path.iterdir()) == []


def test_the_text_of_a_specification_does_not_depend_on_its_order() -> None:
    assert spec_text({"a": 1, "b": 2}) == spec_text({"b": 2, "a": 1}) == '{"a":1,"b":2}'
