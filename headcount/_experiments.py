"""What `headcount run`, `status` and `export` do, once their arguments are read. Everything slow to import is imported here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from empirical import experiments
from empirical.cells import DEVICE_KINDS, Cell, DeviceKind
from empirical.experiments import EXPERIMENTS, Experiment, Tier
from empirical.store import Store
from empirical.sweep import SweepState, read_sweep
from empirical.sweep import run as run_cells
from empirical.training import Variant
from headcount import console
from headcount._arguments import again
from headcount._output import checked_file
from headcount._progress import progress_bar


@dataclass(frozen=True)
class Job:
    """One name of the command line: cells, and the experiment they belong to if it is one of the paper's."""

    name: str
    cells: tuple[Cell, ...]
    experiment: Experiment | None = None


def jobs(
    names: Sequence[str], tier: Tier, variant: Variant, device: DeviceKind, seed: int, given: Sequence[str] = ()
) -> list[Job]:
    """The jobs that names stand for: experiments, groups of them, TOML files.

    Raises ValueError for a name that is none, and for a file beside options (`given`) that it says itself.
    """
    found: dict[str, Job] = {}
    for name in names:
        if name.endswith(".toml"):
            if given:
                raise ValueError(f"--{given[0]}: not legal with {name}, which says itself what its cells are")
            sweep = read_sweep(Path(name))
            found[name] = Job(sweep.name, tuple(sweep.cells))
            continue
        for experiment in experiments.named(name):
            cells = experiment.cells(tier, variant, device=device, seed=seed)
            found[experiment.name] = Job(experiment.name, cells, experiment)
    return list(found.values())


def run(
    *,
    names: Sequence[str],
    given: Sequence[str],
    tier: Tier,
    variant: Variant,
    engine: Any,
    scheduler: str | None,
    device: DeviceKind,
    threads: int | None,
    seed: int,
    store_file: Path,
    retry_failed: bool,
    dry_run: bool,
) -> int:
    """Compute what is missing; 1 when a cell failed, else 0."""
    if scheduler is not None and engine != "dask":
        raise ValueError(f"--scheduler {scheduler}: legal together with --engine dask only")
    work = jobs(names, tier, variant, device, seed, given)
    on_gpu = any(cell.device == "cuda" for job in work for cell in job.cells)
    if on_gpu and scheduler is None and not dry_run and not torch.cuda.is_available():
        raise ValueError("device = cuda: torch finds no CUDA device here; cpu is legal, or a --scheduler whose workers have one")
    if dry_run:
        _plan(work, store_file)
        return 0
    failed = 0
    with _open(store_file) as store:
        for job in work:
            try:
                state = _run_job(job, store, engine, scheduler, threads, retry_failed)
            except KeyboardInterrupt:
                console.warn(f"finished cells are kept in {store_file}: the same command goes on from there")
                raise
            failed += state.failed
            _report(job, store, tier, variant, device, seed)
    console.say(f"results {store_file}")
    shown = [job.name for job in work if job.experiment is not None]
    if shown:
        how = command("figure", *shown, tier=tier, variant=variant, device=device, seed=seed, store=store_file)
        console.say(f"figures: {how}")
    return 1 if failed else 0


def command(*words: str, tier: Tier, variant: Variant, device: DeviceKind, seed: int, store: Path) -> str:
    """A command of this program for the same cells, fit for copying."""
    shown = {"--tier": (tier, None), "--store": (store, None)}
    return again(words, {**shown, "--variant": (variant, "notebook"), "--device": (device, "cpu"), "--seed": (seed, 0)})


def _run_job(
    job: Job, store: Store, engine: Any, scheduler: str | None, threads: int | None, retry_failed: bool
) -> SweepState:
    columns = (
        TextColumn(job.name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with progress_bar(*columns) as bar:
        row = bar.add_task("", total=len(job.cells), note="")

        def report(state: SweepState) -> None:
            left = f", {duration(state.seconds_left)} left" if state.seconds_left is not None else ""
            note = f"{state.running} running, {state.failed} failed{left}"
            bar.update(row, completed=state.done + state.failed, total=state.total, note=note)

        return run_cells(
            job.cells, store, engine=engine, scheduler=scheduler, threads=threads, progress=report, retry_failed=retry_failed
        )


def _report(job: Job, store: Store, tier: Tier, variant: Variant, device: DeviceKind, seed: int) -> None:
    """What a job came to, and each published value beside ours."""
    results = store.results(job.cells)
    done = [result for result in results if result.state == "done"]
    broken = [result for result in results if result.state == "failed"]
    diverged = sum(result.diverged for result in done)
    spent = sum(result.seconds for result in done if math.isfinite(result.seconds))
    console.say(
        f"{job.name}: {len(done)} of {len(job.cells)} cells done, {len(broken)} failed, {diverged} diverged; "
        f"{duration(spent)} of computing in all"
    )
    for result in broken[:5]:
        console.warn(f"  failed: {result.cell.words}: {result.reason}")
    if len(broken) > 5:
        console.warn(f"  .. and {len(broken) - 5} more: headcount status names them")
    if job.experiment is None or variant != "notebook" or tier != "paper":
        return
    table = experiments.deviations(experiments.results(job.experiment, store, tier, variant, device=device, seed=seed))
    if len(table):
        console.show(deviation_table(table, job.name))


def deviation_table(table: Any, name: str) -> Table:
    """Published values beside ours, for people."""
    outside = int((~table["inside"].astype(bool)).sum())
    shown = Table(
        title=f"{name} beside what was published: {outside} of {len(table)} points outside",
        caption="ours, published, difference, allowed: accuracy on training draws; uniform: ours, each association once",
        caption_justify="left", caption_style="none",
        title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    for heading in ("d", "d_h", "H", "ours", "published", "difference", "allowed", "inside", "uniform"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        shown.add_row(
            *(str(int(row[column])) for column in ("embed_dim", "head_dim", "num_heads")),
            *(console.number(float(row[column]), form) for column, form in (
                ("ours", ".4f"), ("published", ".4f"), ("difference", "+.4f"), ("allowed", ".4f"))),
            "yes" if row["inside"] else "NO",
            console.number(float(row["uniform"]), ".4f"),
        )  # fmt: skip
    return shown


def _plan(work: Sequence[Job], store_file: Path) -> None:
    """What there would be to do."""
    finished: set[str] = set()
    if store_file.exists():
        with Store(store_file) as store:
            finished = store.finished([cell.key for job in work for cell in job.cells])
    for job in work:
        left = [cell for cell in job.cells if cell.key not in finished]
        steps = sum(cell.settings.num_steps for cell in left)
        console.say(f"{job.name}: {len(left)} of {len(job.cells)} cells to do, {steps:,} optimiser steps")


def status(*, store_file: Path) -> None:
    """A line for every experiment, tier and variant that was begun, one for other cells, and the reasons of failures."""
    shown = Table(title=f"{store_file}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("cells of", no_wrap=True)
    for heading in ("tier", "variant", "device", "seed", "done", "running", "failed", "missing", "computing"):
        shown.add_column(heading, justify="right", no_wrap=True)
    with existing(store_file) as store:
        table = store.table()
        running = set(store.running())
        kept = {str(row["key"]): row for row in table.to_dict("records")}
        named: set[str] = set()
        for experiment, tier, variant, device, seed in _settings(table):
            cells = experiment.cells(tier, variant, device=device, seed=seed)
            keys = {cell.key for cell in cells}
            named |= keys
            rows = [kept[key] for key in keys if key in kept]
            busy = len(keys & running)
            if rows or busy:
                shown.add_row(experiment.name, tier, variant, device, str(seed), *_counts(rows, busy, len(cells)))
        others = [row for key, row in kept.items() if key not in named]
        busy = len(running - named)
        if others or busy:
            shown.add_row("sweeps of your own", "", "", "", "", *_counts(others, busy, None))
    console.show(shown)
    broken = [row for row in kept.values() if row["state"] == "failed"]
    for row in broken:
        console.say(f"failed: {row['key'][:12]} {_row_words(row)}: {row['reason']}")


def _settings(table: Any) -> list[tuple[Experiment, Tier, Variant, DeviceKind, int]]:
    """Every experiment with every seed that the store knows of, and seed 0, for what is under way and not stored yet."""
    seeds = sorted({0, *(int(seed) for seed in table["seed"].unique())})
    return list(product(EXPERIMENTS.values(), experiments.TIERS, get_args(Variant), DEVICE_KINDS, seeds))


def _counts(rows: Sequence[dict[Any, Any]], running: int, total: int | None) -> list[str]:
    done = sum(row["state"] == "done" for row in rows)
    seconds = sum(row["seconds"] for row in rows if row["state"] == "done" and math.isfinite(row["seconds"]))
    missing = "" if total is None else str(total - len(rows))
    return [str(done), str(running), str(len(rows) - done), missing, duration(seconds)]


def _row_words(row: dict[Any, Any]) -> str:
    return f"N = {row['vocab_size']}, d = {row['embed_dim']}, H = {row['num_heads']}, d_h = {row['head_dim']}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def export(*, output: Path, store_file: Path) -> None:
    """All cells as one file."""
    if output.suffix not in (".csv", ".parquet"):
        raise ValueError(f"FILE {output}: a name that ends in .csv or .parquet is legal")
    with existing(store_file) as store:
        checked_file(output, "FILE", {"store": store_file})
        (store.export_csv if output.suffix == ".csv" else store.export_parquet)(output)
        count = len(store.table())
    console.say(f"{count} cells in {output}")


def existing(store_file: Path) -> Store:
    """A store that has to be there. Raises ValueError, naming the option, where it is not."""
    if not store_file.exists():
        raise ValueError(f"--store {store_file}: is not there; a store that `headcount run` made is legal")
    return Store(store_file)


def _open(store_file: Path) -> Store:
    """The store, in a folder that is made if only its last part is missing."""
    folder = store_file.parent
    if not folder.exists():
        if not folder.parent.is_dir():
            raise ValueError(f"--store {store_file}: there is no folder {folder.parent} to make {folder.name} in")
        folder.mkdir()
    return Store(store_file)
