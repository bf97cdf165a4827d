"""One stack trained from first to last step: which models share a stack, which batches they see, what is recorded."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from empirical._batches import WEIGHTS_STREAM, Batches, rows_of_a_step
from empirical._loss import Adam, Record
from empirical._loss import softmax_in_place as softmax_in_place
from empirical._loss import summed_loss_gradient as summed_loss_gradient
from empirical._models import drawn_weights, engine_of, kept_results, largest_result, layout_of, stack_elements, step_work
from empirical._padding import stack_key, widest_layout
from empirical._parameters import VARIANTS, Layout, StackedParameters, Variant
from empirical._steps import FixedStep, PlainStep
from theory.shapes import AttentionShape, TransformerShape
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
"""A stack is not split to feed another thread unless the parts have this many multiplications in each big product: threads that
call short operations spend the time they save waiting for the interpreter (five models of d = 10 and H = 11 on two threads, three
and two of them, are some 15% slower than on one)."""

REPORT_EVERY = 16
"""Steps between two looks at the loss."""

PADDED_DEVICES = ("cuda",)
"""Kinds of devices on which all models of a call that can be padded to one size are trained as one stack."""

Member = tuple[Layout, int]
"""A model to be trained: its layout and its repetition."""


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


def checked_memory(
    task: AssociationTask, shapes: Sequence[AttentionShape], settings: "TrainingSettings", variant: Variant
) -> None:
    """ValueError, naming the first shape whose single model would not fit in `MAX_MODEL_BYTES`."""
    size = settings.dtype.itemsize
    for shape in shapes:
        layout = layout_of(task.vocab_size, task.seq_len, shape, variant)
        needed = (4 * layout.num_parameters() + kept_results(layout, rows_of_a_step(task, settings))) * size
        if needed > MAX_MODEL_BYTES:
            raise ValueError(
                f"shapes: {shape} with vocab_size = {task.vocab_size} would take about {needed / 1024**3:.1f} GiB a model: "
                f"must be at most {MAX_MODEL_BYTES / 1024**3:.0f} GiB"
            )


def plan_stacks(
    members: Sequence[Member],
    task: AssociationTask,
    settings: "TrainingSettings",
    device: torch.device,
    workers: int = 1,
) -> list[list[int]]:
    """Which members, by their places, are trained together; as many stacks as `workers` where they stay large enough."""
    groups: dict[object, list[int]] = {}
    for place in sorted(range(len(members)), key=lambda n: members[n][0].shape.num_heads):
        groups.setdefault(stack_key(members[place][0], device.type in PADDED_DEVICES), []).append(place)
    if device.type in PADDED_DEVICES:
        return list(groups.values())
    rows = rows_of_a_step(task, settings)
    stacks: list[list[int]] = []
    for places in groups.values():
        widest = widest_layout([members[place][0] for place in places])
        fit = max(1, stack_elements(widest) // largest_result(widest, rows))
        feed = min(-(-workers // len(groups)), len(places) * step_work(widest, rows) // SPLIT_WORK)
        count = max(-(-len(places) // fit), feed)
        stacks += [part.tolist() for part in np.array_split(places, count)]  # of sizes as equal as possible
    return stacks


def run_stack(
    task: AssociationTask,
    members: Sequence[Member],
    settings: "TrainingSettings",
    seed: int,
    device: torch.device,
    report: Callable[[int, float], None],
    over: Event,
) -> list[StackResult]:
    """Train the models of one stack; one result for each of `members`.

    `report` is told, now and then, how many steps were done since it was last told and the mean loss. `over` is looked at in
    every step: once it is set, `Stopped` is raised.
    """
    layouts = [layout for layout, _ in members]
    scales = torch.tensor([layout.score_scale for layout in layouts], dtype=settings.dtype, device=device)
    parameters = StackedParameters(widest_layout(layouts), len(members), settings.dtype, device)
    if len(set(scales.tolist())) > 1:
        parameters.score_scale = scales.view(-1, 1, 1, 1)
    for place, (layout, repetition) in enumerate(members):
        parameters.put(place, drawn_weights(layout, weight_generator(layout, seed, repetition)))
    data = Batches(task, settings, seed, [repetition for _, repetition in members], device)
    engine = engine_of(parameters, rows_of_a_step(task, settings))
    record = Record(len(members), settings, device)
    take = (FixedStep if device.type in PADDED_DEVICES else PlainStep)(engine, Adam(parameters, settings), record)
    step, told, num_steps = 0, 0, settings.num_steps
    for epoch in range(settings.epochs):
        rate = settings.rate(epoch)
        for batch in data.epoch():
            if over.is_set():
                raise Stopped
            in_window = step in record.window
            step += 1
            looked_at = step % REPORT_EVERY == 0 or step == num_steps or step % settings.num_batches == 0
            losses = take(batch, rate, in_window, looked_at)
            if losses is not None:
                report(step - told, record.look(losses, epoch))
                told = step
        if all(record.reasons):
            break
    record.close(parameters)
    if step < num_steps:
        report(num_steps - told, float("nan"))
    return [
        StackResult(record.accuracy(place), record.loss(place), record.reasons[place], parameters.take(place, layout))
        for place, layout in enumerate(layouts)
    ]


class Stopped(Exception):
    """Raised inside a stack when the call it belongs to is over."""


@dataclass(frozen=True)
class FinishedStack:
    """A stack that has been trained: the places of its members in the call, their results, wall seconds it took."""

    places: list[int]
    results: list[StackResult]
    seconds: float


def run_stacks(
    task: AssociationTask,
    members: Sequence[Member],
    settings: "TrainingSettings",
    seed: int,
    device: torch.device,
    progress: Progress | None,
    finished: Callable[[FinishedStack], None],
) -> None:
    """Train all models of a call; `finished` hears of every stack, in the caller's thread, as soon as it is done.

    On CPUs stacks run side by side, as many as torch has threads, each on one thread. Operations on a stack are too short to
    be worth sharing among threads, and threads that wait for each other in every operation come to a halt where another
    program takes one of the processors. It also makes the result independent of the number of threads. The number that torch
    is set to is put back at the end.
    """
    threads = torch.get_num_threads()
    workers = min(threads, MAX_WORKERS) if device.type == "cpu" else 1
    stacks = plan_stacks(members, task, settings, device, workers)
    stacks.sort(key=lambda places: -len(places) * members[places[-1]][0].num_parameters())  # the longest first
    total, done = len(stacks) * settings.num_steps, 0
    messages: SimpleQueue[tuple[int, float] | FinishedStack | None] = SimpleQueue()
    over = Event()

    def one(places: list[int]) -> None:
        start = perf_counter()
        try:
            if over.is_set():
                raise Stopped
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():  # graphs belong to a thread's current one
                results = run_stack(
                    task, [members[place] for place in places], settings, seed, device,
                    lambda steps, loss: messages.put((steps, loss)), over,
                )  # fmt: skip
            messages.put(FinishedStack(places, results, perf_counter() - start))
        except BaseException:
            over.set()
            raise
        finally:
            messages.put(None)

    pool = ThreadPoolExecutor(max_workers=min(workers, len(stacks)), thread_name_prefix="headcount-training")
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        futures = [pool.submit(one, places) for places in stacks]
        running = len(stacks)
        while running:  # the caller's callbacks, and Ctrl-C, belong to this thread
            message = messages.get()
            if message is None:
                running -= 1
            elif isinstance(message, FinishedStack):
                finished(message)
            elif progress is not None:
                done += message[0]
                progress(done, total, message[1])
        for error in (future.exception() for future in futures):
            if error is not None and not isinstance(error, Stopped):
                raise error
    finally:
        over.set()
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


def weight_generator(layout: Layout, seed: int, repetition: int) -> np.random.Generator:
    """The stream of one model's initial weights: a function of seed, variant, shape and repetition alone."""
    shape = layout.shape
    words = [WEIGHTS_STREAM, seed, VARIANTS.index(layout.variant), shape.embed_dim, shape.num_heads, shape.head_dim, repetition]
    if isinstance(shape, TransformerShape):
        words += [shape.num_layers, shape.mlp_width]
    return np.random.default_rng(words)


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
