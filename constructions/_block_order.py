"""The orders that a block staircase may walk up, and the gates that cut them: what a head sees is all from its cut upwards.

Sequences (a, b) are grouped by first token. Within a group, a head may sort the last tokens by a functional of its own:
linear ("sorted"), or quadratic where the head is as wide as the stream ("free"): a quadratic has d (d + 1) / 2 coefficients, and
where that is no less than the group's size it separates any part of the group from the rest; in the plane it cuts at two places.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from constructions._staircase_layout import CONSTANT, ORDER, Layout

SHARPNESS = 64.0  # score at either side of a cut: sigmoid(-64) = 1.6e-28 vanishes beside rounding
SPREAD = 0.75  # of the last tokens' share of the key within one first token; 1 is the distance of first tokens
LEAST_GAP = 1e-4  # of the keys at a cut
LEAST_SINGULAR = 1e-3  # of a free group's quadratic features, beside the largest


@dataclass(frozen=True)
class Gate:
    """One head's queries and keys (d, width); x2^T query key^T delta is SHARPNESS or more off 0 on either side of a cut."""

    query: Float[np.ndarray, "embed_dim width"]
    key: Float[np.ndarray, "embed_dim width"]


@dataclass(frozen=True)
class Run:
    """Consecutive sequences, sorted by the key first alpha_a + reading . x2(b), which also tells them from all outside.

    Attributes:
        members: task indices in order.
        keys: ascending.
        first: of the first token's order coordinate.
        reading: linear functional of the last token's residual stream (d,).
    """

    members: Int[np.ndarray, "members"]
    keys: Float[np.ndarray, "members"]
    first: float
    reading: Float[np.ndarray, "embed_dim"]

    def part(self, kept: Bool[np.ndarray, "members"]) -> "Run":
        """Some of the members in the same order."""
        return Run(self.members[kept], self.keys[kept], self.first, self.reading)

    def gap(self, place: int) -> float:
        """Distance of the keys on either side of a cut before a place; anything outside the run is 1 - SPREAD away."""
        return float(self.keys[place] - self.keys[place - 1]) if 0 < place < len(self.keys) else 1.0 - SPREAD

    def gate(self, place: int) -> Gate:
        """What a head needs to see this run from a place on, and all that comes after it."""
        half = 0.5 * self.gap(place)
        query, key = np.zeros((len(self.reading), 2)), np.zeros((len(self.reading), 2))
        query[CONSTANT, 0] = 1.0
        key[ORDER, 0] = self.first
        key[CONSTANT, 0] = self.keys[place] - half
        query[:, 1] = self.reading
        query[ORDER, 1] += self.first
        key[CONSTANT, 1] = -1.0
        return Gate(query, key * (SHARPNESS / half))


@dataclass(frozen=True)
class FreeGroup:
    """Sequences of one first token, of which quadratic functionals of the last token can tell some parts, or all, from the rest.

    In the plane that is what lies between two cuts, or outside; elsewhere, with as many coefficients as members, any part.

    Attributes:
        layout: embeddings.
        token: the first token.
        members: task indices.
        rows: x2 of each (members, d).
        inverse: from values on the members to coefficients of the quadratic with these values (d (d + 1) / 2, members); None in
            the plane.
        used: tokens of the task.
    """

    layout: Layout
    token: int
    members: Int[np.ndarray, "members"]
    rows: Float[np.ndarray, "members embed_dim"]
    inverse: Float[np.ndarray, "coefficients members"] | None
    used: Int[np.ndarray, "used"]

    def gate(self, above: Bool[np.ndarray, "members"]) -> Gate:
        """What a head needs to see these members of the group, no others of it, and all later groups.

        With S the quadratic, +1 above and -1 below, and a* the group's token, the score is
        x2^T S x2 - x2^T S (x1(a) - x1(a*)) + p (alpha_a - alpha_a*), p so large that it decides wherever a differs from a*.
        """
        dim = self.rows.shape[1]
        quadratic = self._quadratic(above)
        first, last = self.layout.rows[0][self.used], self.layout.rows[1][self.used]
        own = self.layout.rows[0][self.token]
        others = np.abs(((last @ quadratic) * last).sum(axis=1)[:, None] - (last @ quadratic) @ (first - own).T)
        slope = 2.0 ** np.ceil(np.log2(float(others.max()) + 1.0)) * 2.0**self.layout.shift
        weight = -quadratic  # x2^T (-S) (x1 - x2), then + x2^T S x1(a*), every further linear term through delta_1 = -1
        linear = quadratic @ own
        linear[ORDER] += slope
        linear[CONSTANT] -= slope * own[ORDER]
        weight = weight.copy()
        weight[CONSTANT, ORDER] += slope
        weight[:, CONSTANT] -= linear
        return Gate(np.eye(dim), SHARPNESS * weight.T)

    def separable(self, above: Bool[np.ndarray, "members"]) -> bool:
        """Whether there is a gate for this part."""
        if self.inverse is not None:
            return True
        ordered = above[np.argsort(self.rows[:, ORDER])]
        return int((ordered[1:] != ordered[:-1]).sum()) <= 2

    def _quadratic(self, above: np.ndarray) -> np.ndarray:
        """S with x2^T S x2 at least 1 above and at most -1 below."""
        dim = self.rows.shape[1]
        quadratic = np.zeros((dim, dim))
        if self.inverse is not None:
            quadratic[np.triu_indices(dim)] = self.inverse @ np.where(above, 1.0, -1.0)
            return 0.5 * (quadratic + quadratic.T)
        values = self.rows[:, ORDER]
        order = np.argsort(values)
        sorted_values, sorted_above = values[order], above[order]
        roots = [0.5 * (sorted_values[i] + sorted_values[i + 1]) for i in np.flatnonzero(sorted_above[1:] != sorted_above[:-1])]
        polynomial = np.polynomial.polynomial.polyfromroots(roots)
        least = np.abs(np.polynomial.polynomial.polyval(values, polynomial)).min()
        # Beyond its last root a polynomial with leading coefficient 1 is positive.
        constant, linear, square = np.append(polynomial, np.zeros(3))[:3] / (least if sorted_above[-1] else -least)
        quadratic[ORDER, ORDER], quadratic[CONSTANT, CONSTANT] = square, constant
        quadratic[ORDER, CONSTANT] = quadratic[CONSTANT, ORDER] = 0.5 * linear
        return quadratic


Group = FreeGroup | list[Run]


def fixed_run(layout: Layout, sequences: Int[np.ndarray, "associations 2"]) -> Run:
    """The whole order of a layout of the plain staircase as one run; its keys are whole numbers."""
    first, last = layout.scalar[sequences].T
    keys = layout.first * first + layout.last * last
    order = np.argsort(keys, kind="stable")
    reading = np.zeros(layout.rows.shape[2])
    reading[ORDER] = layout.last * 2.0**layout.shift
    return Run(order, keys[order].astype(float), layout.first * 2.0**layout.shift, reading)


def sorted_run(
    layout: Layout, members: Int[np.ndarray, "members"], sequences: np.ndarray, direction: Float[np.ndarray, "embed_dim"]
) -> Run:
    """Sequences of one first token, sorted along a direction of their last tokens."""
    rows = layout.rows[1][sequences[members, 1]]
    # Shares of all tokens, not only of this group's, lie within the spread: the head must not see earlier groups.
    used = layout.rows[1][np.unique(sequences[:, 1])]
    spread = float(np.ptp(used @ direction))
    reading = direction * (SPREAD / spread) if spread > LEAST_GAP else np.zeros_like(direction)  # a single last token
    reading[CONSTANT] -= float((used @ reading).min())
    values = rows @ reading
    order = np.argsort(values, kind="stable")
    rank = int(layout.scalar[sequences[members[0], 0]])
    return Run(members[order], rank + values[order], 2.0**layout.shift, reading)


def grouped(
    layout: Layout,
    sequences: Int[np.ndarray, "associations 2"],
    directions: Float[np.ndarray, "directions embed_dim"],
    *,
    free: bool,
) -> list[Group]:
    """Per first token, in the layout's order: a free group where asked for and possible, else a run for each direction."""
    groups: list[Group] = []
    inverses: dict[bytes, np.ndarray | None] = {}  # groups with the same last tokens share one
    used = np.unique(sequences)
    upper = np.triu_indices(layout.rows.shape[2])
    for token in sorted(np.unique(sequences[:, 0]).tolist(), key=lambda token: int(layout.scalar[token])):
        members = np.flatnonzero(sequences[:, 0] == token)
        rows = layout.rows[1][sequences[members, 1]]
        if free and rows.shape[1] == 2:
            groups.append(FreeGroup(layout, token, members, rows, None, used))
            continue
        if free and len(members) <= len(upper[0]):
            features = (rows[:, :, None] * rows[:, None, :])[:, upper[0], upper[1]]
            key = sequences[members, 1].tobytes()
            if key not in inverses:
                inverses[key] = _inverse(features)
            inverse = inverses[key]
            if inverse is not None:
                groups.append(FreeGroup(layout, token, members, rows, inverse, used))
                continue
        groups.append([sorted_run(layout, members, sequences, direction) for direction in directions])
    return groups


def _inverse(features: np.ndarray) -> np.ndarray | None:
    """Right inverse of the features, None where it is too large."""
    left, singular, right = np.linalg.svd(features, full_matrices=False)
    if singular[-1] < LEAST_SINGULAR * singular[0]:
        return None
    inverse: np.ndarray = (right.T / singular) @ left.T
    return inverse
