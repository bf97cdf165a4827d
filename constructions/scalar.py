"""The scalar construction: heads of dimension one hold d (H + 1) associations, where Corollary 1 counts H + d.

All labels sit on a line; the skip connection and the heads bring together one number z, and the label next to it has the largest
logit 2 j z - j^2. The term without z is read off a coordinate that is 1 at the last position whatever the token. Derived here; it
goes beyond Dana, Pydi and Chevaleyre 2025.
"""

import numpy as np
from scipy.linalg import qr

from constructions._planar_code import parabola, put_maps
from constructions._planar_generic import build_generic
from constructions._planar_model import gated_model, verified
from constructions._planar_plan import Form, PlanarPlan, check_shape, chosen_form, generic_plan, staircase_plan
from constructions._scalar_plan import rank_one_plan
from constructions._scalar_solve import LineSystem
from constructions._staircase_blocks import DEPENDENT
from constructions._staircase_plan import Plan
from constructions.construction import Construction
from theory.memorization import repaired_associations, repaired_heads
from theory.tasks import AssociationTask

SOURCE = "d H + min(d, K) associations with d_h = 1, beyond Corollary 1 of Dana, Pydi and Chevaleyre 2025; derived here"
MOST_ATTEMPTS = 8
MOST_WORK = 2_000_000  # numbers of the deltas looked at over all attempts, beyond the first
GOOD_QUALITY = 1e-3


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int = 1,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
    form: Form = "auto",
) -> Construction:
    r"""Build an attention-only transformer with heads of dimension one that holds d H + min(d, K) associations or nearly so.

    With w and M_h of shape 1 x d and \(z = w x_S + \sum_h M_h A^h\), the logit of the j-th label that occurs (counted from the
    middle: j = -(n - 1)/2, .., (n - 1)/2) is \(2 j z - j^2 = z^2 - (z - j)^2\): \(W_U = 2 j w - j^2 u\) with u the constant
    coordinate, \(W_V^h = M_h\), and all heads share a \(W_O\) with \(w W_O = 1\) that leaves the constant coordinate alone.

    The count: one equation per association, and as unknowns the d numbers in each of w, M_1, .., M_H. If the constant coordinate
    were 1 at every position (embedding 1, position 0), it would be 1 in every A^h too, all these rows but one would depend on
    each other, and (d - 1)(H + 1) + 1 unknowns would be left. Only the last position is read, so it is enough that the constant
    is 1 there and something else at the others (embedding 0, position 1 at the last): then A^h has the head's weight on the last
    position in it, a number like any other, and all d (H + 1) rows count.

    What it silently needs: K >= d distinct last tokens (K < d of them bring K), and differences x(t,i) - x(t,S) that are not
    degenerate. The staircase form also needs near pairs for its constant sequences: on a complete table it takes about d/4 heads
    more than ceil((T0 - d)/d). `plan` says what is held.

    Two forms. "staircase", for S = 2: rank-one thresholds in three chains, blocks of d associations, time near-linear and memory
    linear in T0. "generic", for any S: a linear solve on the outputs of heads drawn at random and chosen for conditioning.

    Args:
        task: sequences with one label each.
        embed_dim: d >= 2.
        head_dim: d_h >= 1; all beyond one are zero columns.
        num_heads: H >= 0; None for as few as the form takes to hold everything.
        seed: of everything drawn; the same arguments give the same weights.
        check: run the model over what it holds in float64 and float32 (over a sample where that is too much).
        form: "staircase", "generic", or "auto": the staircase for S = 2.

    Returns:
        The construction, in float64; `dtypes` says in which formats the forward pass was right. The margin is 1, beside logits of
        up to n^2/4. Where a float64 forward pass is wrong on something, `held` is what was right and `failure` says so.

    Raises:
        ValueError: an argument is out of range, the form does not fit the task, or the task is too large for it.
    """
    made = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, form=form)
    code = parabola(task)
    if made.staircase is None:
        return build_generic(made, code, method="scalar", source=SOURCE, seed=seed, check=check)
    solution = LineSystem(made.staircase, code.targets).solve(code, seed)
    model = gated_model(made.staircase, made.head_dim)
    put_maps(model, code, solution.skip, solution.basis @ solution.heads.transpose(0, 2, 1))
    built = Construction(
        model=model,
        task=task,
        method="scalar",
        source=SOURCE,
        held=made.staircase.held,
        promised_margin=code.margin(solution.targets, code.which),
        notes={
            "form": "staircase",
            "limit": made.limit,
            "least new part of a delta": f"{made.staircase.quality:.3g}",
            "condition number of the skip map": f"{solution.condition:.3g}",
        },
    )
    return verified(built) if check else built


def plan(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int = 1,
    num_heads: int | None = None,
    seed: int = 0,
    form: Form = "auto",
) -> PlanarPlan:
    """What `build` would hold and with how many heads; arguments and errors as there.

    Returns:
        The plan: `num_held`, `num_heads`, `held` (the staircase's indices; the generic form chooses when it builds), and `limit`,
        which says what bounds the number.
    """
    check_shape(task, embed_dim, head_dim, num_heads, seed, least_head_dim=1)
    if chosen_form(task, form, "scalar") == "generic":
        return generic_plan(task, embed_dim, head_dim, num_heads, seed)
    stairs = _best_plan(task, embed_dim, num_heads, seed)
    return staircase_plan(task, stairs, embed_dim, head_dim)


def _best_plan(task: AssociationTask, embed_dim: int, num_heads: int | None, seed: int) -> Plan:
    """The best plan of several layouts: a skip connection that can be solved for, then most held, fewest heads, conditioning."""
    total, last = task.num_associations, task.num_last_tokens
    enough = repaired_heads(total, embed_dim, embed_dim, last)
    bound = repaired_associations(enough if num_heads is None else num_heads, embed_dim, embed_dim, last, total)
    zeros = np.zeros((total, 1))
    best: tuple[tuple[bool, int, int, float], Plan, int] | None = None
    for attempt in range(min(MOST_ATTEMPTS, 1 + MOST_WORK // (total * embed_dim))):
        made = rank_one_plan(task, embed_dim, num_heads, attempt, seed)
        of_skip = LineSystem(made, zeros).quality
        rank = of_skip > DEPENDENT, made.num_held, -made.heads_used, min(made.quality, of_skip)
        if best is None or rank > best[0]:
            best = rank, made, attempt
        if best[0][0] and best[0][1] == bound and -best[0][2] <= enough and best[0][3] >= GOOD_QUALITY:
            break
    assert best is not None
    (solvable, *_), made, attempt = best
    while not solvable:  # leave out of the skip connection what the others force already: the heads are to carry it
        rows = LineSystem(made, zeros).rows
        _, triangle, order = qr(rows.T, mode="economic", pivoting=True)
        new = max(1, int((np.abs(np.diagonal(triangle)) > DEPENDENT).sum()))
        solvable = new == len(rows)
        made = rank_one_plan(task, embed_dim, num_heads, attempt, seed, np.sort(made.skip_carried[order[:new]]))
    return made
