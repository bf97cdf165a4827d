"""Forward substitution up three chains of rank-one thresholds, to one output: first the heads that see last tokens alone.

As in `_staircase_solve`, everything is computed with the skip connection's G unknown: a target and its x2 are carried along as
one row of 1 + d numbers, and G follows at the end from what the skip carries.
"""

import numpy as np
from jaxtyping import Float

from constructions._planar_code import LabelCode, skip_condition
from constructions._staircase_plan import Chain, Plan, chain_keys
from constructions._staircase_solve import CONDITION_WANTED, MOST_DRAWS, Solution, added_by_heads, chain_maps, sum_of_maps


class LineSystem:
    """The substitution of one plan, and what the skip-carried sequences ask of G: `rows` @ G^T = `wanted`.

    Args:
        plan: three chains, "last", "up" and "down".
        targets: where each association's E is to be sent (T0, 1).
    """

    def __init__(self, plan: Plan, targets: Float[np.ndarray, "associations 1"]) -> None:
        self.plan = plan
        sequences, carried = plan.task.sequences, plan.skip_carried
        pairs = np.concatenate([targets, plan.layout.rows[1][sequences[:, 1]]], axis=1)
        width, dim = pairs.shape[1], pairs.shape[1] - 1
        first, others = plan.chains[0], plan.chains[1:]
        self.maps = [chain_maps(first.blocks, pairs, np.zeros((width, dim)))]
        _add_last(pairs, plan, first, self.maps[0])
        asked = pairs[carried]
        for chain in others:
            maps = chain_maps(chain.blocks, pairs, np.zeros((width, dim)))
            keys, mask = chain_keys(chain.kind, plan.layout, sequences[carried])
            passed = np.searchsorted(chain.thresholds, keys, side="right") * mask
            asked = asked - added_by_heads(maps, chain.blocks.basis, passed, plan.layout.deltas(sequences[carried]))
            self.maps.append(maps)
        self.rows, self.wanted = asked[:, 1:], asked[:, :1]
        self.total = sum(
            (sum_of_maps(maps, chain.blocks.basis) for maps, chain in zip(self.maps, plan.chains, strict=True)),
            np.zeros((width, dim)),
        )

    @property
    def quality(self) -> float:
        """Least singular value of what is asked of G; 0 means that no G can satisfy it."""
        return float(np.linalg.svd(self.rows, compute_uv=False)[-1])

    def solve(self, code: LabelCode, seed: int) -> Solution:
        """G, then all maps; the targets of what the skip carries move until the heads have something to write through."""
        rng = np.random.default_rng([seed, 1])
        carried, dim = self.plan.skip_carried, self.rows.shape[1]
        inverse = np.linalg.pinv(self.rows)
        best: tuple[float, np.ndarray, np.ndarray, np.ndarray] | None = None
        for draw in range(MOST_DRAWS):
            places = code.places[code.which[carried]]
            targets = code.moved(code.which[carried], rng) if draw else places
            wanted = self.wanted + targets - places
            free = rng.standard_normal((1, dim)) @ (np.eye(dim) - inverse @ self.rows)
            skip_map = (inverse @ wanted).T + free
            base = skip_map - (self.total[:1] - skip_map @ self.total[1:])
            residual = np.abs(self.rows @ skip_map.T - wanted).max(initial=0.0)
            condition = skip_condition(base, code) if residual < 1e-6 * max(1.0, np.abs(wanted).max()) else np.inf
            if best is None or condition < best[0]:
                best = condition, base, skip_map, targets
            if best[0] <= CONDITION_WANTED:
                break
        assert best is not None
        condition, base, skip_map, targets = best
        heads = np.concatenate([maps[:, :1] - skip_map @ maps[:, 1:] for maps in self.maps])
        basis = np.concatenate([chain.blocks.basis for chain in self.plan.chains])
        everyone = code.targets.copy()
        everyone[carried] = targets
        return Solution(base, heads, basis, everyone, carried, condition)


def _add_last(
    pairs: Float[np.ndarray, "associations width"], plan: Plan, chain: Chain, maps: Float[np.ndarray, "heads width embed_dim"]
) -> None:
    """Take off every sequence, in place, what the heads give it that see its last token."""
    passed = np.searchsorted(chain.thresholds, plan.layout.scalar[plan.task.sequences[:, 1]], side="right")
    order = np.argsort(passed, kind="stable")
    ends = np.searchsorted(passed[order], np.arange(len(maps) + 1), side="right")
    cumulated = np.zeros((pairs.shape[1], pairs.shape[1] - 1))
    for head in range(len(maps)):
        cumulated = cumulated + maps[head] @ chain.blocks.basis[head].T
        group = order[ends[head] : ends[head + 1]]
        if len(group):
            pairs[group] -= plan.layout.deltas(plan.task.sequences[group]) @ cumulated.T
