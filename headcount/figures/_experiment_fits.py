"""The curves that figures of the paper's experiments draw through measured points, each as the paper fits it."""

from collections.abc import Sequence

import numpy as np

from empirical.regression import before_saturation, line
from headcount.figures._experiment_axes import Fit
from headcount.figures._experiment_data import Points, Results

FEWEST = 3
"""Points: a line through fewer fits whatever they are."""
PLACES = 121
"""Points of a curve that is drawn as one."""


def lines(found: Results, points: Points) -> Sequence[Fit]:
    """The least-squares line through the points up to the first accuracy above .95, drawn as far as accuracy 1.

    The rule of the scripts published with Dana, Pydi and Chevaleyre 2025.
    """
    count = _count(points)
    if count < FEWEST:
        return ()
    fitted = line(points.x[:count], points.mean[:count])
    slope, intercept = fitted.slope.value, fitted.intercept.value
    ends = _below_one(np.array([points.x[0], points.x[count - 1]]), intercept, slope)
    label = "least squares, up to the first above .95"
    return (Fit("least squares", label, ends, intercept + slope * ends, _steepness(found, slope)),)


def in_head_dim(found: Results, points: Points) -> Sequence[Fit]:
    """The parabola a + b d_h^2, which Dana, Pydi and Chevaleyre 2025 fit, and the line a + b d_h, by least squares.

    Through the points up to the first accuracy above .95.
    """
    count = _count(points)
    if count < FEWEST:
        return ()
    made = []
    for name, label, power in (
        ("least squares", "least squares $a+b\\,d_h^2$, up to the first above .95", 2),
        ("second least squares", "least squares $a+b\\,d_h$, the same points", 1),
    ):
        fitted = line(points.x[:count] ** power, points.mean[:count])
        x = np.linspace(points.x[0], points.x[count - 1], PLACES)
        y = fitted.intercept.value + fitted.slope.value * x**power
        short = "$a+b\\,d_h^2$" if power == 2 else "$a+b\\,d_h$"
        made.append(Fit(name, label, x, y, f"{short}: $R^2$ = {fitted.r_squared:.3f}"))
    return made


def in_embed_dim(found: Results, points: Points) -> Sequence[Fit]:
    """Least-squares lines in d on both sides of d = d_h, as the README of the published code words it ("linear by part")."""
    knee = float(found.rows["head_dim"].iloc[0])
    made = []
    for name, label, chosen, where in (
        ("least squares", "least squares, $d \\leq d_h$", points.x <= knee, "up to $d_h$"),
        ("second least squares", "least squares, $d \\geq d_h$", points.x >= knee, "from $d_h$ on"),
    ):
        if chosen.sum() < FEWEST:
            continue
        x = points.x[chosen]
        fitted = line(x, points.mean[chosen])
        ends = np.array([x[0], x[-1]])
        note = f"{where}: {fitted.slope.value:+.3f} per dimension"
        made.append(Fit(name, label, ends, fitted.intercept.value + fitted.slope.value * ends, note))
    return made


def none(found: Results, points: Points) -> Sequence[Fit]:
    """No curve."""
    return ()


def _count(points: Points) -> int:
    return before_saturation(points.mean) if len(points.x) else 0


def _below_one(ends: np.ndarray, intercept: float, slope: float) -> np.ndarray:
    """The ends of a line's part at accuracies up to 1."""
    return np.minimum(ends, (1 - intercept) / slope) if slope > 0 and intercept + slope * ends[0] < 1 else ends


def _steepness(found: Results, slope: float) -> str:
    """Slope in H as associations per head beside the d_h of Corollary 1, by phi^-1 of its Corollary 2."""
    if len(found.series) > 1:
        return ""
    vocab, total, width = found.setting["vocab_size"], found.setting["num_associations"], found.rows["head_dim"].iloc[0]
    per_head = slope * total / (1 - 1 / vocab)
    return f"slope: {per_head:.2f} associations per head, {per_head / width:.2f} times Corollary 1's"
