"""Experiment 4: how much memory one more head adds, and how that grows with d = d_h."""

from collections.abc import Iterator, Sequence
from math import isnan, nan
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from empirical.cells import DeviceKind
from empirical.experiments._results import ResultSource, results
from empirical.experiments.experiment import Experiment, Tier
from empirical.regression import (
    Estimate,
    before_saturation,
    bootstrap_log_log_slope,
    line,
    log_log_slope,
    segmented,
)
from empirical.training import Variant
from theory.memorization import memory_from_accuracy

Rule = Literal["paper", "segmented"]
Accuracy = Literal["draw_accuracy", "accuracy"]

SATURATES = 0.75
"""Accuracy below which a break in a curve is no saturation: curves bend there too, if less."""

SLOPE_COLUMNS = (
    "experiment", "kind", "variant", "series", "vocab_size", "embed_dim", "head_dim", "num_layers", "table_seed", "rule",
    "accuracy", "slope", "slope_low", "slope_high", "ratio", "ratio_low", "ratio_high", "breakpoint", "breakpoint_low",
    "breakpoint_high", "num_points", "num_used", "num_missing", "reason",
)  # fmt: skip
"""`slope`: associations for each head, with a 95% Student interval from the scatter of the points about the line. `ratio`: the
slope over d_h, that of Corollary 1, for one layer. `breakpoint`: heads at which the curve saturates (rule "segmented").
`num_used` of `num_points` points rest below saturation. `reason`: why there is no slope, or no break."""


def slopes(table: pd.DataFrame, *, rule: Rule = "paper", accuracy: Accuracy = "draw_accuracy") -> pd.DataFrame:
    """Memory in H, as a slope before saturation, for every curve along H.

    Rule "paper": least squares on the points up to and with the first accuracy above .95, as in the scripts published with Dana,
    Pydi and Chevaleyre 2025; that point has begun to bend, which flattens the slope. Rule "segmented": the slope before the break
    of a line with one break, if the break lies at an accuracy of SATURATES or more and flattens the curve; otherwise that of one
    straight line through all points, with a reason.

    Args:
        table: rows as of `results`.
        rule: see above.
        accuracy: "draw_accuracy", the paper's, which overstates memory, or "accuracy", on the uniform table.

    Returns:
        Columns SLOPE_COLUMNS: one row for each curve of trained models, and of published values if `accuracy` is that of draws.
        Points without any model are left out and counted by `num_missing`.

    Raises:
        ValueError: an unknown rule or accuracy; a table without a curve along H.
    """
    _check(rule, accuracy)
    kinds = ("trained", "published") if accuracy == "draw_accuracy" else ("trained",)
    rows = [
        _row(points, rule, accuracy) for points in _curves(table[table["kind"].isin(kinds) & (table["mlp_width"] == 0)])
    ]
    if not rows:
        raise ValueError("table has no curve along num_heads: rows of experiments 1, 4, 5 or 6 are legal")
    return pd.DataFrame(rows, columns=list(SLOPE_COLUMNS))


def slope_exponent(slopes: pd.DataFrame, *, kind: str = "trained", level: float = 0.95) -> Estimate:
    """Log-log slope, against d, of the slopes in H of one kind; Student interval from the scatter about the power law.

    Raises ValueError for slopes of fewer than two widths, or none above 0.
    """
    rows = slopes[(slopes["kind"] == kind) & slopes["slope"].notna()]
    return log_log_slope(rows["embed_dim"].to_numpy(float), rows["slope"].to_numpy(float), level=level)


def bootstrap_slope_exponent(
    experiment: Experiment,
    store: ResultSource,
    tier: Tier,
    variant: Variant = "notebook",
    *,
    rule: Rule = "paper",
    accuracy: Accuracy = "draw_accuracy",
    device: DeviceKind = "cpu",
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The same log-log slope, with a bootstrap interval over repetitions (see `bootstrap_log_log_slope`).

    Which points lie below saturation is decided once, on the means over repetitions, then every repetition has its slopes.

    Raises ValueError as `slopes`, and where a model is missing, failed or diverged: a mean over others is a choice of models.
    """
    table = results(experiment, store, tier, variant, device=device, seed=seed)
    _check(rule, accuracy)
    grid = experiment.grid(tier)
    curves = {curve.label: curve for curve in grid.curves}
    by_width: dict[int, list[float]] = {}
    for points in _curves(table[(table["kind"] == "trained") & (table["mlp_width"] == 0)]):
        if (points["num_models"] - points["num_diverged"] < grid.repetitions).any():
            which = f"{experiment.name}, {points['series'].iloc[0]}"
            raise ValueError(f"store lacks models of {which}, or some of them diverged: all are needed")
        curve = curves[points["series"].iloc[0]]
        heads = points["num_heads"].tolist()[: _fit(points, rule, accuracy)["num_used"]]
        memories = []
        for shape in sorted((shape for shape in curve.shapes if shape.num_heads in heads), key=lambda shape: shape.num_heads):
            cells = experiment.point(curve, shape, grid.repetitions, variant, device=device, seed=seed)
            memories.append(_memories([getattr(found, accuracy) for found in store.results(cells)], experiment.vocab_size))
        by_width[curve.shapes[0].embed_dim] = [line(heads, row).slope.value for row in zip(*memories, strict=True)]
    return bootstrap_log_log_slope(list(by_width), np.array(list(by_width.values())).T, seed=seed, level=level)


def _check(rule: str, accuracy: str) -> None:
    for name, value, legal in (("rule", rule, get_args(Rule)), ("accuracy", accuracy, get_args(Accuracy))):
        if value not in legal:
            raise ValueError(f"{name} = {value!r}: must be one of {', '.join(map(repr, legal))}")


def _curves(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Points of each curve along H in ascending order."""
    by = ["experiment", "kind", "variant", "table_seed", "series"]
    for _, points in rows.groupby(by, dropna=False, sort=False):
        if points["num_heads"].nunique() > 1 and points[["embed_dim", "head_dim", "num_layers"]].drop_duplicates().shape[0] == 1:
            yield points.sort_values("num_heads")


def _memories(accuracies: Sequence[float], vocab_size: int) -> list[float]:
    return [memory_from_accuracy(float(value), vocab_size, vocab_size**2) for value in accuracies]


def _row(points: pd.DataFrame, rule: Rule, accuracy: Accuracy) -> dict[str, Any]:
    """One row of `slopes`."""
    first = points.iloc[0]
    fit = _fit(points[points[accuracy].notna()], rule, accuracy)
    head_dim = int(first["head_dim"])
    row = {name: first[name] for name in SLOPE_COLUMNS[:9]}
    row.update(rule=rule, accuracy=accuracy, num_points=len(points), num_missing=int(points["num_missing"].sum()))
    row.update(num_used=fit["num_used"], reason=fit["reason"])
    per_head = head_dim if int(first["num_layers"]) == 1 else nan
    for name, estimate, unit in (("slope", fit["slope"], 1), ("ratio", fit["slope"], per_head), ("breakpoint", fit["at"], 1)):
        row[name], row[f"{name}_low"], row[f"{name}_high"] = estimate.value / unit, estimate.low / unit, estimate.high / unit
    return row


def _fit(points: pd.DataFrame, rule: Rule, accuracy: Accuracy) -> dict[str, Any]:
    """Slope, break (NaN where none is told), how many leading points lie below saturation, and a reason."""
    none = Estimate(nan, nan, nan)
    heads, accuracies = points["num_heads"].to_numpy(float), points[accuracy].to_numpy(float)
    if heads.size < 2:
        return {"slope": none, "at": none, "num_used": heads.size, "reason": "fewer than two points have results"}
    memories = _memories(accuracies.tolist(), int(points["vocab_size"].iloc[0]))
    if rule == "paper":
        kept = before_saturation(accuracies)
        if kept < 2:
            return {"slope": none, "at": none, "num_used": kept, "reason": "the first point is above .95 already"}
        return {"slope": line(heads[:kept], memories[:kept]).slope, "at": none, "num_used": kept, "reason": ""}
    whole = line(heads, memories).slope
    straight = {"slope": whole, "at": none, "num_used": heads.size}
    fit = segmented(heads, memories)
    if isnan(fit.first_slope.value) or fit.p_value != fit.p_value or (isnan(fit.breakpoint.value) and fit.p_value > 0.05):
        return {**straight, "reason": fit.reason}
    if isnan(fit.breakpoint.value):  # only the last point is beyond the break
        kept, at_break = heads.size - 1, accuracies[-2]
        flatter = memories[-1] - memories[-2] < fit.first_slope.value * (heads[-1] - heads[-2])
    else:
        kept = int((heads <= fit.breakpoint.value).sum())
        at_break = float(np.interp(fit.breakpoint.value, heads, accuracies))
        flatter = fit.second_slope.value < fit.first_slope.value
    if at_break < SATURATES or not flatter:
        return {**straight, "reason": f"the curve bends at an accuracy of {at_break:.2f}: that is no saturation"}
    return {"slope": fit.first_slope, "at": fit.breakpoint, "num_used": kept, "reason": fit.reason}
