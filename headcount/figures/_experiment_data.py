"""What the figures of the paper's experiments read from a table of results: series, points, bounds, and what is to be said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from headcount.figures.table import one_setting

SETTING = ("vocab_size", "seq_len", "num_associations", "num_layers")
TEXT = ("kind", "name", "tier", "series", "axis", "variant", "source")
NUMBERS = (
    "embed_dim", "head_dim", "num_heads", "mlp_width", "axis_value", "plotted_parameters",
    "accuracy", "accuracy_low", "accuracy_high", "draw_accuracy", "draw_accuracy_low", "draw_accuracy_high",
    "num_models", "num_diverged", "num_missing", "num_failed",
)  # fmt: skip
COLUMNS = (*TEXT, *NUMBERS, *SETTING)
SOURCE = "empirical.experiments.results"
ACCURACIES = ("draw_accuracy", "accuracy")
BOUNDS = ("previous", "corollary_1")
SYMBOLS = {"embed_dim": "d", "head_dim": "d_h", "num_heads": "H", "num_layers": "L"}


@dataclass(frozen=True)
class Points:
    """One curve, in ascending x: means with the ends of their intervals, which are NaN where there is one model."""

    x: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Results:
    """A table that was looked through.

    Attributes:
        rows: its rows with plain floats, and their place on the figure's axis as the column `x`, in which they ascend.
        setting: N, S, T0 and the number of layers, of which a table has one each.
        embed_dims: d of every series, the least where it varies along the series; by d, attention before MLP.
        mlp: the series that have models with a network behind the heads.
        variant: of the trained models, "" where there are none.
        parts: the rows by kind and series.
    """

    rows: pd.DataFrame
    setting: dict[str, int]
    embed_dims: dict[str, int]
    mlp: frozenset[str]
    variant: str
    parts: dict[tuple[str, str], pd.DataFrame]

    @property
    def series(self) -> tuple[str, ...]:
        """Labels of the curves, in order."""
        return tuple(self.embed_dims)

    def of(self, kind: str, series: str | None = None, name: str | None = None) -> pd.DataFrame:
        """Rows of a kind, in ascending x."""
        rows = self.rows[self.rows["kind"].eq(kind)] if series is None else self.parts.get((kind, series), self.rows.iloc[:0])
        return rows if name is None else rows[rows["name"].eq(name)]

    def points(self, series: str, accuracy: str, kind: str = "trained") -> Points:
        """The curve of a series; points without a value are left out. `accuracy` is one of ACCURACIES."""
        rows = self.of(kind, series)
        rows = rows[rows[accuracy].notna()]
        return Points(*(rows[name].to_numpy() for name in ("x", accuracy, f"{accuracy}_low", f"{accuracy}_high")))

    def bound(self, series: str, name: str) -> pd.DataFrame:
        """A bound along a series, where it is one: for one layer of heads and nothing else."""
        rows = self.of("bound", series, name)
        applies = self.setting["num_layers"] == 1 and series not in self.mlp
        return rows[rows["accuracy"].notna()] if applies else rows.iloc[:0]


def results(table: pd.DataFrame, axis: str) -> Results:
    """Look through a table of one experiment.

    Args:
        table: rows of `empirical.experiments.results`, of one tier and variant.
        axis: what the figure is drawn against, as the table's column `axis` names it.

    Raises:
        ValueError: a column is missing; no rows; several settings, tiers or variants; another axis; a point twice or nowhere.
    """
    setting = one_setting(table, COLUMNS, SETTING, SOURCE)
    rows = table[list(dict.fromkeys(COLUMNS))].copy()
    rows[list(NUMBERS)] = rows[list(NUMBERS)].astype(float)
    rows[list(TEXT)] = rows[list(TEXT)].astype(object).where(rows[list(TEXT)].notna(), "")
    found = [str(other) for other in rows["axis"].unique()]
    if found != [axis]:
        raise ValueError(f"table is made for the axis {', '.join(map(repr, found))}: must be made for {axis!r}")
    one_of = {"tier": rows["tier"], "variant": rows.loc[rows["kind"].eq("trained"), "variant"]}
    for name, values in one_of.items():
        if len(found := [str(other) for other in values.unique()]) > 1:
            raise ValueError(f"table has rows of the {name}s {', '.join(map(repr, found))}: must be of one")
    rows["x"] = rows["plotted_parameters" if axis == "nominal_parameters" else "axis_value"]
    if rows["x"].isna().any():
        raise ValueError("table has rows without a place on the axis: must have none")
    twice = rows[rows.duplicated(["kind", "name", "series", "x"])]
    if len(twice):
        one = twice.iloc[0]
        raise ValueError(f"table has two {one['kind']} rows of {one['series']!r} at {axis} = {one['x']:g}: must have one")
    rows = rows.sort_values("x", kind="stable")
    dims = {str(name): int(dim) for name, dim in rows.groupby("series")["embed_dim"].min().items()}
    mlp = frozenset(rows.loc[rows["mlp_width"].gt(0), "series"])
    order = sorted(dims, key=lambda name: (dims[name], name in mlp, name))
    parts = {(str(kind), str(name)): part for (kind, name), part in rows.groupby(["kind", "series"])}
    variant = str(one_of["variant"].iloc[0]) if len(one_of["variant"]) else ""
    return Results(rows, setting, {name: dims[name] for name in order}, mlp, variant, parts)


def title(found: Results, *, narrow: bool = False, band: bool = True) -> str:
    """What every reader has to know: sizes, tier, models, variant, and what is not in the figure.

    `narrow` breaks long lines; `band` says what the bands are.
    """
    rows, setting = found.rows, found.setting
    sizes = [f"$N={setting['vocab_size']}$", f"$S={setting['seq_len']}$"]
    for name in ("embed_dim", "head_dim", "num_heads"):
        if rows[name].nunique() == 1:
            sizes.append(f"${SYMBOLS[name]}={rows[name].iloc[0]:g}$")
        elif name == "head_dim" and rows["head_dim"].eq(rows["embed_dim"]).all():
            sizes.append("$d_h=d$")
    if setting["num_layers"] > 1:
        sizes.append(f"{setting['num_layers']} layers")
    lines = [", ".join([*sizes, f"{setting['num_associations']:,} associations"])]
    lines += [models(found, band=band), cut(found), left_out(found)]
    text = "\n".join(line for line in lines if line)
    return text.replace("; band", ";\nband") if narrow else text


def models(found: Results, *, band: bool = True) -> str:
    """Tier, models per point and variant: "smoke tier: 2 models per point, not converged; notebook variant"."""
    tier = str(found.rows["tier"].iloc[0])
    counts = found.of("trained")["num_models"].fillna(0)
    counts = counts[counts > 0].astype(int)
    if not len(counts):
        return f"{tier} tier: no models"
    least, most = counts.min(), counts.max()
    count = f"{most} model{'s' if most != 1 else ''}" if least == most else f"{least} to {most} models"
    said = f"{tier} tier: {count} per point{', not converged' if tier == 'smoke' else ''}; {found.variant} variant"
    bands = "; band: 95% interval of their mean" if most > 1 else "; one model has no band"
    return said + bands if band else said


def cut(found: Results) -> str:
    """What the tier leaves away of the paper's runs, as the trained rows' source says behind its first semicolon."""
    notes = {str(source).partition("; ")[2] for source in found.of("trained")["source"]} - {""}
    return f"cut: {' / '.join(sorted(notes))}" if notes else ""


def left_out(found: Results) -> str:
    """What is missing from the figure, as one line; empty where nothing is."""
    points = found.rows[found.rows["kind"].isin(("trained", "bound"))][["series", "x"]].drop_duplicates()
    trained = found.of("trained")
    drawn = trained[trained[list(ACCURACIES)].notna().any(axis=1)]
    gone = len(points) - len(drawn)
    said = [f"{gone} of {len(points)} points left out"] if gone else []
    for what in ("missing", "failed", "diverged"):
        if count := int(trained[f"num_{what}"].fillna(0).sum()):
            said.append(f"{count} model{'s' if count > 1 else ''} {what}")
    return ", ".join(said)


def spread(places: Sequence[float], gap: float, least: float, most: float) -> list[float]:
    """Places for labels: as near to `places` as neighbours at least `gap` apart, in the same order, within the ends, can be had.

    Found from below, then pushed back from above; where there is no room for all, the lowest lie below `least`.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    found = [0.0] * len(places)
    before = -math.inf
    for index in order:
        before = found[index] = max(places[index], before + gap, least)
    after = math.inf
    for index in reversed(order):
        after = found[index] = min(found[index], after - gap, most)
    return found
