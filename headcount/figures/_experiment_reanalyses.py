"""Two figures that the paper doesn't have: memory against the heads' effective parameters, and experiment 2 in both variants.

Memory is X = phi^-1 of the accuracy on the table, in associations (Dana, Pydi and Chevaleyre 2025, Corollary 2). The heads'
effective parameters are those that are left of one layer when changes that alter no logit are taken away; derived here, per head:

- paper's model: queries and keys act through one d x d matrix of rank r = min(d_h, d), values and output through another; such
  matrices form a set of dimension r (2d - r), together 2 r (2d - r).
- notebook variant: the same two matrices lie between the shared maps, k x k of full rank with k = min(d, d_h): 2 k^2. For
  d_h > d this is the leading term; position vectors, which lie outside the maps' image, add to it.

Both lines leave out what heads have in common: embeddings, positions, unembedding and shared maps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log2
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from empirical.regression import Estimate, least_squares, line
from headcount.figures import style
from headcount.figures._experiment_data import Results, cut, left_out, models, results
from theory.memorization import memory_from_accuracy

UNSATURATED = 0.7
"""Accuracy on the table below which a point counts: above, models run out of associations to hold."""
FEWEST = 3
AXES = {"exp_1": "num_heads", "exp_2": "head_dim", "exp_3": "embed_dim"}
"""The experiments that are pooled, with what their tables are made for."""
MARKERS = {"exp_1": "o", "exp_2": "s", "exp_3": "^"}
COLOURS = {"notebook": style.VERMILLION, "paper": style.BLUE}
FILLS = {"notebook": "full", "paper": "none"}
HEADINGS = {"notebook": "notebook variant: maps shared by all heads", "paper": "paper's model: maps in each head"}
MEMORY = "memory $X$ (associations beyond guessing)"


def heads_parameters(rows: pd.DataFrame, variant: str) -> Float[np.ndarray, " rows"]:
    """2 H r (2d - r) in the paper's model, 2 H r^2 in the notebook variant, r = min(d_h, d); see the module's docstring."""
    heads, dim = rows["num_heads"].to_numpy(float), rows["embed_dim"].to_numpy(float)
    rank = np.minimum(dim, rows["head_dim"].to_numpy(float))
    return 2 * heads * rank * (rank if variant == "notebook" else 2 * dim - rank)


def effective_parameters(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Memory against the heads' effective parameters, all unsaturated points of experiments 1, 2 and 3 in one panel.

    A least-squares line for each variant, through all of its points. Its interval is Student's and takes the points' errors for
    independent, which they are not quite, as all models learn one table.
    """
    given = _checked(tables, tuple(AXES))
    sizes = {(one.setting["vocab_size"], one.setting["num_associations"]) for one in given.values()}
    if len(sizes) > 1:
        raise ValueError(f"tables have the vocabularies {', '.join(str(size) for size, _ in sorted(sizes))}: must have one")
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.6), layout="constrained")
        axes = made.add_subplot()
        texts = []
        for variant in ("notebook", "paper"):
            chosen = {name: one for name, one in given.items() if one.variant == variant}
            pooled = [_draw_memory(axes, name, one) for name, one in chosen.items()]
            parts = [part for part in pooled if len(part)]
            if parts:
                shapes = pd.concat(parts).drop_duplicates(["embed_dim", "head_dim", "num_heads"])  # experiments share some
                texts.append(_draw_line(axes, shapes, variant, next(iter(sizes))[0]))
        axes.set_xlabel("effective parameters of the heads $P$ ($2Hr^2$ notebook, $2Hr(2d-r)$ paper; $r=\\min(d,d_h)$)")
        axes.set_ylabel(MEMORY)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        first = next(iter(given.values()))
        heading = f"$N={first.setting['vocab_size']}$, $S=2$, points with accuracy below {UNSATURATED} on the table"
        made.legend(loc="outside lower center", ncols=2, alignment="left", columnspacing=1.5, labelspacing=0.35,
                    title="\n".join([heading, *_said(given, "bars"), *filter(None, texts)]))
    return made


def variants(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Memory against d_h in the notebook variant and in the paper's model, each with a + b P for both counts P of parameters.

    With P = 2 H d_h^2 the curve is the paper's parabola, with P = 2 H d_h (2d - d_h) it is concave.
    """
    given = _checked(tables, ("exp_2",))
    found = {one.variant: one for one in given.values()}
    if set(found) != {"notebook", "paper"}:
        raise ValueError(f"tables of the variants {', '.join(map(repr, found))}: must be of 'notebook' and 'paper'")
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 4.2), layout="constrained")
        panels = made.subplots(1, 2, sharey=True)
        for letter, axes, (variant, heading) in zip("ab", panels, HEADINGS.items(), strict=True):
            _draw_variant(axes, found[variant])
            axes.set_title(letter, loc="left", fontweight="bold", fontsize=9)
            axes.set_title(heading, fontsize=8)
            axes.set_xlabel("head dimension $d_h$")
            axes.set_ylabel(MEMORY)
        handles = {handle.get_label(): handle for axes in panels for handle in axes.get_legend_handles_labels()[0]}
        first = found["notebook"]
        dims = ", ".join(f"${symbol}={first.rows[name].iloc[0]:g}$" for symbol, name in (("d", "embed_dim"), ("H", "num_heads")))
        heading = f"$N={first.setting['vocab_size']}$, $S=2$, {dims}, {first.setting['num_associations']:,} associations"
        made.legend(handles=list(handles.values()), loc="outside lower center", ncols=2, alignment="left", columnspacing=1.5,
                    title="\n".join([heading, *_said(given, "bands")]), labelspacing=0.35)
    return made


def _checked(tables: Mapping[str, pd.DataFrame], legal: Sequence[str]) -> dict[str, Results]:
    """The tables by key, looked through."""
    if not tables:
        raise ValueError(f"tables is empty: must have tables of {', '.join(legal)}")
    given = {}
    for key, table in tables.items():
        name, _, variant = key.partition(" ")
        if name not in legal or variant not in ("", *COLOURS):
            raise ValueError(f"tables has the key {key!r}: must be {', '.join(legal)}, or one of them and a variant")
        found = results(table, AXES[name])
        if variant and found.variant not in ("", variant):
            raise ValueError(f"tables has models of the {found.variant} variant under {key!r}: must have the key's")
        if found.setting["num_layers"] != 1 or found.rows["mlp_width"].gt(0).any():
            raise ValueError(f"tables has models with several layers or networks under {key!r}: must have one layer of heads")
        given[key] = found
    return given


def _memory(found: Results) -> pd.DataFrame:
    """Trained points with their memory, its interval and the heads' effective parameters."""
    rows = found.of("trained")
    rows = rows[rows["accuracy"].notna()].copy()
    vocab, total = found.setting["vocab_size"], found.setting["num_associations"]
    for name in ("accuracy", "accuracy_low", "accuracy_high"):
        memory = [memory_from_accuracy(value, vocab, total) if value == value else value for value in rows[name].clip(0.0, 1.0)]
        rows[name.replace("accuracy", "memory")] = np.array(memory, dtype=float)
    rows["heads_parameters"] = heads_parameters(rows, found.variant)
    return rows


def _draw_memory(axes: Axes, key: str, found: Results) -> pd.DataFrame:
    rows = _memory(found)
    rows = rows[rows["accuracy"].lt(UNSATURATED)]
    name, variant = key.partition(" ")[0], found.variant
    if len(rows):
        label = f"experiment {name.removeprefix('exp_')}, {variant} variant ({len(rows)} points)"
        axes.plot(rows["heads_parameters"], rows["memory"], linestyle="none", marker=MARKERS[name], markersize=4.0,
                  color=COLOURS[variant], fillstyle=FILLS[variant], label=label, gid=f"{name} {variant}", zorder=4)
        _bars(axes, rows, "heads_parameters", COLOURS[variant], f"{name} {variant} interval")
    return rows


def _bars(axes: Axes, rows: pd.DataFrame, x: str, colour: str, gid: str) -> None:
    rows = rows[rows["memory_low"].notna()]
    if len(rows):
        axes.vlines(rows[x], rows["memory_low"], rows["memory_high"], color=colour, linewidth=0.8, alpha=0.6, gid=gid, zorder=3)


def _draw_line(axes: Axes, rows: pd.DataFrame, variant: str, vocab_size: int) -> str:
    """The least-squares line of a variant's points; returns what it came to, as text."""
    x = rows["heads_parameters"].to_numpy()
    if len(x) < FEWEST or np.ptp(x) == 0:
        return ""
    fitted = line(x, rows["memory"].to_numpy())
    ends = np.array([x.min(), x.max()])
    axes.plot(ends, fitted.intercept.value + fitted.slope.value * ends, color=COLOURS[variant], linewidth=1.0, zorder=2,
              linestyle="-" if variant == "notebook" else "--", label=f"least squares, {variant} variant", gid=f"line {variant}")
    bits = log2(vocab_size)
    slope, start = fitted.slope, _minus(f"{fitted.intercept.value:.0f}")
    text = (f"{variant}: $X$ = {start} + {_between(slope, 1)} $P$: {_between(slope, bits)} bits per parameter, "
            f"$R^2$ = {fitted.r_squared:.3f}")
    dims = rows["embed_dim"].to_numpy()
    if len(x) > FEWEST and np.linalg.matrix_rank(np.column_stack([np.ones_like(x), x / x.max(), dims / dims.max()])) == 3:
        y = rows["memory"].to_numpy()
        design = np.column_stack([np.ones_like(x), x, dims])
        offset, per, per_dim = least_squares(design, y)
        rest = y - design @ np.array([offset.value, per.value, per_dim.value])
        squared = 1 - float(rest @ rest) / float(((y - y.mean()) ** 2).sum())
        start, last = _minus(f"{offset.value:.0f}"), _minus(f"{per_dim.value:+.1f}")
        text += f"\n    with a term in $d$: $X$ = {start} + {_between(per, 1)} $P$ {last} $d$, $R^2$ = {squared:.3f}"
    return text


def _between(estimate: Estimate, factor: float) -> str:
    """A number with its 95% interval: "0.45 [0.43, 0.47]"."""
    value, low, high = (factor * number for number in (estimate.value, estimate.low, estimate.high))
    return _minus(f"{value:.2f}") if isnan(low) else _minus(f"{value:.2f} [{low:.2f}, {high:.2f}]")


def _minus(text: str) -> str:
    """Hyphens in front of numbers as minus signs."""
    return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class _Law:
    """One of the two counts that memory is fitted with."""

    variant: str
    label: str
    short: str
    look: dict[str, Any]


LAWS = (
    _Law("notebook", "least squares $a+bP$, $P=2H\\,d_h^2$: quadratic", "$P=2H\\,d_h^2$", {"linestyle": "-."}),
    _Law("paper", "least squares $a+bP$, $P=2H\\,d_h(2d-d_h)$: concave", "$P=2H\\,d_h(2d-d_h)$", {"linestyle": (0, (1, 1))}),
)


def _draw_variant(axes: Axes, found: Results) -> None:
    rows = _memory(found)
    kept = rows[rows["accuracy"].lt(UNSATURATED)]
    colour, variant = COLOURS[found.variant], found.variant
    axes.plot(rows["x"], rows["memory"], "-", marker="o", markersize=4.0, color=colour, fillstyle=FILLS[variant], zorder=4,
              label=f"trained, mean: {variant} variant", gid=f"memory {variant}")
    if rows["memory_low"].notna().any():
        axes.fill_between(rows["x"], rows["memory_low"], rows["memory_high"], color=colour, alpha=0.3, linewidth=0, zorder=3,
                          gid=f"memory interval {variant}")
    notes = []
    for law in LAWS:
        if len(kept) < FEWEST:
            continue
        fitted = line(heads_parameters(kept, law.variant), kept["memory"].to_numpy())
        widths = np.linspace(rows["x"].min(), rows["x"].max(), 121)
        fine = pd.DataFrame({"num_heads": kept["num_heads"].iloc[0], "embed_dim": kept["embed_dim"].iloc[0], "head_dim": widths})
        axes.plot(widths, fitted.intercept.value + fitted.slope.value * heads_parameters(fine, law.variant), color=style.BLACK,
                  linewidth=0.9, label=law.label, gid=f"{law.variant} law {variant}", zorder=5, **law.look)
        notes.append(f"{law.short}: $b$ = {_between(fitted.slope, 1)}, $R^2$ = {fitted.r_squared:.3f}")
    total = found.setting["num_associations"]
    axes.set_ylim(0, 1.03 * total)
    axes.set_xticks(sorted(found.rows["x"].unique()) if found.rows["x"].nunique() <= 11 else axes.get_xticks())
    if notes:
        axes.text(0.03, 0.97, "\n".join([f"fits below accuracy {UNSATURATED}:", *notes]), transform=axes.transAxes, va="top",
                  fontsize=6.5, gid=f"notes {variant}", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, zorder=7)


def _said(given: Mapping[str, Results], band: str) -> list[str]:
    """Tier, models, cuts and gaps of every table; tables that say the same share a line. `band` says what shows intervals."""
    lines: dict[str, list[str]] = {}
    for key, found in given.items():
        text = "; ".join(filter(None, [models(found, band=False), cut(found), left_out(found)]))
        lines.setdefault(text, []).append(key.partition(" ")[0].removeprefix("exp_"))
    said = [f"experiment{'s' if len(names) > 1 else ''} {', '.join(names)}: {text}" for text, names in lines.items()]
    shown = any(found.of("trained")["accuracy_low"].notna().any() for found in given.values())
    return [*said, f"{band}: 95% interval of the mean over models"] if shown else said
