"""Frozen heads and a readout solved for: only the argmax has to be right, so a convex problem does better than linear equations.

Embeddings and heads are drawn and never touched again; the map after them has to bring every sequence into its label's cone, not
onto a target. Whether one map can is a linear programme (`constructions._max_margin`), and for random labels it can up to about
m r / codim sequences (`theory.thresholds`), m being the features and r the dimensions of the code.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from constructions._max_margin import LARGEST_PROGRAMME, MarginBracket, Solver, max_margin
from constructions._readout_code import readout_code
from constructions._readout_features import FrozenHeads, White, draw_heads, whiten
from constructions._readout_held import hold_most
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask
from theory.thresholds import Estimate, Values, heads_for_threshold, num_features, threshold_ratio

__all__ = ["MarginBracket", "ReadoutPlan", "build", "max_margin", "plan"]

SOURCE = "max-margin readout of frozen generic heads (threshold law after Gardner 1988 and Amelunxen et al. 2014); derived here"
MARGIN_KEPT = 0.5  # part of the margin that conditioning the skip map may cost
MOST_ENTRIES = 1 << 25  # of the features
MOST_BYTES = 16 * 2**30  # of the model


@dataclass(frozen=True, eq=False)
class ReadoutPlan:
    """What the threshold law expects, before any head is drawn: an expectation for random labels, not a promise.

    Attributes:
        embed_dim, head_dim, num_heads: d, d_h and H; H is the law's own where it was not given.
        values: "solved" (value maps are part of what is solved for: m = d (H + 1) features, a code of at most d_h dimensions) or
            "frozen" (m = H d_h + d features, a code of at most d dimensions).
        labels: the distinct labels, ascending.
        code: one row per distinct label.
        ratio: T* / m for this code.
        expected: T* at `num_heads`, not capped by T0; infinite where all labels are the same.
    """

    embed_dim: int
    head_dim: int
    num_heads: int
    values: Values
    labels: np.ndarray
    code: np.ndarray
    ratio: Estimate | None
    expected: float


def plan(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    seed: int = 0,
    values: Literal["auto", "solved", "frozen"] = "auto",
) -> ReadoutPlan:
    """Code, form and expected count of `build`; arguments and errors as there."""
    dim = checked_integer("embed_dim", embed_dim, 2)
    shape = AttentionShape(dim, checked_integer("num_heads", 0 if num_heads is None else num_heads, 0), head_dim)
    if shape.head_dim > dim:
        raise ValueError(f"head_dim = {head_dim}: 1 to embed_dim = {embed_dim} are legal for a built model")
    checked_integer("seed", seed, 0)
    if values not in ("auto", "solved", "frozen"):
        raise ValueError(f"values = {values!r}: 'auto', 'solved' and 'frozen' are legal")
    labels, counts = np.unique(task.targets, return_counts=True)
    if len(labels) == 1:
        return ReadoutPlan(dim, shape.head_dim, shape.num_heads, "solved", labels, np.ones((1, 1)), None, np.inf)
    plans = []
    forms: tuple[Values, ...] = ("solved", "frozen") if values == "auto" else (values,)
    for form in forms:
        width = shape.head_dim if form == "solved" else dim
        if width == 1 and len(labels) > 2:
            continue  # a code on a line: tokens between its ends are never the argmax
        large = width * task.num_associations > 4 * LARGEST_PROGRAMME  # unknowns, for about two associations to a feature
        code = readout_code(counts, width, seed, polish=large)
        shares = counts / counts.sum() if 2 < code.shape[1] < len(labels) - 1 else None  # regular codes have closed forms
        ratio = threshold_ratio(code, label_weights=shares, samples=1000 if large else 500, seed=seed)
        heads = shape.num_heads
        if num_heads is None:
            heads = heads_for_threshold(task.num_associations, dim, shape.head_dim, ratio, form)
        features = num_features(dim, shape.head_dim, heads, form)
        plans.append(ReadoutPlan(dim, shape.head_dim, heads, form, labels, code, ratio, features * ratio.value))
    if not plans:
        raise ValueError(
            f"values = 'solved' with head_dim = 1 and {len(labels)} labels: a code of one dimension has two labels at most; "
            "values = 'frozen', or head_dim of at least 2, is legal"
        )
    if num_heads is None:
        return min(plans, key=lambda made: made.num_heads)
    return max(plans, key=lambda made: made.expected)


def build(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    seed: int = 0,
    check: bool = True,
    values: Literal["auto", "solved", "frozen"] = "auto",
    solver: Solver = "auto",
    candidates: int = 8,
    resolution: int | None = None,
    most_steps: int = 12_000,
    progress: Callable[[str], None] | None = None,
) -> Construction:
    """Freeze random heads and solve for the rest, so that every held association's argmax is right.

    With num_heads = None the fewest heads are searched for at which all is held, among the first so many of one pool. That is
    fewest for this pool: another seed may need one more or less. Given too few heads, a large set of associations is held that
    one map gets right: found by dropping and taking back, certain once found, not proved to be the largest.

    Args:
        task: sequences of any length with one label each.
        embed_dim: d >= 2.
        head_dim: d_h, 1 to d.
        num_heads: H >= 0, or None.
        seed: of everything drawn; the same arguments give the same weights.
        check: list forward passes in float64 and float32 in the result. (One in float64 is always made.)
        values: "solved", "frozen" (see `ReadoutPlan`), or "auto" for the one whose threshold is higher.
        solver: "lp" for the best margin, "newton" for size, "auto" by the number of unknowns.
        candidates: heads drawn for each that is kept.
        resolution: of the search for the fewest heads; None for 1, or 1 per cent where "newton" solves.
        most_steps: products with a Hessian in one solve by "newton".
        progress: told a line per number of heads tried.

    Returns:
        The construction, in float64. `held` is what an ordinary float64 forward pass gets right of what was certified on the
        features; `failure` says why that is less than all of the task.

    Raises:
        ValueError: an argument out of range, a code of one dimension for more than two labels, or too large a task.

    Source: derived here; the law behind it is in `theory.thresholds`.
    """
    checked_integer("candidates", candidates, 1)
    checked_integer("most_steps", most_steps, 1)
    if solver not in ("auto", "lp", "newton"):
        raise ValueError(f"solver = {solver!r}: 'auto', 'lp' and 'newton' are legal")
    made = plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, values=values)
    _check_size(task, made)
    if made.ratio is None:
        built = _one_label(task, made)
        return built.checked(("float64", "float32")) if check else built
    search = _Search(task, made, seed, candidates, solver, most_steps, progress or (lambda line: None))
    if num_heads is None:
        step = resolution if resolution is None else checked_integer("resolution", resolution, 1)
        found = search.fewest(step)
    else:
        found = search.at(made.num_heads)
    built = _realise(task, made, search.heads_for(found.num_heads), found)
    return built.checked(("float64", "float32")) if check and built.num_held else built


@dataclass(frozen=True, eq=False)
class _Found:
    """One number of heads, solved."""

    num_heads: int
    white: White
    maps: np.ndarray
    held: np.ndarray
    lower: float
    upper: float
    notes: dict[str, str] = field(default_factory=dict)


class _Search:
    """Solves for numbers of heads, all of one pool as far as it reaches."""

    def __init__(
        self,
        task: AssociationTask,
        made: ReadoutPlan,
        seed: int,
        candidates: int,
        solver: Solver,
        most_steps: int,
        progress: Callable[[str], None],
    ) -> None:
        self.task, self.made, self.seed, self.candidates = task, made, seed, candidates
        self.solver, self.most_steps, self.progress = solver, most_steps, progress
        self.labels = np.searchsorted(made.labels, task.targets)
        self.most = min(task.num_associations, made.num_heads + max(4, made.num_heads // 4))
        self.drawn: FrozenHeads | None = None
        self.decided: dict[int, _Found | None] = {}

    def heads_for(self, num_heads: int) -> FrozenHeads:
        """The pool, drawn anew where it has too few heads."""
        if self.drawn is None or num_heads > self.most:
            self.most = max(self.most, min(num_heads, self.task.num_associations))
            self.drawn = draw_heads(
                self.task, embed_dim=self.made.embed_dim, head_dim=self.made.head_dim, num_heads=self.most,
                frozen=self.made.values == "frozen", candidates=self.candidates, seed=self.seed,
            )  # fmt: skip
            self.decided.clear()
        return self.drawn

    def white(self, num_heads: int) -> White:
        return whiten(self.heads_for(num_heads).matrix(num_heads), self.labels, self.made.code)

    def solver_for(self, white: White) -> Solver:
        if self.solver != "auto":
            return self.solver
        return "lp" if white.problem.unknowns <= LARGEST_PROGRAMME else "newton"

    def everything(self, num_heads: int) -> _Found | None:
        """All associations with so many heads, or None where that is not certain."""
        self.heads_for(num_heads)
        if num_heads not in self.decided:
            white = self.white(num_heads)
            problem = white.problem
            name = self.solver_for(white)
            result = max_margin(
                problem.features, problem.labels, problem.code, solver=name, decide_only=True, most_steps=self.most_steps
            )
            self.progress(f"H = {num_heads}: {result.decision}, {result.steps} steps")
            found = None
            if result.lower > 0:
                if name == "lp":
                    result = max_margin(problem.features, problem.labels, problem.code, solver=name)
                held = np.arange(self.task.num_associations)
                found = _Found(num_heads, white, result.maps, held, result.lower, result.upper, {"solver": name})
            self.decided[num_heads] = found
        return self.decided[num_heads]

    def at(self, num_heads: int) -> _Found:
        """As many associations as can be with so many heads."""
        found = self.everything(num_heads)
        if found is not None:
            return found
        white = self.white(num_heads)
        kept = hold_most(white.problem, self.solver_for(white), self.most_steps)
        self.progress(f"H = {num_heads}: {len(kept.held)} held, {kept.steps} steps")
        return _Found(num_heads, white, kept.maps, kept.held, kept.lower, kept.upper, {"solver": self.solver_for(white)})

    def fewest(self, resolution: int | None) -> _Found:
        """Gallop from the law's number, then bisect."""
        total = self.task.num_associations
        heads, bottom = self.made.num_heads, -1
        if self.task.seq_len == 1:
            return self.at(0)
        large = self.solver_for(self.white(heads)) == "newton"
        fine = resolution if resolution is not None else (max(1, round(heads / 100)) if large else 1)
        step = max(fine, heads // (50 if large else 20))
        while (found := self.everything(heads)) is None:
            bottom = heads
            if heads >= total:
                return self.at(heads)
            heads, step = min(total, heads + step), 2 * step
        best = found
        step = fine
        while bottom < 0 and best.num_heads > 0:
            lower = max(0, best.num_heads - step)
            tried = self.everything(lower)
            if tried is None:
                bottom = lower
            else:
                best, step = tried, 2 * step
        while best.num_heads - bottom > fine:
            middle = (best.num_heads + bottom) // 2
            tried = self.everything(middle)
            if tried is None:
                bottom = middle
            else:
                best = tried
        best.notes["fewest heads"] = f"for this pool; {bottom} were not enough" if bottom >= 0 else "none are needed"
        return best


def _one_label(task: AssociationTask, made: ReadoutPlan) -> Construction:
    """All labels the same: one coordinate that is 1 for every token, read by that label alone; heads stay idle."""
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, made.embed_dim, made.num_heads, made.head_dim)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.token_embedding[:, 0] = 1.0
        model.unembedding[int(made.labels[0]), 0] = 1.0
    held = np.arange(task.num_associations)
    return Construction(model, task, "readout", SOURCE, held, 1.0, notes={"labels": "all the same: no head is needed"})


def _realise(task: AssociationTask, made: ReadoutPlan, heads: FrozenHeads, found: _Found) -> Construction:
    """Weights: with c the code and W = [P, M_1, ..], logits are c (P x + sum_h M_h A^h) = (c P) (x + sum_h pinv(P) M_h A^h)."""
    rank, dim = made.code.shape[1], made.embed_dim
    used = heads.used(found.num_heads)
    maps = found.maps @ found.white.back
    outputs = found.maps @ found.white.problem.features
    size = float(np.sqrt((outputs**2).mean()))
    maps, outputs = maps / (size or 1.0), outputs / (size or 1.0)
    skip, margin = _conditioned(maps[:, :dim], outputs, heads.rows[:dim], found, made.code)
    blocks = maps[:, dim:].reshape(rank, used, heads.block).transpose(1, 2, 0)  # (heads, block, r)
    inverse = np.linalg.pinv(skip).T  # (r, d)
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, dim, found.num_heads, made.head_dim)
    with torch.no_grad():
        for weights in (model.query, model.key, model.value, model.output):
            weights.zero_()
        model.token_embedding.copy_(torch.from_numpy(heads.tokens))
        model.position_embedding.copy_(torch.from_numpy(heads.positions))
        model.query[:used] = torch.from_numpy(heads.query[:used])
        model.key[:used] = torch.from_numpy(heads.key[:used])
        if heads.value is None:
            model.value[:used, :, :rank] = torch.from_numpy(blocks)
            model.output[:used, :rank] = torch.from_numpy(inverse)
        else:
            model.value[:used] = torch.from_numpy(heads.value[:used])
            model.output[:used] = torch.from_numpy(blocks @ inverse)
        # Tokens that never are a label get the mean of all rows: their logit is below the largest wherever that is one alone.
        model.unembedding.copy_(torch.from_numpy(np.tile(made.code.mean(axis=0) @ skip, (task.vocab_size, 1))))
        model.unembedding[torch.from_numpy(made.labels)] = torch.from_numpy(made.code @ skip)
    right = logit_margins(model, task, found.held).numpy() > 0 if len(found.held) else np.zeros(0, dtype=bool)
    held = found.held[right]
    ratio = made.ratio
    assert ratio is not None
    features = num_features(dim, made.head_dim, found.num_heads, made.values)
    notes = {
        "values": made.values,
        "code": f"{len(made.code)} labels in {rank} dimensions, T*/m = {ratio.value:.3f}",
        "features": f"{found.white.problem.features.shape[0]} independent of {features}",
        "expected by the threshold law": f"{features * ratio.value:.0f} random associations",
        "bracket of the best margin": f"[{found.lower:.3g}, {found.upper:.3g}] in orthonormal features",
        **found.notes,
    }
    return Construction(
        model, task, "readout", SOURCE, held, margin if len(held) else 0.0,
        failure=_failure(task, found, held, features * ratio.value), notes=notes,
    )  # fmt: skip


def _failure(task: AssociationTask, found: _Found, held: np.ndarray, expected: float) -> str | None:
    total = task.num_associations
    if len(held) < len(found.held):
        return f"certified on the features for {len(found.held)} associations, but float64 weights are right on {len(held)}"
    if len(held) == total:
        return None
    reason = f"no map of these features was found that is right on all {total}"
    if task.seq_len == 1:
        reason += "; sequences of one token leave attention no choice, so that heads add nothing"
    return f"{reason} (the threshold law expects {expected:.0f} for random labels)"


def _conditioned(
    skip: np.ndarray, outputs: np.ndarray, last: np.ndarray, found: _Found, code: np.ndarray
) -> tuple[np.ndarray, float]:
    """P with its small singular values raised as far as MARGIN_KEPT of the margin allows, and the margin left.

    Where no x(t, S) is seen P is free. (r, d) of full row rank is all that the model needs.
    """
    labels = found.white.problem.labels

    def margin(moved: np.ndarray) -> float:
        logits = code @ moved[:, found.held]
        own = labels[found.held], np.arange(len(found.held))
        right = logits[own].copy()
        logits[own] = -np.inf
        return float((right - logits.max(axis=0)).min(initial=np.inf))

    directions, sizes, _ = np.linalg.svd(last)
    seen = int((sizes > 1e-10 * sizes[0]).sum())
    span, rest = directions[:, :seen], directions[:, seen:]
    left, values, inner = np.linalg.svd(skip @ span)
    largest, count = float(values[0]) or 1.0, len(values)
    wanted = MARGIN_KEPT * margin(outputs)
    for exponent in np.arange(0.0, -14.0, -0.25):
        lifted = np.maximum(values, largest * 10.0**exponent)
        moved = (left[:, :count] * (lifted - values)) @ inner[:count] @ span.T
        left_over = margin(outputs + moved @ last)
        if left_over >= wanted:
            break
    free = len(left) - count
    if free > 0:  # fewer distinct last tokens than dimensions of the code
        moved = moved + float(np.exp(np.log(lifted).mean())) * left[:, count:] @ rest[:, :free].T
    return skip + moved, left_over


def _check_size(task: AssociationTask, made: ReadoutPlan) -> None:
    total = task.num_associations
    entries = num_features(made.embed_dim, made.head_dim, min(made.num_heads, total), made.values) * total
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"T0 = {total}, d = {made.embed_dim}, H = {made.num_heads}: features with {entries:,} entries; at most "
            f"{MOST_ENTRIES:,} are legal for the readout (the staircase, for S = 2, has no such limit)"
        )
    size = 8 * made.embed_dim * (4 * made.num_heads * made.head_dim + 4 * task.vocab_size + task.seq_len)
    if size > MOST_BYTES:
        raise ValueError(
            f"H = {made.num_heads}, d = {made.embed_dim}, d_h = {made.head_dim} need about {size / 2**30:.0f} GiB: at most "
            f"{MOST_BYTES / 2**30:.0f} are legal for the model"
        )
