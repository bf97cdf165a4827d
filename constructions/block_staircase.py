"""The block staircase: only the argmax has to be right, so that a head carries as many associations as one map can decide.

As in the staircase, sequences of two tokens are put in one order and head j sees all from its cut upwards. But a block does not
end after d_h exact targets: it goes on for as long as one linear map puts every output into its label's cone with a margin, which
is a convex question, and it is closed by a proof that the next sequence does not fit within the norm allowed. Derived here.
"""

from dataclasses import dataclass, replace
from itertools import product
from math import inf

import numpy as np
import torch
from jaxtyping import Float

from constructions import staircase
from constructions._block_order import fixed_run
from constructions._block_search import Choice, climb, first_choice, walk_choice
from constructions._block_walk import Staircase, StuckError, Walk
from constructions._staircase_layout import Layout
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins
from theory.memorization import repaired_associations, repaired_heads
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

SOURCE = "bounded max-margin maps on a staircase, derived here; beside Corollary 1 of Dana, Pydi and Chevaleyre 2025"
MOST_UNKNOWNS = 1600  # of one block, code_dim * embed_dim; its matrices have the square of that
MOST_BYTES = 16 * 2**30  # of the model
MOST_ASSOCIATIONS = 200_000
FALLBACK_BOUND = 1e4  # times the usual bound, where the staircase's own order needs it


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
    code_dim: int | None = None,
    search: int = 0,
    max_seconds: float = inf,
) -> Construction:
    """Build an attention-only transformer that holds associations of two tokens, block by block.

    The count of heads is found, not known beforehand: on a complete table of random labels about T0 codim / (code_dim d), and
    less where heads may sort their group freely (see `_block_order`), which takes d_h = d and at most d (d + 1) / 2 tokens, or
    d = 2. It is at most that of the plain staircase's plan for the same task: where the first order needs more, the plan's own is
    walked, and d sequences with independent deltas always fit into one block.

    Args:
        task: pairs of tokens with one label each, S = 2.
        embed_dim: d >= 2.
        head_dim: d_h, 2 to d.
        num_heads: H >= 0; None for as many as it takes to hold everything. With fewer, the first blocks are held.
        seed: of embeddings, label code and search.
        check: run the model over what it holds in float64 and float32.
        code_dim: dimension r of the label code, 1 to min(d_h, max(1, labels - 1)); None for the largest. All maps are r x d.
        search: steps of a hill climb over token order, spacing and label code, each one walk; 0 for none.
        max_seconds: last stop of the search, as processor time; `notes` say when it came in. (Only then do results depend on
            the machine.)

    Returns:
        The construction, in float64. If the float64 run finds an association wrong, `held` is what was right and `failure`
        says so.

    Raises:
        ValueError: S is not 2, d_h = 1 (a head's score here has rank 2), or an argument is out of range.
    """
    code_dim = _checked(task, embed_dim, head_dim, num_heads, code_dim)
    checked_integer("seed", seed, 0)
    checked_integer("search", search, 0)
    if not max_seconds > 0:
        raise ValueError(f"max_seconds = {max_seconds}: a number above 0 is legal, or inf")
    found = solve(task, embed_dim, head_dim, num_heads, seed=seed, code_dim=code_dim, search=search, max_seconds=max_seconds)
    return assembled(task, found, head_dim, num_heads, check=check)


@dataclass(frozen=True)
class Found:
    """A walk with the choice that it was made for.

    Attributes:
        walked: blocks, gates and maps.
        choice: layout, code and bound.
        order: "grouped", or "staircase" when the plain staircase's order needed fewer heads.
        notes: of the search.
    """

    walked: Staircase
    choice: Choice
    order: str
    notes: dict[str, str]


def solve(
    task: AssociationTask,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None,
    *,
    seed: int,
    code_dim: int,
    search: int,
    max_seconds: float = inf,
) -> Found:
    """All blocks and their maps, before any model is made; arguments as for `build`."""
    choice = first_choice(task, embed_dim, head_dim, code_dim, seed)
    notes: dict[str, str] = {}
    walked = walk_choice(task, choice, num_heads)
    if search:
        choice, walked, notes = climb(task, choice, walked, num_heads, seed=seed, steps=search, max_seconds=max_seconds)
    last_tokens, total = task.num_last_tokens, task.num_associations
    heads = walked.num_heads if num_heads is None else num_heads
    if num_heads is None:
        enough = heads <= repaired_heads(total, head_dim, embed_dim, last_tokens)
    else:
        enough = walked.num_held >= repaired_associations(heads, head_dim, embed_dim, last_tokens, total)
    if not enough:
        plan = staircase.plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
        whole = fixed_run(plan.layout, task.sequences)
        # With few heads the plan may also hold sequences that lie beyond the last cut, and pass over others.
        runs = [whole] if num_heads is None else [whole, whole.part(np.isin(whole.members, plan.held))]
        for factor, run in product((1.0, FALLBACK_BOUND), runs):
            other = replace(choice, layout=plan.layout, bound=factor * choice.bound)
            try:
                again = Walk(plan.layout, task.sequences, choice.labels, choice.code, [[run]], other.bound).go(num_heads)
            except StuckError:
                continue
            if (again.num_held, -again.num_heads) > (walked.num_held, -walked.num_heads):
                choice, walked, order = other, again, "staircase"
                notes = {**notes, "order": order}
            if (walked.num_held, -walked.num_heads) >= (plan.num_held, -plan.heads_used):
                break
    return Found(walked, choice, notes.get("order", "grouped"), notes)


def assembled(task: AssociationTask, found: Found, head_dim: int, num_heads: int | None, *, check: bool) -> Construction:
    """The construction that a walk stands for."""
    walked, choice = found.walked, found.choice
    lifted = _lifted(task, walked, choice.layout)
    model = _model(task, walked, choice, lifted, head_dim, walked.num_heads if num_heads is None else num_heads)
    closed = sum(block is not None and block.refusal.excess > 0 for block in walked.closed)
    singular = np.linalg.svd(lifted[0], compute_uv=False)
    condition = f"{singular[0] / singular[-1]:.3g}" if walked.num_heads else "not used"
    built = Construction(
        model=model,
        task=task,
        method="block_staircase",
        source=SOURCE,
        held=np.sort(np.concatenate(walked.blocks)),
        promised_margin=_promised_margin(task, walked, choice, lifted[1]),
        notes={
            "order": found.order,
            "code dimension": str(choice.code.shape[1]),
            "longest block": str(max(len(block) for block in walked.blocks)),
            "blocks proved full": f"{closed} of {len(walked.blocks)}",
            "bound on a map's norm": f"{choice.bound:.3g}",
            "condition number of the skip map": condition,
            **{name: text for name, text in found.notes.items() if name != "order"},
        },
    )
    return _verified(built) if check else built


def _checked(task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int | None, code_dim: int | None) -> int:
    """The code's dimension, after a look at all sizes."""
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: the block staircase is for sequences of 2")
    checked_integer("embed_dim", embed_dim, 2)
    if num_heads is not None:
        checked_integer("num_heads", num_heads, 0)
    shape = AttentionShape(embed_dim=embed_dim, num_heads=num_heads or 0, head_dim=head_dim)
    if not 2 <= shape.head_dim <= embed_dim:
        raise ValueError(
            f"head_dim = {head_dim}: 2 to embed_dim = {embed_dim} are legal, a score of this construction has rank 2"
        )
    if task.num_associations > MOST_ASSOCIATIONS:
        raise ValueError(f"task has {task.num_associations} associations: at most {MOST_ASSOCIATIONS} are legal")
    size = 8 * embed_dim * (4 * shape.num_heads * shape.head_dim + 4 * task.vocab_size)
    if size > MOST_BYTES:
        raise ValueError(
            f"num_heads = {num_heads} with d = {embed_dim}, d_h = {head_dim}, N = {task.vocab_size} needs about "
            f"{size / 2**30:.0f} GiB: at most {MOST_BYTES / 2**30:.0f} GiB are legal"
        )
    most = min(head_dim, max(1, len(np.unique(task.targets)) - 1))
    chosen = most if code_dim is None else checked_integer("code_dim", code_dim, 1)
    if chosen > most or (chosen == 1 and most > 1):
        raise ValueError(
            f"code_dim = {code_dim}: {min(2, most)} to {most} are legal, min(head_dim, labels - 1) at most, 1 only for two labels"
        )
    if chosen * embed_dim > MOST_UNKNOWNS:
        raise ValueError(f"code_dim * embed_dim = {chosen * embed_dim}: at most {MOST_UNKNOWNS} is legal")
    return chosen


def _lifted(
    task: AssociationTask, walked: Staircase, layout: Layout
) -> tuple[Float[np.ndarray, "code_dim embed_dim"], Float[np.ndarray, "code_dim embed_dim"]]:
    """The skip's map P = G - C_H with its small singular values raised, and what C_H loses by that.

    The last block's outputs move by at most half their distance of 1 from every wall.
    """
    if not walked.num_heads:
        return walked.skip, np.zeros_like(walked.skip)
    plain = walked.skip - walked.maps[-1]
    longest = float(np.linalg.norm(layout.deltas(task.sequences[walked.blocks[-1]]), axis=1).max())
    left, singular, right = np.linalg.svd(plain, full_matrices=False)
    lifted = (left * np.maximum(singular, 0.5 / longest)) @ right
    return lifted, lifted - plain


def _model(
    task: AssociationTask,
    walked: Staircase,
    choice: Choice,
    lifted: tuple[np.ndarray, np.ndarray],
    head_dim: int,
    num_heads: int,
) -> AttentionOnlyTransformer:
    """With P of full row rank: logits U (P x + sum_h M_h A_h) = (U P) (x + sum_h pinv(P) M_h A_h), M_h = C_h - C_{h-1}."""
    skip, moved = lifted
    code_dim, embed_dim = skip.shape
    layout = choice.layout
    code = np.zeros((task.vocab_size, code_dim))
    code[choice.tokens] = choice.code[: len(choice.tokens)]
    model = AttentionOnlyTransformer(task.vocab_size, 2, embed_dim, num_heads, head_dim)
    position = layout.position_embedding
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(layout.rows[0] - position[0]))
        model.position_embedding.copy_(torch.from_numpy(position))
        model.unembedding.copy_(torch.from_numpy(code @ skip))
        if not walked.num_heads:
            return model
        sums = walked.maps.copy()
        sums[-1] -= moved
        maps = np.diff(sums, axis=0, prepend=np.zeros((1, *skip.shape)))
        output = torch.from_numpy(np.linalg.pinv(skip).T.copy())
        for head, gate in enumerate(walked.gates):
            width = gate.query.shape[1]
            model.query[head, :, :width] = torch.from_numpy(gate.query)
            model.key[head, :, :width] = torch.from_numpy(gate.key)
            model.value[head, :, :code_dim] = torch.from_numpy(maps[head].T.copy())
            model.output[head, :code_dim] = output
    return model


def _promised_margin(task: AssociationTask, walked: Staircase, choice: Choice, moved: np.ndarray) -> float:
    """Least difference of the label's logit from any other, with gates that are exactly 0 or 1."""
    code = choice.code[: len(choice.tokens)]
    if task.vocab_size > len(choice.tokens):
        code = np.concatenate([code, np.zeros((1, code.shape[1]))])
    worst = inf
    for number, block in enumerate(walked.blocks):
        outputs = choice.layout.rows[1][task.sequences[block, 1]] @ walked.skip.T
        if number:
            total = walked.maps[number - 1] - (moved if number == walked.num_heads else 0.0)
            outputs = outputs + choice.layout.deltas(task.sequences[block]) @ total.T
        logits = outputs @ code.T
        own = np.arange(len(block)), choice.labels[block]
        right = logits[own].copy()
        logits[own] = -np.inf
        worst = min(worst, float((right - logits.max(axis=1)).min()))
    return worst


def _verified(built: Construction) -> Construction:
    """Run the construction; where float64 finds it wrong, keep what is right and say so."""
    built = built.checked(("float64", "float32"))
    if built.checks[0].passed:
        return built
    right = logit_margins(built.model, built.task, built.held).numpy() > 0
    reason = (
        f"the blocks carry {built.num_held} associations, but rounding in float64 leaves {int(right.sum())} right: "
        f"condition number of the skip map {built.notes['condition number of the skip map']}"
    )
    return replace(built, held=built.held[right], failure=reason).checked(("float64", "float32"))
