"""How many hops a depth reaches: the largest k up to which errors stay below a level, beside what the two constructions reach.

Recipe A, pointer doubling with one head, reaches 2^(L-2) in L layers; recipe B, which also hops by content, 2^(L-1) - 1, the
law of Theorem 4.2 of Sanford, Hsu and Telgarsky 2024 (`theory.hops.reach`). Which of the two measured models follow is said
from their intervals, "neither" included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, nan
from typing import Any

import numpy as np
import pandas as pd

from empirical.hop_errors import typed
from empirical.regression import Estimate, line
from theory.hops import Recipe, reach

LAWS: dict[str, Recipe] = {"2^(L-2)": "A", "2^(L-1)-1": "B"}
"""The laws by their names in tables; the recipe whose reach each is."""
SERIES = (
    "kind", "name", "recipe", "tier", "num_layers", "num_heads", "embed_dim", "seq_len", "vocab_size", "train_samples", "seed",
    "source",
)  # fmt: skip
THRESHOLD_COLUMNS = (
    *SERIES, "level", "threshold", "low", "high", "censored", "high_censored", "measured_hops", "law_a", "law_b", "consistent",
    "nearest",
)  # fmt: skip
"""Columns of `thresholds`."""


def thresholds(table: pd.DataFrame, levels: Sequence[float] = (0.01, 0.05, 0.10)) -> pd.DataFrame:
    """The largest K with error(k) < level for all 1 <= k <= K, for every model of a table of errors and every level.

    Args:
        table: with `empirical.hop_errors.HOP_COLUMNS`; rows that agree in SERIES are one model, or built ones of one recipe and
            depth, each k once. Rows of kind "bound" and models without `num_layers` are left out; k = 0 plays no part, and
            nothing is known beyond a k that was not measured.
        levels: errors in (0, 1).

    Returns:
        Rows with THRESHOLD_COLUMNS, one for each series and level:
            threshold: K, 0 where k = 1 is at or above the level already.
            low, high: the same with the upper and lower ends of the errors' intervals in place of the errors; each error's
                interval holds by itself, K's own confidence is not their common one. <NA> where a k that matters has none.
            censored, high_censored: whether all k measured pass, so that K, or `high`, is at least what stands there.
            measured_hops: the k up to which all were measured.
            law_a, law_b: 2^(L-2) and 2^(L-1) - 1, 0 for a single layer.
            consistent: "2^(L-2)", "2^(L-1)-1", "either" or "neither": which laws lie in [low, high], `high` being no end where
                it is censored, and a law beyond all measured k being seen as that k; "" where there is no interval.
            nearest: the law whose log2 is nearer to log2 K ("2^(L-2)" for K = 0), "either" for equals, "" where K is censored
                below a law, so that it isn't known.

    Raises:
        ValueError: a column is missing, no rows are left, a series has k twice or lacks k = 1, an error outside [0, 1], an
            illegal level.
    """
    levels = list(levels)
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels = {levels}: one or more numbers between 0 and 1 are legal")
    rows = typed(table)
    rows = rows[(rows["kind"] != "bound") & rows["num_layers"].notna() & (rows["num_hops"] > 0).fillna(False)]
    if rows.empty:
        raise ValueError("table has no rows of models with num_layers and num_hops >= 1: must have some")
    if not rows["error"].between(0, 1).all():
        raise ValueError("column error has a cell outside [0, 1], or an empty one: shares are legal")
    found = []
    for _, part in rows.groupby(list(SERIES), dropna=False, sort=False):
        series: dict[str, Any] = {column: part[column].iloc[0] for column in SERIES}
        name = f"series {series['name']!r}, num_layers = {series['num_layers']}"
        part = part.sort_values("num_hops")
        twice = part["num_hops"][part["num_hops"].duplicated()]
        if len(twice):
            raise ValueError(f"{name} has num_hops = {twice.iloc[0]} twice: must be once")
        if part["num_hops"].iloc[0] != 1:
            raise ValueError(f"{name} starts at num_hops = {part['num_hops'].iloc[0]}: must have a row for 1")
        leading = part[part["num_hops"].to_numpy() == np.arange(1, len(part) + 1)]
        found += [series | _threshold(leading, _count(series["num_layers"]), level) for level in levels]
    made = pd.DataFrame(found, columns=list(THRESHOLD_COLUMNS))
    counts = ("num_layers", "num_heads", "embed_dim", "seq_len", "vocab_size", "train_samples", "seed")
    return made.astype(dict.fromkeys((*counts, "threshold", "low", "high", "measured_hops", "law_a", "law_b"), "Int64"))


@dataclass(frozen=True)
class ThresholdFit:
    """log2 K = intercept + slope L, by least squares over depths.

    The laws are lines too, or nearly: slope 1 for 2^(L-2), and `law_b_slope`, the slope of the same fit through 2^(L-1) - 1 at
    the same depths, which is above 1.

    Attributes:
        slope, intercept: with Student's interval, NaN where there is none.
        num_points: depths that went in.
        censored: how many thresholds were left out as all measured k pass: deeper or larger than was asked.
        zero: how many were left out as even k = 1 fails, so that there is no logarithm.
        law_b_slope: of 2^(L-1) - 1.
        reason: empty for a fit; otherwise why there is none.
    """

    slope: Estimate
    intercept: Estimate
    num_points: int
    censored: int
    zero: int
    law_b_slope: float
    reason: str = ""


def fit(table: pd.DataFrame) -> ThresholdFit:
    """Fit log2 K against L through rows of `thresholds` of one kind and one level.

    Censored thresholds are left out, which pulls the slope down where it is the deepest that are censored: `censored` counts
    them. Raises ValueError for a table that is not of `thresholds`, or of several kinds or levels.
    """
    rows = _one_level(table)
    censored, zero = rows["censored"].astype(bool), rows["threshold"] == 0
    used = rows[~censored & ~zero]
    none = Estimate(nan, nan, nan)
    counts = (len(used), int(censored.sum()), int((zero & ~censored).sum()))
    if used["num_layers"].nunique() < 2:
        reason = f"{used['num_layers'].nunique()} depths have a threshold that is known and not 0: a slope needs two"
        return ThresholdFit(none, none, *counts, nan, reason)
    depths = used["num_layers"].to_numpy(dtype=float)
    measured = line(depths, np.log2(used["threshold"].to_numpy(dtype=float)))
    law = line(depths, np.log2(np.maximum(used["law_b"].to_numpy(dtype=float), 1.0)))
    return ThresholdFit(measured.slope, measured.intercept, *counts, law.slope.value)


def verdict(table: pd.DataFrame) -> str:
    """Which law the rows of `thresholds` of one kind and one level follow, in words.

    One of "2^(L-2)", "2^(L-1)-1", "undecided" (both lie in every interval, or there is nothing to tell them apart by) or
    "neither" (each lies outside the interval of some depth), and how many depths each law holds at. Where rows have no
    intervals, a law holds where K equals it. Where "neither" holds everywhere, the words add which is nearer at most depths.

    Raises ValueError like `fit`.
    """
    rows = _one_level(table)
    rows = rows[rows["num_layers"] > 2]  # the laws agree at two layers
    if rows.empty:
        return "undecided: no depth above 2, where the laws differ"
    holds = {law: sum(_holds(dict(row), law) for _, row in rows.iterrows()) for law in LAWS}
    counts = ", ".join(f"{law} holds at {count}" for law, count in holds.items())
    said = f"of {len(rows)} {'depth' if len(rows) == 1 else 'depths'} above 2 {counts}"
    whole = [law for law, count in holds.items() if count == len(rows)]
    if len(whole) == 1:
        return f"{whole[0]}: {said}"
    if whole:
        return f"undecided: {said}"
    nearer = {law: int((rows["nearest"] == law).sum()) for law in LAWS}
    return f"neither: {said}; nearer on the scale of log2: " + ", ".join(f"{law} at {count}" for law, count in nearer.items())


def _threshold(rows: pd.DataFrame, num_layers: int, level: float) -> dict[str, object]:
    measured = len(rows)
    ends = {}
    for name, column in (("threshold", "error"), ("low", "error_high"), ("high", "error_low")):
        numbers = rows[column].to_numpy(dtype=float)
        stop = np.flatnonzero(~(numbers < level))
        first = int(stop[0]) if stop.size else measured
        ends[name] = None if first < measured and np.isnan(numbers[first]) else first
    laws = {law: reach(num_layers, recipe) if num_layers > 1 else 0 for law, recipe in LAWS.items()}
    row: dict[str, object] = {
        "level": level, **ends, "censored": ends["threshold"] == measured, "high_censored": ends["high"] == measured,
        "measured_hops": measured, "law_a": laws["2^(L-2)"], "law_b": laws["2^(L-1)-1"],
    }  # fmt: skip
    known = ends["low"] is not None and ends["high"] is not None
    inside = [law for law in LAWS if known and _holds(row, law)]
    consistent = inside[0] if len(inside) == 1 else "either" if inside else "neither"
    return row | {"consistent": consistent if known else "", "nearest": _nearest(row, laws)}


def _holds(row: dict[Any, Any], law: str) -> bool:
    """Whether a law's reach agrees with a row: in its interval, or equal to K without one; what was not measured can't object."""
    most = _count(row["measured_hops"])
    number = min(_count(row["law_a" if LAWS[law] == "A" else "law_b"]), most)
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return number == _count(row["threshold"])
    return _count(row["low"]) <= number <= _count(row["high"])


def _nearest(row: dict[str, object], laws: dict[str, int]) -> str:
    reached = _count(row["threshold"])
    if row["censored"] and reached < max(laws.values()):
        return ""
    if len(set(laws.values())) == 1:
        return "either"
    if not reached:
        return "2^(L-2)"
    distances = {law: abs(log2(reached) - log2(number)) for law, number in laws.items()}
    least = min(distances.values())
    nearest = [law for law, distance in distances.items() if distance <= least + 1e-12]
    return nearest[0] if len(nearest) == 1 else "either"


def _count(value: Any) -> int:
    return int(value)


def _one_level(table: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in THRESHOLD_COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"table lacks the columns {', '.join(missing)}: must be of empirical.hop_thresholds.thresholds")
    for name in ("kind", "level"):
        if table[name].nunique() != 1:
            raise ValueError(f"column {name} has {table[name].nunique()} different values: must have one")
    return table
