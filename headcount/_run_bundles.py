"""Many training runs under one bar: the dear ones first, short ones together in one process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from rich.progress import BarColumn, TimeElapsedColumn

from empirical.sweep import torch_threads
from headcount._progress import progress_bar
from headcount._run_processes import THREADS, Message, RunT, Work, run_side_by_side


@dataclass(frozen=True)
class Bundle(Generic[RunT]):
    """Runs that one process trains, one after another."""

    runs: tuple[RunT, ...]

    @property
    def name(self) -> str:
        """That of the first, and how many more."""
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return self.runs[0].name + more

    @property
    def steps(self) -> int:
        """Of all together."""
        return sum(run.steps for run in self.runs)


def bundles(
    runs: Sequence[RunT], jobs: int, expected_seconds: Callable[[RunT], float], most_seconds: float
) -> list[Bundle[RunT]]:
    """Runs by falling cost, short ones together up to `most_seconds`, but no more than a job's fair share of all."""
    most = min(most_seconds, sum(map(expected_seconds, runs)) / jobs)
    found, open_runs, cost = list[Bundle[RunT]](), list[RunT](), 0.0
    for run in sorted(runs, key=expected_seconds, reverse=True):
        if open_runs and cost + expected_seconds(run) > most:
            found.append(Bundle(tuple(open_runs)))
            open_runs, cost = [], 0.0
        open_runs.append(run)
        cost += expected_seconds(run)
    return [*found, Bundle(tuple(open_runs))]


def train_under_a_bar(
    runs: Sequence[RunT],
    jobs: int,
    expected_seconds: Callable[[RunT], float],
    most_seconds: float,
    here: Callable[[RunT, Callable[[Message], None]], object],
    work: Work[Bundle[RunT]],
    words: Callable[[Message], str],
) -> None:
    """Train runs, `jobs` at a time, under a bar of how far all of them are.

    Args:
        runs: with different names.
        jobs: processes; 1 trains in this one.
        expected_seconds: of a run; only their ratios matter to the bar.
        most_seconds: shorter runs share a process up to so many.
        here: trains one run in this process and tells how it goes on.
        work: trains a bundle in a process of its own; one that pickle can name.
        words: what stands beside the bar, from the last message.
    """
    with progress_bar("{task.description}", BarColumn(), TimeElapsedColumn()) as bar:
        total = bar.add_task(f"{len(runs)} to train", total=sum(map(expected_seconds, runs)))
        costs, done = {run.name: expected_seconds(run) / run.steps for run in runs}, dict[str, int]()

        def show(message: Message) -> None:
            done[message.name] = message.step
            bar.update(total, completed=sum(costs[name] * step for name, step in done.items()), description=words(message))

        if jobs == 1:
            with torch_threads(THREADS):
                for run in sorted(runs, key=expected_seconds, reverse=True):
                    here(run, show)
            return
        for message in run_side_by_side(bundles(runs, jobs, expected_seconds, most_seconds), work, jobs):
            show(message)
