"""What `headcount hops train` does: runs of a tier, some side by side in processes of their own, then their errors."""

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.progress import BarColumn, Progress, TaskID, TimeElapsedColumn
from rich.table import Table

from empirical.hop_errors import measure_hops, typed
from empirical.hop_thresholds import thresholds
from empirical.hop_training import TIERS, HopRun, TrainedHops, read_run, train_hops
from headcount import console
from headcount._output import output_folder
from headcount._progress import progress_bar
from theory._whole_files import whole_files

ERRORS = "errors.csv"
SOURCE = "trained here, dropout off when measured"
PATIENCE = 10.0
"""Seconds that processes get to write their last checkpoint before they are ended."""


@dataclass(frozen=True)
class Message:
    """What a run tells the process that shows it."""

    name: str
    step: int = 0
    loss: float = 0.0
    failure: str = ""
    finished: bool = False


def train(
    *, names: Sequence[str], tier: str, jobs: int | None, device: str, strings: int, seed: int, list_only: bool, out: Path
) -> None:
    """`headcount hops train`."""
    runs = chosen_runs(names, tier)
    if list_only:
        console.show(_settings(runs, tier))
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device here; cpu is legal")
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as folder, output_folder(folder / tier, "--out") as place:
        missing = [run for run in runs if not measured(place / run.name, run, strings, seed)]
        if missing:
            try:
                _train_all(missing, place, device, strings, seed, min(jobs or os.cpu_count() or 1, len(missing)))
            except KeyboardInterrupt:
                words = f"headcount hops train {' '.join([*names, ''])}--tier {tier} --out {out}"
                console.warn(f"interrupted; checkpoints are in {place}, the same command goes on from there: {words}")
                raise
        console.show(_results(runs, place, tier))
        console.say(f"models and {ERRORS} of every run in {place}")


def chosen_runs(names: Sequence[str], tier: str) -> tuple[HopRun, ...]:
    """The runs of a tier with these names, all without a name. Raises ValueError for one that the tier does not have."""
    runs = {run.name: run for run in TIERS[tier]}
    for name in names:
        if name not in runs:
            raise ValueError(f"{name!r}: is no run of tier {tier}; {', '.join(runs)} are legal")
    return tuple(runs[name] for name in names) if names else tuple(runs.values())


def measured(folder: Path, run: HopRun, strings: int, seed: int) -> bool:
    """Whether the run in a folder is finished and its errors are measured on so many strings of this seed."""
    return (folder / "run.json").is_file() and read_run(folder).finished and _has_errors(folder, run, strings, seed)


def _has_errors(folder: Path, run: HopRun, strings: int, seed: int) -> bool:
    if not (folder / ERRORS).is_file():
        return False
    table = read_errors(folder / ERRORS)
    whole = len(table) == run.task.max_hops - run.task.min_hops + 1
    return whole and str(table["source"].iloc[0]).endswith(_how_measured(strings, seed))


def _how_measured(strings: int, seed: int) -> str:
    return f"{strings} strings of seed {seed}"


def read_errors(path: Path) -> pd.DataFrame:
    """A table of errors as `hops train` writes it. Raises ValueError in one line for anything else."""
    try:
        return typed(pd.read_csv(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: is no table of errors ({str(error).splitlines()[0]})") from None


def _work(run: HopRun, folder: Path, device: str, strings: int, seed: int, tell: Any) -> TrainedHops:
    """One run, from where it stands to its table of errors."""
    def report(step: int, steps: int, loss: float) -> None:
        tell(Message(run.name, step, loss))

    trained = train_hops(run, folder, device=device, progress=report)
    if not trained.failure:
        errors = measure_hops(trained.model, run.task, num_strings=strings, seed=seed)
        table = errors.table(
            kind="trained", name="adamw", tier=folder.parent.name, seed=run.seed, train_samples=run.train_samples,
            source=f"{SOURCE}, {_how_measured(strings, seed)}",
        )  # fmt: skip
        with whole_files(folder / ERRORS) as (partial,):
            table.to_csv(partial, index=False)
    return trained


def _train_all(runs: Sequence[HopRun], place: Path, device: str, strings: int, seed: int, jobs: int) -> None:
    with progress_bar("{task.description}", BarColumn(), TimeElapsedColumn()) as bar:
        tasks = {run.name: bar.add_task(run.name, total=run.steps) for run in runs}
        if jobs == 1:
            with _one_thread():
                for run in runs:
                    _work(run, place / run.name, device, strings, seed, lambda message: _show(bar, tasks, message))
            return
        with _Processes(place, device, strings, seed, jobs) as processes:
            for message in processes.run(list(runs)):
                _show(bar, tasks, message)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Every run on one thread, so that its weights don't depend on how many run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _show(bar: Progress, tasks: dict[str, TaskID], message: Message) -> None:
    bar.update(tasks[message.name], completed=message.step, description=f"{message.name}, loss {message.loss:.3f}")


class _Processes:
    """Runs in processes of their own, so many at a time; on the way out those still at work are asked to stop."""

    def __init__(self, place: Path, device: str, strings: int, seed: int, jobs: int) -> None:
        self.arguments, self.place, self.jobs = (device, strings, seed), place, jobs
        self.context = multiprocessing.get_context("spawn")
        self.messages: Any = self.context.Queue()
        self.working: dict[str, SpawnProcess] = {}

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_error: object) -> None:
        ends = time.monotonic() + PATIENCE
        for process in self.working.values():
            if process.is_alive() and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)  # a second Ctrl-C for those that got the terminal's: harmless
        for process in self.working.values():
            process.join(max(0.0, ends - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self.messages.close()
        self.messages.join_thread()

    def run(self, waiting: list[HopRun]) -> Iterator[Message]:
        """Start runs as places get free; their messages as they come. Raises ValueError with the failure of a run."""
        waiting = sorted(waiting, key=lambda run: -run.num_layers)  # the longest first
        while waiting or self.working:
            while waiting and len(self.working) < self.jobs:
                self._start(waiting.pop(0))
            try:
                message: Message = self.messages.get(timeout=0.5)
            except queue.Empty:
                self._look_for_the_dead()
                continue
            if message.failure:
                raise ValueError(f"run {message.name}: {message.failure}")
            if message.finished:
                self.working.pop(message.name).join()
            else:
                yield message

    def _start(self, run: HopRun) -> None:
        arguments = (run, self.place / run.name, *self.arguments, self.messages)
        process = self.context.Process(target=_in_a_process, args=arguments, daemon=True)
        process.start()
        self.working[run.name] = process

    def _look_for_the_dead(self) -> None:
        for name, process in self.working.items():
            if not process.is_alive() and self.messages.empty():
                raise ValueError(f"run {name}: its process ended with code {process.exitcode}; the same command goes on from its "
                                 "last checkpoint")


def _in_a_process(run: HopRun, folder: Path, device: str, strings: int, seed: int, messages: Any) -> None:
    told = [0.0]

    def tell(message: Message) -> None:
        if time.monotonic() - told[0] > 0.3:
            told[0] = time.monotonic()
            messages.put(message)

    try:
        with _one_thread():
            _work(run, folder, device, strings, seed, tell)
        messages.put(Message(run.name, run.steps, finished=True))
    except KeyboardInterrupt:
        pass  # the checkpoint is written, and whoever started this process says so
    except (ValueError, OSError) as error:
        messages.put(Message(run.name, failure=str(error)))


def _settings(runs: Sequence[HopRun], tier: str) -> Table:
    headings = ("run", "layers", "heads", "d", "symbols", "length", "hops", "steps", "batch", "rate", "samples")
    table = _frame(f"{len(runs)} runs of tier {tier}", *headings)
    for run in runs:
        settings, task = asdict(run), run.task
        table.add_row(
            run.name, str(run.num_layers), str(run.num_heads), str(run.embed_dim), str(task.vocab_size), str(task.seq_len),
            f"{task.min_hops}..{task.max_hops}", f"{run.steps:,}", str(run.batch_size), f"{settings['learning_rate']:g}",
            "fresh" if run.train_samples is None else f"{run.train_samples:,}",
        )  # fmt: skip
    return table


def _results(runs: Sequence[HopRun], place: Path, tier: str) -> Table:
    headings = ("run", "layers", "heads", "1%", "5%", "10%", "error at k = 1, 2, 4, ..")
    table = _frame(f"Largest k with all errors below, tier {tier}", *headings)
    for run in runs:
        folder = place / run.name
        trained = read_run(folder)
        if trained.failure or not (folder / ERRORS).is_file():
            table.add_row(run.name, str(run.num_layers), str(run.num_heads), "-", "-", "-", trained.failure or "not measured")
            continue
        errors = read_errors(folder / ERRORS)
        reached = thresholds(errors)
        by_hops = errors.set_index("num_hops")["error"]
        shown = [hops for hops in (1, 2, 4, 8, 16) if hops in by_hops.index]
        table.add_row(
            run.name, str(run.num_layers), str(run.num_heads), *(_threshold(reached, level) for level in (0.01, 0.05, 0.1)),
            ", ".join(f"{by_hops[hops]:.3f}" for hops in shown),
        )  # fmt: skip
    return table


def _threshold(reached: pd.DataFrame, level: float) -> str:
    row = reached[reached["level"] == level].iloc[0]
    return f"{'>= ' if row['censored'] else ''}{int(row['threshold'])} [{int(row['low'])}, {int(row['high'])}]"


def _frame(title: str, *headings: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "run" else "right", no_wrap=True)
    return table
