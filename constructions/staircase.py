"""The staircase: Corollary 1 for sequences of two tokens in closed form, one threshold per head.

All sequences are put in one order; head h sees exactly those above its threshold, so that the heads can be solved for one after
the other and no large linear system ever appears. Derived here; the count is Corollary 1's of Dana, Pydi and Chevaleyre 2025.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from constructions._staircase_plan import Plan, gates
from constructions._staircase_search import best_plan
from constructions._staircase_solve import Solution, solve
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins
from theory.encoders import low_coherence_code
from theory.memorization import repaired_heads
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

SOURCE = "Dana, Pydi and Chevaleyre 2025, Corollary 1 in its repaired form min(T0, H d_h + min(d, K)); closed form derived here"
CHECKED_WORK = 1e9  # associations x heads x embed_dim of the automatic check; beyond, a sample of that size is run
MOST_BYTES = 16 * 2**30  # of the arrays of one construction


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
) -> Construction:
    """Build an attention-only transformer that holds min(T0, H d_h + min(d, K)) associations of two tokens with H heads.

    K is the number of distinct last tokens. Fewer are held where deltas are degenerate (many constant sequences (a, a), for
    instance, all share one delta), and on some tables with d near N, where no order tried deals them out without dependent
    blocks (a few in a thousand random ones, mostly by one); `plan` says how many before anything is built. The skip connection
    stays the identity: its change of basis goes into the unembedding and the heads' outputs. The time is near-linear and the
    memory linear in T0.

    Args:
        task: pairs of tokens with one label each, S = 2.
        embed_dim: d >= 2.
        head_dim: d_h, 1 to d. With d_h = 1 all scores have rank one.
        num_heads: H >= 0; None for as few as it takes to hold everything.
        seed: of the label code, the token orders tried and the targets' moves.
        check: run the model over what it holds in float64 and float32 (over a sample where that is more than CHECKED_WORK).

    Returns:
        The construction, in float64. If the float64 run finds an association wrong, `held` is what was right and `failure`
        says so.

    Raises:
        ValueError: S is not 2, an argument is out of range, or the arrays would need more than MOST_BYTES.
    """
    made = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    code = _label_code(task, embed_dim, seed)
    solution = solve(made, code, seed)
    built = Construction(
        model=_assemble(made, solution, code),
        task=task,
        method="staircase",
        source=SOURCE,
        held=made.held,
        promised_margin=_promised_margin(task, solution, code),
        notes={
            "token layout": made.layout.name,
            "least new part of a delta": f"{made.quality:.3g}",
            "condition number of the skip map": f"{solution.condition:.3g}",
        },
    )
    return _verified(built) if check else built


def plan(task: AssociationTask, *, embed_dim: int, head_dim: int, num_heads: int | None = None, seed: int = 0) -> Plan:
    """What `build` would hold and with how many heads, without computing any weight; arguments and errors as there.

    Returns:
        The plan: `num_held`, `held` (indices), `num_heads`, who carries what, and how well-conditioned it is.
    """
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: the staircase is for sequences of 2")
    checked_integer("embed_dim", embed_dim, 2)
    if num_heads is not None:
        checked_integer("num_heads", num_heads, 0)
    shape = AttentionShape(embed_dim=embed_dim, num_heads=num_heads or 0, head_dim=head_dim)
    if shape.head_dim > embed_dim:
        raise ValueError(f"head_dim = {head_dim}: 1 to embed_dim = {embed_dim} are legal for a built model")
    heads = num_heads
    if heads is None:
        heads = repaired_heads(task.num_associations, head_dim, embed_dim, task.num_last_tokens)
    size = 8 * embed_dim * (8 * task.vocab_size + 12 * task.num_associations + 10 * heads * head_dim + 12 * embed_dim)
    if size > MOST_BYTES:
        raise ValueError(
            f"N = {task.vocab_size}, d = {embed_dim}, H = {heads}, d_h = {head_dim} need about {size / 2**30:.0f} GiB: "
            f"at most {MOST_BYTES / 2**30:.0f} GiB are legal"
        )
    return best_plan(task, embed_dim, head_dim, num_heads, seed)


def _label_code(task: AssociationTask, embed_dim: int, seed: int) -> Float[np.ndarray, "vocab embed_dim"]:
    """A direction per label that occurs. A token that never is a label gets the zero row: its logit 0 loses to a label's 1."""
    labels = np.unique(task.targets)
    code = np.zeros((task.vocab_size, embed_dim))
    code[labels] = low_coherence_code(len(labels), embed_dim, seed)
    return code


def _assemble(made: Plan, solution: Solution, code: Float[np.ndarray, "vocab embed_dim"]) -> AttentionOnlyTransformer:
    """Put the maps into a model whose skip is the identity: logits U (B x + sum_h M_h A_h) = (U B) (x + sum_h (B^-1 M_h) A_h)."""
    vocab_size, embed_dim = code.shape
    model = AttentionOnlyTransformer(vocab_size, 2, embed_dim, made.num_heads, made.head_dim)
    position = made.layout.position_embedding
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(made.layout.rows[0] - position[0]))
        model.position_embedding.copy_(torch.from_numpy(position))
        model.unembedding.copy_(torch.from_numpy(code @ solution.skip))
        start = 0
        for chain in made.chains:
            heads = slice(start, start + len(chain.thresholds))
            query, key = (torch.from_numpy(gate) for gate in gates(made, chain.kind))
            thresholds = torch.from_numpy(chain.thresholds)[:, None, None]
            model.query[heads] = query[0] + thresholds * query[1]
            model.key[heads] = key[0] + thresholds * key[1]
            start = heads.stop
        if start:
            model.value[:start] = torch.from_numpy(solution.basis)
            outputs = np.linalg.solve(solution.skip, solution.heads.transpose(1, 0, 2).reshape(embed_dim, -1))
            model.output[:start] = torch.from_numpy(outputs).reshape(embed_dim, start, -1).permute(1, 2, 0)
    return model


def _promised_margin(task: AssociationTask, solution: Solution, code: Float[np.ndarray, "vocab embed_dim"]) -> float:
    """Least margin of any target: of the code rows, and of the targets that were moved."""
    labels = np.unique(task.targets)
    targets = np.concatenate([code[labels], solution.targets[solution.movable]])
    labels = np.concatenate([labels, task.targets[solution.movable]])
    worst = np.inf
    for start in range(0, len(labels), 1 << 10):
        label = labels[start : start + (1 << 10)]
        logits = targets[start : start + (1 << 10)] @ code.T
        own = np.arange(len(label)), label
        right = logits[own].copy()
        logits[own] = -np.inf
        worst = min(worst, float((right - logits.max(axis=1)).min()))
    return worst


def _verified(built: Construction) -> Construction:
    """Run the construction; where float64 finds it wrong, keep what is right and say so."""
    work = max(1, built.num_heads) * built.model.embed_dim
    sample = max(1, int(CHECKED_WORK / work))
    built = built.checked(("float64", "float32"), sample=sample if sample < built.num_held else None)
    if built.checks[0].passed:
        return built
    right = logit_margins(built.model, built.task, built.held).numpy() > 0
    reason = (
        f"the plan promised {built.num_held} associations, but rounding in float64 leaves {int(right.sum())} right: "
        f"least new part of a delta {built.notes['least new part of a delta']}, "
        f"condition number of the skip map {built.notes['condition number of the skip map']}"
    )
    return replace(built, held=built.held[right], failure=reason).checked(("float64", "float32"))
