"""Corollary 1 for sequences of any length: generic heads, and one linear solve for everything after them.

Lemma 2 of Dana, Pydi and Chevaleyre 2025 says that generic heads make features with independent columns; then some linear map
sends every sequence to its label. What is done here: the heads are chosen out of many for good conditioning, and the skip
connection takes part exactly, by a change of basis, instead of in a limit. How many columns are independent, on any sequences, is
known beforehand (`theory.attention_rank`).
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

import numpy as np
import torch

from constructions._generic_features import Features, draw_features
from constructions._generic_solve import Goal, Maps, label_code, set_goal, solve_float64
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins
from theory.attention_rank import free_attention_rank, softmax_rank
from theory.memorization import repaired_associations, repaired_heads
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

SOURCE = "Dana, Pydi and Chevaleyre 2025, Lemma 2 and Corollary 1, with the exact rank in place of T0 = H d_h + d; derived here"
Precision = Literal["auto", "float64"] | int
RAISED = (128, 256, 512, 1024)  # bits tried after float64 by "auto"
MOST_BITS = 1 << 14
MOST_ENTRIES = 1 << 24  # of the feature matrix: about 4,000 associations, whose solve takes minutes
MOST_BYTES = 16 * 2**30  # of the model


@dataclass(frozen=True)
class GenericPlan:
    """What the generic construction can hold, known before anything is built.

    Attributes:
        task: the task.
        embed_dim, head_dim, num_heads: d, d_h and H.
        free_rank: how many associations the rank of attention with free weights allows (no softmax allows more).
        softmax_rank: the same for true softmax scores, in exact arithmetic at a random point; at most `free_rank`, and equal to
            it but in rare cases.
        limit: which formula gives `free_rank`, in words.
    """

    task: AssociationTask
    embed_dim: int
    head_dim: int
    num_heads: int
    free_rank: int
    softmax_rank: int
    limit: str

    @property
    def num_held(self) -> int:
        """How many associations will be held."""
        return self.softmax_rank


def plan(task: AssociationTask, *, embed_dim: int, head_dim: int, num_heads: int | None = None, seed: int = 0) -> GenericPlan:
    """What `build` will hold and with how many heads; arguments and errors as there."""
    checked_integer("embed_dim", embed_dim, 2)
    shape = AttentionShape(embed_dim, checked_integer("num_heads", 0 if num_heads is None else num_heads, 0), head_dim)
    if shape.head_dim > embed_dim:
        raise ValueError(f"head_dim = {head_dim}: 1 to embed_dim = {embed_dim} are legal for a built model")
    ranks = _Ranks(task, shape.embed_dim, shape.head_dim, checked_integer("seed", seed, 0))
    heads = ranks.fewest_heads() if num_heads is None else shape.num_heads
    _check_size(task, shape.embed_dim, shape.head_dim, heads)
    free = ranks.free(heads)
    return GenericPlan(task, shape.embed_dim, shape.head_dim, heads, free, ranks.softmax(heads), _limit(task, shape, heads, free))


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
    precision: Precision = "auto",
    candidates: int = 8,
    score_scale: float | None = None,
    rank_one: bool = False,
) -> Construction:
    """Build an attention-only transformer that holds as many associations as the rank of its features, for any S >= 1.

    On sequences that differ enough that is min(T0, H d_h + min(d, K)) with K distinct last tokens; in general it is the rank in
    `theory.attention_rank`. The time grows as T0^3, about a second at T0 = 200.

    Args:
        task: sequences of any length with one label each.
        embed_dim: d >= 2.
        head_dim: d_h, 1 to d.
        num_heads: H >= 0; None for as few as it takes to hold everything. With fewer, a best-conditioned set of as many
            associations as the rank is held.
        seed: of everything drawn; the same arguments give the same weights.
        check: list forward passes in float64 and float32 in the result. (One in float64 is always made, to accept the weights.)
        precision: "float64"; a number of bits >= 64 in which features and solution are computed, in ball arithmetic, before the
            weights are rounded to float64; "auto" for float64, then RAISED in turn until the forward pass is right.
        candidates: heads drawn for each one that is kept. 1 keeps all that are drawn, as in Lemma 2, however badly conditioned.
        score_scale: spread of a drawn head's scores; None for a mixture from soft to nearly hard attention.
        rank_one: W_QK of rank one, as in the paper's Remark 2 (the model's arrays keep their width).

    Returns:
        The construction, in float64. `held` is what an ordinary float64 forward pass of the model gets right among what was
        promised; where that is less than promised, or softmax attention falls short of free attention, `failure` says why.

    Raises:
        ValueError: an argument is out of range, the task is too large, or num_heads is None and no number of heads is enough.

    Source: Dana, Pydi and Chevaleyre 2025, Lemma 2 and Corollary 1; the exact skip connection is derived here.
    """
    levels = _levels(precision)
    checked_integer("candidates", candidates, 1)
    if score_scale is not None and not (isfinite(score_scale) and score_scale > 0):
        raise ValueError(f"score_scale = {score_scale}: a number above 0 is legal, or None for a mixture")
    made = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    features = draw_features(
        task,
        embed_dim=made.embed_dim,
        head_dim=made.head_dim,
        num_heads=min(made.num_heads, task.num_associations),
        num_held=made.num_held,
        candidates=candidates,
        score_scale=score_scale,
        rank_one=rank_one,
        rng=np.random.default_rng([seed, 3]),
    )
    labels, code = label_code(task, made.embed_dim, seed)
    goal = set_goal(task, features, labels, code)
    built, reason = _first_right(made, features, goal, labels, levels)
    if made.softmax_rank < made.free_rank:
        reason = (
            f"attention with free weights would hold {made.free_rank}, but softmax scores on these sequences reach "
            f"rank {made.softmax_rank} only" + (f"; {reason}" if reason else "")
        )
    built = replace(built, failure=reason)
    return built.checked(("float64", "float32")) if check and built.num_held else built


def _first_right(
    made: GenericPlan, features: Features, goal: Goal, labels: np.ndarray, levels: tuple[int, ...]
) -> tuple[Construction, str | None]:
    """The construction of the first precision at which the model, run in float64, is right on all that is promised."""
    best, reasons = None, []
    for bits in levels:
        maps, reason = _maps(made.task, features, goal, bits)
        if maps is not None:
            built = _construction(made, features, goal, maps, labels, bits)
            if built.num_held == len(features.held):
                return built, None
            if best is None or built.num_held > best.num_held:
                best = built
            reason = f"the rounded weights (largest {built.max_weight:.1e}) are right on {built.num_held} of {len(features.held)}"
        reasons.append(f"{_name(bits)}: {reason}")
        if maps is not None and bits > 53:
            break  # solved; more bits would be rounded to the same weights
    if best is None:
        model = AttentionOnlyTransformer(made.task.vocab_size, made.task.seq_len, made.embed_dim, made.num_heads, made.head_dim)
        best = Construction(model, made.task, "generic", SOURCE, np.zeros(0, dtype=np.int64), 0.0)
    condition = f"condition number of the features {features.condition:.1e}"
    promised = f"the rank promises {len(features.held)} associations, but not in float64 weights"
    return best, f"{promised} ({'; '.join(reasons)}; {condition})"


def _maps(task: AssociationTask, features: Features, goal: Goal, bits: int) -> tuple[Maps | None, str]:
    if bits == 53:
        return solve_float64(features, goal), "no usable solution"
    from constructions._generic_exact import PrecisionError, solve_exact

    try:
        return solve_exact(task, features, goal, bits), "no skip map that float64 could hold"
    except PrecisionError as error:
        return None, str(error)


def _construction(
    made: GenericPlan, features: Features, goal: Goal, maps: Maps, labels: np.ndarray, bits: int
) -> Construction:
    """Weights into a model, and what running it gets right: logits U (B x + sum_h W_O A_h) = (U B) (x + sum_h (B^-1 W_O) A_h)."""
    task, used = made.task, len(features.value)
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, made.embed_dim, made.num_heads, made.head_dim)
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(features.tokens))
        model.position_embedding.copy_(torch.from_numpy(features.positions))
        model.query[:used] = torch.from_numpy(features.query)
        model.key[:used] = torch.from_numpy(features.key)
        model.value[:used] = torch.from_numpy(features.value)
        model.output[:used] = torch.from_numpy(maps.output)
        model.unembedding[torch.from_numpy(labels)] = torch.from_numpy(maps.unembedding[: len(labels)])
    right = logit_margins(model, task, features.held).numpy() > 0
    return Construction(
        model=model,
        task=task,
        method="generic",
        source=SOURCE,
        held=features.held[right],
        promised_margin=maps.margin,
        notes={
            "solved in": _name(bits),
            "heads used": str(used),
            "condition number of the features": f"{features.condition:.3g}",
            "condition number of the skip map": f"{maps.condition:.3g}",
            "ridge": f"{goal.ridge:.3g}",
            "limit": made.limit,
        },
    )


class _Ranks:
    """Ranks as functions of H; as T0 heads do all that any number can, more are not looked at."""

    def __init__(self, task: AssociationTask, embed_dim: int, head_dim: int, seed: int) -> None:
        self.task, self.dim, self.width, self.seed = task, embed_dim, head_dim, seed
        self.known: dict[tuple[str, int], int] = {}

    def free(self, num_heads: int) -> int:
        """The rank with free attention weights."""
        return self._rank("free", num_heads)

    def softmax(self, num_heads: int) -> int:
        """The rank with softmax scores."""
        return self._rank("softmax", num_heads)

    def _rank(self, kind: str, num_heads: int) -> int:
        heads = min(num_heads, self.task.num_associations)
        if (kind, heads) not in self.known:
            _check_size(self.task, self.dim, self.width, heads)
            if kind == "free":
                rank = free_attention_rank(
                    self.task, embed_dim=self.dim, head_dim=self.width, num_heads=heads, seed=self.seed
                )
            else:
                rank = softmax_rank(
                    self.task,
                    embed_dim=self.dim,
                    head_dim=self.width,
                    num_heads=heads,
                    rank_one=self.width == 1,
                    seed=self.seed,
                )
            self.known[kind, heads] = rank
        return self.known[kind, heads]

    def fewest_heads(self) -> int:
        """The fewest heads whose free rank is T0; a few more where softmax scores need them."""
        task = self.task
        total, last = task.num_associations, task.num_last_tokens
        skip = min(self.dim, last)
        if task.seq_len == 1 and total > skip:
            raise ValueError(
                "num_heads = None: no number of heads is enough, as one token leaves attention no choice: with targets given, "
                f"at most min(d, K) + H min(d_h, S - 1) = min({self.dim}, {last}) + H * 0 = {skip} of the {total} associations "
                "can be promised (method = 'readout' asks for less and may hold more)"
            )
        low = repaired_heads(total, self.width, self.dim, last)  # below it the rank is too small on any sequences
        most = total - skip  # one more per head at least
        high, step = low, 1
        while high < most and self.free(high) < total:
            low, high, step = high + 1, min(most, high + step), 2 * step
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.free(middle) == total else (middle + 1, high)
        while high < total and self.softmax(high) < total:
            high += 1
        return high


def _limit(task: AssociationTask, shape: AttentionShape, num_heads: int, free_rank: int) -> str:
    total, last = task.num_associations, task.num_last_tokens
    if free_rank == total:
        return f"all T0 = {total}"
    formula = repaired_associations(num_heads, shape.head_dim, shape.embed_dim, last, total)
    words = f"H d_h + min(d, K) = {num_heads} * {shape.head_dim} + min({shape.embed_dim}, {last})"
    if free_rank == formula:
        return f"{words} = {free_rank} of T0 = {total}"
    return (
        f"{free_rank} of T0 = {total}, fewer than {words} = {formula}: the differences x(t,i) - x(t,S) of some sequences span "
        "fewer than d_h dimensions (the minimum over subsets J of T0 - |J| + min(d, K(J)) + H min(d_h, dim Delta(J)))"
    )


def _levels(precision: Precision) -> tuple[int, ...]:
    if precision == "auto":
        return (53, *RAISED)
    if precision == "float64":
        return (53,)
    legal = f"'auto', 'float64' or a number of bits from 64 to {MOST_BITS}"
    if isinstance(precision, bool) or not isinstance(precision, int) or not 64 <= precision <= MOST_BITS:
        raise ValueError(f"precision = {precision!r}: {legal} are legal")
    return (precision,)


def _name(bits: int) -> str:
    return "float64" if bits == 53 else f"{bits} bits"


def _check_size(task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int) -> None:
    total = task.num_associations
    used = min(num_heads, total)
    entries = max(embed_dim + used * head_dim, embed_dim * used // 8, total) * total
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"T0 = {total}, d = {embed_dim}, H = {num_heads}, d_h = {head_dim} need matrices of {entries:,} entries: at most "
            f"{MOST_ENTRIES:,} are legal for the generic construction (the staircase, for S = 2, has no such limit)"
        )
    size = 8 * embed_dim * (4 * num_heads * head_dim + 4 * task.vocab_size + task.seq_len)
    if size > MOST_BYTES:
        raise ValueError(
            f"N = {task.vocab_size}, d = {embed_dim}, H = {num_heads}, d_h = {head_dim} need about {size / 2**30:.0f} GiB: "
            f"at most {MOST_BYTES / 2**30:.0f} GiB are legal"
        )
