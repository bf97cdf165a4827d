"""Is it the same experiment? Every published value beside the one trained here."""

from collections.abc import Hashable, Mapping, Sequence
from math import nan, sqrt
from statistics import fmean, variance
from typing import Any

import pandas as pd
from scipy import stats

from empirical.experiments._registry import EXPERIMENTS
from empirical.experiments._results import SHAPE_COLUMNS, published_points
from theory.shapes import TransformerShape

ALLOWED = 0.03
"""Between mean accuracies on training draws: that of another table, other draws, other first weights."""

BY_INTERVAL = ("exp_6",)
"""Experiments of so few associations that ALLOWED says little: compared by a 95% interval for the difference."""

TABLE_SPREAD = 0.013
"""Standard deviation, between random tables, of the expected accuracy in experiment 6: measured here on 8 tables (seeds 0 to 7,
20 repetitions each), variance between the means of tables less that of repetitions, averaged over the six head counts."""

DEVIATION_COLUMNS = (
    "experiment", "series", "vocab_size", *SHAPE_COLUMNS, "ours", "published", "difference", "allowed", "basis", "inside",
    "uniform", "num_models", "num_tables", "num_missing", "source",
)  # fmt: skip
"""`ours` and `published` are accuracies on training draws, `uniform` ours on the uniform table. `basis` says what `allowed` is:
"fixed" (ALLOWED), or a 95% interval from models of "one table" or of several "tables", or "incomplete": models are missing, and
there is none. `inside`: |difference| <= allowed."""


def deviations(table: pd.DataFrame, *, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Published points beside ours, one row for each that has any model trained here.

    In experiment 6 what is allowed is the half-width of a 95% interval for the difference. A published value is the mean over
    its repetitions on one table; their spread was not published and is taken to be ours. With results for one table it is
    sqrt(t^2 s^2 (1/n + 1/m) + 1.96^2 2 TABLE_SPREAD^2), s the spread of our n repetitions, m those published: two tables are
    not equally hard. With results for T >= 2 tables (seeds), concatenated, it is t sqrt(V (1 + 1/T)), V the variance between the
    means of tables, which has both in it. An exact replication misses either interval five times in a hundred. There is none,
    and nothing is inside, while models are missing: a few of twenty would get a wide one.

    Args:
        table: rows as of `results`, variant "notebook", of one or more experiments and seeds.
        published: a table like that of `empirical.read_published`, as `results` takes it; by default the rows of kind
            "published" in `table`.

    Returns:
        Columns DEVIATION_COLUMNS, in the order of `table`. Models not computed yet are counted in `num_missing`.

    Raises:
        ValueError: a table of `published` that lacks a column or has a point twice, an experiment that there isn't.
    """
    trained = table[(table["kind"] == "trained") & (table["variant"] == "notebook") & table["draw_accuracy"].notna()]
    values: dict[tuple[str, str, TransformerShape], Mapping[Any, Any]] = {}
    if published is None:
        for row in table[table["kind"] == "published"].to_dict("records"):
            values[_point(row)] = row
    else:
        for name in trained["experiment"].unique():
            if name not in EXPERIMENTS:
                raise ValueError(f"table has the experiment {name!r}: must be one of {', '.join(EXPERIMENTS)}")
            found = published_points(EXPERIMENTS[name], published)
            values.update({(name, label, shape): row for (label, shape), row in found.items()})
    ours: dict[tuple[str, str, TransformerShape], list[Mapping[Any, Any]]] = {}
    for row in trained.to_dict("records"):
        ours.setdefault(_point(row), []).append(row)
    rows = [_row(point, some, values[point]) for point, some in ours.items() if point in values]
    return pd.DataFrame(rows, columns=list(DEVIATION_COLUMNS))


def _point(row: Mapping[Hashable, Any]) -> tuple[str, str, TransformerShape]:
    shape = TransformerShape(**{name: int(row[name]) for name in SHAPE_COLUMNS})
    return str(row["experiment"]), str(row["series"]), shape


def _row(
    point: tuple[str, str, TransformerShape], ours: Sequence[Mapping[Any, Any]], published: Mapping[Any, Any]
) -> dict[str, object]:
    experiment, series, shape = point
    mean, value = fmean(row["draw_accuracy"] for row in ours), float(published["draw_accuracy"])
    allowed, basis = (ALLOWED, "fixed") if experiment not in BY_INTERVAL else _half_width(ours, int(published["num_models"]))
    return {
        "experiment": experiment, "series": series, "vocab_size": int(ours[0]["vocab_size"]),
        **{name: getattr(shape, name) for name in SHAPE_COLUMNS},
        "ours": mean, "published": value, "difference": mean - value, "allowed": allowed, "basis": basis,
        "inside": abs(mean - value) <= allowed + 1e-12,  # values of four decimals, rounded as floats
        "uniform": fmean(row["accuracy"] for row in ours),
        "num_models": sum(_kept(row) for row in ours), "num_tables": len(ours),
        "num_missing": sum(int(row["num_missing"]) for row in ours), "source": published["source"],
    }  # fmt: skip


def _half_width(ours: Sequence[Mapping[Any, Any]], repetitions: int) -> tuple[float, str]:
    """Of a 95% interval for the difference of two means; NaN where the spread is not known."""
    if any(int(row["num_missing"]) for row in ours):
        return nan, "incomplete"
    if len(ours) > 1:
        count = len(ours)
        factor = float(stats.t.ppf(0.975, count - 1)) * sqrt(1 + 1 / count)
        return factor * sqrt(variance([row["draw_accuracy"] for row in ours])), "tables"
    count = _kept(ours[0])
    if count < 2:
        return nan, "one table"
    # The half-width of our own mean is t s / sqrt(n).
    own = (ours[0]["draw_accuracy_high"] - ours[0]["draw_accuracy_low"]) / 2
    between = float(stats.norm.ppf(0.975)) * TABLE_SPREAD
    return sqrt(own**2 * (1 + count / repetitions) + 2 * between**2), "one table"


def _kept(row: Mapping[Any, Any]) -> int:
    return int(row["num_models"]) - int(row["num_diverged"])
