"""What `headcount manifold train` does: cells of a tier, some side by side, their exponents, then the part on real text."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from empirical.cell_store import CellStore
from empirical.manifold_runs import (
    TIERS,
    ManifoldCell,
    built_rows,
    expected_seconds,
    measured_exponents,
    read_cells,
    run_cell,
    told_apart,
)  # fmt: skip
from headcount import console
from headcount._arguments import again
from headcount._manifold_cli import RESULTS
from headcount._output import output_folder
from headcount._progress import stages
from headcount._run_bundles import Bundle, train_under_a_bar
from headcount._run_processes import Message
from headcount._scaling_cli import RESULTS as TEXT_RUNS
from theory._whole_files import whole_files

BUNDLE_SECONDS = 60.0
"""Shorter cells share a process: starting one costs seconds."""
BUILT_GRIDS = {"circle": (16, 32, 64, 128, 256), "sphere": (4, 8, 16, 32)}
"""Networks built beside those trained; the torus of three circles would have millions of tokens."""
TABLE_FILE, EXPONENTS_FILE = "manifold.csv", "exponents.csv"


@dataclass(frozen=True)
class _Work:
    """A bundle of cells, each kept when it is done."""

    place: Path

    def __call__(self, bundle: Bundle[ManifoldCell], tell: Callable[[Message], None]) -> None:
        for cell in bundle.runs:
            _train_one(cell, self.place, tell)


def _train_one(cell: ManifoldCell, place: Path, tell: Callable[[Message], None]) -> None:
    run_cell(cell, place, lambda step, steps, loss: tell(Message(cell.name, step, loss, steps)))


def train(
    *, names: Sequence[str], tier: str, jobs: int | None, list_only: bool, out: Path, corpus_results: Path | None = None
) -> None:
    """`headcount manifold train`: the cells, their exponents, and without names also the part on text.

    The quick tier's cells are about half an hour of one core; the part on text adds 14 minutes at most, 11 of which train
    language models where `corpus_results` has none of them. `--list` and the plan that is printed at the start say both. Without
    `corpus_results` the runs in results/scaling are taken where there are some, else their place is the folder scaling in `out`.
    """
    if corpus_results is None:
        corpus_results = TEXT_RUNS if (TEXT_RUNS / tier).is_dir() else out / TEXT_RUNS.name
    elif corpus_results.exists() and not corpus_results.is_dir():
        raise ValueError(f"--text {corpus_results}: is a file; a folder of headcount scaling train is legal")
    cells = chosen_cells(names, tier)
    if list_only:
        console.show(_settings(cells, tier))
        if text := _text_words(names, tier, corpus_results):
            console.say(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as folder, output_folder(folder / tier, "--out") as place:
        store = CellStore(place)
        missing = [cell for cell in cells if store.get(cell.spec) is None]
        at_once = min(jobs or len(os.sched_getaffinity(0)), max(1, len(missing)))
        if missing:
            minutes = sum(map(expected_seconds, missing)) / 60
            text = _text_words(names, tier, corpus_results)
            console.say(f"{len(missing)} of {len(cells)} cells to train, {at_once} at a time: {minutes:.0f} processor minutes"
                        f"{f'; {text}' if text else ''}")
            try:
                _train_all(missing, place, at_once)
            except KeyboardInterrupt:
                _warn_interrupted(f"cells that are done are in {place}", names, tier, jobs, out, corpus_results)
                raise
        with stages() as progress:
            table = with_built(read_cells(folder, tier), progress)
        exponents = measured_exponents(table)
        _write(place, table, exponents)
        console.show(_results(exponents, tier))
        for line in told_apart(exponents):
            console.say(line)
        for line in _reasons(exponents):
            console.say(line)
        console.say(f"{TABLE_FILE} (a row a model) and {EXPONENTS_FILE} in {place}")
    if not names:
        from headcount._text_dimension import text_experiment

        try:
            text_experiment(tier=tier, jobs=jobs, out=out, corpus_results=corpus_results)
        except KeyboardInterrupt:
            _warn_interrupted(f"cells and what is measured on text are in {out}", names, tier, jobs, out, corpus_results)
            raise


def _warn_interrupted(what: str, names: Sequence[str], tier: str, jobs: int | None, out: Path, text: Path) -> None:
    words = _command(names, tier, jobs, out, text)
    console.warn(f"interrupted; {what}; the same command goes on from there: {words}")


def _text_words(names: Sequence[str], tier: str, corpus_results: Path) -> str:
    """What the part on text costs; nothing where cells are named, as it is left out then."""
    from headcount._text_dimension import text_seconds  # brings the estimators of dimension

    if names:
        return ""
    return f"the part on text after them: up to {text_seconds(tier, corpus_results) / 60:.0f} processor minutes more"


def chosen_cells(names: Sequence[str], tier: str) -> tuple[ManifoldCell, ...]:
    """The cells of a tier with these names, all without a name. Raises ValueError for one that the tier does not have."""
    cells = {cell.name: cell for cell in TIERS[tier]}
    for name in names:
        if name not in cells:
            raise ValueError(f"{name!r}: is no cell of tier {tier}; {console.few(cells)} are legal (--list names all)")
    return tuple(cells[name] for name in dict.fromkeys(names)) if names else tuple(cells.values())


def with_built(table: pd.DataFrame, progress: Callable[[str, int, int], None] | None = None) -> pd.DataFrame:
    """The table with networks built for the functions that models of it were trained on, where their size allows it."""
    wanted = table[(table["experiment"] == "model") & table["manifold"].isin(list(BUILT_GRIDS))]
    series = wanted[["manifold", "ambient_dim", "target", "beta"]].drop_duplicates().to_dict("records")
    parts = [table]
    for done, each in enumerate(series):
        manifold, target, beta = str(each["manifold"]), str(each["target"]), float(each["beta"])
        if progress is not None:
            progress(f"built networks: {manifold}, {target}", done, len(series))
        degree = 1 if target == "smooth" else 0
        rough = 0.5 if math.isinf(beta) else beta  # what a smooth target has no use for
        parts.append(built_rows(manifold, int(each["ambient_dim"]), target, rough, BUILT_GRIDS[manifold], degree))
    return pd.concat([part.astype(object) for part in parts], ignore_index=True).infer_objects() if len(parts) > 1 else table


def _train_all(cells: Sequence[ManifoldCell], place: Path, jobs: int) -> None:
    train_under_a_bar(
        cells, jobs, expected_seconds, BUNDLE_SECONDS, lambda cell, tell: _train_one(cell, place, tell), _Work(place),
        lambda told: f"{len(cells)} cells; {told.name}, held-out loss {told.loss:.3g}",
    )  # fmt: skip


def _write(place: Path, table: pd.DataFrame, exponents: pd.DataFrame) -> None:
    with whole_files(place / TABLE_FILE, place / EXPONENTS_FILE) as (first, second):
        table.to_csv(first, index=False)
        exponents.to_csv(second, index=False)


def _command(names: Sequence[str], tier: str, jobs: int | None, out: Path, text: Path) -> str:
    options = {"--jobs": (jobs, None), "--out": (out, RESULTS), "--text": (text, TEXT_RUNS)}
    return again(["manifold", "train", *names, "--tier", tier], options)


def _settings(cells: Sequence[ManifoldCell], tier: str) -> Table:
    headings = ("cell", "d", "parameters", "samples", "noise", "steps", "rate", "seeds", "seconds")
    minutes = sum(map(expected_seconds, cells)) / 60
    title = f"{len(cells)} cells of tier {tier}, about {minutes:,.0f} minutes of one core"
    table = console.frame(title, *headings, left=("cell",))
    for cell in cells:
        dimension = cell.function(cell.seeds[0]).manifold.dimension
        table.add_row(
            cell.name, str(dimension), f"{cell.model(0).num_parameters:,}", f"{cell.seen:,}", f"{cell.noise:g}",
            f"{cell.steps:,}", f"{cell.rate:.3g}", str(len(cell.seeds)), f"{expected_seconds(cell):.0f}",
        )  # fmt: skip
    return table


def _results(exponents: pd.DataFrame, tier: str) -> Table:
    headings = ("series", "d", "exponent", "95% interval", "theory", "floor off", "early, late", "sizes", "seeds", "clear sizes")
    title = f"alpha of error^2 ~ samples^-alpha (data), parameters^-alpha (model), tier {tier}"
    shown = console.frame(title, *headings, left=("series",))
    for row in exponents.to_dict("records"):
        free = "" if math.isnan(row["free_exponent"]) else f"{row['free_exponent']:.2f} "
        free = "" if row["free_sizes"] == row["num_sizes"] else f"{free}({row['free_sizes']:.0f} of {row['num_sizes']:.0f})"
        span = "" if math.isnan(row["low"]) else f"{row['low']:.2f}..{row['high']:.2f}"
        value = "-" if math.isnan(row["exponent"]) else f"{row['exponent']:.2f}"
        off = "" if math.isnan(row["floor_off"]) else f"{row['floor_off']:.2f}"
        halves = "" if math.isnan(row["early"]) else f"{row['early']:.2f}, {row['late']:.2f}"
        counts = f"{row['num_sizes']:.0f}", f"{row['num_seeds']:.0f}"
        shown.add_row(_series(row), str(row["dimension"]), value, span, f"{row['predicted']:.3g}", off, halves, *counts, free)
    return shown


def _series(row: dict[Any, Any]) -> str:
    rough = "" if row["target"] == "smooth" else f" {row['beta']:g}"
    how = f"{row['kind']}, {row['attention']}" if row["kind"] == "trained" else f"built, degree {row['degree']:.0f}"
    return f"{row['experiment']}: {row['manifold']}, {row['target']}{rough} ({how})"


def _reasons(exponents: pd.DataFrame) -> list[str]:
    """What keeps exponents from being the theory's, a line for each series where something was seen."""
    return [f"{_series(row)}: {row['reason']}" for row in exponents.to_dict("records") if row["reason"]]
