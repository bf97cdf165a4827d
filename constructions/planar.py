"""The planar construction: heads of dimension two hold d (H + 1) associations, where Corollary 1 counts 2 H + d.

All labels sit on a circle in a plane, so the heads need to write along two directions only; what they read is their whole
attention output, of d dimensions, and each solves d equations. Derived here; it goes beyond Dana, Pydi and Chevaleyre 2025.
"""

import numpy as np

from constructions._planar_code import circle, put_maps
from constructions._planar_generic import build_generic
from constructions._planar_model import gated_model, verified
from constructions._planar_plan import Form, PlanarPlan, check_shape, chosen_form, generic_plan, staircase_plan
from constructions._staircase_search import best_plan
from constructions._staircase_solve import solve
from constructions.construction import Construction
from theory.tasks import AssociationTask

SOURCE = "d H + min(d, K) associations with d_h = 2, beyond Corollary 1 of Dana, Pydi and Chevaleyre 2025; derived here"


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int = 2,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
    form: Form = "auto",
) -> Construction:
    r"""Build an attention-only transformer with heads of dimension two that holds min(T0, d H + min(d, K)) associations.

    With \(c\) the points of the circle (one row per label), \(P\) and \(M_h\) of shape 2 x d, the logits are
    \(c (P x_S + \sum_h M_h A^h)\): \(W_U = c P\), \(W_V^h = M_h\), and all heads share \(W_O = P^+\). That is d (H + 1) unknowns
    per output, against one equation per association: d (H + 1) associations, if there are at least d distinct last tokens. The
    skip connection stays the identity and needs no change of basis.

    What it silently needs: K >= d distinct last tokens for the d of the skip connection (K < d of them bring K), and differences
    x(t,i) - x(t,S) that are not degenerate: constant sequences (a, a) share one difference, and each head holds one of them.
    `plan` says how many are held. P has rank two after its targets are moved within their labels' sectors.

    Two forms. "staircase", for S = 2: blocks of d associations by forward substitution, time near-linear and memory linear in T0.
    "generic", for any S: a linear solve on the outputs of heads drawn at random and chosen for conditioning, time T0^3.

    Args:
        task: sequences with one label each.
        embed_dim: d >= 2.
        head_dim: d_h >= 2; all beyond two are zero columns.
        num_heads: H >= 0; None for as few as it takes to hold everything.
        seed: of everything drawn; the same arguments give the same weights.
        check: run the model over what it holds in float64 and float32 (over a sample where that is too much).
        form: "staircase", "generic", or "auto": the staircase for S = 2.

    Returns:
        The construction, in float64; `dtypes` says in which formats the forward pass was right. The margin is 1 - cos(2 pi / n)
        with n distinct labels, about 2 pi^2 / n^2. Where a float64 forward pass is wrong on something, `held` is what was right
        and `failure` says so.

    Raises:
        ValueError: an argument is out of range, the form does not fit the task, or the task is too large for it.
    """
    made = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, form=form)
    code = circle(task)
    if made.staircase is None:
        return build_generic(made, code, method="planar", source=SOURCE, seed=seed, check=check)
    code_rows = np.zeros((task.vocab_size, 2))
    code_rows[code.labels] = code.places
    solution = solve(made.staircase, code_rows, seed)
    model = gated_model(made.staircase, made.head_dim)
    put_maps(model, code, solution.skip, solution.basis @ solution.heads.transpose(0, 2, 1))
    movable = solution.movable
    built = Construction(
        model=model,
        task=task,
        method="planar",
        source=SOURCE,
        held=made.staircase.held,
        promised_margin=min(
            code.margin(code.places, np.arange(len(code.labels))), code.margin(solution.targets[movable], code.which[movable])
        ),
        notes={
            "form": "staircase",
            "limit": made.limit,
            "token layout": made.staircase.layout.name,
            "least new part of a delta": f"{made.staircase.quality:.3g}",
            "condition number of the skip map": f"{solution.condition:.3g}",
        },
    )
    return verified(built) if check else built


def plan(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int = 2,
    num_heads: int | None = None,
    seed: int = 0,
    form: Form = "auto",
) -> PlanarPlan:
    """What `build` would hold and with how many heads, without computing any weight; arguments and errors as there.

    Returns:
        The plan: `num_held`, `num_heads`, `held` (the staircase's indices; the generic form chooses when it builds), and `limit`,
        which says what bounds the number: all associations, d H + min(d, K), or degenerate differences.
    """
    check_shape(task, embed_dim, head_dim, num_heads, seed, least_head_dim=2)
    if chosen_form(task, form, "planar") == "generic":
        return generic_plan(task, embed_dim, head_dim, num_heads, seed)
    # A head's value map reads all d dimensions, so blocks are as for heads of dimension d; only the gates are narrow.
    stairs = best_plan(task, embed_dim, embed_dim, num_heads, seed)
    return staircase_plan(task, stairs, embed_dim, head_dim)
