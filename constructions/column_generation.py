"""Heads chosen one by one at the prices of a linear program, then exchanged until fewer of them hold everything; S = 2.

With the attention patterns fixed, the best readout is a linear program. Its dual prices say what any further head would be
worth, and the gate of a head on two tokens has but d^2 parameters, so the most valuable head can be searched for. The classical
method is column generation; taking heads out and pricing their successors is what brings the count down. Derived here.
"""

from dataclasses import replace
from math import isfinite
from time import monotonic

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions._column_lp import BOX, Margin, rounding, widest_margin
from constructions._column_problem import Problem, draw_embedding, label_code
from constructions._column_search import Budget, Heads, fewest, most_held
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

SOURCE = "column generation (Gilmore and Gomory 1961) over attention gates, with exchanges; derived here"
MOST_ASSOCIATIONS = 400
MOST_DIM = 6
MOST_BYTES = 16 * 2**30  # of the model
CONDITION_WANTED = 100.0
GIVEN_FOR_CONDITION = 0.1  # part of the margin that a better-conditioned skip map may cost


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
    draws: int = 8,
    pricing_starts: int = 24,
    sweeps: int = 40,
    max_seconds: float | None = 600.0,
) -> Construction:
    """Build an attention-only transformer for a small table of two-token sequences with few heads.

    A search: no count is promised beforehand, and that fewer heads were not found proves nothing. What it holds is proved by
    the weights themselves. On complete random tables over ten tokens, d = d_h = 2, 20 to 24 heads hold all hundred
    associations; Corollary 1 of Dana, Pydi and Chevaleyre 2025 asks for 49. Heads narrower than d get scores of rank d_h and a
    label code in d_h dimensions, so that the unembedding has rank d_h.

    Args:
        task: at most MOST_ASSOCIATIONS pairs of tokens with one label each, S = 2.
        embed_dim: d, 2 to MOST_DIM.
        head_dim: d_h, 1 to d. With d_h = 1 the code is a line, which has room for two labels and no more.
        num_heads: H >= 0, to hold as many associations as are found to fit; None for as few heads as are found to hold all.
        seed: of embeddings, code and search; the same arguments give the same weights unless `max_seconds` bites.
        check: run the model over what it holds in float64 and float32.
        draws: embeddings tried; the search goes on with the one that does best when heads are only added.
        pricing_starts: gates climbed per pricing.
        sweeps: exchange sweeps at most, each with one turn per head.
        max_seconds: a last stop; when it bites, `notes["stopped by"]` says so. None for none.

    Returns:
        The construction, in float64. `held` was right in a float64 forward pass. `failure` is set where that is less than the
        linear program says, or where num_heads is None and not everything is held. `notes` has both sides of the last
        program: the margin reached and the ceiling that its prices prove for these gates with weights no larger.

    Raises:
        ValueError: S is not 2, an argument is out of range, or d_h = 1 with more than two labels.

    Source: Gilmore and Gomory 1961 for column generation; its use on attention heads is derived here.
    """
    shape = _checked(task, embed_dim, head_dim, num_heads)
    checked_integer("seed", seed, 0)
    checked_integer("draws", draws, 1)
    checked_integer("pricing_starts", pricing_starts, 1)
    checked_integer("sweeps", sweeps, 0)
    if max_seconds is not None and not (isfinite(max_seconds) and max_seconds > 0):
        raise ValueError(f"max_seconds = {max_seconds}: a number above 0 is legal, or None for no such stop")
    budget = Budget(sweeps, None if max_seconds is None else monotonic() + max_seconds)
    rng = np.random.default_rng([seed, 5])
    code = label_code(task, shape.rank, seed)
    drawn = (
        Heads(Problem(task, draw_embedding(task, shape.embed_dim, rng), code, shape.head_dim), pricing_starts, rng, budget)
        for _ in range(draws)
    )
    if num_heads is None:
        heads = fewest(drawn)
        promised = np.arange(task.num_associations)
        if not heads.right:
            heads, promised = most_held([heads], len(heads.gates))
    else:
        heads, promised = most_held(drawn, shape.num_heads)
    used = len(heads.gates)
    heads.asked(promised)
    built = _built(task, heads, promised, replace(shape, num_heads=used if num_heads is None else shape.num_heads))
    built.notes["heads used"] = str(used)
    built.notes["sweeps"] = f"{sweeps - budget.sweeps} of {sweeps}"
    if budget.out_of_time:
        built.notes["stopped by"] = f"max_seconds = {max_seconds:g}; another run may stop elsewhere"
    if num_heads is None and built.failure is None and built.num_held < task.num_associations:
        why = f"max_seconds = {max_seconds:g} ended the search" if budget.out_of_time else "no further head was found to help"
        part = f"{built.num_held} of {task.num_associations} associations are held with {used} heads"
        built = replace(built, failure=f"{part}: {why}")
    return built.checked(("float64", "float32")) if check and built.num_held else built


def _checked(task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int | None) -> AttentionShape:
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: column generation is for sequences of 2")
    checked_integer("embed_dim", embed_dim, 2)
    if num_heads is not None:
        checked_integer("num_heads", num_heads, 0)
    shape = AttentionShape(embed_dim=embed_dim, num_heads=num_heads or 0, head_dim=head_dim)
    if shape.embed_dim > MOST_DIM:
        raise ValueError(f"embed_dim = {embed_dim}: at most {MOST_DIM} is legal for column generation")
    if shape.head_dim > shape.embed_dim:
        raise ValueError(f"head_dim = {head_dim}: 1 to embed_dim = {embed_dim} are legal for a built model")
    if task.num_associations > MOST_ASSOCIATIONS:
        raise ValueError(
            f"task has {task.num_associations} associations: at most {MOST_ASSOCIATIONS} are legal for column generation"
        )
    labels = len(np.unique(task.targets))
    if shape.rank == 1 and labels > 2:
        raise ValueError(
            f"head_dim = 1 with {labels} labels: at most 2 are legal, as a label code in head_dim dimensions must have an open "
            "cone for every label, and a line has two"
        )
    size = 8 * shape.embed_dim * (4 * shape.num_heads * shape.head_dim + 4 * task.vocab_size)
    if size > MOST_BYTES:
        raise ValueError(
            f"N = {task.vocab_size}, d = {embed_dim}, H = {shape.num_heads} need about {size / 2**30:.0f} GiB: "
            f"at most {MOST_BYTES / 2**30:.0f} GiB are legal"
        )
    return shape


def _built(task: AssociationTask, heads: Heads, promised: Int[np.ndarray, "promised"], shape: AttentionShape) -> Construction:
    """The last program, for the widest margin; the weights in a model; and what running it gets right."""
    notes: dict[str, str] = {}
    margin = Margin(heads.readout.weights, 0.0, np.inf)
    if len(promised):
        margin = widest_margin(heads.matrix(heads.columns), heads.readout.weights)
        notes["margin, largest map entry 1"] = f"{margin.reached:.6g}, at most {margin.ceiling:.6g} with these gates"
    if len(promised) < task.num_associations:
        whole = heads.copy()
        whole.asked(np.arange(task.num_associations))
        of_violation, of_bound = rounding(whole.matrix(whole.columns), whole.readout)
        least, most = max(0.0, whole.readout.bound - of_bound), whole.readout.violation + of_violation
        notes["total violation of all"] = f"{least:.6g} to {most:.6g} with these gates, margin 1 and maps up to {BOX:g}"
    skip, maps, reached = _maps(heads, margin)
    singular = np.linalg.svd(skip, compute_uv=False)
    notes["condition number of the skip map"] = f"{singular[0] / singular[-1]:.3g}"
    model = _assembled(task, heads, skip, maps, shape)
    right = logit_margins(model, task, promised).numpy() > 0 if len(promised) else np.zeros(0, dtype=bool)
    failure = None
    if not right.all():
        failure = (
            f"the linear program holds {len(promised)} associations, but rounding in float64 leaves {int(right.sum())} right: "
            f"condition number of the skip map {notes['condition number of the skip map']}"
        )
    return Construction(model, task, "column_generation", SOURCE, promised[right], reached, failure=failure, notes=notes)


def _maps(heads: Heads, margin: Margin) -> tuple[Float[np.ndarray, "r d"], Float[np.ndarray, "heads r d"], float]:
    """P = G - sum_h M_h and all M_h with margin 1 over what is asked for; G is moved a little where P is badly conditioned."""
    problem = heads.problem
    if not len(heads.active):
        return np.eye(problem.code_dim, problem.gates.dim), np.zeros((len(heads.gates), problem.code_dim, problem.gates.dim)), 0.0
    matrix = heads.matrix(heads.columns)
    stacked = margin.weights.reshape(-1, problem.code_dim, problem.gates.dim).copy()
    left, singular, right = np.linalg.svd(stacked[0] - stacked[1:].sum(axis=0), full_matrices=False)
    # Moving G by `lift` along the weak directions costs every margin at most that much times the length of its skip columns.
    longest = np.linalg.norm(problem.skip_columns[heads.active], axis=1).max()
    weak = np.maximum(0.0, singular[0] / CONDITION_WANTED - singular)
    scale = min(1.0, GIVEN_FOR_CONDITION * margin.reached / max(np.linalg.norm(weak) * longest, 1e-300))
    if singular[0] <= 0.0:
        weak, scale = np.ones_like(singular), GIVEN_FOR_CONDITION * margin.reached / (longest * np.sqrt(len(singular)))
    stacked[0] += (left * (scale * weak)) @ right
    reached = float((matrix @ stacked.reshape(-1)).min())
    if reached > 0:
        stacked /= reached
    return stacked[0] - stacked[1:].sum(axis=0), stacked[1:], 1.0 if reached > 0 else reached


def _assembled(
    task: AssociationTask, heads: Heads, skip: np.ndarray, maps: np.ndarray, shape: AttentionShape
) -> AttentionOnlyTransformer:
    """Weights into a model whose skip is the identity: logits u (P x + sum_h M_h A_h) = (u P) (x + sum_h P^+ M_h A_h)."""
    problem, used = heads.problem, len(heads.gates)
    query, key = problem.gates.factors(heads.gates)
    rank = problem.code_dim
    model = AttentionOnlyTransformer(task.vocab_size, 2, shape.embed_dim, shape.num_heads, shape.head_dim)
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(problem.embedding.tokens))
        model.position_embedding.copy_(torch.from_numpy(problem.embedding.positions))
        model.unembedding.copy_(torch.from_numpy(problem.code.rows @ skip))
        if used:
            model.query[:used] = torch.from_numpy(query)
            model.key[:used] = torch.from_numpy(key)
            model.value[:used, :, :rank] = torch.from_numpy(maps.transpose(0, 2, 1))
            model.output[:used, :rank] = torch.from_numpy(np.linalg.pinv(skip).T)
    return model
