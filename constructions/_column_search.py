"""Column generation with exchange: heads are added at the best price, and taken out and priced anew until fewer of them do.

Embedding and code stay as drawn; the linear program over all maps decides after every change of the gates. Each step keeps what
it had unless the new total violation is lower, so that the violation with a given number of heads never rises.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from jaxtyping import Float, Int

from constructions._column_lp import Readout, solve_soft
from constructions._column_pricing import best_gates
from constructions._column_problem import Problem

ENOUGH = 0.05  # of the margin 1 asked for: then everything is right, and the last program widens the margin
LOOSE = 1e-2  # gap at which prices are good enough to look for gates
TIGHT = 1e-3  # gap at which violations are compared
STALLED = 0.9  # a sweep that leaves more of the violation than this has stalled
KICKED = 3  # heads replaced at random then
NEAR = 1.6  # from up to so many times the heads given, heads are dropped instead of added
SHORT = 3  # sweeps spent on holding a few more associations


@dataclass
class Budget:
    """What a search may still spend: sweeps, and seconds as a last stop.

    Attributes:
        sweeps: exchange sweeps left.
        deadline: on the monotonic clock; None for none.
        out_of_time: whether the deadline was what stopped something.
    """

    sweeps: int
    deadline: float | None = None
    out_of_time: bool = False

    def late(self) -> bool:
        """Whether time is over; remembered."""
        if self.deadline is not None and monotonic() > self.deadline:
            self.out_of_time = True
        return self.out_of_time


@dataclass
class Heads:
    """A set of gated heads with the program's answer for it; the columns are kept, as they are dear to compute."""

    problem: Problem
    starts: int
    rng: np.random.Generator
    budget: Budget
    active: Int[np.ndarray, "active"] = field(init=False)
    gates: Float[np.ndarray, "heads size"] = field(init=False)
    columns: list[np.ndarray] = field(init=False)
    readout: Readout = field(init=False)

    def __post_init__(self) -> None:
        self.active = np.arange(self.problem.num_inequalities)
        self.gates, self.columns = np.zeros((0, self.problem.gates.size)), []
        self.readout = self.solved(self.columns)

    def copy(self) -> "Heads":
        """A second set that begins as this one; random numbers are shared."""
        twin = object.__new__(Heads)
        twin.__dict__.update(self.__dict__, columns=list(self.columns))
        return twin

    def take(self, other: "Heads") -> None:
        """Become as the other set is."""
        self.gates, self.columns, self.readout = other.gates, list(other.columns), other.readout

    @property
    def right(self) -> bool:
        """Whether all inequalities asked for hold with margin to spare."""
        return self.readout.margin >= ENOUGH

    def asked(self, associations: Int[np.ndarray, " asked"]) -> None:
        """Ask for these associations only."""
        self.active = np.flatnonzero(np.isin(self.problem.owner, associations))
        self.readout = self.solved(self.columns)

    def matrix(self, columns: list[np.ndarray]) -> Float[np.ndarray, "active columns"]:
        """A: the skip's columns, then every head's."""
        whole = np.concatenate([self.problem.skip_columns, *columns], axis=1)
        return whole if len(self.active) == len(whole) else whole[self.active]

    def solved(self, columns: list[np.ndarray], tolerance: float = TIGHT, worthless: float = np.inf) -> Readout:
        """The program's answer for these columns."""
        return solve_soft(self.matrix(columns), tolerance=tolerance, worthless=worthless, enough_margin=ENOUGH)

    def priced(self, readout: Readout, known: np.ndarray | None = None) -> Float[np.ndarray, " size"]:
        """The most valuable gate found at these prices."""
        prices = np.zeros(self.problem.num_inequalities)
        prices[self.active] = readout.prices
        found = best_gates(self.problem.gates, self.problem.priced(prices), starts=self.starts, rng=self.rng, known=known)
        return found[0][0]

    def add(self) -> None:
        """One head more, at the best price found."""
        gate = self.priced(self.readout)
        self.gates = np.concatenate([self.gates, gate[None]])
        self.columns.append(self.problem.columns(gate))
        self.readout = self.solved(self.columns)

    def grow(self, most: int) -> None:
        """Heads up to `most`, or until all is right."""
        while not self.right and len(self.gates) < most and not self.budget.late():
            self.add()

    def losses(self) -> Float[np.ndarray, " heads"]:
        """How much violation each head's silence would add, with all else as it is."""
        weights = self.readout.weights
        width = self.problem.skip_columns.shape[1]
        scores = self.matrix(self.columns) @ weights
        silent = np.empty(len(self.columns))
        for head, columns in enumerate(self.columns):
            part = columns[self.active] @ weights[width * (head + 1) : width * (head + 2)]
            silent[head] = np.maximum(0.0, 1.0 - scores + part).sum()
        return silent

    def drop(self) -> None:
        """One head fewer: the one without which the re-solved violation is lowest (of those tried, when time is over)."""
        lowest, chosen = np.inf, 0
        for head in np.argsort(self.losses(), kind="stable"):
            rest = self.columns[:head] + self.columns[head + 1 :]
            readout = self.solved(rest, worthless=lowest)
            if readout.violation < lowest:
                lowest, chosen, kept = readout.violation, int(head), readout
            if readout.margin >= ENOUGH or self.budget.late():
                break
        self.gates = np.delete(self.gates, chosen, axis=0)
        del self.columns[chosen]
        self.readout = kept

    def exchange(self, head: int) -> bool:
        """Take one head out and price anew what comes in its place; kept when the violation falls."""
        columns = self.columns[:head] + self.columns[head + 1 :]
        gate = self.priced(self.solved(columns, LOOSE), self.gates[head : head + 1])
        columns.append(self.problem.columns(gate))
        readout = self.solved(columns, worthless=self.readout.violation)
        if readout.violation >= self.readout.violation and readout.margin < ENOUGH:
            return False
        self.gates = np.concatenate([np.delete(self.gates, head, axis=0), gate[None]])
        self.columns, self.readout = columns, readout
        return True

    def sweep(self) -> None:
        """Every head's turn to be exchanged, the least useful first."""
        self.budget.sweeps -= 1
        for columns in [self.columns[head] for head in np.argsort(self.losses(), kind="stable")]:
            if self.right or self.budget.late():
                break
            self.exchange(next(head for head, other in enumerate(self.columns) if other is columns))

    def kick(self) -> None:
        """A few heads drawn at random, priced anew whether that helps or not: the way out of a state no exchange improves."""
        removed = self.rng.choice(len(self.gates), min(KICKED, len(self.gates)), replace=False)
        stay = np.setdiff1d(np.arange(len(self.gates)), removed)
        self.gates, self.columns = self.gates[stay], [self.columns[head] for head in stay]
        self.readout = self.solved(self.columns, LOOSE)
        for _ in removed:
            self.add()

    def repair(self, sweeps: int | None = None) -> bool:
        """Sweeps until all is right, with a kick where they stall; what is left is the best state seen.

        Args:
            sweeps: at most so many of the budget's; None for all of them.

        Returns:
            Whether all is right.
        """
        least = self.budget.sweeps - (self.budget.sweeps if sweeps is None else min(sweeps, self.budget.sweeps))
        best = self.copy()
        while not self.right and len(self.gates) and self.budget.sweeps > least and not self.budget.late():
            before = self.readout.violation
            self.sweep()
            if self.right or self.readout.violation < best.readout.violation:
                best = self.copy()
            if not self.right and self.readout.violation > STALLED * before:
                self.take(best)
                self.kick()
        if not self.right:
            self.take(best)
        return self.right


def fewest(drawn: Iterable[Heads], enough: int = 0, reserve: int = 0) -> Heads:
    """The fewest heads found that hold everything, starting from the draw that needs fewest when heads are only added.

    Where time runs out before any draw holds everything, the draw with the least violation comes back.

    Args:
        drawn: sets without heads, one per embedding.
        enough: so few heads are all that is wanted.
        reserve: sweeps of the budget to leave alone.
    """
    best: Heads | None = None
    for heads in drawn:
        heads.grow(heads.problem.task.num_associations if best is None or not best.right else len(best.gates) - 1)
        if best is None or heads.right or (not best.right and heads.readout.violation < best.readout.violation):
            best = heads
        if heads.budget.late() or (best.right and len(best.gates) <= enough):
            break
    assert best is not None
    while best.right and len(best.gates) > enough and best.budget.sweeps > reserve and not best.budget.late():
        smaller = best.copy()
        smaller.drop()
        if not smaller.right and not smaller.repair(best.budget.sweeps - reserve):
            break
        best = smaller
    return best


def most_held(drawn: Iterable[Heads], num_heads: int) -> tuple[Heads, Int[np.ndarray, "held"]]:
    """With a given number of heads: all, if that is found to fit; else few violations, then a large set that is held strictly.

    Down from the fewest heads that hold all where that is near, else up from none in the draw with the least violation.
    """
    candidates = list(drawn)
    budget = candidates[0].budget
    above = fewest([heads.copy() for heads in candidates], num_heads, budget.sweeps)
    if above.right and num_heads < len(above.gates) <= NEAR * num_heads:
        best = fewest([above], num_heads, budget.sweeps // 2)
        while len(best.gates) > num_heads:
            best.drop()
    elif above.right and len(above.gates) <= num_heads:
        best = above
    else:
        best = candidates[0]
        for heads in candidates:
            heads.grow(num_heads)
            if heads.right or heads.readout.violation < best.readout.violation:
                best = heads
            if heads.right or budget.late():
                break
    total = best.problem.task.num_associations
    if best.right or best.repair((budget.sweeps + 1) // 2):
        return best, np.arange(total)
    held = holdable(best)
    while len(held) < total and budget.sweeps > 0 and not budget.late():
        # Ask for a few more than are held, the least violated ones first, and price for those.
        lacking = _least_violated(best, held)
        count = max(1, len(lacking) // 4)
        while count:
            trial = best.copy()
            trial.asked(np.concatenate([held, lacking[:count]]))
            if trial.right or trial.repair(SHORT):
                break
            count //= 2
        if not count:
            break
        best, held = trial, holdable(trial, np.sort(np.concatenate([held, lacking[:count]])))
    best.asked(held)
    return best, held


def holdable(heads: Heads, held: Int[np.ndarray, "held"] | None = None) -> Int[np.ndarray, "larger"]:
    """A set of associations that the heads hold all at once, which no other association can join (as the program finds).

    Args:
        heads: the gates; what they are asked for is left as it was.
        held: a set known to be held, to be enlarged. Without it one is found by giving up the most violated ones in turn.
    """
    trial = heads.copy()
    owner = heads.problem.owner
    total = heads.problem.task.num_associations
    if held is None:
        kept = np.arange(total)
        while len(kept):
            trial.asked(kept)
            if trial.right:
                break
            worst = np.full(total, -np.inf)
            scores = trial.matrix(trial.columns) @ trial.readout.weights
            np.maximum.at(worst, owner[trial.active], 1.0 - scores)
            failing = kept[worst[kept] > 1.0 - ENOUGH]
            count = max(1, len(failing) // 8)
            kept = np.setdiff1d(kept, failing[np.argsort(-worst[failing], kind="stable")[:count]])
        held = kept
    trial.asked(held)
    for candidate in _least_violated(trial, held):
        if heads.budget.late():
            break
        wider = trial.copy()
        wider.asked(np.append(held, candidate))
        if wider.right:
            trial, held = wider, np.append(held, candidate)
    return np.sort(held)


def _least_violated(heads: Heads, held: Int[np.ndarray, "held"]) -> Int[np.ndarray, "lacking"]:
    """The associations that are not held, those nearest to right first."""
    problem = heads.problem
    scores = np.concatenate([problem.skip_columns, *heads.columns], axis=1) @ heads.readout.weights
    worst = np.full(problem.task.num_associations, np.inf)
    np.minimum.at(worst, problem.owner, scores)
    order = np.argsort(-worst, kind="stable")
    return order[~np.isin(order, held)]
