"""How much of a scaling fit hangs on a few points: refits without the highest losses and without each model size.

A five-constant law bends to whatever is extreme. The reconstructed points of Hoffmann et al. 2022 (Besiroglu et al. 2024) give
a = .565 with all 245 and .514 without the five highest losses: no interval of either fit says so, leaving points out does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from empirical._scaling_forms import Form
from empirical._scaling_groups import size_labels
from empirical._scaling_points import ScalingPoints
from empirical._scaling_refits import constants_with_allocation, random_starts, refit
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Influence", "Move", "influence"]

MOST_SIZES = 50
"""With more sizes than this, bands of sizes are left out instead."""
NUM_BANDS = 20
STILL = 1e-7
"""Moves below this share of a constant are the optimiser's rounding."""
MANY_POINTS = 5000
"""Above this many points refits start only at the fit to all points: no part can lead far away from it."""


@dataclass(frozen=True)
class Move:
    """The largest move of one constant: what was left out, the constant with all points and without these."""

    symbol: str
    left_out: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"leaving out {self.left_out} moves {self.symbol} from {self.before:.4g} to {self.after:.4g}"


@dataclass(frozen=True, eq=False)
class Influence:
    """Refits that leave something out.

    Attributes:
        table: left_out (words; "nothing" first), kind ("none", "highest losses", "size"), num_left_out, num_left, the law's
            constants and a of N_opt ~ C^a, objective (unscaled Huber sum), converged, reason ("" or why the row has no numbers).
        num_points: of the whole table.
        moves: the largest move of E and of a, where the law has them and some refit has numbers.
    """

    table: "pd.DataFrame"
    num_points: int
    moves: dict[str, Move]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The largest moves in words."""
        if self.moves:
            return tuple(map(str, self.moves.values()))
        if not self.table["converged"].iloc[1:].any():
            return ("no refit without some of the points has numbers",)
        return ("leaving points out moves neither E nor a",)


def influence(
    form: Form,
    points: ScalingPoints,
    theta: Float[np.ndarray, " parameters"],
    *,
    delta: float = 1e-3,
    top: Iterable[int] = (1, 5, 10),
    by_size: bool = True,
) -> Influence:
    """Refit without the k highest losses for each k of `top`, and without each model size.

    Every refit starts at `theta` and at three places of the form's grid, and the lowest minimum counts. Sizes within 0.2% are
    one size. With more than 50 sizes 20 bands of neighbouring sizes, of about as many points each, are left out in their place.

    Args:
        form: the law's form.
        points: the table.
        theta: the fit to all points.
        delta: of the Huber loss on log loss, as in that fit.
        top: numbers of highest losses; those that would leave nothing are listed with a reason.
        by_size: whether sizes are left out.

    Raises ValueError for numbers in `top` below 1, delta that is not finite and > 0, theta of another length.
    """
    import pandas as pd

    start = np.asarray(theta, dtype=float)
    numbers = sorted({checked_integer("top", number, 1) for number in top})
    if start.shape != (form.num_parameters,) or not np.isfinite(start).all():
        raise ValueError(f"theta = {np.array2string(start, threshold=8)}: {form.num_parameters} finite numbers are legal")
    if not 0 < delta < inf:
        raise ValueError(f"delta = {delta}: a finite number > 0 is legal")
    cases: list[tuple[str, str, np.ndarray]] = [("nothing", "none", np.zeros(points.num_points, dtype=bool))]
    order = np.argsort(-points.loss, kind="stable")
    for number in numbers:
        without = np.zeros(points.num_points, dtype=bool)
        without[order[:number]] = True
        cases.append(("the highest loss" if number == 1 else f"the {number} highest losses", "highest losses", without))
    if by_size:
        cases += _sizes(points)
    starts = start[None]
    if points.num_points <= MANY_POINTS:
        starts = np.concatenate([starts, random_starts(form, 3)])
    left = np.array([~without for _, _, without in cases], dtype=float)
    rows = list[dict[str, Any]]()
    for (words, kind, without), fit in zip(cases, refit(form, points, left, starts, delta), strict=True):
        away = int(without.sum())
        rows.append(
            {"left_out": words, "kind": kind, "num_left_out": away, "num_left": points.num_points - away}
            | constants_with_allocation(form, fit.theta)
            | {"objective": fit.objective, "converged": fit.converged, "reason": fit.reason}
        )
    table = pd.DataFrame(rows)
    moves = {symbol: move for symbol in ("E", "a") if (move := _largest(table, symbol)) is not None}
    return Influence(table, points.num_points, moves)


def _sizes(points: ScalingPoints) -> list[tuple[str, str, np.ndarray]]:
    """What to leave out to be without a size, or without a band of sizes where there are many."""
    labels = size_labels(points.log_parameters)
    if labels.max() >= MOST_SIZES:
        ranks = np.searchsorted(np.sort(labels), labels)  # points of one size share a rank, and so a band
        labels = ranks * NUM_BANDS // points.num_points
    cases = list[tuple[str, str, np.ndarray]]()
    for label in np.unique(labels):
        without = labels == label
        low, high = points.parameters[without].min(), points.parameters[without].max()
        one = np.log(high / low) <= 0.01
        words = f"the size {low:.4g}" if one else f"the sizes {low:.4g} to {high:.4g}"
        cases.append((words, "size", without))
    return cases


def _largest(table: "pd.DataFrame", symbol: str) -> Move | None:
    """The row that moves this constant most; None where the law lacks it, it cannot move, or no refit has numbers."""
    if symbol not in table:
        return None
    values = table[symbol].to_numpy(dtype=float)
    moves = np.abs(values[1:] - values[0])
    if not np.isfinite(moves).any() or np.nanmax(moves) <= STILL * abs(values[0]):
        return None
    at = 1 + int(np.nanargmax(moves))
    return Move(symbol, str(table["left_out"].iloc[at]), float(values[0]), float(values[at]))
