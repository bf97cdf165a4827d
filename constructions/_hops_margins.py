"""How much room the heads of a built hop model have: score gaps, leaked attention, and the smallest scale that is exact."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from constructions._hops_construction import HopConstruction
from constructions._hops_recipes import plan_of
from constructions.attention import CHUNK_ELEMENTS
from theory.hop_precision import Primitive, guaranteed_gap, head_scale, leaked_mass, least_head_scale, score_gap
from theory.hops import hop


@dataclass(frozen=True)
class HeadMargin:
    """One head: what is certain for all strings, and what was seen on the strings given (NaN where none were).

    Attributes:
        layer: 1 is the first.
        head: 0 is the first of its layer.
        role: as in HeadRole.
        primitive: the kind of score; of two, a query uses one.
        gap_exact: least scaled score gap over all strings, by formula, of exact scores.
        gap_proved: the same less what rounding of scores may take (nothing in the quadratic encoding).
        leak: bound on the attention that goes elsewhere, all strings.
        gap_seen: least scaled gap seen, computed exactly from the weights (on circles: in float64).
        leak_seen: most attention seen elsewhere.
        least_scale: least power of two that suffices as the model's scale for this head, all strings, by formula.
    """

    layer: int
    head: int
    role: str
    primitive: str
    gap_exact: float
    gap_proved: float
    leak: float
    gap_seen: float
    leak_seen: float
    least_scale: float


@dataclass(frozen=True)
class MarginReport:
    """What `margins` found.

    Attributes:
        rows: one for every head that is not idle.
        scale: what the model was built with.
        sufficient_scale: least power of two that is sufficient for all strings, by formula.
        scale_seen: least scale with which all answers on the strings given were right, to 0.1 per cent and by bisection (right
            above, wrong below; nothing is claimed about scales in between); NaN without strings, inf if wrong as built.
        num_strings: how many were given.
    """

    rows: tuple[HeadMargin, ...]
    scale: float
    sufficient_scale: float
    scale_seen: float
    num_strings: int

    @property
    def smallest_gap(self) -> float:
        """The least proved gap of all heads."""
        return min(row.gap_proved for row in self.rows)

    @property
    def largest_leak(self) -> float:
        """The largest bound on leaked attention of all heads."""
        return max(row.leak for row in self.rows)


def margins(
    construction: HopConstruction,
    symbols: Integer[np.ndarray, "*batch seq_len"] | None = None,
    num_hops: int | Integer[np.ndarray, "*batch"] | None = None,
) -> MarginReport:
    """Score gaps, leaked attention and scales of a built model.

    Args:
        construction: from `constructions.hops.build`; its scale may have been changed by `with_scale`.
        symbols: strings to measure on; without them only what holds for all strings is reported.
        num_hops: k, one for all or one for each string; max_hops where left out.

    Raises:
        ValueError: strings or k that are not legal for the model.

    Cost: with strings some 14 runs of the model on them.
    """
    task, encoding = construction.task, construction.encoding
    asked = task.max_hops if num_hops is None else num_hops
    seen: dict[tuple[int, int], tuple[float, float]] = {}
    scale_seen, strings = math.nan, 0
    plan = plan_of(task, construction.recipe, encoding, construction.scale)
    if symbols is not None:
        tokens = task.tokens(symbols, asked).reshape(-1, task.seq_len + 1)
        strings = len(tokens)
        for layer, number, gap, leak in _measured(construction, torch.from_numpy(tokens)):
            before = seen.get((layer, number), (math.inf, 0.0))
            seen[layer, number] = min(before[0], gap), max(before[1], leak)
        scale_seen = _least_scale_seen(construction, symbols, asked)
    rows = []
    for layer, heads in enumerate(plan.layers, 1):
        for index, wanted in enumerate(heads):
            exact, kept, leaks, scales = zip(*(_for_all_strings(construction, each) for each in wanted.primitives), strict=True)
            on_strings = seen.get((layer, index), (math.nan, math.nan))
            which = (layer, index, wanted.role, " or ".join(wanted.primitives))
            rows.append(HeadMargin(*which, min(exact), min(kept), max(leaks), *on_strings, max(scales)))
    return MarginReport(tuple(rows), construction.scale, max(row.least_scale for row in rows), scale_seen, strings)


def _for_all_strings(construction: HopConstruction, primitive: Primitive) -> tuple[float, float, float, float]:
    """Scaled gap, what rounding leaves of it, the leak that it allows, and the least scale that suffices."""
    task = construction.task
    sizes = (construction.encoding, task.seq_len, task.vocab_size)
    scale = head_scale(primitive, *sizes, construction.scale)
    kept = guaranteed_gap(primitive, *sizes, construction.dtype) * scale
    leak = leaked_mass(primitive, construction.encoding, task.seq_len, kept)
    least = least_head_scale(primitive, *sizes, construction.dtype, construction.recipe, task.max_hops)
    return score_gap(primitive, *sizes) * scale, kept, leak, least


def _measured(construction: HopConstruction, tokens: Tensor) -> Iterator[tuple[int, int, float, float]]:
    # Scores again, in float64, from the streams that the model itself computes: exact for whole numbers.
    model = construction.model
    size = max(1, CHUNK_ELEMENTS // (tokens.shape[1] ** 2))
    roles = {(role.layer, role.head): role.role for role in construction.roles}
    later = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
    with torch.no_grad():
        for part in tokens.split(size):
            for layer, _queried, stream in model._steps(model._embedded(part), all_positions=True):
                if layer == model.num_layers:
                    continue
                for head in range(model.num_heads):
                    role = roles[layer + 1, head]
                    if role == "idle":
                        continue
                    queries = stream.double() @ model.query[layer, head].double()
                    keys = stream.double() @ model.key[layer, head].double()
                    scores = (queries @ keys.transpose(1, 2)).masked_fill(later, -math.inf)
                    yield layer + 1, head, *_gap_and_leak(scores, ties=role == "rank")


def _gap_and_leak(scores: Tensor, *, ties: bool) -> tuple[float, float]:
    best = scores.amax(-1, keepdim=True)
    attended = scores == best
    if not ties:  # exactly one position is meant
        attended = torch.zeros_like(attended).scatter_(-1, scores.argmax(-1, keepdim=True), True)
    below = best - scores.masked_fill(attended, -math.inf)
    elsewhere = torch.exp(-below).sum(-1)
    return float(below.min()), float((elsewhere / (elsewhere + attended.sum(-1))).max())


def _least_scale_seen(
    construction: HopConstruction, symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"]
) -> float:
    wanted = hop(np.asarray(symbols), num_hops)

    def right(scale: float) -> bool:
        return bool((construction.with_scale(scale).predict(symbols, num_hops) == wanted).all())

    if not right(construction.scale):
        return math.inf
    high, low = construction.scale, construction.scale
    while right(low):
        high, low = low, low / 4
        if low < 2.0**-40:  # one position, or one symbol: nothing to tell apart
            return 0.0
    while high / low > 1.001:
        middle = math.sqrt(high * low)
        low, high = (low, middle) if right(middle) else (middle, high)
    return high
