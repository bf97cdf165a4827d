"""Narrow heads for sequences of any length: heads drawn and chosen as for the generic construction, value maps solved for.

The equations P x(t,S) + sum_h M_h A^h(t) = target(t) have d (H + 1) unknowns per output. Only the argmax counts, so a ridge lets
costly directions miss their targets by at most half the margin, and targets move where P would lose its rank.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from constructions._generic_features import Features, draw_features
from constructions._planar_code import LabelCode, put_maps, skip_condition
from constructions._planar_plan import PlanarPlan
from constructions._staircase_layout import CONSTANT
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins
from theory.tasks import AssociationTask

CANDIDATES = 8  # heads drawn for each one that is kept
RAISED = (128, 256, 512, 1024)  # bits tried after float64
MARGIN_KEPT = 0.5
CONDITION_WANTED = 100.0
MOST_DRAWS = 32
REFINEMENTS = 2


@dataclass(frozen=True)
class _Solved:
    """P, M_h transposed per head, the least margin that they promise, and how P is conditioned."""

    skip: Float[np.ndarray, "outputs embed_dim"]
    values: Float[np.ndarray, "heads embed_dim outputs"]
    margin: float
    condition: float


def build_generic(
    made: PlanarPlan, code: LabelCode, *, method: str, source: str, seed: int, check: bool
) -> Construction:
    """Draw, solve, run; at higher precision where a float64 solution leaves something wrong."""
    task, reason = made.task, None
    features = draw_features(
        task,
        embed_dim=made.embed_dim,
        head_dim=made.embed_dim,
        num_heads=min(made.num_heads, task.num_associations),
        num_held=made.num_held,
        candidates=CANDIDATES,
        score_scale=None,
        rank_one=True,
        rng=np.random.default_rng([seed, 4]),
        constant=CONSTANT if code.offsets.any() else None,
    )
    best, system = None, _System.of(features, code)
    for bits in (53, *RAISED):
        solved = system.solve(seed) if bits == 53 else system.solve_exact(task, bits, seed)
        if solved is None:
            continue
        built = _construction(made, features, code, solved, method, source, bits)
        if best is None or built.num_held > best.num_held:
            best = built
        if best.num_held == len(features.held) or bits > 53:  # more bits would be rounded to the same weights
            break
    if best is None:
        empty = AttentionOnlyTransformer(task.vocab_size, task.seq_len, made.embed_dim, made.num_heads, made.head_dim)
        best = Construction(empty, task, method, source, np.zeros(0, dtype=np.int64), 0.0)
    if best.num_held < made.num_held:
        reason = (
            f"the rank promises {made.num_held} associations, but float64 weights hold {best.num_held} of them "
            f"(condition number of the features {features.condition:.1e}, largest weight {best.max_weight:.1e})"
        )
    elif made.free_rank is not None and made.free_rank > made.num_held:
        reason = (
            f"attention with free weights would hold {made.free_rank}, but softmax scores of rank one on these sequences reach "
            f"rank {made.num_held} only"
        )
    best = replace(best, failure=reason)
    return best.checked(("float64", "float32")) if check and best.num_held else best


def _construction(
    made: PlanarPlan, features: Features, code: LabelCode, solved: _Solved, method: str, source: str, bits: int
) -> Construction:
    task, used = made.task, len(features.value)
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, made.embed_dim, made.num_heads, made.head_dim)
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(features.tokens))
        model.position_embedding.copy_(torch.from_numpy(features.positions))
        # Of rank one: only the first columns are not zero.
        model.query[:used, :, :1] = torch.from_numpy(features.query[:, :, :1])
        model.key[:used, :, :1] = torch.from_numpy(features.key[:, :, :1])
    put_maps(model, code, solved.skip, features.value @ solved.values)
    right = logit_margins(model, task, features.held).numpy() > 0
    return Construction(
        model=model,
        task=task,
        method=method,
        source=source,
        held=features.held[right],
        promised_margin=solved.margin,
        notes={
            "form": "generic",
            "limit": made.limit,
            "solved in": "float64" if bits == 53 else f"{bits} bits",
            "heads used": str(used),
            "condition number of the features": f"{features.condition:.3g}",
            "condition number of the skip map": f"{solved.condition:.3g}",
        },
    )


@dataclass(frozen=True)
class _System:
    """The equations on the held sequences: features^T = right^T sizes left^T, and the ridge."""

    features: Features
    code: LabelCode
    left: np.ndarray
    sizes: np.ndarray
    right: np.ndarray
    ridge: float

    @classmethod
    def of(cls, features: Features, code: LabelCode) -> "_System":
        left, sizes, right = np.linalg.svd(features.matrix[:, features.held], full_matrices=False)
        return cls(features, code, left, sizes, right, _ridge(sizes, right, code, code.which[features.held]))

    def solve(self, seed: int) -> _Solved | None:
        """In float64, refined."""
        matrix = self.features.matrix[:, self.features.held]
        if len(self.sizes) < matrix.shape[1] or not self.sizes.min(initial=1.0) > 0:
            return None
        inverse = self.sizes / (self.sizes**2 + self.ridge)
        targets = self.targets(seed)
        fitted = self.fitted(targets)
        maps = self.left @ (inverse[:, None] * (self.right @ targets))
        for _ in range(REFINEMENTS):
            maps += self.left @ (inverse[:, None] * (self.right @ (fitted - matrix.T @ maps)))
        return self.solved(maps, seed) if np.isfinite(maps).all() else None

    def solve_exact(self, task: AssociationTask, bits: int, seed: int) -> _Solved | None:
        """In ball arithmetic at any precision; None where this precision is not enough."""
        from constructions._generic_exact import PrecisionError, solve_targets

        try:
            return self.solved(solve_targets(task, self.features, self.targets(seed), self.ridge, bits), seed)
        except PrecisionError:
            return None

    def fitted(self, targets: np.ndarray) -> np.ndarray:
        """What the ridge makes of targets."""
        kept = np.divide(self.sizes**2, self.sizes**2 + self.ridge, out=np.zeros_like(self.sizes), where=self.sizes > 0)
        return np.asarray(self.right.T @ (kept[:, None] * (self.right @ targets)))

    def targets(self, seed: int) -> np.ndarray:
        """Targets whose P is well-conditioned: the labels' places, or the best of a few moves."""
        which, rng = self.code.which[self.features.held], np.random.default_rng([seed, 5])
        dim = self.features.last.shape[1]
        inverse = np.divide(self.sizes, self.sizes**2 + self.ridge, out=np.zeros_like(self.sizes), where=self.sizes > 0)
        best, least = self.code.places[which], np.inf
        wanted = MARGIN_KEPT * self.code.margin(self.fitted(best), which)
        for draw in range(MOST_DRAWS):
            targets = self.code.moved(which, rng) if draw else best
            skip = (self.left[:dim] @ (inverse[:, None] * (self.right @ targets))).T
            condition = skip_condition(_completed(skip, self.features, seed), self.code)
            if condition < least and self.code.margin(self.fitted(targets), which) >= wanted:
                best, least = targets, condition
            if least <= CONDITION_WANTED:
                break
        return best

    def solved(self, maps: np.ndarray, seed: int) -> _Solved | None:
        """M^T as P and M_h, if P can be written through."""
        dim = self.features.last.shape[1]
        skip = _completed(maps[:dim].T, self.features, seed)
        condition = skip_condition(skip, self.code)
        if not np.isfinite(condition):
            return None
        outputs = self.features.matrix[:, self.features.held].T @ maps
        margin = self.code.margin(outputs, self.code.which[self.features.held])
        return _Solved(skip, maps[dim:].reshape(-1, dim, self.code.outputs), margin, condition)


def _ridge(sizes: np.ndarray, right: np.ndarray, code: LabelCode, which: np.ndarray) -> float:
    """The largest ridge that keeps MARGIN_KEPT of the margin, in units of the features squared; 0 where none does."""
    targets = code.places[which]
    wanted = MARGIN_KEPT * code.margin(targets, which)
    along = right @ targets
    for exponent in np.arange(0.0, -30.0, -0.5):
        ridge = float(sizes.max(initial=0.0) ** 2 * 10.0**exponent)
        if ridge and code.margin(right.T @ ((sizes**2 / (sizes**2 + ridge))[:, None] * along), which) >= wanted:
            return ridge
    return 0.0


def _completed(skip: np.ndarray, features: Features, seed: int) -> np.ndarray:
    """P with something on what no held x(t, S) has any part in, where P is free (fewer than d last tokens)."""
    _, sizes, axes = np.linalg.svd(features.last[features.held])
    seen = int((sizes > 1e-10 * sizes.max(initial=0.0)).sum())
    if seen == len(axes):
        return skip
    size = float(np.linalg.norm(skip, 2)) if skip.any() else 1.0
    free = np.random.default_rng([seed, 6]).standard_normal((len(skip), len(axes) - seen))
    return np.asarray(skip + size / np.sqrt(free.size) * free @ axes[seen:])
