"""The check without d and beta: 1/alpha_D - 1/alpha_N of published fits and of models trained here, which theory says is 1."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._manifold_looks import (
    LIMITED,
    THEORY,
    arrow,
    dot_rows,
    legend_under,
    manifold_words,
    split,
    target_words,
    theory_handle,
    whisker,
)
from headcount.figures._manifold_text import SOURCE_WORDS
from headcount.figures.table import check_columns

IDENTITY_COLUMNS = ("row", "name", "alpha_data", "data_low", "data_high", "alpha_model", "model_low", "model_high", "difference",
                    "low", "high", "reason")
NO_MEANING = "target's variance is left"
"""In the reason of an exponent of models that have not learnt their function."""
ROOM = 1.0
"""On both sides of what is published; what is farther away is an arrow at the edge with its number."""
ROW_LOOKS: dict[str, dict[str, Any]] = {
    "published": {"color": style.BLACK, "marker": "o"}, "trained": {"color": style.BLUE, "marker": "s"},
    "text": {"color": style.VERMILLION, "marker": "^"},
}  # fmt: skip
ROW_WORDS = {"published": "published fits", "trained": "trained here on manifolds", "text": "text models trained here"}


def identity_table(exponents: pd.DataFrame | None = None, observed: pd.DataFrame | None = None) -> pd.DataFrame:
    """The data of `identity_drawing`: 1/alpha_D - 1/alpha_N of published fits, of models trained on manifolds, of text models.

    Published: the joint laws of `theory.scaling.PUBLISHED` that have both exponents, and Kaplan et al. 2020's two laws of one
    quantity. An interval is there where both exponents have one > 0; it is made of the corners of both.

    Args:
        exponents: of `empirical.manifold_runs.measured_exponents`; series with both experiments are used,
            without a value where more than half of the variance is left.
        observed: of `empirical.text_dimension.observed_exponents`; rows "difference" are used.
    """
    rows = [*_published(), *_trained(exponents), *_text(observed)]
    return pd.DataFrame(rows, columns=list(IDENTITY_COLUMNS))


def _row(row: str, name: str, data: Sequence[float], model: Sequence[float], reason: str = "") -> dict[str, Any]:
    """A row from two exponents, each with its ends."""
    from theory.manifold_rates import inverse_difference, inverse_difference_interval

    nothing = float("nan")
    value, ends = nothing, (nothing, nothing)
    if NO_MEANING in reason:
        pass  # an exponent of what is not learnt has no meaning
    elif not min(data[0], model[0]) > 0:
        reason = "; ".join(filter(None, (reason, "an exponent is not above 0")))
    else:
        value = float(inverse_difference(data[0], model[0]))
        certain = all(0 < low <= high < np.inf for _, low, high in (data, model))
        ends = inverse_difference_interval((data[1], data[2]), (model[1], model[2])) if certain else (nothing, nothing)
    return dict(zip(IDENTITY_COLUMNS, (row, name, *data, *model, value, *ends, reason), strict=True))


def _published() -> list[dict[str, Any]]:
    from theory.scaling import PUBLISHED

    nothing, found = float("nan"), []

    def of(name: str, data: Any, model: Any, intervals: Any = None) -> None:
        known = intervals or {}
        found.append(_row("published", name, (float(data), *known.get("beta", (nothing, nothing))),
                          (float(model), *known.get("alpha", (nothing, nothing)))))

    one, other, joint = (PUBLISHED[f"kaplan2020_{kind}"].law for kind in ("data", "parameters", "joint"))
    of("Kaplan et al. 2020, one quantity each", one.alpha_D, other.alpha_N)  # type: ignore[attr-defined]
    of("Kaplan et al. 2020, joint", joint.alpha_D, joint.alpha_N)  # type: ignore[attr-defined]
    for key, name in (("hoffmann2022", "Hoffmann et al. 2022"), ("besiroglu2024", "Besiroglu et al. 2024"),
                      ("muennighoff2023", "Muennighoff et al. 2023")):
        law = PUBLISHED[key].law
        of(name, law.beta, law.alpha, PUBLISHED[key].intervals)  # type: ignore[attr-defined]
    return found


def _trained(exponents: pd.DataFrame | None) -> list[dict[str, Any]]:
    if exponents is None:
        return []
    found = []
    of_trained = exponents[exponents["kind"] == "trained"]
    for about, part in split(of_trained, ("manifold", "ambient_dim", "target", "beta", "attention")):
        own = {str(row["experiment"]): row for row in part.to_dict("records")}
        if {"data", "model"} <= own.keys():
            words = f"{manifold_words(str(about['manifold']))}, {target_words(str(about['target']), float(about['beta']))}"
            data, model = ([float(own[kind][end]) for end in ("exponent", "low", "high")] for kind in ("data", "model"))
            reasons = [str(one["reason"]) for one in own.values() if isinstance(one["reason"], str) and one["reason"]]
            found.append(_row("trained", f"{words} ({about['attention']})", data, model, "; ".join(dict.fromkeys(reasons))))
    return found


def _text(observed: pd.DataFrame | None) -> list[dict[str, Any]]:
    if observed is None:
        return []
    nothing, found = float("nan"), []
    for row in observed[observed["quantity"] == "difference"].to_dict("records"):
        name = f"text models, {SOURCE_WORDS.get(str(row['source']), row['source'])}, $N$ {row['count']}"
        found.append(dict(zip(IDENTITY_COLUMNS, ("text", name, *(nothing,) * 6, row["exponent"], row["low"], row["high"],
                                                 row["reason"]), strict=True)))
    return found


def identity_drawing(table: pd.DataFrame) -> Figure:
    """1/alpha_D - 1/alpha_N with its interval, a row for each pair of exponents; theory says 1 whatever d and beta are.

    The axis is that of the published fits. Hollow markers are of exponents that have a reason not to be taken for the theory's.

    Args:
        table: of `identity_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, IDENTITY_COLUMNS, "headcount.figures.manifolds.exponents_figure")
    published = table.loc[table["row"] == "published", ["difference", "low", "high"]].to_numpy(dtype=float)
    known = np.append(published[np.isfinite(published)], [0.0, 1.0])
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 1.2 + 0.21 * len(table)), layout="constrained")
        axes = made.subplots()
        axes.axvline(1.0, zorder=1, gid="theory", **THEORY)
        axes.axvline(0.0, color="#BBBBBB", linewidth=0.6, zorder=0, gid="equal exponents")
        axes.set_xlim(float(known.min()) - ROOM, float(known.max()) + ROOM)
        for place, row in enumerate(table.to_dict("records")):
            _difference(axes, place, row)
        dot_rows(axes, [str(name) for name in table["name"]])
        axes.set_xlabel("$1/\\alpha_D-1/\\alpha_N$, interval where both exponents have one; arrows: goes on")
        handles: list[Any] = [Line2D([], [], linestyle="none", label=words, **ROW_LOOKS[row])
                              for row, words in ROW_WORDS.items() if (table["row"] == row).any()]
        if any(_limited(row) for row in table.to_dict("records")):
            handles.append(Line2D([], [], color=style.BLACK, marker="o", linestyle="none", fillstyle="none", label=LIMITED))
        legend_under(made, [*handles, theory_handle("theory: 1")], 3)
    return made


def _limited(row: Any) -> bool:
    return isinstance(row["reason"], str) and bool(row["reason"]) and math.isfinite(float(row["difference"]))


def _difference(axes: Axes, place: int, row: Any) -> None:
    """One row: marker and interval, at the edge an arrow and the number, or in words why there is none."""
    value, low, high = (float(row[name]) for name in ("difference", "low", "high"))
    look, name = ROW_LOOKS[str(row["row"])], f"difference {place}"
    left, right = axes.get_xlim()
    words: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5, "va": "center", "zorder": 6}
    if not math.isfinite(value):
        why = "not learnt" if NO_MEANING in str(row["reason"]) else "not known"
        axes.annotate(why, (1.0, place), xytext=(4, 0), color=style.GREY, **words)
        return
    whisker(axes, place, value, low, high, gid=name, fillstyle="none" if _limited(row) else "full", **look)
    if not left <= value <= right:
        side = "left" if value < left else "right"
        if math.isnan(low) or math.isnan(high):
            arrow(axes, place, side, name, look["color"])
        axes.annotate(f"{value:.1f}", (left if side == "left" else right, place), color=look["color"], ha=side,
                      xytext=(6 if side == "left" else -6, 5.5), **words)
