"""Functions on manifolds with a known smoothness: finite sums of waves, written in coordinates that don't know of R^D.

The rough ones are sums of Weierstrass' kind, sum 2^(-k beta) cos(2^k t): beta-Hoelder at every point and no better. In more
than one direction a sum over the axes would be no d-dimensional function (it splits into functions of one number), nor would
waves along the same few directions at all scales. So every scale k has a frame of q orthogonal directions of its own, turned
against those of the other scales: at every scale, each direction of M is within reach of some wave. Derived here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from theory._manifold_base import Manifold, WaveCoordinates, as_number
from theory.shapes import checked_integer

MOST_TERMS = 40
GOLDEN = (1 + math.sqrt(5)) / 2


@dataclass(frozen=True, eq=False)
class Target:
    """A function f: M -> R, the same one in every embedding of M.

    f(x) = sum over levels and their waves of amplitude * cos(<frequency, c> + phase), c = `manifold.waves(x)`.

    Attributes:
        name: "smooth" or "weierstrass 0.5". manifold: M. smoothness: beta; inf where all derivatives exist.
        hoelder_constant: H with |f(x) - f(y)| <= H dist(x, y)^min(beta, 1) for the distance along M; None: not known.
        amplitudes: one a level (K,). frequencies: (K, q, q), a row a wave. phases: (K, q).
    """

    name: str
    manifold: Manifold
    smoothness: float
    hoelder_constant: float | None
    amplitudes: Float[np.ndarray, " levels"] = field(repr=False)
    frequencies: Float[np.ndarray, "levels q q"] = field(repr=False)
    phases: Float[np.ndarray, "levels q"] = field(repr=False)

    def __call__(self, points: Float[np.ndarray, "n ambient"]) -> Float[np.ndarray, " n"]:
        """f at points of M (n, D) -> (n,). Raises ValueError for another width."""
        coordinates = self.manifold.waves(points)
        values: Float[np.ndarray, " n"] = np.zeros(len(coordinates))
        for amplitude, waves, phases in zip(self.amplitudes, self.frequencies, self.phases, strict=True):
            values += amplitude * np.cos(coordinates @ waves.T + phases).sum(axis=1)
        return values

    def on(self, manifold: Manifold) -> "Target":
        """The same function on another embedding of the same manifold."""
        if manifold.wave_coordinates != self.manifold.wave_coordinates:
            raise ValueError(f"manifold = {manifold.name}: must be a copy of {self.manifold.name}")
        values = self.amplitudes, self.frequencies, self.phases
        return Target(self.name, manifold, self.smoothness, self.hoelder_constant, *values)


def smooth_target(manifold: Manifold) -> Target:
    """A function with all derivatives and a few bumps: two scales of waves.

    With one wave coordinate t (circle): sin 3t + 0.5 cos 5t. With q > 1: waves along two different frames, amplitudes 1 and 0.5
    over sqrt(q). Wave vectors are 2 and 3 long (radians per unit of the wave coordinates), but sqrt(q) times that where all
    coordinates are periodic, and then rounded to whole numbers: 2.83 and 4.0 on the torus, about 3.3 to 3.7 and 5.0 to 5.2 on
    that of three circles. `hoelder_constant` bounds the slope.
    """
    form = manifold.wave_coordinates
    q = len(form.periodic)
    lengths = (3.0, 5.0) if q == 1 else (2.0, 3.0)
    frequencies = np.stack([_waves(form, level, length) for level, length in enumerate(lengths)])
    phases = np.zeros((2, q))
    phases[0] = -math.pi / 2  # sine
    amplitudes = np.array([1.0, 0.5]) / math.sqrt(q)
    slope = _slope(form, amplitudes, frequencies)
    return Target("smooth", manifold, math.inf, slope, amplitudes, frequencies, phases)


def weierstrass_target(manifold: Manifold, beta: float, num_terms: int = 24) -> Target:
    """A function that is beta-Hoelder and nowhere smoother, down to scales of 2^-num_terms.

    With one wave coordinate t (circle): sum over k < num_terms of 2^(-k beta) cos(2^k t). With q > 1, the wave vectors at level k
    lie along a frame of their own, amplitudes 2^(-k beta) / sqrt(q). They are 2^k long, but sqrt(q) 2^k where all coordinates
    are periodic, and rounded to whole numbers along periodic ones: on the torus of three circles 1.41 to 2.24 times 2^k.
    For beta > 1 it is the derivatives up to floor(beta) that exist, the last one Hoelder of order beta - floor(beta).

    Args:
        beta: > 0 and no integer: there the sum misses the Hoelder class by a logarithm (Hardy 1916). num_terms: 1 to 40.

    Raises ValueError for anything else.
    """
    beta = checked_roughness(beta)
    if checked_integer("num_terms", num_terms, 1) > MOST_TERMS:
        raise ValueError(f"num_terms = {num_terms}: must be at most {MOST_TERMS}, finer waves are below float64's resolution")
    form = manifold.wave_coordinates
    q = len(form.periodic)
    levels = np.arange(num_terms)
    frequencies = np.stack([_waves(form, level, 2.0**level) for level in levels.tolist()])
    phases = np.zeros((num_terms, q))
    if q > 1:
        phases += 2 * math.pi * (np.arange(num_terms * q).reshape(num_terms, q) * math.sqrt(2) % 1)
    amplitudes = 2.0 ** (-beta * levels) / math.sqrt(q)
    if beta > 1:
        constant = _slope(form, amplitudes, frequencies)
    else:
        # One wave moves by at most min(2, its phase's move); q of them, over sqrt(q), by at most min(2 sqrt(q), c 2^k s), s the
        # distance in wave coordinates. Rescaled, that is sqrt(q) min(2, 2^k s'), s' = c s / sqrt(q), and the sum over ALL
        # integers k of 2^(-k beta) min(2, 2^k s') is at most s'^beta times its value at s' = 1: over s'^beta it repeats
        # when s' doubles, and falls then rises in between.
        steepest = max(float(np.linalg.norm(waves, 2)) / 2.0**level for level, waves in enumerate(frequencies))
        whole = 1 / (1 - 2 ** (beta - 1)) + 2 / (2**beta - 1)
        constant = math.sqrt(q) * whole * (steepest / math.sqrt(q) * form.lipschitz) ** beta
    return Target(f"weierstrass {beta:g}", manifold, beta, float(constant), amplitudes, frequencies, phases)


TARGETS: dict[str, Callable[[Manifold, float], Target]] = {
    "smooth": lambda manifold, beta: smooth_target(manifold),
    "weierstrass": weierstrass_target,
}
"""The targets by name, as functions of the manifold and beta (which smooth ones ignore)."""


def target_named(manifold: Manifold, name: str, beta: float = 0.5) -> Target:
    """`smooth_target` or `weierstrass_target` with this beta. Raises ValueError for other names and betas."""
    if name not in TARGETS:
        raise ValueError(f"target = {name!r}: must be one of {', '.join(TARGETS)}")
    return TARGETS[name](manifold, beta)


def checked_roughness(beta: object) -> float:
    """`beta` as a float, when it is a finite number > 0 and no integer; ValueError otherwise."""
    number = as_number(beta)
    if not (math.isfinite(number) and number > 0 and number != int(number)):
        raise ValueError(f"beta = {beta!r}: must be a number > 0 that is no integer (there the sum isn't Hoelder of that order)")
    return number


def _waves(form: WaveCoordinates, level: int, length: float) -> Float[np.ndarray, "q q"]:
    """q wave vectors of this length, one a row, orthogonal; on tori sqrt(q) times as long, up to rounding to whole numbers."""
    q = len(form.periodic)
    if q == 1:
        return np.array([[length]])
    periodic = np.array(form.periodic)
    # Entries of a frame of q directions are about 1 / sqrt(q): scaled up where all have to be whole numbers.
    waves = _frame(q, level) * (length * (math.sqrt(q) if periodic.all() else 1.0))
    return np.where(periodic, np.rint(waves), waves)


def _frame(q: int, level: int) -> Float[np.ndarray, "q q"]:
    """An orthogonal matrix: rotations in all pairs of axes, by angles that never repeat over levels."""
    frame = np.eye(q)
    pairs = [(one, other) for one in range(q) for other in range(one + 1, q)]
    for place, (one, other) in enumerate(pairs):
        angle = 2 * math.pi * ((level + 1) * GOLDEN / (place + 1) ** 0.5 % 1)
        turn = np.eye(q)
        turn[[one, other], [one, other]] = math.cos(angle)
        turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
        frame = frame @ turn
    return frame


def _slope(
    form: WaveCoordinates, amplitudes: Float[np.ndarray, " levels"], frequencies: Float[np.ndarray, "levels q q"]
) -> float:
    """A bound on the slope of a sum of waves along M."""
    sizes = [np.linalg.norm(waves, 2) for waves in frequencies]
    return float(amplitudes @ np.array(sizes)) * math.sqrt(frequencies.shape[1]) * form.lipschitz
