"""The figures on k-fold induction heads and on routing by attention, one function each; every one accepts a tidy table.

Kinds of rows keep their looks in all of them: what was trained here has bands or bars, what was built has squares and diamonds,
what was published has points, open for readings with dropout on and filled for those with dropout off.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from constructions.hops import HopConstruction
from empirical.hop_errors import drawn_strings
from empirical.hop_maps import map_table
from empirical.hop_training import TrainedHops
from headcount.figures import style
from headcount.figures._hops_errors import errors_figure
from headcount.figures._hops_maps import maps_figure
from headcount.figures._hops_slots import slots_figure
from headcount.figures._hops_thresholds import thresholds_figure

__all__ = [
    "draw_errors",
    "draw_maps",
    "draw_slots",
    "draw_thresholds",
    "errors_figure",
    "maps",
    "maps_figure",
    "slots_figure",
    "thresholds_figure",
]


def draw_errors(table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `errors_figure(table)` as PNG and PDF; same table, same bytes. Raises ValueError like it, OSError on writing."""
    style.save(errors_figure(table), png, pdf)


def draw_thresholds(table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `thresholds_figure(table)` as PNG and PDF; same table, same bytes. Raises ValueError like it, OSError on writing."""
    style.save(thresholds_figure(table), png, pdf)


def draw_maps(built: pd.DataFrame, trained: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `maps_figure(built, trained)` as PNG and PDF; same tables, same bytes. ValueError like it, OSError on writing."""
    style.save(maps_figure(built, trained), png, pdf)


def draw_slots(table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `slots_figure(table)` as PNG and PDF; same table, same bytes. Raises ValueError like it, OSError on writing."""
    style.save(slots_figure(table), png, pdf)


def maps(
    built: HopConstruction, trained: TrainedHops, seed: int = 0, *, tier: str = ""
) -> tuple[pd.DataFrame, Callable[[Path, Path], None]]:
    """The table of `draw_maps` for two models at the largest k that both serve, and what draws it to a PNG and a PDF.

    Args:
        built: with strings of the trained model's length and alphabet.
        trained: a run; named by its steps.
        seed: of the string that both see.
        tier: of the run.

    Returns:
        Rows with `empirical.hop_maps.MAP_COLUMNS` of both models, and the drawing.

    Raises:
        ValueError: strings of different sizes, or no k that both serve.
    """
    task, own = trained.run.task, built.task
    if (task.seq_len, task.vocab_size) != (own.seq_len, own.vocab_size):
        sizes = f"{own.seq_len} symbols of {own.vocab_size}"
        raise ValueError(f"built reads strings of {sizes}: must be {task.seq_len} of {task.vocab_size}, as trained does")
    k = min(task.max_hops, own.max_hops)
    string = drawn_strings(task, 1, seed=seed, num_hops=k)[0]
    left = map_table(built.model, own, k, string, kind="built", name=f"recipe {built.recipe}")
    right = map_table(
        trained.model, task, k, string, kind="trained", name=f"{trained.steps_done:,} steps", tier=tier
    )
    return pd.concat([left, right], ignore_index=True), lambda png, pdf: draw_maps(left, right, png, pdf)
