"""Real text: data exponents that the dimension of hidden states foretells, observed ones, and the check without d and beta."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headcount.figures import style
from headcount.figures._manifold_dimension import METHOD_WORDS, TOLERANCE
from headcount.figures._manifold_looks import THEORY, dot_rows, manifold_words, split, target_words, theory_handle, whisker
from headcount.figures._scaling_looks import SHADE, legend_below, letters, log_axis
from headcount.figures.table import check_columns

AGREED = ("kind", "embed_dim", "total_parameters", "tokens", "metric", "method", "source", "count", "predicted", "predicted_low",
          "predicted_high", "observed", "observed_low", "observed_high", "dimension")
DIMENSIONS = ("kind", "embed_dim", "tokens", "metric", "method", "dimension", "low", "high", "corrected", "corrected_low",
              "corrected_high", "saturated")
TEXT_COLUMNS = ("row", *AGREED, "low", "high", "corrected", "corrected_low", "corrected_high", "saturated")
KINDS: dict[str, dict[str, Any]] = {
    "trained": {"color": style.BLACK, "marker": "o", "fillstyle": "full"},
    "untrained": {"color": style.VERMILLION, "marker": "s", "fillstyle": "none"},
    "gaussian": {"color": style.BLUE, "marker": "^", "fillstyle": "none"},
    "shuffled": {"color": style.GREEN, "marker": "D", "fillstyle": "none"},
}  # fmt: skip
KIND_WORDS = {"trained": "trained models", "untrained": "before training", "gaussian": "normal, same covariance",
              "shuffled": "coordinates shuffled"}
SOURCE_MARKERS = {"slope": "o", "offset": "s", "joint": "D", "early": "<", "late": ">"}
SOURCE_WORDS = {"slope": "line, no floor", "offset": "with a floor", "joint": "joint fit", "early": "line, fewer tokens",
                "late": "line, more tokens"}
IDENTITY_COLUMNS = ("row", "name", "alpha_data", "data_low", "data_high", "alpha_model", "model_low", "model_high", "difference",
                    "low", "high", "reason")
FAR = 15.0
"""Up to where intervals are drawn."""
ROW_LOOKS: dict[str, dict[str, Any]] = {
    "published": {"color": style.BLACK, "marker": "o"}, "trained": {"color": style.BLUE, "marker": "s"},
    "text": {"color": style.VERMILLION, "marker": "^"},
}  # fmt: skip
ROW_WORDS = {"published": "published fits", "trained": "trained here on manifolds", "text": "text models trained here"}


def text_table(dimensions: pd.DataFrame, observed: pd.DataFrame, *, method: str = "levina_bickel",
               metric: str = "euclidean") -> pd.DataFrame:
    """The data of `text_drawing`: rows "exponent" of `empirical.text_dimension.agreement`, rows "dimension" of `dimensions`.

    Args:
        dimensions: of `empirical.text_dimension.text_dimensions`.
        observed: of `empirical.text_dimension.observed_exponents`.
        method, metric: whose rows are drawn.

    Raises:
        ValueError: a column is missing, or nothing is of this method and metric.
    """
    check_columns(dimensions, DIMENSIONS, "empirical.text_dimension.text_dimensions")
    from empirical.text_dimension import agreement

    agreed = agreement(dimensions, observed)
    parts = [table[(table["method"] == method) & (table["metric"] == metric)].assign(row=row)
             for row, table in (("exponent", agreed), ("dimension", dimensions))]
    if parts[1].empty:
        raise ValueError(f"method = {method!r}, metric = {metric!r}: the table has no row of these")
    drawn = [part.reindex(columns=list(TEXT_COLUMNS)).astype(object) for part in parts if len(part)]
    return pd.concat(drawn, ignore_index=True).infer_objects()


def text_drawing(table: pd.DataFrame) -> Figure:
    """Predicted against observed exponents of trained models (a), and dimensions by width beside controls (b).

    The band is ±0.02 about equality. In b bars are the interval of the dimension after its bias; an open end runs to the edge.

    Args:
        table: of `text_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, TEXT_COLUMNS, "headcount.figures.manifolds.text_figure")
    pairs = table[(table["row"] == "exponent") & (table["kind"] == "trained") & table["observed"].astype(float).notna()]
    pairs = pairs[pairs["predicted"].astype(float).notna()]
    clouds = table[table["row"] == "dimension"]
    widths = sorted({int(width) for width in clouds["embed_dim"]})
    shades = dict(zip(widths, style.in_order(len(widths)), strict=True))
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.0), layout="constrained")
        left, right = made.subplots(1, 2)
        _agreement(left, pairs, shades)
        _dimensions(right, clouds, widths)
        letters((left, right))
        sources = [source for source in SOURCE_MARKERS if source in set(pairs["source"])]
        handles: list[Any] = [Line2D([], [], color=style.GREY, marker=SOURCE_MARKERS[source], linestyle="none",
                                     label=f"observed: {SOURCE_WORDS[source]}") for source in sources]
        handles += [Line2D([], [], color=shades[width], linewidth=2.5, label=f"width {width}") for width in widths]
        handles += [Line2D([], [], linestyle="none", label=KIND_WORDS.get(kind, kind), **KINDS[kind])
                    for kind in KINDS if kind in set(clouds["kind"])]
        handles.append(theory_handle("equal"))
        legend_below(made, handles, 4)
    return made


def _agreement(axes: Axes, pairs: pd.DataFrame, shades: dict[int, str]) -> None:
    numbers = pairs[["predicted", "observed", "observed_low", "predicted_low", "predicted_high"]].to_numpy(dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    numbers = numbers[numbers > 0]
    low, top = (max(0.5 * float(numbers.min()), 1e-3), 1.4 * float(numbers.max())) if numbers.size else (0.01, 1.0)
    line = np.geomspace(low, top, 200)
    axes.plot(line, line, zorder=1, gid="equal", **THEORY)
    axes.fill_between(line, np.maximum(line - TOLERANCE, low / 10), line + TOLERANCE, zorder=0, gid="tolerance", **SHADE)
    for row in pairs.to_dict("records"):
        colour, x, y = shades[int(row["embed_dim"])], float(row["observed"]), float(row["predicted"])
        name = f"{row['source']} {row['count']} width {int(row['embed_dim'])}"
        bars = [[float(row[f"{what}_{end}"]) for end in ("low", "high")] for what in ("observed", "predicted")]
        if np.isfinite(bars[0]).all():
            axes.hlines([y], bars[0][0], bars[0][1], color=colour, linewidth=0.8, zorder=2, gid=f"{name} observed")
        if np.isfinite(bars[1]).all():
            axes.vlines([x], bars[1][0], bars[1][1], color=colour, linewidth=0.8, zorder=2, gid=f"{name} predicted")
        axes.plot([x], [y], color=colour, marker=SOURCE_MARKERS.get(str(row["source"]), "o"), linestyle="none", markersize=4.5,
                  markeredgecolor=style.BLACK, markeredgewidth=0.4, zorder=3, gid=name)
    for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        limit(low, top)
        log_axis(axis)
        limit(low, top)
    axes.set_xlabel("observed data exponent, 95% interval")
    axes.set_ylabel("predicted from the dimension")


def _dimensions(axes: Axes, clouds: pd.DataFrame, widths: list[int]) -> None:
    kinds = [kind for kind in KINDS if kind in set(clouds["kind"])]
    ends = np.array([widths[0], widths[-1]], dtype=float)
    for place, kind in enumerate(kinds):
        own = clouds[clouds["kind"] == kind].sort_values("tokens")
        shift = 1.05 ** (place - (len(kinds) - 1) / 2)
        last = own.drop_duplicates("embed_dim", keep="last").sort_values("embed_dim")
        at, value = last["embed_dim"].to_numpy(dtype=float) * shift, last["corrected"].to_numpy(dtype=float)
        low, high = (last[f"corrected_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
        open_end = np.where(np.isinf(high), 1e6, high)
        shown = np.isfinite(low) & ~np.isnan(high)
        axes.vlines(at[shown], low[shown], open_end[shown], color=KINDS[kind]["color"], linewidth=0.9, zorder=2,
                    gid=f"{kind} interval")
        axes.plot(at, value, linestyle="none", zorder=3, gid=f"{kind} dimension", **KINDS[kind])
    axes.plot(ends, ends, zorder=1, gid="width", **THEORY)
    known = clouds[["corrected", "corrected_low"]].to_numpy(dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    axes.set_xscale("log")
    least, most = (float(known.min()), float(known.max())) if known.size else (1.0, 1.0)
    axes.set_ylim(0.8 * least, 1.6 * max(float(ends[1]), most))
    axes.set_xlabel("width $m$ of the model")
    axes.set_ylabel(f"dimension of hidden states ({METHOD_WORDS.get(str(clouds['method'].iloc[0]), 'estimated')})")
    axes.margins(x=0.1)
    log_axis(axes.yaxis)
    log_axis(axes.xaxis)
    axes.set_xticks(widths, labels=[str(width) for width in widths])


def identity_table(exponents: pd.DataFrame | None = None, observed: pd.DataFrame | None = None) -> pd.DataFrame:
    """The data of `identity_drawing`: 1/alpha_D - 1/alpha_N of published fits, of models trained on manifolds, of text models.

    Published: the joint laws of `theory.scaling.PUBLISHED` that have both exponents, and Kaplan et al. 2020's two laws of one
    quantity. An interval is there where both exponents have one > 0; it is made of the corners of both.

    Args:
        exponents: of `empirical.manifold_runs.measured_exponents`; series with both experiments are used.
        observed: of `empirical.text_dimension.observed_exponents`; rows "difference" are used.
    """
    rows = [*_published(), *_trained(exponents), *_text(observed)]
    return pd.DataFrame(rows, columns=list(IDENTITY_COLUMNS))


def _row(row: str, name: str, data: Sequence[float], model: Sequence[float], reason: str = "") -> dict[str, Any]:
    """A row from two exponents, each with its ends."""
    from theory.manifold_rates import inverse_difference, inverse_difference_interval

    nothing = float("nan")
    if not min(data[0], model[0]) > 0:
        value, ends, reason = nothing, (nothing, nothing), reason or "an exponent is not above 0"
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
            found.append(_row("trained", f"{words} ({about['attention']})", data, model))
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

    Args:
        table: of `identity_table`.

    Raises:
        ValueError: a column is missing or there is nothing to draw.
    """
    check_columns(table, IDENTITY_COLUMNS, "headcount.figures.manifolds.exponents_figure")
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 1.1 + 0.21 * len(table)), layout="constrained")
        axes = made.subplots()
        axes.axvline(1.0, zorder=1, gid="theory", **THEORY)
        axes.axvline(0.0, color="#BBBBBB", linewidth=0.6, zorder=0, gid="equal exponents")
        values = table[["difference", "low", "high"]].to_numpy(dtype=float)
        known = np.append(np.clip(values[np.isfinite(values)], -FAR, FAR), 1.0)
        room = max(0.3, 0.04 * float(np.ptp(known)))
        axes.set_xlim(float(known.min()) - room, float(known.max()) + room)
        left, right = axes.get_xlim()
        for place, row in enumerate(table.to_dict("records")):
            low, high = (end if np.isnan(end) else min(max(end, left), right) for end in (float(row["low"]), float(row["high"])))
            whisker(axes, place, float(row["difference"]), low, high, gid=f"difference {place}", **ROW_LOOKS[str(row["row"])])
            if not np.isfinite(float(row["difference"])):
                axes.annotate("not known", (1.0, place), xytext=(4, 0), textcoords="offset points", fontsize=6.5, va="center",
                              color=style.GREY)
        dot_rows(axes, [str(name) for name in table["name"]])
        axes.set_xlabel("$1/\\alpha_D-1/\\alpha_N$, interval where both exponents have one")
        handles: list[Any] = [Line2D([], [], linestyle="none", label=words, **ROW_LOOKS[row])
                              for row, words in ROW_WORDS.items() if (table["row"] == row).any()]
        legend_below(made, [*handles, theory_handle("theory: 1")], 4)
    return made
