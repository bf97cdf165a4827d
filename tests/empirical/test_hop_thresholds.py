"""Thresholds, laws and verdicts: told from tables whose answer is known."""

from collections.abc import Callable, Sequence
from math import nan
from typing import Any

import pandas as pd
import pytest

from empirical.hop_errors import hop_table
from empirical.hop_thresholds import THRESHOLD_COLUMNS, fit, thresholds, verdict

# Percent, k = 1 to 16: measured here on the authors' published checkpoints, dropout off.
CHECKPOINTS = {
    2: "0.04 4.42 25.69 34.75 46.11 51.82 56.79 62.41 65.70 68.18 69.25 71.12 72.02 72.68 73.11 73.34",
    3: "0.01 0.01 0.19 4.63 15.64 23.23 31.26 38.47 43.86 49.45 53.83 57.88 61.75 64.74 66.63 69.58",
    4: "0.00 0.00 0.02 0.01 0.06 0.14 1.08 7.19 13.40 20.94 26.94 32.79 39.10 45.10 49.64 55.67",
    5: "0.00 0.00 0.00 0.00 0.00 0.01 0.00 0.01 0.10 0.31 0.84 3.77 8.60 15.71 21.67 29.79",
}


def rows(depth: int, errors: Sequence[float], half: float = nan, **columns: Any) -> list[dict[str, object]]:
    """Rows for k = 1, 2, ..; intervals are `half` wide on both sides."""
    own: dict[str, object] = {"kind": "trained", "name": "x", "tier": "quick", "num_layers": depth}
    return [
        own | {"num_hops": k, "error": error, "error_low": max(error - half, 0.0), "error_high": min(error + half, 1.0)} | columns
        for k, error in enumerate(errors, start=1)
    ]


def stairs(reached: int, measured: int = 20) -> list[float]:
    """No errors up to `reached`, half of all from there on."""
    return [0.0] * reached + [0.5] * (measured - reached)


def one(table: Sequence[dict[str, object]], level: float = 0.05) -> dict[str, Any]:
    (row,) = thresholds(hop_table(table), [level]).to_dict("records")
    return row


@pytest.mark.parametrize(("level", "wanted"), [(0.05, [2, 4, 7, 12]), (0.01, [1, 3, 6, 11])])
def test_the_published_checkpoints(level: float, wanted: list[int]) -> None:
    table = hop_table([
        row for depth, errors in CHECKPOINTS.items()
        for row in rows(depth, [float(error) / 100 for error in errors.split()], kind="published")
    ])  # fmt: skip
    found = thresholds(table, [level])
    assert tuple(found.columns) == THRESHOLD_COLUMNS
    assert found["threshold"].tolist() == wanted
    assert found["law_a"].tolist() == [1, 2, 4, 8] and found["law_b"].tolist() == [1, 3, 7, 15]
    assert not found["censored"].any() and found["low"].isna().all() and (found["consistent"] == "").all()
    assert found["nearest"].tolist()[1:] == ["2^(L-1)-1"] * 3
    assert verdict(found).startswith("neither: of 3 depths above 2 2^(L-2) holds at 0, 2^(L-1)-1 holds at 1; nearer")
    assert fit(found).num_points == 4


def test_a_dip_behind_the_first_failure_does_not_count_and_the_level_itself_fails() -> None:
    assert one(rows(4, [0.0, 0.0, 0.06, 0.0, 0.0]))["threshold"] == 2
    assert one(rows(4, [0.0, 0.05, 0.0]))["threshold"] == 1
    assert one(rows(4, [0.05, 0.0, 0.0]))["threshold"] == 0


def test_ends_come_from_the_ends_of_errors() -> None:
    row = one(rows(4, [0.0, 0.02, 0.04, 0.06, 0.08, 0.5], half=0.035))
    assert (row["low"], row["threshold"], row["high"]) == (1, 3, 5)
    assert not row["censored"] and not row["high_censored"]
    row = one(rows(4, [0.0, 0.02, 0.04, 0.06, 0.08], half=0.035))
    assert row["high"] == 5 and row["high_censored"] and not row["censored"]


def test_when_all_pass_the_threshold_is_censored() -> None:
    row = one(rows(5, stairs(6, 6), half=0.01))
    assert (row["threshold"], row["censored"], row["high_censored"], row["measured_hops"]) == (6, True, True, 6)
    assert row["nearest"] == "" and row["consistent"] == "either"  # both laws are beyond what was measured
    row = one(rows(5, stairs(10, 10), half=0.01))
    assert row["consistent"] == "2^(L-1)-1" and row["nearest"] == ""  # 8 is refuted, 15 not seen
    row = one(rows(3, stairs(9, 9), half=0.01))
    assert row["consistent"] == "neither" and row["nearest"] == "2^(L-1)-1"


def test_beyond_a_gap_nothing_is_known() -> None:
    table = rows(4, stairs(8, 8))
    row = one(table[:4] + table[5:])
    assert (row["threshold"], row["measured_hops"], row["censored"]) == (4, 4, True)


def test_k_zero_and_bounds_play_no_part() -> None:
    bound = {"kind": "bound", "name": "chance", "num_hops": 1, "error": 0.7}
    zero = {"kind": "trained", "name": "x", "tier": "quick", "num_layers": 3, "num_hops": 0, "error": 0.9}
    assert one([bound, zero, *rows(3, stairs(3))])["threshold"] == 3


@pytest.mark.parametrize(
    ("reached", "half", "consistent"),
    [(4, 0.01, "2^(L-2)"), (7, 0.01, "2^(L-1)-1"), (5, 0.01, "neither"), (5, 0.499, "either"), (12, 0.01, "neither")],
)
def test_which_law_is_consistent(reached: int, half: float, consistent: str) -> None:
    errors = stairs(reached) if half < 0.1 else [0.0] * 3 + [0.04] * 2 + [0.06] * 2 + [0.6] * 9
    row = one(rows(4, errors, half=half if half < 0.1 else 0.02))
    assert row["threshold"] == reached and row["consistent"] == consistent


@pytest.mark.parametrize(
    ("reached", "said"),
    [
        ({2: 1, 3: 2, 4: 4, 5: 8}, "2^(L-2): of 3"),
        ({2: 1, 3: 3, 4: 7, 5: 15}, "2^(L-1)-1: of 3"),
        ({2: 2, 3: 3, 4: 5, 5: 15}, "neither: of 3"),
        ({2: 1}, "undecided: no depth above 2"),
        ({3: 2}, "2^(L-2): of 1 depth above"),
    ],
)
def test_verdicts_follow_the_data(reached: dict[int, int], said: str) -> None:
    table = thresholds(hop_table([row for depth, top in reached.items() for row in rows(depth, stairs(top), half=0.01)]), [0.05])
    assert verdict(table).startswith(said)


def test_the_slope_of_a_law_is_one_and_its_interval_has_it() -> None:
    table = thresholds(hop_table([row for depth in range(2, 7) for row in rows(depth, stairs(2 ** (depth - 2), 17))]), [0.05])
    made = fit(table)
    assert (made.slope.value, made.intercept.value, made.num_points) == pytest.approx((1, -2, 5))
    assert made.slope.low == pytest.approx(1) and made.reason == "" and made.law_b_slope > 1.2


def test_censored_thresholds_and_zeros_are_left_out_of_the_fit_and_counted() -> None:
    reached = {2: 0, 3: 2, 4: 4, 5: 8, 6: 10}
    made = fit(thresholds(hop_table([row for depth, top in reached.items() for row in rows(depth, stairs(top, 10))]), [0.05]))
    assert (made.num_points, made.censored, made.zero) == (3, 1, 1)
    assert made.slope.value == pytest.approx(1)
    alone = fit(thresholds(hop_table(rows(3, stairs(2))), [0.05]))
    assert "1 depths" in alone.reason and alone.slope.value != alone.slope.value


def test_models_are_kept_apart() -> None:
    table = hop_table(rows(3, stairs(2)) + rows(3, stairs(5), seed=1) + rows(3, stairs(7), train_samples=1000))
    assert sorted(thresholds(table, [0.05])["threshold"]) == [2, 5, 7]
    single = one(rows(1, stairs(0)))
    assert (single["law_a"], single["law_b"]) == (0, 0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: thresholds(hop_table(rows(3, stairs(2) * 1)), []), "levels = "),
        (lambda: thresholds(hop_table(rows(3, stairs(2))), [1.0]), "levels = "),
        (lambda: thresholds(hop_table(rows(3, stairs(2)) * 2)), "num_hops = 1 twice"),
        (lambda: thresholds(hop_table(rows(3, stairs(2))[1:])), "starts at num_hops = 2"),
        (lambda: thresholds(hop_table(rows(3, [0.0, 1.5]))), "column error"),
        (lambda: thresholds(hop_table(rows(3, [0.0, nan]))), "column error"),
        (lambda: thresholds(hop_table([{"kind": "bound", "num_hops": 1, "error": 0.5}])), "no rows of models"),
        (lambda: thresholds(pd.DataFrame({"error": [0.1]})), "lacks the columns"),
        (lambda: fit(thresholds(hop_table(rows(3, stairs(2))))), "column level has 3"),
        (lambda: verdict(hop_table(rows(3, stairs(2)))), "lacks the columns"),
    ],
)
def test_wrong_tables_get_one_plain_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
