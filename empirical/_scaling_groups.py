"""Points of one model size, and points of one compute budget: which points of a table belong together."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from empirical._scaling_points import ScalingPoints

SIZE_TOLERANCE = 0.002
"""Sizes that differ by less, relatively, count as one: digitised tables carry one size with several last digits, and distinct
sizes of Hoffmann et al. 2022 come as close as 0.3% (1,424M and 1,429M)."""

MOST_BUDGETS = 40
"""More budgets than any published table has are not looked for."""


LOG_LARGEST = 700.0
"""Computes whose logarithm is beyond this, on either side, are not held by a float, nor are numbers got from them."""


def compute_overflows(points: ScalingPoints) -> str:
    """Why C = 6 N D cannot be worked with, or ""."""
    logs = points.log_parameters + points.log_tokens
    worst = float(logs[np.argmax(np.abs(logs))])
    if abs(worst) <= LOG_LARGEST:
        return ""
    return f"a C = 6 N D of about 10^{worst / np.log(10):.0f} FLOP is more than numbers here can hold"


@dataclass(frozen=True)
class RefusedGroup:
    """What a fit left out: `what` in words with its number `group` (FLOP of a budget, parameters of a size), and why."""

    group: float
    what: str
    reason: str


def size_labels(log_parameters: Float[np.ndarray, " points"], tolerance: float = SIZE_TOLERANCE) -> Int[np.ndarray, " points"]:
    """The number of the size of each point, 0 the smallest; ln N within one size differ by `tolerance` at most."""
    order = np.argsort(log_parameters, kind="stable")
    logs, labels = log_parameters[order], np.empty(log_parameters.size, dtype=np.int64)
    first, label = 0, 0
    while first < logs.size:
        end = int(np.searchsorted(logs, logs[first] + tolerance, side="right"))
        labels[order[first:end]] = label
        first, label = end, label + 1
    return labels


def size_groups(points: ScalingPoints) -> list[tuple[float, Int[np.ndarray, " members"]]]:
    """N (geometric mean) and the places of its points for each model size, smallest first."""
    labels = size_labels(points.log_parameters)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [(float(np.exp(points.log_parameters[part].mean())), part) for part in parts]


def densest_budgets(points: ScalingPoints, spread: float, least: int) -> list[Int[np.ndarray, " members"]]:
    """Groups of points of nearly one C, found greedily: the window of ln C, `spread` wide, with the most sizes, then the next.

    Of windows with as many sizes the narrowest is taken; windows share no point, and one with fewer than `least` sizes is none.
    Returns the places of the points of each, by ascending C, at most MOST_BUDGETS.
    """
    order = np.argsort(points.compute, kind="stable")
    logs, sizes = np.log(points.compute)[order], size_labels(points.log_parameters)[order]
    scores, ends = _windows(logs, sizes, spread)
    found: list[tuple[int, int]] = []
    while len(found) < MOST_BUDGETS and scores.max() > least - 0.5:
        first = int(np.argmax(scores))
        found.append((first, int(ends[first])))
        scores[first : ends[first]] = 0
        reach = int(np.searchsorted(logs, logs[first] - 2 * spread))
        reach = max([reach, *(end for _, end in found if end <= first)])  # windows before stop here now, at `first`
        scores[reach:first], ends[reach:first] = _windows(logs[reach:first], sizes[reach:first], spread, reach)
    return [order[first:end] for first, end in sorted(found)]


def _windows(
    logs: Float[np.ndarray, " points"], sizes: Int[np.ndarray, " points"], spread: float, offset: int = 0
) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
    """For the window that starts at each point: the number of its sizes, less half its relative width, and where it ends."""
    ends = np.searchsorted(logs, logs + spread * (1 + 1e-12), side="right")
    scores, inside, last = np.empty(logs.size), Counter[int](), 0
    for first, end in enumerate(ends):
        inside.update(sizes[last:end].tolist())
        last = max(last, int(end))
        scores[first] = len(inside) - 0.5 * (logs[end - 1] - logs[first]) / spread
        leaving = int(sizes[first])
        inside[leaving] -= 1
        if not inside[leaving]:
            del inside[leaving]
    return scores, ends + offset
