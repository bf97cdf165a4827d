r"""Baum 1988: one hidden layer of ceil(n/d) threshold units realises any dichotomy of n points in general position.

One hidden unit's hyperplane can be laid through d points and then tilted a little, which puts each of the d on whichever side is
wanted and moves no other point: a unit "decides" d points. Two tilts of one hyperplane, subtracted, are 1, 0 or -1 as wanted on
the d points and 0 on all others. Hence: let the points of the smaller class (n_+ <= n/2) be exceptions to the constant answer,
and correct them, d at a time, by two units each: 2 ceil(n_+/d) units. That is one too many when n_+ = (k - 1) d + r with
r <= d/2 and n <= (2k - 1) d. Then a single unit through d points of the smaller class, on the better side, first leaves
exceptions that number at most (k - 1) d: with it and its opposite, #smaller - #larger inside sums to n_+ - n_- + d over the two
sides, so one side has at least (n_+ - n_- + d)/2 >= r. So ceil(n/d) is always reached. (The statement is Baum's, from his
abstract; this counting is derived here and his may differ.)

The count is nearly the least: along a curve that no hyperplane meets more than d times, alternating labels change n - 1 times and
a unit accounts for d changes at most, so ceil((n - 1)/d) units are needed.

No transplant: its answers are one bit, a task's are one of N tokens.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from constructions.rivals._hyperplanes import Hyperplane, chunks, hyperplane_through
from constructions.rivals.memory import RivalMemory
from theory.shapes import checked_integer

NAME = "baum"
SOURCE = (
    "Baum 1988, On the capabilities of multilayer perceptrons (Journal of Complexity 4), the construction with ceil(n/d) units"
)
STATEMENT = (
    "For all n points in general position in R^d and every assignment of two labels to them, some network with one hidden layer "
    "of ceil(n/d) threshold units and a threshold output gives every point its label."
)
ASSUMPTIONS = (
    "general position: no d + 1 of the points lie in one hyperplane",
    "two labels",
    "weights of any size: the hyperplanes pass as close to the points as the data ask",
)


@dataclass(frozen=True)
class ThresholdNetwork:
    """x -> [sum_j outward_j [inward_j · x + bias_j > 0] > cut], with m hidden units."""

    inward: Float[np.ndarray, "units input_dim"]
    bias: Float[np.ndarray, " units"]
    outward: Float[np.ndarray, " units"]
    cut: float

    def __call__(self, points: Float[np.ndarray, "points input_dim"]) -> Bool[np.ndarray, " points"]:
        """One bit per point."""
        return (points @ self.inward.T + self.bias > 0) @ self.outward > self.cut

    @property
    def num_parameters(self) -> int:
        """Numbers stored."""
        return self.inward.size + self.bias.size + self.outward.size + 1


def units_needed(num_points: int, input_dim: int) -> int:
    """ceil(n/d), the hidden units of the statement."""
    return -(-checked_integer("num_points", num_points, 1) // checked_integer("input_dim", input_dim, 1))


def claimed_capacity(num_units: int, input_dim: int) -> int:
    """The most points that `num_units` hidden units are claimed to be enough for: m d."""
    return checked_integer("num_units", num_units, 0) * checked_integer("input_dim", input_dim, 1)


def fit(points: Float[np.ndarray, "points input_dim"], labels: Bool[np.ndarray, " points"], seed: int = 0) -> ThresholdNetwork:
    """The network of ceil(n/d) units (fewer where the labels ask for fewer) that gives every point its label.

    Raises:
        ValueError: the points are not in general position.
    """
    rng = np.random.default_rng(checked_integer("seed", seed, 0))
    dim = points.shape[1]
    minority = labels if 2 * labels.sum() <= len(labels) else ~labels
    inward: list[np.ndarray] = []
    bias: list[float] = []
    outward: list[float] = []

    def cut(plane: Hyperplane, group: np.ndarray, side: np.ndarray, weight: float) -> np.ndarray:
        """A unit tilted so that the group's points lie on the sides asked for (1 or -1); which points are inside."""
        tilt = np.linalg.lstsq(np.column_stack([points[group], np.ones(len(group))]), side, rcond=None)[0]
        step = plane.gap / (2 * np.abs(points @ tilt[:-1] + tilt[-1]).max())  # moves no other point across
        inward.append(plane.normal + step * tilt[:-1])
        bias.append(step * tilt[-1] - plane.offset)
        outward.append(weight)
        return points @ inward[-1] + bias[-1] > 0

    default = np.zeros(len(points), dtype=bool)  # the answer before corrections
    if minority.sum() and _one_unit_helps(int(minority.sum()), len(points), dim):
        if len(points) <= dim:  # one hyperplane through them all decides everything
            group = np.arange(len(points))
            default = cut(hyperplane_through(points, group, rng), group, np.where(minority, 1.0, -1.0), 1.0)
        else:
            group = rng.permutation(np.flatnonzero(minority))[:dim]
            plane = hyperplane_through(points, group, rng)
            sides = np.sign(points @ plane.normal - plane.offset)
            sides[group] = 0
            if (np.where(minority, 1, -1) * sides).sum() < 0:  # the other side has more of the smaller class to spare
                plane = Hyperplane(-plane.normal, -plane.offset, plane.gap)
            default = cut(plane, group, np.ones(dim), 1.0)
    for group in chunks(rng.permutation(np.flatnonzero(minority != default)), dim):
        plane, sign = hyperplane_through(points, group, rng), np.where(minority[group], 1.0, -1.0)
        cut(plane, group, sign, 1.0)
        cut(plane, group, -sign, -1.0)
    weights = np.array(outward)
    threshold = 0.5
    if minority is not labels:  # the answer turned round: sum < 1/2, as -sum > -1/2
        weights, threshold = -weights, -0.5
    return ThresholdNetwork(np.array(inward).reshape(-1, dim), np.array(bias), weights, threshold)


def _one_unit_helps(num_minority: int, num_points: int, dim: int) -> bool:
    """Whether 2 ceil(n_+/d) units would be more than ceil(n/d)."""
    return 2 * units_needed(num_minority, dim) > units_needed(num_points, dim)


def build(*, num_points: int, input_dim: int, seed: int, labels: Int[np.ndarray, " points"] | None = None) -> RivalMemory:
    """Gaussian points with fair random bits (or the `labels` given, 0 or 1), fitted and run.

    Raises:
        ValueError: an argument out of range.
    """
    checked_integer("num_points", num_points, 1)
    checked_integer("input_dim", input_dim, 1)
    rng = np.random.default_rng([checked_integer("seed", seed, 0), 0])
    points = rng.standard_normal((num_points, input_dim))
    bits = rng.integers(0, 2, num_points) == 1 if labels is None else labels == 1
    network = fit(points, bits, seed)
    largest = max((float(np.abs(part).max(initial=0.0)) for part in (network.inward, network.bias)), default=0.0)
    return RivalMemory(
        rival=NAME,
        setting="own",
        size=f"{len(network.bias)} threshold units on R^{input_dim}",
        num_associations=num_points,
        num_held=int((network(points) == bits).sum()),
        num_labels=2,
        claimed=float(claimed_capacity(units_needed(num_points, input_dim), input_dim)),
        num_parameters=network.num_parameters,
        notes={"units claimed enough": str(units_needed(num_points, input_dim)), "largest weight": f"{largest:.3g}"},
    )
