"""Accuracy against the number of heads: what is promised, what is built, what training reaches, what was published."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headcount.figures import style
from headcount.figures.table import one_setting
from theory.memorization import accuracy_from_memory, corollary_2_accuracy, mahdavi_associations_as_plotted

SETTING = ("vocab_size", "seq_len", "embed_dim", "head_dim", "num_associations")
COLUMNS = ("kind", "name", "num_heads", "accuracy", "accuracy_low", "accuracy_high", "draw_accuracy", "num_models", *SETTING)
LABELS = {
    "chance": "bound: chance, $1/N$",
    "previous": "bound: previous, $H(d_h-1)+1$ held, rest guessed",
    "corollary_1": "bound: Corollary 1, $Hd_h+d$ held, rest guessed",
    "corollary_1_repaired": "bound: Corollary 1, repaired",
    "built": "built: weights by hand",
    "trained": "trained: {models}",
    "published": "published: trained, on training draws",
}
MOST_HEADS_DRAWN = 2000
"""Curves get a point per number of heads up to this many, evenly spaced numbers beyond."""


def draw(table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Write `figure(table)` as PNG and PDF; same table, same bytes. Raises ValueError like `figure`, OSError on writing."""
    style.save(figure(table), png, pdf)


def figure(table: pd.DataFrame) -> Figure:
    """Accuracy (fraction of associations right, each counted once) against H, one column of a paper wide.

    Bounds are curves over every whole H between the table's least and greatest, where theory's formula gives the
    table's own values, else lines between those. Bounds are accuracies of Corollary 2: what is not held is guessed. The
    corollary's repaired form is drawn only where it differs. Built models are squares joined by steps, since heads may
    stay unused: H heads do what fewer do. Published points are open, as they are accuracies on training draws, not on
    the table of associations.

    Args:
        table: rows of `empirical.comparison.compare`, all of one setting (N, S, d, d_h, T0).

    Raises:
        ValueError: a column of the table is missing, it has no rows, or rows of several settings.

    Source of curves and published points: Dana, Pydi and Chevaleyre 2025, figures on the number of heads.
    """
    setting = one_setting(table, COLUMNS, SETTING, "empirical.comparison.compare")
    with style.styled():
        made = Figure(figsize=(style.COLUMN_WIDTH, 3.9), layout="constrained")
        axes = made.add_subplot()
        _draw_bounds(axes, table, setting)
        _draw_trained(axes, table)
        _draw_built(axes, table)
        published = _rows(table, "published")
        published = published[published["draw_accuracy"].notna()]
        if len(published):
            axes.plot(published["num_heads"], published["draw_accuracy"], "D", color=style.BLACK, fillstyle="none",
                      markersize=5.5, gid="published", label=LABELS["published"], zorder=6)
        _finish(axes, table)
        made.legend(*axes.get_legend_handles_labels(), loc="outside lower left", title=_legend_title(setting),
                    alignment="left", handlelength=2.6, labelspacing=0.35)
    return made


def _draw_bounds(axes: Axes, table: pd.DataFrame, setting: dict[str, int]) -> None:
    vocab, dim, width, total = (setting[name] for name in ("vocab_size", "embed_dim", "head_dim", "num_associations"))

    def previous(heads: int) -> float:
        held = min(total, mahdavi_associations_as_plotted(heads, width))
        return float(accuracy_from_memory(held, vocab, total))

    formulas: dict[str, Callable[[int], float] | None] = {
        "chance": lambda heads: 1 / vocab,
        "previous": previous,
        "corollary_1": lambda heads: float(corollary_2_accuracy(heads, width, dim, vocab, total)),
        "corollary_1_repaired": None,  # depends on the data set's last tokens, which a row doesn't carry
    }
    looks: dict[str, dict[str, Any]] = {
        "chance": {"color": style.GREY, "linestyle": ":"},
        "previous": {"color": style.ORANGE, "linestyle": "--"},
        "corollary_1": {"color": style.BLUE, "linestyle": "-"},
        "corollary_1_repaired": {"color": style.PURPLE, "linestyle": "-."},
    }
    for name, formula in formulas.items():
        rows = _rows(table, "bound", name)
        if not len(rows) or (name == "corollary_1_repaired" and _same_accuracy(rows, _rows(table, "bound", "corollary_1"))):
            continue
        heads, accuracy = _curve([int(at) for at in rows["num_heads"]], rows["accuracy"].tolist(), formula)
        axes.plot(heads, accuracy, label=LABELS[name], gid=name, zorder=2, **looks[name])


def _curve(
    heads: Sequence[int], accuracy: Sequence[float], formula: Callable[[int], float] | None
) -> tuple[Sequence[int], Sequence[float]]:
    """The formula at every H in the range of `heads`, if it gives the table's values at `heads`; else those values."""
    if formula is None or not np.allclose([formula(at) for at in heads], accuracy, rtol=0, atol=1e-9):
        return heads, accuracy
    count = min(MOST_HEADS_DRAWN, max(heads) - min(heads) + 1)
    dense = [int(at) for at in np.linspace(min(heads), max(heads), count).round()]
    return dense, [formula(at) for at in dense]


def _draw_trained(axes: Axes, table: pd.DataFrame) -> None:
    rows = _rows(table, "trained")
    rows = rows[rows["accuracy"].notna()]
    if not len(rows):
        return
    least, most = int(rows["num_models"].min()), int(rows["num_models"].max())
    models = f"mean of {most if least == most else f'{least} to {most}'} models and its 95% band" if most > 1 else "1 model"
    axes.plot(rows["num_heads"], rows["accuracy"], "o-", color=style.VERMILLION, label=LABELS["trained"].format(models=models),
              gid="trained", zorder=4)
    axes.fill_between(rows["num_heads"], rows["accuracy_low"], rows["accuracy_high"], color=style.VERMILLION, alpha=0.25,
                      linewidth=0, gid="trained interval", zorder=3)


def _draw_built(axes: Axes, table: pd.DataFrame) -> None:
    rows = _rows(table, "built")
    if len(rows):
        axes.plot(rows["num_heads"], rows["accuracy"], "s", color=style.GREEN, linestyle=(0, (1, 1)), linewidth=0.8,
                  drawstyle="steps-post", label=LABELS["built"], gid="built", zorder=5)


def _finish(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_xlabel("attention heads $H$")
    axes.set_ylabel("accuracy (fraction of associations right)")
    axes.set_ylim(0, 1.03)
    axes.set_yticks(np.linspace(0, 1, 6))
    heads = sorted(set(table["num_heads"].astype(int)))
    if len(heads) <= 8:
        axes.set_xticks(heads)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(heads) == 1:
        axes.set_xlim(heads[0] - 1, heads[0] + 1)


def _legend_title(setting: dict[str, int]) -> str:
    symbols = {"N": "vocab_size", "S": "seq_len", "d": "embed_dim", "d_h": "head_dim"}
    parts = [f"${symbol}={setting[name]}$" for symbol, name in symbols.items()]
    return ", ".join([*parts, f"{setting['num_associations']:,} associations"])



def _rows(table: pd.DataFrame, kind: str, name: str | None = None) -> pd.DataFrame:
    chosen = table["kind"] == kind
    if name is not None:
        chosen &= table["name"] == name
    numbers = ["num_heads", "accuracy", "accuracy_low", "accuracy_high", "draw_accuracy"]
    return table.loc[chosen, [*numbers, "num_models"]].sort_values("num_heads").astype(dict.fromkeys(numbers, float))


def _same_accuracy(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return len(one) == len(other) and bool(np.allclose(one["accuracy"], other["accuracy"], rtol=0, atol=1e-12))
