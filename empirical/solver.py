"""What the model itself can hold: weights for a table of associations, found by damped Gauss-Newton steps on violated margins.

Neither a theorem's recipe nor gradient descent limits the count here: embeddings, positions, code and all heads move together in
second-order steps (Levenberg 1944, Marquardt 1963) on the squares of the margins' violations. What comes back is *solved*, not
built: nothing promises beforehand that a count will be reached, but each answer is a lower bound on capacity that anyone can
check by running, or certifying, the model.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from constructions.construction import logit_margins
from empirical._solver_net import Net, Pass
from empirical._solver_steps import DenseEngine, KrylovEngine
from theory.memorization import effective_parameters
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

__all__ = ["Solved", "SolverStep", "solve"]

FREE = ("all", "heads")
DENSE_PARAMETERS = 700  # up to here a factorisation costs less than the products that conjugate gradients need
DENSE_ELEMENTS = 1 << 22  # of the explicit Jacobian of z, all nets of the batch together
LARGEST_BATCH = 12
MOST_BYTES = 16 * 2**30  # of one pass and its derivatives, roughly
SLACK = 1.1  # violations are measured from this multiple of the wanted margin: squares leave a little of each violation


@dataclass(frozen=True)
class SolverStep:
    """One step, of the net that was best after it.

    Attributes:
        step: number of the step, from 1; all nets of a batch take it together.
        restart: which start the net came from, from 0.
        objective: half the sum of squared violations over all wrong labels, plus weight decay.
        violated: (association, wrong label) pairs whose margin is below the hinge.
        wrong: associations that are not held.
        damping: of that net's next step.
        inner_steps: conjugate-gradient products of this step; 0 for the dense engine.
        seconds: since the start.
    """

    step: int
    restart: int
    objective: float
    violated: int
    wrong: int
    damping: float
    inner_steps: int
    seconds: float


@dataclass(frozen=True)
class Solved:
    """The best model that the solver found, and how it went.

    Attributes:
        model: the weights, float64, on the CPU.
        task: what it was to hold.
        held: indices of the associations held, ascending, under an ordinary forward pass of `model` in float64.
        margin: least margin over all associations, in logit units; negative unless everything is held.
        exact: whether everything is held.
        reason: why it stopped short of all associations with the target margin; None when it did not.
        history: one record per step.
        restarts: starts drawn after the first.
        seed: of the starts.
        engine: "dense" or "matrix-free".
        seconds: wall clock.
    """

    model: AttentionOnlyTransformer
    task: AssociationTask
    held: Int[np.ndarray, " held"]
    margin: float
    exact: bool
    reason: str | None
    history: tuple[SolverStep, ...] = field(repr=False)
    restarts: int
    seed: int
    engine: str
    seconds: float

    @property
    def num_held(self) -> int:
        """How many associations the model holds."""
        return len(self.held)

    @property
    def bits_per_effective_parameter(self) -> float:
        """held * log2(N) / P_eff, with `theory.memorization.effective_parameters`."""
        model = self.model
        count = effective_parameters(model.vocab_size, model.seq_len, model.embed_dim, model.num_heads, model.head_dim)
        return self.num_held * math.log2(self.task.vocab_size) / count

    @property
    def seconds_to_exact(self) -> float | None:
        """When the first net held everything; None when none did."""
        return next((record.seconds for record in self.history if record.wrong == 0), None)


def solve(
    task: AssociationTask,
    shape: AttentionShape,
    *,
    seed: int = 0,
    free: str = "all",
    max_seconds: float | int = 60.0,
    target_margin: float | int = 1.0,
    max_steps: int | None = None,
    max_restarts: int | None = None,
    engine: str | None = None,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[SolverStep], None] | None = None,
) -> Solved:
    """Search for weights of one attention-only layer that hold every association of a task.

    Minimised are the squared violations max(0, m - margin)^2 over all wrong labels, with m a little above the target (1 for
    targets below that), by Gauss-Newton steps with Marquardt's damping. A net whose objective falls too little within a
    window of steps gives way to a new start; small nets run side by side in a batch. All is drawn from the seed and
    decided by counts of steps: the same call gives the same weights on the same machine and number of threads, as long as the
    clock does not stop it. S = 1 and H = 0 leave a linear memory.

    Args:
        task: the associations, any S >= 1.
        shape: d, H and d_h; width beyond d is legal and stays zero.
        seed: integer >= 0.
        free: "all", or "heads": token and position embeddings and the unembedding stay as drawn.
        max_seconds: last stop by the clock, > 0; a step under way is finished.
        target_margin: stop as soon as every margin reaches it, in logit units, >= 0; with 0 at the first exact recall.
        max_steps: stop after so many steps; None for no such limit.
        max_restarts: starts that may be drawn after the first batch; None for no such limit.
        engine: "dense", "matrix-free", or None to choose by size.
        batch: nets side by side in the dense engine; None to choose by size.
        dtype: number format of matrix-free steps, float32 or float64. Steps are accepted, and the dense ones made, in float64.
        device: where to compute.
        progress: called with every record.

    Returns:
        The best net found as a model, exact or not: fewest wrong first, then largest margin (margins
        beyond the hinge count as equal).

    Raises:
        ValueError: an argument outside what is said above, or arrays of more than MOST_BYTES.

    Source: derived here; Gauss-Newton for convex functions of smooth maps as in Burke and Ferris 1995.
    """
    if not isinstance(task, AssociationTask):
        raise ValueError(f"task = {task!r}: must be an AssociationTask")
    if not isinstance(shape, AttentionShape):
        raise ValueError(f"shape = {shape!r}: must be an AttentionShape")
    seed = checked_integer("seed", seed, 0)
    if free not in FREE:
        raise ValueError(f"free = {free!r}: must be 'all' or 'heads'")
    _check_number("max_seconds", max_seconds, positive=True)
    _check_number("target_margin", target_margin, positive=False)
    size = 64 * task.num_associations * max(1, task.seq_len - 1) * shape.num_heads * shape.embed_dim
    if size > MOST_BYTES:
        raise ValueError(
            f"shape = {shape} on {task.num_associations} associations: needs about {size / 2**30:.0f} GiB, at most "
            f"{MOST_BYTES / 2**30:.0f} GiB are legal"
        )
    steps = None if max_steps is None else checked_integer("max_steps", max_steps, 1)
    restarts = None if max_restarts is None else checked_integer("max_restarts", max_restarts, 0)
    if engine not in (None, "dense", "matrix-free"):
        raise ValueError(f"engine = {engine!r}: must be 'dense', 'matrix-free' or None")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype = {dtype}: must be torch.float32 or torch.float64")
    wanted = None if batch is None else checked_integer("batch", batch, 1)
    try:
        torch.empty(0, device=torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device = {device!r}: must be a device that torch can use here ({why})") from None
    net = Net(task, shape, free, hinge=max(1.0, SLACK * float(target_margin)), device=device)
    if free == "heads" and not net.num_free:
        raise ValueError(
            f"free = 'heads', num_heads = {shape.num_heads}, S = {task.seq_len}: at least one head and two positions are legal"
        )
    name = engine or ("dense" if net.num_free <= DENSE_PARAMETERS else "matrix-free")
    search = _Search(net, seed, name, wanted, dtype)
    return search.run(float(max_seconds), float(target_margin), steps, restarts, progress)


class _Search:
    """Nets side by side, their damping, and when each gives way to a new start."""

    decay = 1e-4
    first_damping = 0.1
    window = 60
    least_progress = 0.8  # the objective must fall to this share of what it was a window ago

    def __init__(self, net: Net, seed: int, engine: str, batch: int | None, dtype: torch.dtype) -> None:
        self.net, self.seed, self.name = net, seed, engine
        if engine == "dense":
            fit = DENSE_ELEMENTS // max(1, net.count * net.dim * net.size)
            size = min(LARGEST_BATCH, max(1, fit)) if batch is None else batch
            self.engine: DenseEngine | KrylovEngine = DenseEngine(net, self.decay)
        else:
            self.decay, self.first_damping = 1e-5, 1e-2
            size, self.engine = 1, KrylovEngine(net, self.decay, dtype=dtype)
        self.drawn = size
        self.origin = list(range(size))
        self.age = [0] * size
        self.theta = torch.stack([net.draw(seed, number) for number in range(size)]).to(net.device)
        self.damping = self.theta.new_full((size,), self.first_damping)
        self._look()
        self.reference = self.objective.clone()
        self.best: tuple[int, float, Tensor] = (net.count + 1, -math.inf, self.theta[0])

    def _look(self) -> None:
        self.done: Pass = self.net.forward(self.theta)
        self.violations, self.objective = self._measure(self.done, self.theta)

    def _measure(self, done: Pass, theta: Tensor) -> tuple[Tensor, Tensor]:
        violations = self.net.violations(done.margins)
        size = 0.5 * (violations**2).sum((1, 2)) + 0.5 * self.decay * (theta**2).sum(1)
        return violations, size.nan_to_num(nan=math.inf)

    def step(self) -> int:
        """One step of every net; how many inner steps it took."""
        proposal = self.engine.propose(self.theta, self.done, self.violations, self.damping)
        chosen, objective = self.theta, torch.full_like(self.objective, math.inf)
        kept: tuple[Pass, Tensor, Tensor] | None = None
        for candidate in proposal.candidates:
            moved = self.theta + candidate
            done = self.net.forward(moved)
            violations, reached = self._measure(done, moved)
            if len(moved) == 1 and bool(reached < objective):
                kept = (done, violations, reached)
            better = reached < objective
            chosen = torch.where(better[:, None], moved, chosen)
            objective = torch.where(better, reached, objective)
        accepted = (objective < self.objective) & ~proposal.failed
        gain = (self.objective - objective) / proposal.expected.clamp_min(1e-300)
        after = torch.where(gain > 0.6, self.damping / 3, torch.where(gain < 0.2, self.damping * 2, self.damping))
        self.damping = torch.where(accepted, after, self.damping * 4).clamp(1e-9, 1e12)
        self.theta = torch.where(accepted[:, None], chosen, self.theta)
        if len(self.theta) > 1:
            self._look()
        elif kept is not None and bool(accepted):  # a single net has been looked at already
            self.done, self.violations, self.objective = kept
        self.age = [age + 1 for age in self.age]
        return proposal.inner_steps

    def stalled(self) -> list[int]:
        """The nets at the end of a window in which they got too little better."""
        ends = [b for b, age in enumerate(self.age) if age % self.window == 0]
        found = [b for b in ends if not float(self.objective[b]) <= self.least_progress * float(self.reference[b])]
        for b in ends:
            self.reference[b] = self.objective[b]
        return found

    def replace(self, member: int) -> None:
        """A new start for one net of the batch."""
        self.theta[member] = self.net.draw(self.seed, self.drawn).to(self.net.device)
        self.damping[member] = self.first_damping
        self.engine.forget(member)
        self.origin[member], self.age[member] = self.drawn, 0
        self.drawn += 1

    def look_for_best(self) -> tuple[int, int]:
        """Keep the best net ever seen; which one of the batch is best now, and how many associations it gets wrong."""
        margins = (self.net.hinge - self.violations.amax(2)).nan_to_num(nan=-math.inf)  # capped at the hinge: enough to rank
        wrong, least = (margins <= 0).sum(1).tolist(), margins.amin(1).tolist()
        now = min(range(len(wrong)), key=lambda b: (wrong[b], -least[b]))
        if (wrong[now], -least[now]) < (self.best[0], -self.best[1]):
            self.best = (wrong[now], least[now], self.theta[now].clone())
        return now, wrong[now]

    def run(
        self,
        max_seconds: float,
        target: float,
        max_steps: int | None,
        max_restarts: int | None,
        progress: Callable[[SolverStep], None] | None,
    ) -> Solved:
        """Step until the target, a limit, or exact recall that widens no further."""
        history: list[SolverStep] = []
        begin, reason = time.perf_counter(), ""
        first = self.drawn
        while not reason:
            inner = self.step()
            now, wrong = self.look_for_best()
            record = SolverStep(
                step=len(history) + 1,
                restart=self.origin[now],
                objective=float(self.objective[now]),
                violated=int((self.violations[now] > 0).sum()),
                wrong=wrong,
                damping=float(self.damping[now]),
                inner_steps=inner,
                seconds=time.perf_counter() - begin,
            )
            history.append(record)
            if progress is not None:
                progress(record)
            if self.best[0] == 0 and self.best[1] >= target and self._reached(target):
                break
            stalled = self.stalled()
            if self.best[0] == 0 and now in stalled and wrong == 0:
                reason = "the margin no longer grew"
            elif max_restarts is not None and self.drawn - first + len(stalled) > max_restarts:
                reason = f"stalled, with {max_restarts} restarts allowed"
            elif max_steps is not None and record.step >= max_steps:
                reason = f"stopped after {max_steps} steps"
            elif record.seconds >= max_seconds:
                reason = f"stopped by the clock after {max_seconds:g} s"
            elif stalled:
                for member in stalled:
                    self.replace(member)
                self._look()
                for member in stalled:
                    self.reference[member] = self.objective[member]
        return self._result(target, reason, tuple(history), self.drawn - first, time.perf_counter() - begin)

    def _margins(self) -> tuple[AttentionOnlyTransformer, Tensor]:
        theta = self.best[2].clone()
        try:
            model = self.net.to_transformer(theta)
        except RuntimeError:  # the basis is singular to the last bit: the net next to it is measured instead
            self.net.views(theta)["skip"].diagonal().add_(1e-6)
            model = self.net.to_transformer(theta)
        return model, logit_margins(model, self.net.task)

    def _reached(self, target: float) -> bool:
        """Whether the model itself, after the change of basis, still has the margin that its net has."""
        least = float(self._margins()[1].min())
        return least > 0 and least >= target

    def _result(self, target: float, reason: str, history: tuple[SolverStep, ...], restarts: int, seconds: float) -> Solved:
        model, margins = self._margins()
        held = np.flatnonzero((margins > 0).numpy())
        least = float(margins.min())
        exact = len(held) == self.net.count
        if reason:
            what = f"all held, margin {least:.3g} below {target:g}" if exact else f"{len(held)} of {self.net.count} held"
            reason = f"{reason}: {what}"
        return Solved(model, self.net.task, held, least, exact, reason or None, history, restarts, self.seed, self.name, seconds)


def _check_number(name: str, value: object, *, positive: bool) -> None:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 <= number < math.inf or (positive and number == 0):
        legal = "a finite number > 0" if positive else "a finite number >= 0"
        raise ValueError(f"{name} = {value!r}: must be {legal}")
