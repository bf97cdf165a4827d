"""The search for the fewest heads, and the law fitted to its record."""

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical.fewest_heads import (
    RECORD_COLUMNS,
    Attempt,
    fewest_heads,
    fit_law,
    heads_for_bits,
    read_record,
    write_record,
)
from theory.memorization import effective_parameters
from theory.tasks import AssociationTask


@given(st.floats(0.5, 5.0), st.integers(1, 400), st.integers(2, 20), st.integers(2, 4), st.integers(1, 6), st.integers(1, 6))
def test_heads_for_bits_is_the_law_rounded_up(bits: float, total: int, vocab: int, length: int, dim: int, width: int) -> None:
    heads = heads_for_bits(bits, total, vocab, length, dim, width)
    wanted = total * math.log2(vocab) / bits
    assert effective_parameters(vocab, length, dim, heads, width) >= wanted
    assert heads == 0 or effective_parameters(vocab, length, dim, heads - 1, width) < wanted


def test_the_closed_form_for_pairs_is_the_same_law() -> None:
    vocab, dim, bits = 50, 10, 2.75
    closed = (vocab**2 * math.log2(vocab) / bits - 2 * dim * vocab + dim**2 - dim) / (2 * dim**2)
    assert heads_for_bits(bits, vocab**2, vocab, 2, dim, dim) == math.ceil(closed)


def test_a_search_ends_beside_a_failure_and_holds_what_it_says() -> None:
    task, seen = AssociationTask.complete(4, 2, 0), list[Attempt]()
    found = fewest_heads(task, 2, 2, max_steps=60, max_seconds=300, progress=seen.append)
    assert tuple(seen) == found.attempts
    assert found.solved is not None
    assert found.solved.num_held == 16
    assert found.num_heads == min(attempt.num_heads for attempt in seen if attempt.exact)
    tried = {attempt.num_heads: attempt.exact for attempt in seen}
    below = found.num_heads - 1
    assert tried.get(below) is False or below < heads_for_bits(4.0, 16, 4, 2, 2, 2)


def test_nothing_solved_is_said() -> None:
    found = fewest_heads(AssociationTask.complete(6, 2, 0), 1, 1, max_steps=2, max_seconds=300)
    assert found.solved is None
    assert found.num_heads is None
    assert found.largest_failed == max(attempt.num_heads for attempt in found.attempts)


def row(vocab: int, dim: int, table: int, bits: float) -> dict[str, object]:
    values: dict[str, object] = dict.fromkeys(RECORD_COLUMNS, 1)
    return values | {"vocab_size": vocab, "embed_dim": dim, "table_seed": table, "bits_per_effective_parameter": bits}


def test_the_law_takes_shapes_as_points(tmp_path: Path) -> None:
    write_record([row(10, 2, 1, 2.8), row(10, 2, 0, 2.6), row(20, 4, 0, 2.9)], tmp_path / "record.csv")
    record = read_record(tmp_path / "record.csv")
    assert record["table_seed"].tolist() == [0, 1, 0]
    law = fit_law(record)
    assert (law.num_shapes, law.num_tables) == (2, 3)
    assert law.bits.value == pytest.approx(2.8)  # mean of 2.7 and 2.9
    assert law.bits.high - law.bits.value == pytest.approx(12.7062 * 0.1, rel=1e-5)  # Student, one degree of freedom


def test_refusals_name_the_argument(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^attempts = 0: "):
        fewest_heads(AssociationTask.complete(3, 2, 0), 2, 2, attempts=0)
    with pytest.raises(ValueError, match=r"^bits = 0\.0: "):
        heads_for_bits(0.0, 10, 3, 2, 2, 2)
    with pytest.raises(ValueError, match=r"^record has no row"):
        fit_law(pd.DataFrame(columns=list(RECORD_COLUMNS)))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has the columns"):
        read_record(tmp_path / "other.csv")


def test_the_page_says_what_the_record_says() -> None:
    law = fit_law(read_record())
    page = " ".join((Path(__file__).parents[2] / "docs" / "fewest_heads.md").read_text(encoding="utf-8").split())
    assert law.slope is not None
    assert f"b = {law.bits.value:.2f} bits, 95% interval {law.bits.low:.2f} to {law.bits.high:.2f}" in page
    assert f"{law.slope.value:.3f} [{law.slope.low:.3f}, {law.slope.high:.3f}]" in page
    assert f"({law.num_tables} label tables" in page and law.num_shapes >= 8
