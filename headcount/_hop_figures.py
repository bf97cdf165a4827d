"""What `headcount hops figure` does: tables from the folder of results, built models beside them, then the drawing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from constructions.hops import HopConstruction
from constructions.hops import build as build_hops
from empirical.hop_errors import chance_table, measure_hops
from empirical.hop_thresholds import thresholds
from empirical.hop_training import TIERS, HopRun, read_run
from empirical.published_hops import read_published_hops
from empirical.routing_slots import routing_slots
from headcount import console
from headcount._hop_training import ERRORS, read_errors
from headcount._output import output_folder, write_figure
from headcount.figures import hops as drawings
from theory.hops import HopTask, reach

FIGURES = ("errors", "thresholds", "maps", "slots")
SLOT_TRIALS = 20
SOURCE = "built, recipe B"

Made = tuple[pd.DataFrame, Callable[[Path, Path], None]]


def figures(*, names: Sequence[str], tier: str, strings: int, seed: int, out: Path) -> None:
    """`headcount hops figure`."""
    chosen = _chosen(names)
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as folder:
        left_out = []
        for name in chosen:
            try:
                table, draw = _MAKERS[name](folder / tier, tier, strings, seed)
            except _NothingTrained as error:
                if "all" not in names:
                    raise ValueError(str(error)) from None
                left_out.append(name)
                continue
            write_figure(folder, f"{name}-{tier}", table, draw)
        if left_out:
            console.warn(f"left out, as nothing of tier {tier} is trained in {out}: {', '.join(left_out)}")


class _NothingTrained(ValueError):
    """A figure of trained models, and none is there."""


def _chosen(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in (*FIGURES, "all"):
            raise ValueError(f"NAME {name}: {', '.join(FIGURES)} and all are legal")
    return tuple(name for name in FIGURES if name in names or "all" in names)


def _trained(place: Path, tier: str) -> tuple[list[HopRun], pd.DataFrame]:
    """The runs of a tier that have errors on file, and these."""
    runs = [run for run in TIERS[tier] if (place / run.name / ERRORS).is_file()]
    if not runs:
        raise _NothingTrained(f"no run of tier {tier} has errors in {place}; headcount hops train --tier {tier} makes them")
    return runs, pd.concat([read_errors(place / run.name / ERRORS, run) for run in runs], ignore_index=True)


def _built(task: HopTask, layers: Sequence[int], strings: int, seed: int, tier: str) -> pd.DataFrame:
    """Errors of built models of these depths, for all hops up to their reach."""
    tables = []
    for depth in sorted(set(layers)):
        built = _deepest(task, depth)
        hops = range(task.min_hops, min(task.max_hops, built.task.max_hops) + 1)
        errors = measure_hops(built.model, built.task, hops=hops, num_strings=strings, seed=seed)
        tables.append(errors.table(kind="built", name="recipe B", recipe="B", tier=tier, seed=seed, source=SOURCE))
    return pd.concat(tables, ignore_index=True)


def _deepest(task: HopTask, depth: int) -> HopConstruction:
    """The built model of a depth that reaches farthest on a task's strings."""
    return build_hops(max_hops=max(1, reach(depth, "B")), vocab_size=task.vocab_size, seq_len=task.seq_len, recipe="B")


def _errors_table(place: Path, tier: str, strings: int, seed: int) -> pd.DataFrame:
    runs, trained = _trained(place, tier)
    task = runs[0].task
    parts = [trained, _built(task, [run.num_layers for run in runs], strings, seed, tier), chance_table(task, seed=seed)]
    return pd.concat([*parts, read_published_hops()], ignore_index=True)


def _errors(place: Path, tier: str, strings: int, seed: int) -> Made:
    table = _errors_table(place, tier, strings, seed)
    return table, lambda png, pdf: drawings.draw_errors(table, png, pdf)


def _thresholds(place: Path, tier: str, strings: int, seed: int) -> Made:
    table = thresholds(_errors_table(place, tier, strings, seed))
    return table, lambda png, pdf: drawings.draw_thresholds(table, png, pdf)


def _maps(place: Path, tier: str, strings: int, seed: int) -> Made:
    """The deepest trained model beside the built one of its depth, on one string, at the most hops that both make."""
    runs, _table = _trained(place, tier)
    run = max(runs, key=lambda each: each.num_layers)
    return drawings.maps(_deepest(run.task, run.num_layers), read_run(place / run.name), seed, tier=tier)


def _slots(place: Path, tier: str, strings: int, seed: int) -> Made:
    table = routing_slots(trials=SLOT_TRIALS, seed=seed)
    return table, lambda png, pdf: drawings.draw_slots(table, png, pdf)


_MAKERS: dict[str, Callable[[Path, str, int, int], Any]] = {
    "errors": _errors, "thresholds": _thresholds, "maps": _maps, "slots": _slots,
}  # fmt: skip
