"""One stack trained from first to last step: which models share a stack, which batches they see, what is recorded."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from empirical._batches import WEIGHTS_STREAM, Batches, rows_of_a_step
from empirical._parameters import VARIANTS, Layout, StackedParameters, Variant, initial_weights
from empirical._stacked import Engine, GeneralEngine, PairEngine
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

if TYPE_CHECKING:
    from empirical.training import TrainingSettings

Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, mean loss in nats."""

MAX_MODEL_BYTES = 4 * 1024**3
"""A single model whose parameters and intermediate results are expected to take more than this is refused (4 GiB)."""

MAX_WORKERS = 8
"""Stacks computed at the same time at most: beyond that they mostly wait for the interpreter."""

SPLIT_WORK = 1 << 21
"""A stack is not split to feed another thread unless the parts have this many multiplications in each big product."""

STACK_ELEMENTS = 1 << 18
"""Models share a stack as long as its largest intermediate result has at most this many entries."""

REPORT_EVERY = 16
"""Steps between two looks at the loss."""

NOTEBOOK_FLOOR = 1e-12
"""What the notebook adds to a probability before it takes the logarithm; reported losses do the same."""

Member = tuple[int, int]  # (index of the shape, repetition)


@dataclass(frozen=True)
class StackResult:
    """What training leaves of one model."""

    notebook_accuracy: float
    final_loss: float
    reason: str
    weights: dict[str, Tensor]

    def as_fields(self) -> dict[str, Any]:
        """The fields of `TrainedModel` that training fills in."""
        diverged = bool(self.reason)
        nan = float("nan")
        return {
            "notebook_accuracy": nan if diverged else self.notebook_accuracy,
            "final_loss": nan if diverged else self.final_loss,
            "diverged": diverged,
            "reason": self.reason,
            "weights": self.weights,
        }


def padded_heads(layout: Layout) -> int:
    """Heads of the stack that a model is trained in: its own, or the next multiple of 12 where heads are small.

    With k <= 4 a step costs the overhead of its calls rather than arithmetic, so several head counts in one stack are nearly
    free. The width depends on nothing but the model: its padding takes part in the rounding of its sums.
    """
    heads = layout.shape.num_heads
    return -(-heads // 12) * 12 if layout.inner_dim <= 4 else heads


def _use_pairs(layout: Layout) -> bool:
    """Whether the engine for pairs is the quicker one: S = 2, and k^2 products a row at most some 4 times H d_h (measured)."""
    width = layout.shape.num_heads * layout.shape.head_dim
    return layout.seq_len == 2 and layout.inner_dim**2 <= 4 * max(width, 32)


def _largest_result(layout: Layout, rows: int) -> int:
    """Entries of the largest intermediate result of one model."""
    if _use_pairs(layout):
        inner = max(layout.inner_dim**2, layout.shape.num_heads)
    else:
        inner = max(layout.inner_dim, layout.shape.num_heads * layout.shape.head_dim) * layout.seq_len
    tokens = 0 if _use_pairs(layout) else inner * layout.vocab_size
    return max(rows * max(inner, layout.vocab_size), tokens, layout.num_parameters())


def checked_memory(
    task: AssociationTask, shapes: Sequence[AttentionShape], settings: "TrainingSettings", variant: Variant
) -> None:
    """ValueError, naming the first shape whose single model would not fit in `MAX_MODEL_BYTES`."""
    size = settings.dtype.itemsize
    for shape in shapes:
        layout = Layout(task.vocab_size, task.seq_len, shape, variant)
        needed = (4 * layout.num_parameters() + 8 * _largest_result(layout, rows_of_a_step(task, settings))) * size
        if needed > MAX_MODEL_BYTES:
            raise ValueError(
                f"shapes: {shape} with vocab_size = {task.vocab_size} would take about {needed / 1024**3:.1f} GiB a model: "
                f"must be at most {MAX_MODEL_BYTES / 1024**3:.0f} GiB"
            )


def plan_stacks(
    layouts: Sequence[Layout],
    num_models: int,
    task: AssociationTask,
    settings: "TrainingSettings",
    device: torch.device,
    workers: int = 1,
) -> list[list[Member]]:
    """Which models are trained together; as many stacks as `workers` where they stay large enough to be worth it."""
    rows = rows_of_a_step(task, settings)
    groups: dict[tuple[int, ...], list[int]] = {}
    for number in sorted(range(len(layouts)), key=lambda n: layouts[n].shape.num_heads):
        shape = layouts[number].shape
        groups.setdefault((shape.embed_dim, shape.head_dim, padded_heads(layouts[number])), []).append(number)
    stacks: list[list[Member]] = []
    for numbers in groups.values():
        members = [(number, repetition) for number in numbers for repetition in range(num_models)]
        fit = max(1, STACK_ELEMENTS // _largest_result(layouts[numbers[-1]], rows)) if device.type == "cpu" else len(members)
        work = rows * layouts[numbers[-1]].inner_dim ** 2 * padded_heads(layouts[numbers[-1]])
        feed = min(-(-workers // len(groups)), len(members) * work // SPLIT_WORK)
        count = max(-(-len(members) // fit), feed)
        for part in np.array_split(np.arange(len(members)), count):  # of sizes as equal as possible
            stacks.append([members[place] for place in part])
    return stacks


def run_stack(
    task: AssociationTask,
    layouts: Sequence[Layout],
    members: list[Member],
    settings: "TrainingSettings",
    seed: int,
    device: torch.device,
    report: Callable[[int, float], None],
) -> list[StackResult]:
    """Train the models of one stack; one result for each of `members`.

    `report` is told, now and then, how many steps were done since it was last told and the mean loss; it may raise to stop.
    """
    widest = layouts[members[0][0]]
    widest = replace(widest, shape=replace(widest.shape, num_heads=padded_heads(widest)))
    parameters = StackedParameters(widest, len(members), settings.dtype, device)
    for place, (number, repetition) in enumerate(members):
        parameters.put(place, initial_weights(layouts[number], weight_generator(layouts[number], seed, repetition)))
    data = Batches(task, settings, seed, [repetition for _, repetition in members], device)
    engine: Engine = (PairEngine if _use_pairs(widest) else GeneralEngine)(parameters, rows_of_a_step(task, settings))
    record = _Record(len(members), settings, device)
    adam = _Adam(parameters, settings)
    step, told, num_steps = 0, 0, settings.num_steps
    for epoch in range(settings.epochs):
        rate = settings.rate(epoch)
        for tokens, targets, weights in data.epoch():
            probabilities = softmax_in_place(engine.logits(tokens))
            if step in record.window:
                record.add(probabilities, targets, weights)
            step += 1
            if step % REPORT_EVERY == 0 or step == num_steps or step % settings.num_batches == 0:
                report(step - told, record.look(probabilities, targets, weights, epoch))
                told = step
            engine.backward(summed_loss_gradient(probabilities, targets, weights))
            adam.step(rate)
        if all(record.reasons):
            break
    record.close(parameters)
    if step < num_steps:
        report(num_steps - told, float("nan"))
    return [
        StackResult(
            record.accuracy(place),
            record.loss(place),
            record.reasons[place],
            parameters.take(place, layouts[number].shape.num_heads),
        )
        for place, (number, _) in enumerate(members)
    ]


class _Stopped(Exception):
    """Raised inside a stack when the call it belongs to is over."""


def run_stacks(
    task: AssociationTask,
    layouts: Sequence[Layout],
    num_models: int,
    settings: "TrainingSettings",
    seed: int,
    device: torch.device,
    progress: Progress | None,
) -> dict[Member, StackResult]:
    """Train all models of a call. On CPUs stacks run side by side, as many as torch has threads, each on one thread.

    Operations on a stack are too short to be worth sharing among threads, and threads that wait for each other in every
    operation come to a halt where another program takes one of the processors. It also makes the result independent of the
    number of threads. The number that torch is set to is put back at the end.
    """
    threads = torch.get_num_threads()
    workers = min(threads, MAX_WORKERS) if device.type == "cpu" else 1
    stacks = plan_stacks(layouts, num_models, task, settings, device, workers)
    stacks.sort(key=lambda members: -len(members) * layouts[members[0][0]].num_parameters())  # the longest first
    total, done = len(stacks) * settings.num_steps, 0
    messages: SimpleQueue[tuple[int, float] | None] = SimpleQueue()
    over = Event()

    def tell(steps: int, loss: float) -> None:
        if over.is_set():
            raise _Stopped
        messages.put((steps, loss))

    def one(members: list[Member]) -> list[StackResult]:
        try:
            return run_stack(task, layouts, members, settings, seed, device, tell)
        except BaseException:
            over.set()
            raise
        finally:
            messages.put(None)

    pool = ThreadPoolExecutor(max_workers=min(workers, len(stacks)), thread_name_prefix="headcount-training")
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        futures = [pool.submit(one, members) for members in stacks]
        running = len(stacks)
        while running:  # the caller's callback, and Ctrl-C, belong to this thread
            message = messages.get()
            if message is None:
                running -= 1
            elif progress is not None:
                done += message[0]
                progress(done, total, message[1])
        for error in (future.exception() for future in futures):
            if error is not None and not isinstance(error, _Stopped):
                raise error
        return {
            member: result
            for members, future in zip(stacks, futures, strict=True)
            for member, result in zip(members, future.result(), strict=True)
        }
    finally:
        over.set()
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


def weight_generator(layout: Layout, seed: int, repetition: int) -> np.random.Generator:
    """The stream of one model's initial weights: a function of seed, variant, shape and repetition alone."""
    shape = layout.shape
    sizes = (shape.embed_dim, shape.num_heads, shape.head_dim)
    return np.random.default_rng([WEIGHTS_STREAM, seed, VARIANTS.index(layout.variant), *sizes, repetition])


def softmax_in_place(logits: Float[Tensor, "models vocab_size rows"]) -> Float[Tensor, "models vocab_size rows"]:
    """Softmax over the vocabulary; on CPUs torch's own takes twice as long along an axis that is not the last."""
    logits.sub_(logits.amax(1, keepdim=True)).exp_()
    return logits.div_(logits.sum(1, keepdim=True))


def summed_loss_gradient(
    probabilities: Float[Tensor, "models vocab_size rows"],
    targets: Int[Tensor, "models 1 rows"],
    weights: Float[Tensor, "models rows"] | None,
) -> Float[Tensor, "models vocab_size rows"]:
    """Gradient by the logits of the cross-entropy summed (not averaged) over the batch; overwrites `probabilities`.

    It is (softmax - one-hot) times the row weights.
    """
    minus_one = probabilities.new_full((1, 1, 1), -1.0)
    gradient = probabilities.scatter_add_(1, targets, minus_one.expand(targets.shape))
    return gradient if weights is None else gradient.mul_(weights.unsqueeze(1))


class _Adam:
    """Adam on the flat parameters. The gradient it gets is that of the summed loss, batch_size times the mean's; with
    epsilon scaled alike, the step is the one that Adam takes for the mean."""

    def __init__(self, parameters: StackedParameters, settings: "TrainingSettings") -> None:
        self.parameters, self.settings, self.steps = parameters, settings, 0
        self.mean, self.square = torch.zeros_like(parameters.flat), torch.zeros_like(parameters.flat)
        self.root = torch.empty_like(parameters.flat)

    def step(self, rate: float) -> None:
        first, second = self.settings.betas
        self.steps += 1
        gradient = self.parameters.flat_grad
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        correction = (1 - second**self.steps) ** 0.5
        torch.sqrt(self.square, out=self.root).add_(self.settings.epsilon * self.settings.batch_size * correction)
        self.parameters.flat.addcdiv_(self.mean, self.root, value=-rate * correction / (1 - first**self.steps))


class _Record:
    """Accuracy and loss over the window, and which models diverged."""

    def __init__(self, num_models: int, settings: "TrainingSettings", device: torch.device) -> None:
        last = settings.num_steps - 1
        self.window = range(last - settings.accuracy_window, last)
        self.batch_size, self.epochs = settings.batch_size, settings.epochs
        self.correct = torch.zeros(num_models, dtype=torch.float64, device=device)
        self.total_loss = torch.zeros(num_models, dtype=torch.float64, device=device)
        self.reasons = [""] * num_models

    def add(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None) -> None:
        right = (probabilities.argmax(dim=1, keepdim=True) == targets).squeeze(1).to(torch.float64)
        self.correct += (right if weights is None else right * weights).sum(1)
        self.total_loss += self._loss(probabilities, targets, weights) * self.batch_size

    def _loss(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None) -> Float[Tensor, " models"]:
        rows = -(probabilities.gather(1, targets).squeeze(1) + NOTEBOOK_FLOOR).log()
        return (rows if weights is None else rows * weights).sum(1).to(torch.float64) / self.batch_size

    def look(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None, epoch: int) -> float:
        """Mean loss of the models still finite on this batch, after noting those that are not."""
        losses = self._loss(probabilities, targets, weights).tolist()
        finite = [loss for loss in losses if abs(loss) < float("inf")]
        for place, loss in enumerate(losses):
            if not abs(loss) < float("inf") and not self.reasons[place]:
                self.reasons[place] = f"loss not finite in epoch {epoch + 1} of {self.epochs}"
        return sum(finite) / len(finite) if finite else float("nan")

    def close(self, parameters: StackedParameters) -> None:
        """Note the models that the last steps broke."""
        for place in range(len(self.reasons)):
            whole = all(bool(torch.isfinite(block[place]).all()) for block in parameters.block.values())
            if not self.reasons[place] and not whole:
                self.reasons[place] = "parameters not finite after the last step"

    def accuracy(self, place: int) -> float:
        return float(self.correct[place]) / (len(self.window) * self.batch_size)

    def loss(self, place: int) -> float:
        return float(self.total_loss[place]) / (len(self.window) * self.batch_size)


@contextmanager
def shown_progress(progress: Progress | bool) -> Iterator[Progress | None]:
    """The callback to report to: the caller's own, none, or one that draws a rich bar while the context is open."""
    if progress is True:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, TextColumn("loss {task.fields[loss]:.3f}")) as bar:
            row = bar.add_task("training", total=None, loss=float("nan"))
            yield lambda step, total, loss: bar.update(row, completed=step, total=total, loss=loss)
    elif progress is False:
        yield None
    elif callable(progress):
        yield progress
    else:
        raise ValueError(f"progress = {progress!r}: must be True, False or a callable")
