"""The landscape computes each cell once, reads slow ones from the record, and counts heads for everything honestly."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from empirical import _landscape_plan
from empirical import landscape as module
from empirical.cell_store import CellStore, StoredCell, spec_text
from empirical.landscape import (
    KINDS,
    LANDSCAPE_COLUMNS,
    LandscapeSpec,
    cells,
    headline,
    landscape,
    landscape_table,
    record,
    shipped_cells,
)
from theory.memorization import effective_parameters

SPEC = LandscapeSpec(vocab_size=4, embed_dim=2, table_seeds=(0, 1), num_models=2)


class Work:
    """Stands in for the real work: one row per cell, and a list of what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.asked.append(spec_text(spec))
        kind = {"solver": "solved", "adam": "trained"}.get(spec["method"], "built")
        heads = spec.get("num_heads", 5)
        return [{
            "kind": kind, "name": spec.get("name", spec["method"]), "num_heads": heads, "held": min(16, 3 * heads),
            "certified": 3, "seconds": 0.5,
            "table_seed": spec["table_seed"], "model_seed": 0, "bits_per_effective_parameter": 1.0,
        }]  # fmt: skip


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()
    monkeypatch.setattr(module, "run_cell", done)
    monkeypatch.setattr(module, "shipped_cells", dict)
    return done


def test_every_cell_is_computed_once_and_kept(work: Work, tmp_path: Path) -> None:
    found = landscape(SPEC, store=CellStore(tmp_path / "cells"), budget_seconds=1e9)
    assert sorted(work.asked) == sorted(spec_text(cell.spec) for cell in cells(SPEC))
    assert len(set(work.asked)) == len(work.asked)
    assert not found.missing
    again = landscape(SPEC, store=CellStore(tmp_path / "cells"), budget_seconds=1e-9)
    assert len(work.asked) == len(cells(SPEC))  # nothing more
    pd.testing.assert_frame_equal(found.table, again.table)


def test_an_interrupted_run_goes_on_where_it_was(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        if len(work.asked) == 7:
            raise KeyboardInterrupt
        return work(spec)

    monkeypatch.setattr(module, "run_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        landscape(SPEC, store=CellStore(tmp_path), budget_seconds=1e9)
    assert len(list(tmp_path.iterdir())) == 7
    monkeypatch.setattr(module, "run_cell", work)
    landscape(SPEC, store=CellStore(tmp_path), budget_seconds=1e9)
    assert len(set(work.asked)) == len(work.asked) == len(cells(SPEC))


def test_slow_cells_come_from_the_record_and_fast_ones_never(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {
        spec_text(cell.spec): StoredCell(cell.spec, "2026-01-02", tuple(Work()(cell.spec))) for cell in cells(SPEC)
    }
    monkeypatch.setattr(module, "shipped_cells", lambda: kept)
    found = landscape(SPEC)
    assert sorted(work.asked) == sorted(spec_text(cell.spec) for cell in cells(SPEC) if cell.fast)
    stored = found.table[found.table["origin"].eq("stored")]
    assert set(stored["date"]) == {"2026-01-02"}
    assert set(stored["spec"]) == {spec_text(cell.spec) for cell in cells(SPEC) if not cell.fast}
    work.asked.clear()
    fresh = landscape(SPEC, fresh=True)
    assert len(work.asked) == len(cells(SPEC))
    assert not fresh.table["origin"].eq("stored").any()


def test_what_the_budget_does_not_allow_is_said_to_be_missing(work: Work) -> None:
    found = landscape(SPEC, budget_seconds=1e-6)
    assert {cell.fast for cell in found.missing} == {False}
    assert len(found.missing) + len(work.asked) == len(cells(SPEC))


def test_the_table_has_its_columns_and_kinds(work: Work) -> None:
    table = landscape(SPEC, budget_seconds=1e9).table
    assert tuple(table.columns) == LANDSCAPE_COLUMNS
    assert set(table["kind"]) == set(KINDS)
    assert set(table.loc[table["kind"].eq("bound"), "name"]).isdisjoint(table.loc[table["kind"].ne("bound"), "name"])
    kinds = table.groupby("name")["kind"].nunique()
    assert (kinds == 1).all()  # no method is of two kinds


def test_heads_for_everything_are_a_median_that_counts_failures() -> None:
    def rows(name: str, kind: str, held: dict[int, list[tuple[int, int]]]) -> list[dict[str, Any]]:
        unit = "model_seed" if kind == "trained" else "table_seed"
        return [
            {"kind": kind, "name": name, "num_heads": heads, "held": number, "num_associations": 16, unit: which, "seconds": 1.0}
            for which, found in held.items()
            for heads, number in found
        ]

    table = landscape_table([
        *rows("readout", "built", {0: [(9, 16), (5, 15)], 1: [(7, 16)], 2: [(8, 16)]}),
        *rows("solver", "solved", {0: [(4, 16), (3, 15)], 1: [(4, 15), (5, 16)], 2: [(5, 15)]}),
        *rows("adam", "trained", {0: [(9, 16)], 1: [(9, 15)], 2: [(9, 14)]}),
    ])  # fmt: skip
    found = headline(table).set_index("name")
    assert found.loc["readout", ["heads", "least", "most", "reached", "tried"]].tolist() == [8, 7, 9, 3, 3]
    assert found.loc["solver", ["heads", "least", "most", "reached", "tried", "most_tried"]].tolist() == [5, 4, 5, 2, 3, 5]
    assert math.isnan(found.loc["adam", "heads"])
    assert found.loc["adam", ["reached", "tried", "most_tried"]].tolist() == [1, 3, 9]
    assert found.loc["solver", "grid"] == "3, 4, 5" and found.loc["readout", "grid"] == ""


def test_associations_that_training_never_draws_are_counted() -> None:
    shown = module.num_shown(2500)
    assert 2480 < shown < 2500  # 16,384 draws: 3.6 of 2,500 missed on average
    rows = [
        {"kind": "trained", "name": "adam", "num_heads": heads, "held": held, "num_associations": 2500, "model_seed": 0}
        for heads, held in ((31, 2460), (50, shown), (60, shown))
    ]
    found = headline(landscape_table(rows)).iloc[0]
    assert math.isnan(found["heads"]) and found["heads_shown"] == 50 and found["shown"] == shown


def test_what_was_tried_is_what_was_tried_where_it_failed() -> None:
    rows = [
        {"kind": "solved", "name": "solver", "num_heads": heads, "held": held, "num_associations": 16, "table_seed": table}
        for table, heads, held in ((0, 24, 16), (0, 31, 16), (1, 20, 15), (2, 20, 14))
    ]
    found = headline(landscape_table(rows)).iloc[0]
    assert math.isnan(found["heads"]) and found["most_tried"] == 20


def test_a_method_that_excludes_the_shape_says_so_and_stops_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        if spec["method"] == "bubeck":
            raise ValueError("num_heads = 1: too few weights")
        return work(spec)

    monkeypatch.setattr(module, "run_cell", picky)
    found = landscape(SPEC, budget_seconds=1e9)
    assert {(cell.method, why) for cell, why in found.refused} == {("bubeck", "num_heads = 1: too few weights")}
    assert "bubeck" not in set(found.table["name"]) and "planar" in set(found.table["name"])


def test_a_record_replaces_only_its_own_specifications(work: Work, tmp_path: Path) -> None:
    file = tmp_path / "record.csv"
    record(file, landscape(SPEC, fresh=True)).to_csv(file, index=False)
    first = pd.read_csv(file)
    other = LandscapeSpec(vocab_size=5, embed_dim=2, table_seeds=(0,), num_models=1)
    record(file, landscape(other, fresh=True)).to_csv(file, index=False)
    both = pd.read_csv(file)
    slow = [spec_text(cell.spec) for spec in (SPEC, other) for cell in cells(spec) if not cell.fast]
    assert sorted(both["spec"]) == sorted(slow)
    record(file, landscape(SPEC, fresh=True)).to_csv(file, index=False)
    assert sorted(pd.read_csv(file)["spec"]) == sorted(slow)
    assert len(first) < len(both)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_file_that_is_no_record_is_left_alone(work: Work, tmp_path: Path, text: str) -> None:
    file = tmp_path / "notes.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"notes\.csv: is there and is no record of a landscape"):
        record(file, landscape(SPEC, fresh=True))


def test_the_expected_heads_are_the_least_that_have_the_bits() -> None:
    spec = LandscapeSpec(vocab_size=50, embed_dim=10)
    wanted = 2500 * math.log2(50) / _landscape_plan.BITS_PER_PARAMETER
    assert effective_parameters(50, 2, 10, spec.expected_heads, 10) >= wanted
    assert effective_parameters(50, 2, 10, spec.expected_heads - 1, 10) < wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 1}, "vocab_size = 1"),
        ({"vocab_size": 201}, "vocab_size = 201: 2 to 200 are legal"),
        ({"embed_dim": 1}, "embed_dim = 1"),
        ({"head_dim": 11}, "head_dim = 11: 1 to embed_dim = 10 are legal"),
        ({"table_seeds": ()}, "table_seeds"),
        ({"table_seeds": (1, 1)}, "table_seeds"),
        ({"num_models": 0}, "num_models = 0"),
    ],
)
def test_bad_specifications_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LandscapeSpec(**arguments)


def test_a_budget_must_be_positive() -> None:
    with pytest.raises(ValueError, match="budget_seconds = 0"):
        landscape(SPEC, budget_seconds=0.0)


@pytest.mark.parametrize(("vocab_size", "embed_dim"), [(10, 2), (50, 10)])
def test_the_shipped_record_has_every_slow_cell_of_the_two_default_landscapes(vocab_size: int, embed_dim: int) -> None:
    kept = shipped_cells()
    slow = [cell for cell in cells(LandscapeSpec(vocab_size=vocab_size, embed_dim=embed_dim)) if not cell.fast]
    assert [cell.spec for cell in slow if spec_text(cell.spec) not in kept] == []


def test_what_the_record_says_is_held_is_certified() -> None:
    for kept in shipped_cells().values():
        for row in kept.rows:
            if row["kind"] in ("built", "solved"):
                assert row["certified"] <= row["held"] <= row["num_associations"]
                if row["held"] == row["num_associations"]:
                    assert row["certified"] == row["held"], kept.spec


ROOT = Path(__file__).parents[2]


def test_the_readme_says_what_is_on_record() -> None:
    """Heads for everything of all slow methods, as in the table of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| ") and " | " in line]
    lines = {
        "readout": "frozen heads", "block_staircase": "block staircase", "block_staircase_search": "block staircase",
        "column_generation": "column generation", "solver": "second-order solver",
    }  # fmt: skip
    for column, (vocab_size, embed_dim) in enumerate(((50, 10), (10, 2)), start=3):
        kept = [
            {**row, "origin": "stored"}
            for cell in shipped_cells().values()
            if (cell.spec["vocab_size"], cell.spec["embed_dim"]) == (vocab_size, embed_dim)
            for row in cell.rows
        ]
        found = headline(landscape_table(kept)).set_index("name")["heads"]
        for method, words in lines.items():
            said = next(row.split("|")[column] for row in rows if words in row)
            if method in found.index:
                assert str(int(found[method])) in said.replace("*", " ").replace(";", " ").split(), (method, said)
        trained = next(row.split("|")[column] for row in rows if "Adam" in row)
        shown = headline(landscape_table(kept)).set_index("name").loc["adam", ["heads", "heads_shown"]].min()
        assert str(int(shown)) in trained.split()
