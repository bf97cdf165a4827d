"""Is there one linear map, of bounded norm, that puts every output of a block into its label's cone with margin 1?

The least such map is found by the dual active-set method of Goldfarb and Idnani 1983, which starts from the map 0 and takes in
one violated inequality after the other, so that a block that grows by a sequence goes on from where it was. The least norm only
rises; as soon as it is above the bound (or the inequalities contradict each other) the multipliers at hand prove that no map
within the bound will do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import qr_delete
from scipy.linalg.lapack import dtrtrs

TOLERANCE = 1e-7  # by how much an inequality "at least 1" may be missed
UNIT, SUBNORMAL = 2.0**-53, 2.0**-1074
SMALL = 1e-150  # of which squares may underflow
PARALLEL = 1e-14  # squared share of a normal that must be new for it to count as independent


@dataclass(frozen=True)
class Refusal:
    """Multipliers l >= 0 that prove a block impossible: every map X with |X| <= bound misses one of the inequalities named.

    Inequality k says w_k . (o_k + X f_k) >= 1, with o and f the offset and features of a place and w the unit normal of the wall
    between the place's label and a rival. Summed with l: <X, sum_k l_k w_k f_k^T> >= sum_k l_k (1 - w_k . o_k), while the left
    side is at most bound |sum_k l_k w_k f_k^T|.

    Attributes:
        places: of the sequences within the block.
        rivals: wrong labels.
        multipliers: l.
        bound: on the Frobenius norm of the map.
        excess: right side less the bound on the left side and less what rounding may have done to the two, over the sum of both
            terms' sizes; positive when this is a proof.
    """

    places: Int[np.ndarray, "terms"]
    rivals: Int[np.ndarray, "terms"]
    multipliers: Float[np.ndarray, "terms"]
    bound: float
    excess: float


class MarginProblem:
    """One growing block: least map X (r x m) with w . (offset_t + X features_t) >= 1 for all walls w of t's label.

    The walls are those between the label and every other label of the code, as unit normals: outputs keep the distance 1.
    """

    def __init__(self, code: Float[np.ndarray, "labels code_dim"]) -> None:
        self.code = code
        apart = np.linalg.norm(code[:, None] - code[None], axis=2)
        np.fill_diagonal(apart, 1.0)
        self.per_distance = 1.0 / apart
        self.pivots = 0
        self.refusal: Refusal | None = None

    def load(
        self,
        features: Float[np.ndarray, "places features"],
        labels: Int[np.ndarray, "places"],
        offsets: Float[np.ndarray, "places code_dim"],
        bound: float,
    ) -> None:
        """Begin a block with nothing in it; `fit` says how many of these sequences to take in."""
        self.bound = bound
        self.unknowns = features.shape[1] * self.code.shape[1]
        self.count = 0
        self.basis = np.zeros((self.unknowns, self.unknowns), order="F")
        self.triangle = np.zeros((self.unknowns, self.unknowns), order="F")
        self.multipliers = np.zeros(self.unknowns)
        self.wanted = np.zeros(self.unknowns)
        self.terms = np.zeros((self.unknowns, 2), dtype=np.int64)
        self.map = np.zeros((self.code.shape[1], features.shape[1]))
        self.features, self.labels, self.offsets = features[:0], labels[:0], offsets[:0]
        self.replace(0, features, labels, offsets)

    def replace(
        self,
        start: int,
        features: Float[np.ndarray, "places features"],
        labels: Int[np.ndarray, "places"],
        offsets: Float[np.ndarray, "places code_dim"],
    ) -> None:
        """Other sequences from place `start` on, which must not have been taken in."""
        self.features = np.concatenate([self.features[:start], features])
        self.labels = np.concatenate([self.labels[:start], labels])
        self.offsets = np.concatenate([self.offsets[:start], offsets])
        self.from_offsets = self.offsets @ self.code.T
        self.scale = self.per_distance[self.labels]

    def save(self) -> list[np.ndarray]:
        """The state of the solver."""
        q = self.count
        parts = (self.basis[:, :q], self.triangle[:q, :q], self.multipliers[:q], self.wanted[:q], self.terms[:q], self.map)
        return [part.copy(order="F") for part in parts]

    def restore(self, state: list[np.ndarray]) -> None:
        """Go back to a saved state."""
        q = self.count = len(state[2])
        self.basis[:, :q], self.triangle[:q, :q], self.multipliers[:q], self.wanted[:q], self.terms[:q] = state[:5]
        self.map = state[5].copy()

    def slack(self, count: int) -> Float[np.ndarray, "places labels"]:
        """By how much the first sequences' outputs clear each wall, less 1; infinite for their own label."""
        logits = self.from_offsets[:count] + (self.features[:count] @ self.map.T) @ self.code.T
        own = np.arange(count), self.labels[:count]
        gaps = (logits[own][:, None] - logits) * self.scale[:count]
        gaps[own] = np.inf
        gaps -= 1.0
        return gaps

    def fit(self, count: int) -> bool:
        """Whether one map within the bound is right on the first `count` sequences: then it is in `map`, else see `refusal`."""
        self.refusal = None
        while True:
            slack = self.slack(count)
            place, rival = divmod(int(slack.argmin()), len(self.code))
            missed = float(slack[place, rival])
            if missed >= -TOLERANCE:
                return True
            if not self._take_in(place, rival, missed):
                return False
            q = self.count
            along = _solved(self.triangle[:q, :q], self.wanted[:q], transposed=True)
            self.map = (self.basis[:, :q] @ along).reshape(self.map.shape)
            self.multipliers[:q] = _solved(self.triangle[:q, :q], along)
            if along @ along > self.bound**2:
                self._refuse(self.terms[:q], self.multipliers[:q])
                return False

    def _take_in(self, place: int, rival: int, missed: float) -> bool:
        """Steps of the dual method until this inequality holds with equality; False when it contradicts the others."""
        label = self.labels[place]
        wall = (self.code[label] - self.code[rival]) * self.per_distance[label, rival]
        normal = np.outer(wall, self.features[place]).ravel()
        size = float(normal @ normal)
        while True:
            self.pivots += 1
            q = self.count
            basis = self.basis[:, :q]
            shares = basis.T @ normal
            new = normal - basis @ shares
            again = basis.T @ new  # twice is enough for orthogonality to rounding
            new -= basis @ again
            shares += again
            length = float(new @ new)
            fall = _solved(self.triangle[:q, :q], shares)
            falling = np.flatnonzero(fall > 1e-12 * size**0.5)
            until_gone, gone = np.inf, -1
            if len(falling):
                steps = self.multipliers[falling] / fall[falling]
                gone = int(steps.argmin())
                until_gone, gone = max(float(steps[gone]), 0.0), int(falling[gone])
            until_held = -missed / length if length > PARALLEL * size and q < self.unknowns else np.inf
            step = min(until_gone, until_held)
            if step == np.inf:
                terms = np.concatenate([self.terms[:q], [[place, rival]]])
                self._refuse(terms, np.append(-fall, 1.0))
                return False
            self.multipliers[:q] -= step * fall
            if until_held <= until_gone:
                self.basis[:, q] = new / length**0.5
                self.triangle[:q, q], self.triangle[q, :q], self.triangle[q, q] = shares, 0.0, length**0.5
                self.terms[q] = place, rival  # all multipliers follow from what is wanted, see `fit`
                self.wanted[q] = 1.0 - wall @ self.offsets[place]
                self.count = q + 1
                return True
            missed += step * length
            self._leave_out(gone)

    def _leave_out(self, gone: int) -> None:
        q = self.count
        basis, triangle = qr_delete(self.basis[:, :q], self.triangle[:q, :q], gone, 1, "col", check_finite=False)
        self.basis[:, : q - 1], self.triangle[: q - 1, : q - 1] = basis[:, : q - 1], triangle[: q - 1, : q - 1]
        for array in (self.multipliers, self.wanted, self.terms):
            array[gone : q - 1] = array[gone + 1 : q].copy()
        self.count = q - 1

    def _refuse(self, terms: np.ndarray, multipliers: np.ndarray) -> None:
        multipliers = np.maximum(multipliers, 0.0)
        places, rivals = terms[:, 0].copy(), terms[:, 1].copy()
        labels = self.labels[places]
        walls = (self.code[labels] - self.code[rivals]) * self.per_distance[labels, rivals][:, None]
        asked = float(multipliers @ (1.0 - (walls * self.offsets[places]).sum(axis=1)))
        reach = self.bound * float(np.linalg.norm((walls * multipliers[:, None]).T @ self.features[places]))
        error = self._rounding(multipliers, walls, places)
        excess = (asked - reach - error) / max(abs(asked) + reach, 1e-300)
        self.refusal = Refusal(places, rivals, multipliers, self.bound, excess)

    def _rounding(self, multipliers: np.ndarray, walls: np.ndarray, places: np.ndarray) -> float:
        """By how much `asked - reach` may be off, for exact unit normals between the code's rows as stored; derived here.

        Entries of the normals are off by (r + 6) roundings at most; sums of n products by n more. A product that underflows is
        off by the least positive number, and entries below 1e-150 have squares that vanish in the norm.
        """
        terms, rank = walls.shape
        size = self.unknowns
        if not self.per_distance.max(initial=0.0) < 1 / SMALL:
            return np.inf  # normals of rows too near to each other for these bounds
        sizes, features = np.abs(walls), np.abs(self.features[places])
        gamma = 1.01 * (terms + 2 * rank + size + 20) * UNIT
        wanted = float(multipliers @ (1.0 + (sizes * np.abs(self.offsets[places])).sum(axis=1)))
        reach = self.bound * float(np.linalg.norm((sizes * multipliers[:, None]).T @ features))
        underflow = SUBNORMAL * (terms + rank * float(multipliers.sum()))
        underflow += self.bound * SUBNORMAL * size * (terms + float(features.sum()))
        return 2.0 * (gamma * (wanted + reach) + underflow + self.bound * SMALL * size)


def _solved(triangle: np.ndarray, right: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """Upper triangular solve; LAPACK at once, since scipy's checks cost more than the solve."""
    if not len(right):
        return np.zeros(0)
    solution: np.ndarray = dtrtrs(triangle, right, trans=int(transposed))[0]
    return solution
