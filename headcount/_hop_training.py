"""What `headcount hops train` does: runs of a tier, some side by side, then their errors."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from rich.progress import BarColumn, TimeElapsedColumn
from rich.table import Table

from empirical.hop_errors import measure_hops, typed
from empirical.hop_thresholds import fit, thresholds, verdict
from empirical.hop_training import TIERS, HopRun, TrainedHops, read_run, train_hops
from empirical.sweep import torch_threads
from headcount import console
from headcount._arguments import again
from headcount._hop_cli import RESULTS, STRINGS
from headcount._output import output_folder
from headcount._progress import progress_bar
from headcount._run_processes import THREADS, Message, run_side_by_side
from theory._whole_files import whole_files

ERRORS = "errors.csv"
LEVELS = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class _Work:
    """One run, from where it stands to its table of errors."""

    place: Path
    device: str
    strings: int
    seed: int

    def __call__(self, run: HopRun, tell: Callable[[Message], None]) -> TrainedHops:
        folder = self.place / run.name

        def show(step: int, steps: int, loss: float) -> None:
            tell(Message(run.name, step, loss, steps))

        trained = train_hops(run, folder, device=self.device, progress=show)
        if not trained.failure:
            errors = measure_hops(trained.model, run.task, num_strings=self.strings, seed=self.seed)
            table = errors.table(
                kind="trained", name="adamw", tier=self.place.name, seed=run.seed, train_samples=run.train_samples,
                source=_source(self.strings, self.seed),
            )  # fmt: skip
            with whole_files(folder / ERRORS) as (partial,):
                table.to_csv(partial, index=False)
        return trained


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
            most = jobs or (1 if device == "cuda" else len(os.sched_getaffinity(0)))
            try:
                _train_all(missing, _Work(place, device, strings, seed), min(most, len(missing)))
            except KeyboardInterrupt:
                words = _command(names, tier, jobs, device, strings, seed, out)
                console.warn(f"interrupted; the same command goes on from the last checkpoints in {place}: {words}")
                raise
        tables = {run.name: read_errors(place / run.name / ERRORS, run) for run in runs if (place / run.name / ERRORS).is_file()}
        console.show(_results(runs, tables, place, tier))
        for line in _verdicts(runs, tables):
            console.say(line)
        console.say(f"models and {ERRORS} of every run in {place}")


def _command(
    names: Sequence[str], tier: str, jobs: int | None, device: str, strings: int, seed: int, out: Path
) -> str:
    given = {"--jobs": (jobs, None), "--device": (device, "cpu"), "--strings": (strings, STRINGS), "--seed": (seed, 0),
             "--out": (out, RESULTS)}  # fmt: skip
    return again(["hops", "train", *names, "--tier", tier], given)


def chosen_runs(names: Sequence[str], tier: str) -> tuple[HopRun, ...]:
    """The runs of a tier with these names, all without a name. Raises ValueError for one that the tier does not have."""
    runs = {run.name: run for run in TIERS[tier]}
    for name in names:
        if name not in runs:
            raise ValueError(f"{name!r}: is no run of tier {tier}; {', '.join(runs)} are legal")
    return tuple(runs[name] for name in names) if names else tuple(runs.values())


def measured(folder: Path, run: HopRun, strings: int, seed: int) -> bool:
    """Whether the run in a folder is finished and its errors are measured on so many strings of this seed."""
    if not (folder / "run.json").is_file() or not read_run(folder).finished or not (folder / ERRORS).is_file():
        return False
    try:
        return set(read_errors(folder / ERRORS, run)["source"]) == {_source(strings, seed)}
    except ValueError as error:
        console.warn(f"{error}; they are measured again")
        return False


def _source(strings: int, seed: int) -> str:
    return f"trained here, dropout off when measured, {strings} strings of seed {seed}"


def read_errors(path: Path, run: HopRun) -> pd.DataFrame:
    """The table of errors that `hops train` wrote for a run. Raises ValueError in one line for anything else."""
    try:
        table = typed(pd.read_csv(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: is no table of errors ({str(error).splitlines()[0]})") from None
    task, wanted = run.task, {"num_layers": run.num_layers, "num_heads": run.num_heads, "embed_dim": run.embed_dim}
    wanted |= {"seq_len": task.seq_len, "vocab_size": task.vocab_size, "max_hops": task.max_hops, "seed": run.seed}
    ends = table[["error_low", "error", "error_high"]].dropna().to_numpy()
    right = (
        list(table["num_hops"]) == list(range(task.min_hops, task.max_hops + 1)) and set(table["kind"]) == {"trained"}
        and all((table[name] == value).all() for name, value in wanted.items())
        and bool((ends[:, :2] <= ends[:, 1:]).all() and (ends >= 0).all() and (ends <= 1).all())
    )  # fmt: skip
    if not right:
        advice = "without the file, headcount hops train measures them"
        raise ValueError(f"{path}: has not the errors of the run {run.name}; {advice}")
    return table


def _train_all(runs: Sequence[HopRun], work: _Work, jobs: int) -> None:
    with progress_bar("{task.description}", BarColumn(), TimeElapsedColumn()) as bar:
        tasks = {run.name: bar.add_task(run.name, total=run.steps) for run in runs}

        def show(message: Message) -> None:
            words = f"{message.name}, loss {message.loss:.3f}"
            bar.update(tasks[message.name], completed=message.step, description=words)

        if jobs == 1:
            with torch_threads(THREADS):
                for run in runs:
                    work(run, show)
            return
        deepest_first = sorted(runs, key=lambda run: -run.num_layers)
        for message in run_side_by_side(deepest_first, work, jobs):
            show(message)


def _settings(runs: Sequence[HopRun], tier: str) -> Table:
    headings = ("run", "layers", "heads", "d", "symbols", "length", "hops", "steps", "batch", "rate", "samples")
    table = console.frame(f"{len(runs)} runs of tier {tier}", *headings, left=("run",))
    for run in runs:
        task = run.task
        table.add_row(
            run.name, str(run.num_layers), str(run.num_heads), str(run.embed_dim), str(task.vocab_size), str(task.seq_len),
            f"{task.min_hops}..{task.max_hops}", f"{run.steps:,}", str(run.batch_size), f"{run.learning_rate:g}",
            "fresh" if run.train_samples is None else f"{run.train_samples:,}",
        )  # fmt: skip
    return table


def _results(runs: Sequence[HopRun], tables: Mapping[str, pd.DataFrame], place: Path, tier: str) -> Table:
    headings = ("run", "layers", "heads", "1%", "5%", "10%", "error at k = 1, 2, 4, ..")
    table = console.frame(f"Largest k with all errors below, tier {tier}", *headings, left=("run",))
    for run in runs:
        failure = read_run(place / run.name).failure
        if failure or run.name not in tables:
            table.add_row(run.name, str(run.num_layers), str(run.num_heads), "-", "-", "-", failure or "not measured")
            continue
        errors = tables[run.name]
        reached = thresholds(errors, LEVELS)
        by_hops = errors.set_index("num_hops")["error"]
        shown = [hops for hops in (1, 2, 4, 8, 16) if hops in by_hops.index]
        table.add_row(
            run.name, str(run.num_layers), str(run.num_heads), *(_threshold(reached, level) for level in LEVELS),
            ", ".join(f"{by_hops[hops]:.3f}" for hops in shown),
        )  # fmt: skip
    return table


def _threshold(reached: pd.DataFrame, level: float) -> str:
    row = reached[reached["level"] == level].iloc[0]
    return f"{'>= ' if row['censored'] else ''}{int(row['threshold'])} [{int(row['low'])}, {int(row['high'])}]"


def _verdicts(runs: Sequence[HopRun], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Which law of depth the errors follow, and the slope of log2 k against L, at every level; nothing for a single depth."""
    if len({run.num_layers for run in runs}) < 2 or not tables:
        return []
    lines = []
    reached = thresholds(pd.concat(tables.values(), ignore_index=True), LEVELS)
    for level in LEVELS:
        rows = reached[reached["level"] == level]
        found = fit(rows)
        slope = f"slope of log2 k {found.slope.value:.2f}" if not found.reason else f"no slope ({found.reason})"
        left_out = f", {found.censored} left out as all k pass" if found.censored else ""
        lines.append(f"at {level:.0%}: {verdict(rows)}; {slope}{left_out}")
    return lines
