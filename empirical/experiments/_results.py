"""What an experiment came to: one tidy table of trained means, bounds and published values."""

from collections.abc import Iterator, Sequence
from math import isfinite, log2, nan
from typing import Protocol, runtime_checkable

import pandas as pd

from empirical.cells import Cell, CellResult, DeviceKind
from empirical.comparison import ROW_COLUMNS, bound_columns, mean_interval, promised_associations, read_published, tidy
from empirical.experiments.experiment import PAPER, Experiment, Tier, plotted_parameters
from empirical.training import Variant
from theory.shapes import TransformerShape

OWN_TEXTS = ("tier", "series", "axis")
OWN_NUMBERS = ("mlp_width", "axis_value", "plotted_parameters", "num_missing", "num_failed")
EXPERIMENT_COLUMNS = (
    *ROW_COLUMNS, "mlp_width", "tier", "series", "axis", "axis_value", "plotted_parameters", "num_missing", "num_failed",
)  # fmt: skip
"""One row for each kind and point. `num_models` are the cells computed, `num_diverged` those of them that diverged, `num_failed`
those that an error kept from being computed, `num_missing` those not computed yet; means are over the rest. `series` is the curve
that a point belongs to, `axis` and `axis_value` say where along x it lies, `plotted_parameters` is the paper's own count."""

PUBLISHED_COLUMNS = (
    "experiment", "vocab_size", "seq_len", "embed_dim", "head_dim", "num_heads", "num_layers", "repetitions", "draw_accuracy",
)  # fmt: skip
SHAPE_COLUMNS = ("embed_dim", "head_dim", "num_heads", "num_layers", "mlp_width")


@runtime_checkable
class ResultSource(Protocol):
    """What is asked of a store."""

    def results(self, cells: Sequence[Cell]) -> list[CellResult]:
        """Those of the cells that are done or failed, in the order of the cells."""
        ...


def results(
    experiment: Experiment,
    store: ResultSource,
    tier: Tier,
    variant: Variant = "notebook",
    *,
    device: DeviceKind = "cpu",
    seed: int = 0,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The tidy table behind the figure of an experiment, whatever the store holds of it so far.

    Args:
        experiment: of which tier, variant, device and seed: see `Experiment.cells`.
        store: an `empirical.store.Store`, or anything with its method `results`.
        tier, variant, device, seed: as above.
        published: a table like that of `read_published` (the default). A column `mlp_width` may say which points have an MLP, a
            column `series` which curve they belong to, where two curves have a shape in common.

    Returns:
        Columns EXPERIMENT_COLUMNS, curve by curve and point by point. Kind "trained": means over the models that were computed
        and did not diverge, with 95% Student intervals (accuracy, draw_accuracy, held); bits per parameter are those of the mean
        number held, the margin is the least; a point without any model has NaN and its counts. Kind "bound": chance, and for one
        layer of heads `previous` and `corollary_1`. Kind "published": draw accuracy, where there is a published value and the
        variant is "notebook".

    Raises:
        ValueError: as `Experiment.cells`; a published table without a column that it needs.
    """
    grid = experiment.grid(tier)
    points = [
        (curve.label, shape, experiment.point(curve, shape, grid.repetitions, variant, device=device, seed=seed))
        for curve in grid.curves
        for shape in curve.shapes
    ]
    found = {result.cell: result for result in store.results(list(dict.fromkeys(cell for *_, cells in points for cell in cells)))}
    values = published_points(experiment, published) if variant == "notebook" else {}
    rows: list[dict[str, object]] = []
    for label, shape, cells in points:
        common = {
            "experiment": experiment.name, "vocab_size": experiment.vocab_size, "seq_len": 2,
            **{name: getattr(shape, name) for name in SHAPE_COLUMNS}, "num_associations": experiment.vocab_size**2,
            "tier": tier, "series": label, "axis": experiment.axis, "axis_value": experiment.axis_value(shape),
            "plotted_parameters": plotted_parameters(experiment.vocab_size, shape), "num_missing": 0, "num_failed": 0,
        }  # fmt: skip
        computed = [found[cell] for cell in cells if cell in found]
        point = [*_bounds(experiment.vocab_size, shape), _trained(cells, computed, grid.note)]
        if (label, shape) in values:
            point.append(values[label, shape])
        rows.extend({**common, **row} for row in point)
    table = tidy([{name: row[name] for name in row if name in ROW_COLUMNS} for row in rows])
    for name in OWN_NUMBERS:
        table[name] = pd.Series([row[name] for row in rows]).astype("Int64")
    for name in OWN_TEXTS:
        table[name] = pd.Series([row[name] for row in rows]).astype("string")
    return table[list(EXPERIMENT_COLUMNS)]


def published_points(
    experiment: Experiment, published: pd.DataFrame | None
) -> dict[tuple[str, TransformerShape], dict[str, object]]:
    """Published rows of an experiment by curve and shape.

    A row without a `series` belongs to the first curve with its shape. Raises ValueError for a table that lacks a column, has a
    label that no curve has, or names a point twice.
    """
    table = read_published() if published is None else published
    lacking = [name for name in PUBLISHED_COLUMNS if name not in table.columns]
    if lacking:
        raise ValueError(
            f"published has no column {lacking[0]!r}: {', '.join(PUBLISHED_COLUMNS)} are needed, mlp_width, series, source legal"
        )
    labels = {curve.label for curve in experiment.paper.curves}
    chosen = table[(table["experiment"] == experiment.published_as) & (table["vocab_size"] == experiment.vocab_size)]
    found: dict[tuple[str, TransformerShape], dict[str, object]] = {}
    for row in chosen[chosen["seq_len"] == 2].to_dict("records"):
        width, label, source = (row.get(name) for name in ("mlp_width", "series", "source"))
        shape = TransformerShape(
            int(row["embed_dim"]), int(row["num_heads"]), int(row["head_dim"]), int(row["num_layers"]),
            0 if width is None or pd.isna(width) else int(width),
        )  # fmt: skip
        if label is None or pd.isna(label):
            try:
                label = experiment.series(shape)
            except ValueError:
                continue  # a point that the grid doesn't have
        elif label not in labels:
            legal = ", ".join(sorted(labels))
            raise ValueError(f"published has the series {label!r} for {experiment.name}: must be one of {legal}")
        if (label, shape) in found:
            raise ValueError(f"published has two rows of {experiment.name} for {label}, {shape}: one for each point is legal")
        found[label, shape] = {
            "kind": "published", "name": "paper", "draw_accuracy": float(row["draw_accuracy"]),
            "num_models": int(row["repetitions"]), "variant": "notebook",
            "source": PAPER if source is None or pd.isna(source) else str(source),
        }  # fmt: skip
    return found


def _bounds(vocab_size: int, shape: TransformerShape) -> Iterator[dict[str, object]]:
    """Guessing, and for one layer of heads what the papers promise."""
    for name, (number, source) in promised_associations(shape).items():
        if name == "chance" or shape.attention_only:
            yield bound_columns(name, number, source, vocab_size, vocab_size**2)


def _trained(cells: Sequence[Cell], found: Sequence[CellResult], note: str) -> dict[str, object]:
    """Means over the models of one point that were computed and did not diverge."""
    first = cells[0]
    done = [result for result in found if result.state == "done"]
    kept = [result for result in done if not result.diverged]
    row: dict[str, object] = {
        "kind": "trained", "name": "adam", "variant": first.variant, "table_seed": first.table_seed, "model_seed": first.seed,
        "dtype": str(first.settings.dtype).removeprefix("torch."), "device": first.device,
        "num_models": len(done), "num_diverged": len(done) - len(kept), "num_failed": len(found) - len(done),
        "num_missing": len(cells) - len(found), "source": f"Adam on the schedule of {PAPER}" + (f"; {note}" if note else ""),
    }  # fmt: skip
    seconds = [result.seconds for result in done if isfinite(result.seconds)]
    row["seconds"] = sum(seconds) if seconds else nan
    if not kept:
        return row
    held = [float(result.held) for result in kept if result.held is not None]
    for name, values in {
        "accuracy": [result.accuracy for result in kept],
        "draw_accuracy": [result.draw_accuracy for result in kept],
        "held": held,
    }.items():
        row[name], row[f"{name}_low"], row[f"{name}_high"] = mean_interval(values)
    row["memory"] = sum(result.memory for result in kept) / len(kept)
    row["margin_min"] = min(result.margin_min for result in kept)
    bits = sum(held) / len(held) * log2(first.vocab_size) if held else nan
    for name, column in (("nominal", "bits_per_parameter"), ("effective", "bits_per_effective_parameter")):
        count = getattr(kept[0], f"{name}_parameters")
        row[f"{name}_parameters"], row[column] = count, bits / count if count else nan
    return row
