"""What heads that write along a line or a plane can hold: their value maps read all of A^h, so that d counts, not d_h."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from constructions import generic
from constructions._staircase_plan import Plan
from theory.attention_rank import softmax_rank
from theory.memorization import repaired_associations, repaired_heads
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

Form = Literal["auto", "staircase", "generic"]
MOST_BYTES = 16 * 2**30  # of the arrays of one construction


@dataclass(frozen=True)
class PlanarPlan:
    """What will be held, known before any weight is computed.

    Attributes:
        task: the task.
        form: "staircase" or "generic".
        embed_dim, head_dim, num_heads: d, d_h and H; more heads than are needed when more were asked for.
        num_held: how many associations will be held.
        held: which, ascending; None for the generic form, which chooses the best-conditioned ones among many.
        limit: what bounds the number, in words.
        staircase: the blocks and their order; None for the generic form.
        free_rank: what attention with free weights could hold with exact targets; None for the staircase, which need not know it.
    """

    task: AssociationTask
    form: str
    embed_dim: int
    head_dim: int
    num_heads: int
    num_held: int
    held: Int[np.ndarray, "held"] | None
    limit: str
    staircase: Plan | None = None
    free_rank: int | None = None


def chosen_form(task: AssociationTask, form: str, method: str) -> str:
    """The form that "auto" means: the staircase for sequences of two tokens."""
    if form not in ("auto", "staircase", "generic"):
        raise ValueError(f"form = {form!r}: 'auto', 'staircase' and 'generic' are legal")
    if form == "staircase" and task.seq_len != 2:
        raise ValueError(f"form = 'staircase' on sequences of {task.seq_len} tokens: {method} has it for sequences of 2 only")
    return form if form != "auto" else "staircase" if task.seq_len == 2 else "generic"


def check_shape(
    task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int | None, seed: int, least_head_dim: int
) -> None:
    """Errors at the door, and a refusal of what would not fit into memory."""
    checked_integer("embed_dim", embed_dim, 2)
    checked_integer("head_dim", head_dim, least_head_dim)
    checked_integer("seed", seed, 0)
    if num_heads is not None:
        checked_integer("num_heads", num_heads, 0)
    total = task.num_associations
    heads = repaired_heads(total, embed_dim, embed_dim, task.num_last_tokens) if num_heads is None else num_heads
    working = 8 * task.vocab_size + 14 * total + 12 * embed_dim  # the maps of all heads have d numbers per association
    size = 8 * embed_dim * (working + 4 * heads * head_dim)
    if size > MOST_BYTES:
        raise ValueError(
            f"N = {task.vocab_size}, d = {embed_dim}, H = {heads}, d_h = {head_dim} need about {size / 2**30:.0f} GiB: "
            f"at most {MOST_BYTES / 2**30:.0f} GiB are legal"
        )


def limit_in_words(task: AssociationTask, embed_dim: int, num_heads: int, held: int) -> str:
    """Which formula the count is, or why it is less."""
    total, last = task.num_associations, task.num_last_tokens
    if held == total:
        return f"all T0 = {total}"
    formula = repaired_associations(num_heads, embed_dim, embed_dim, last, total)
    words = f"d H + min(d, K) = {embed_dim} * {num_heads} + min({embed_dim}, {last})"
    if held == formula:
        return f"{words} = {held} of T0 = {total}"
    return (
        f"{held} of T0 = {total}, fewer than {words} = {formula}: differences x(t,i) - x(t,S) of some sequences depend on each "
        "other, as those of constant sequences do"
    )


def staircase_plan(task: AssociationTask, stairs: Plan, embed_dim: int, head_dim: int) -> PlanarPlan:
    """What these blocks hold."""
    words = limit_in_words(task, embed_dim, stairs.num_heads, stairs.num_held)
    return PlanarPlan(task, "staircase", embed_dim, head_dim, stairs.num_heads, stairs.num_held, stairs.held, words, stairs)


def generic_plan(task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int | None, seed: int) -> PlanarPlan:
    """The rank of [X_S; A^1; ..; A^H] for heads with scores of rank one: all columns that can be met with free d x r value maps.

    It is the attention rank with d_h replaced by d (`theory.attention_rank`), since the value maps see all of A^h; a proved lower
    bound on the generic rank, and never above the exact formula for free attention weights.
    """
    ranks = generic.plan(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=num_heads, seed=seed)
    total, heads = task.num_associations, ranks.num_heads

    def rank(count: int) -> int:
        useful = min(count, total)
        return softmax_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=useful, rank_one=True, seed=seed)

    held = rank(heads)
    while num_heads is None and held < total and heads < total:
        heads += 1
        held = rank(heads)
    words = limit_in_words(task, embed_dim, heads, held)
    return PlanarPlan(task, "generic", embed_dim, head_dim, heads, held, None, words, None, max(held, ranks.free_rank))
