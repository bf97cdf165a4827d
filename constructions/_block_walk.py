"""Walk up an order of all sequences and cut it into blocks, each as long as one map gets all its labels right.

Block 0 is carried by the skip connection alone, block j by what heads 1 to j add up to: a sequence t in it has the output
E = G x2 + C_j delta. C_j is free, whatever the heads before j do, so that only G ties blocks together. G is fixed on the span of
the x2 seen so far; on new directions it is an unknown beside C_j, and earlier blocks do not notice.

Where the order within a group is open, the block decides: what it already gets right comes first, then what it misses least.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from constructions._block_margin import MarginProblem, Refusal
from constructions._block_order import LEAST_GAP, FreeGroup, Gate, Group, Run, sorted_run
from constructions._staircase_layout import Layout

NEW = 1e-7  # share of x2 outside the known span that counts as a new direction
TRIES = 1  # sequences of a free group tried, easiest first, before its block is closed; in the plane all that can be
SKIP_BOUND = 0.1  # bound on G beside that on the C_j: its outputs are what they have to make up for


class StuckError(ArithmeticError):
    """Not even one sequence fits within the bound: the code has a label whose cone is empty, or all but."""


@dataclass(frozen=True)
class Closed:
    """Why a block went no further: with the last of these sequences, no map within the bound gets all of them right."""

    members: Int[np.ndarray, "members"]
    refusal: Refusal


@dataclass(frozen=True)
class Staircase:
    """A cut order with its maps.

    Attributes:
        blocks: task indices per block; the first is the skip connection's.
        gates: per head.
        skip: G (r, d); zero on directions that no x2 has.
        maps: C_j per head (heads, r, d).
        closed: per block the proof that it was full; None for the last one.
        pivots: steps of the solver.
    """

    blocks: list[Int[np.ndarray, "_"]]
    gates: list[Gate]
    skip: Float[np.ndarray, "code_dim embed_dim"]
    maps: Float[np.ndarray, "heads code_dim embed_dim"]
    closed: list[Closed | None]
    pivots: int

    @property
    def num_heads(self) -> int:
        """Heads used."""
        return len(self.gates)

    @property
    def num_held(self) -> int:
        """Sequences carried."""
        return sum(len(block) for block in self.blocks)


class Walk:
    """One walk: `step` makes a block.

    Args:
        layout: embeddings.
        sequences: all of the task.
        labels: of the sequences, as rows of the code.
        code: label directions.
        groups: consecutive pieces of the order.
        bound: on the norm of every C_j; on G's SKIP_BOUND of it.
    """

    def __init__(
        self,
        layout: Layout,
        sequences: Int[np.ndarray, "associations 2"],
        labels: Int[np.ndarray, "associations"],
        code: Float[np.ndarray, "labels code_dim"],
        groups: Sequence[Group],
        bound: float,
    ) -> None:
        self.layout, self.sequences, self.labels, self.bound = layout, sequences, labels, bound
        self.last_rows = layout.rows[1][sequences[:, 1]]
        self.deltas = layout.deltas(sequences)
        self.problem = MarginProblem(code)
        self.skip = np.zeros((code.shape[1], layout.rows.shape[2]))
        self.unknown = np.eye(layout.rows.shape[2])  # orthonormal basis (columns) of the directions on which G is free
        self.groups, self.at = list(groups), 0
        self.done = 0  # place in the open run
        self.left = np.zeros(0, dtype=np.int64)  # of an open free group, places in it that no block has yet
        self.usual = 1  # length of the last block
        self.blocks: list[np.ndarray] = []
        self.gates: list[Gate] = []
        self.maps: list[np.ndarray] = []
        self.closed: list[Closed | None] = []
        self._open()

    def go(self, num_heads: int | None = None) -> Staircase:
        """All blocks, or those that so many heads carry."""
        while self.at < len(self.groups) and (num_heads is None or len(self.gates) < num_heads or not self.blocks):
            self.step()
        dim = self.deltas.shape[1]
        maps = np.array(self.maps).reshape(len(self.maps), len(self.skip), dim)
        return Staircase(self.blocks, self.gates, self.skip, maps, self.closed, self.problem.pivots)

    def step(self) -> None:
        """The next block, as long as it can be."""
        problem, begun = self.problem, bool(self.blocks)
        gate = self._gate() if begun else None
        self.members = np.zeros(0, dtype=np.int64)
        problem.load(*self._parts(self.members), self.bound if begun else SKIP_BOUND * self.bound)
        closed = None
        while self.at < len(self.groups) and closed is None:
            group = self.groups[self.at]
            closed = self._extend_free(group) if isinstance(group, FreeGroup) else self._extend_sorted(group)
            if closed is None:
                self.at += 1
                self._open()
        if not len(self.members):
            raise StuckError("no map within the bound gets one more sequence right")
        dim = self.deltas.shape[1] if begun else 0
        if gate is not None:
            self.gates.append(gate)
            self.maps.append(problem.map[:, :dim].copy())
        self.skip = self.skip + problem.map[:, dim:] @ self.unknown.T
        if self.unknown.shape[1]:
            left, singular, _ = np.linalg.svd((self.last_rows[self.members] @ self.unknown).T)
            self.unknown = self.unknown @ left[:, int((singular > NEW).sum()) :]
        self.blocks.append(self.members)
        self.closed.append(closed)
        self.usual = len(self.members)

    def _open(self) -> None:
        self.done = 0
        if self.at < len(self.groups):
            group = self.groups[self.at]
            self.left = np.arange(len(group.members)) if isinstance(group, FreeGroup) else np.zeros(0, dtype=np.int64)

    def _gate(self) -> Gate:
        group = self.groups[self.at]
        if isinstance(group, FreeGroup):
            return group.gate(np.isin(np.arange(len(group.members)), self.left))
        return group[0].gate(self.done)

    def _parts(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self.last_rows[members]
        features = rows @ self.unknown
        if self.blocks:
            features = np.concatenate([self.deltas[members], features], axis=1)
        return features, self.labels[members], rows @ self.skip.T

    def _ease(self, members: np.ndarray) -> np.ndarray:
        """By how much the map as it is gets sequences right, beside how far it would have to move; they are put next in line."""
        features, labels, offsets = self._parts(members)
        start = len(self.members)
        self.problem.replace(start, features, labels, offsets)
        slack = self.problem.slack(start + len(members))[start:].min(axis=1)
        ease: np.ndarray = slack / np.linalg.norm(features, axis=1)
        return ease

    def _extend_free(self, group: FreeGroup) -> Closed | None:
        """Take in what can be taken of a free group; None if that is all of it."""
        problem = self.problem
        while len(self.left):
            start = len(self.members)
            ease = self._ease(group.members[self.left])
            order = self.left[np.argsort(-ease, kind="stable")]
            # Far from full, many at a time; then one by one beyond those that are right anyway.
            many = max(int(0.7 * self.usual) - start, int((ease >= 0).sum()), 1)
            attempts = [order[:many]] * (many > 1 and group.inverse is not None) + [order[i : i + 1] for i in range(len(order))]
            closed, tries = None, 0
            for tried in attempts:
                left = np.setdiff1d(self.left, tried)
                above = np.isin(np.arange(len(group.members)), left)
                if (tries == TRIES and group.inverse is not None) or not group.separable(above):
                    continue
                tries += len(tried) == 1
                problem.replace(start, *self._parts(group.members[tried]))
                state = problem.save()
                if problem.fit(start + len(tried)):
                    self.members, self.left, closed = np.concatenate([self.members, group.members[tried]]), left, None
                    break
                problem.restore(state)
                if closed is None or len(tried) == 1 < len(closed.members) - start:
                    closed = self._closed(group.members[tried])
            if closed is not None:
                return closed
        return None

    def _closed(self, members: np.ndarray) -> Closed:
        assert self.problem.refusal is not None
        return Closed(np.concatenate([self.members, members]), self.problem.refusal)

    def _extend_sorted(self, runs: list[Run]) -> Closed | None:
        """Take in what can be taken of a group in the best of several sortings; None if that is all of it."""
        problem, start = self.problem, len(self.members)
        if len(runs) > 1:  # untouched so far
            members = runs[0].members
            ease = self._ease(members)
            ranks = np.argsort(np.argsort(ease)).astype(float)
            direction = -np.linalg.lstsq(self.last_rows[members], ranks, rcond=None)[0]
            runs = [sorted_run(self.layout, members, self.sequences, direction), *runs]
        before = problem.save()
        best, best_run, best_state, closed = -1, runs[0], before, None
        for run in runs:
            ahead = run.members[self.done :]
            problem.replace(start, *self._parts(ahead))
            problem.restore(before)
            if best == len(ahead) or (best >= 0 and not problem.fit(start + best + 1)):
                continue
            reached, failed = self._gallop(run, start, best + 1 if best >= 0 else 0)
            if reached > best:
                best, best_run, best_state, closed = reached, run, problem.save(), failed
        taken = best_run.members[self.done : self.done + best]
        problem.replace(start, *self._parts(taken))
        problem.restore(best_state)
        self.members = np.concatenate([self.members, taken])
        if best:
            self.groups[self.at] = [best_run]
        self.done += best
        return closed if self.done < len(best_run.members) else None

    def _gallop(self, run: Run, start: int, reached: int) -> tuple[int, Closed | None]:
        """How many of a run's sequences, put next in line, can be taken in; the state is that of the last success."""
        problem, ahead = self.problem, run.members[self.done :]
        step = max(1, int(0.8 * self.usual) - start - reached)
        closed = None
        while step and reached < len(ahead):
            state = problem.save()
            tried = min(len(ahead), reached + step)
            if problem.fit(start + tried):
                reached, step = tried, max(1, min(step, 2))
            else:
                closed = self._closed(ahead[:tried])
                problem.restore(state)
                step //= 2
        # A cut needs room between the keys, or the step would have to be too steep.
        while reached > (start == 0) and run.gap(self.done + reached) < LEAST_GAP:
            reached -= 1
        return reached, closed
