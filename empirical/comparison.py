"""Built beside trained: one tidy table of bounds, hand-built weights, trained weights and published values."""

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import metadata, resources

import numpy as np
import pandas as pd
from scipy import stats

from constructions import memorize
from empirical.capacity import Measurement, measure
from empirical.training import TrainedModel, TrainingSettings, Variant, train
from theory.memorization import (
    accuracy_from_memory,
    corollary_1_associations,
    mahdavi_associations_as_plotted,
    repaired_associations,
)
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

# The schema of every row of results of this project; stores and figures rely on it.
ROW_COLUMNS = (
    "experiment", "kind", "name", "vocab_size", "seq_len", "embed_dim", "head_dim", "num_heads", "num_layers", "num_associations",
    "accuracy", "accuracy_low", "accuracy_high", "draw_accuracy", "draw_accuracy_low", "draw_accuracy_high",
    "held", "held_low", "held_high", "margin_min", "memory", "nominal_parameters", "effective_parameters",
    "bits_per_parameter", "bits_per_effective_parameter", "num_models", "num_diverged",
    "table_seed", "model_seed", "variant", "dtype", "device", "seconds", "source", "versions",
)  # fmt: skip
TEXT_COLUMNS = ("experiment", "kind", "name", "variant", "dtype", "device", "source", "versions")
WHOLE_COLUMNS = (
    "vocab_size", "seq_len", "embed_dim", "head_dim", "num_heads", "num_layers", "num_associations",
    "nominal_parameters", "effective_parameters", "num_models", "num_diverged", "table_seed", "model_seed",
)  # fmt: skip
KINDS = ("bound", "built", "trained", "published")

PAPER = "Dana, Pydi and Chevaleyre 2025"


def compare(
    *,
    task: AssociationTask,
    embed_dim: int,
    head_dim: int,
    heads: Sequence[int],
    num_models: int = 20,
    settings: TrainingSettings | None = None,
    variant: Variant = "notebook",
    table_seed: int | None = None,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    progress: Callable[[int, int, float], None] | bool = False,
) -> pd.DataFrame:
    """Compare what theory promises, what is built by hand and what gradient descent reaches on one task.

    Args:
        task: pairs of tokens with one label each (S = 2, because of the built rows).
        embed_dim: d >= 2.
        head_dim: d_h, 1 to d.
        heads: head counts H >= 0, distinct; the rows come in ascending order.
        num_models: models trained per head count.
        settings: of the training; the notebook's by default.
        variant: "notebook" or "paper", the trained model.
        table_seed: the seed that the task was drawn with, for the record; None where it comes from elsewhere.
        seed: of everything else (training data and order, initial weights, the construction).
        kinds: which kinds of rows to make, of "bound", "built", "trained" and "published".
        progress: passed to `train`.

    Returns:
        One row per head count and name, with the columns ROW_COLUMNS (see `docs/rows.md`). `accuracy` is over the uniform table,
        `draw_accuracy` the notebook's number, over training draws; the two must not be mixed. Trained rows are means over the
        models that did not diverge, with a 95% Student interval for that mean. Published rows are those of the same shape.

    Raises:
        ValueError: an argument that is out of range, or that the construction or the trainer refuses.
    """
    heads = _checked_heads(heads)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kinds has {unknown[0]!r}: {', '.join(map(repr, KINDS))} are legal")
    common = {
        "vocab_size": task.vocab_size, "seq_len": task.seq_len, "embed_dim": embed_dim, "head_dim": head_dim, "num_layers": 1,
        "num_associations": task.num_associations, "table_seed": table_seed, "versions": _versions(),
    }  # fmt: skip
    rows: list[dict[str, object]] = []
    if "built" in kinds:  # first of all, since it refuses what cannot be built
        rows.extend(_built_rows(task, embed_dim, head_dim, heads, seed))
    if "bound" in kinds:
        rows.extend(_bound_rows(task, embed_dim, head_dim, heads))
    if "trained" in kinds:
        shapes = [AttentionShape(embed_dim, count, head_dim) for count in heads]
        rows.extend(_trained_rows(task, shapes, num_models, settings, variant, seed, progress))
    if "published" in kinds:
        rows.extend(_published_rows(task, embed_dim, head_dim, heads))
    order = {kind: place for place, kind in enumerate(KINDS)}
    rows.sort(key=lambda row: (row["num_heads"], order[str(row["kind"])]))
    return tidy([{**common, **row} for row in rows])


def tidy(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Rows as a table of the fixed schema: missing numbers are NaN, whole numbers nullable integers.

    Raises:
        ValueError: a row has a column outside ROW_COLUMNS.
    """
    for row in rows:
        unknown = set(row) - set(ROW_COLUMNS)
        if unknown:
            raise ValueError(f"a row has the column {sorted(unknown)[0]!r}: {', '.join(ROW_COLUMNS)} are legal")
    table = pd.DataFrame([{name: row.get(name) for name in ROW_COLUMNS} for row in rows], columns=list(ROW_COLUMNS))
    for name in ROW_COLUMNS:
        if name in TEXT_COLUMNS:
            table[name] = table[name].astype("string")
        else:
            table[name] = pd.to_numeric(table[name]).astype("Int64" if name in WHOLE_COLUMNS else "float64")
    return table


def read_published() -> pd.DataFrame:
    """The published values of the paper's experiments, as shipped with the package (one row per experiment and shape)."""
    with (resources.files("empirical") / "published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values with Student's interval for it.

    Args:
        values: one per model.
        level: of confidence, in (0, 1).

    Returns:
        Mean, lower and upper end; all NaN without values, the ends NaN with one value.
    """
    if not len(values):
        return math.nan, math.nan, math.nan
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def _checked_heads(heads: Sequence[int]) -> list[int]:
    heads = list(heads)
    if not heads or any(isinstance(count, bool) or not isinstance(count, int) or count < 0 for count in heads):
        raise ValueError(f"heads = {heads}: one or more whole numbers of at least 0 are legal")
    if len(set(heads)) < len(heads):
        raise ValueError(f"heads = {heads}: distinct numbers are legal")
    return sorted(heads)


def _versions() -> str:
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "scipy")}
    return json.dumps({"python": platform.python_version(), **versions})


def _bound_rows(task: AssociationTask, embed_dim: int, head_dim: int, heads: Sequence[int]) -> Iterator[dict[str, object]]:
    total, last_tokens = task.num_associations, task.num_last_tokens
    for count in heads:
        promised = promised_associations(AttentionShape(embed_dim, count, head_dim))
        promised["corollary_1_repaired"] = (
            repaired_associations(count, head_dim, embed_dim, last_tokens, total),
            f"{PAPER}, Corollary 1 with +min(d, K), Corollary 2",
        )
        for name, (number, source) in promised.items():
            yield {"num_heads": count, **bound_columns(name, number, source, task.vocab_size, total)}


def promised_associations(shape: AttentionShape) -> dict[str, tuple[int, str]]:
    """What is promised of a layer of heads whatever the task, by name: associations, perhaps more than there are, and source."""
    return {
        "chance": (0, f"{PAPER}, Corollary 2 with nothing memorized"),
        "previous": (
            mahdavi_associations_as_plotted(shape.num_heads, shape.head_dim),
            "Mahdavi, Liao and Thrampoulidis 2024, as plotted by " + PAPER,
        ),
        "corollary_1": (
            corollary_1_associations(shape.num_heads, shape.head_dim, shape.embed_dim), f"{PAPER}, Corollaries 1 and 2"
        ),
    }  # fmt: skip


def bound_columns(name: str, number: int, source: str, vocab_size: int, num_associations: int) -> dict[str, object]:
    """A bound under the names of ROW_COLUMNS: as many held as promised, if there are so many, the rest guessed."""
    memory = min(max(number, 0), num_associations)
    accuracy = float(accuracy_from_memory(Fraction(memory), vocab_size, num_associations))
    return {"kind": "bound", "name": name, "held": memory, "memory": memory, "accuracy": accuracy, "source": source}


def measured_columns(measured: Measurement) -> dict[str, object]:
    """What a measurement says, under the names of ROW_COLUMNS."""
    return {
        "accuracy": measured.accuracy, "held": measured.held, "margin_min": measured.margin_min, "memory": measured.memory,
        "nominal_parameters": measured.nominal_parameters, "effective_parameters": measured.effective_parameters,
        "bits_per_parameter": measured.bits_per_parameter, "bits_per_effective_parameter": measured.bits_per_effective_parameter,
    }  # fmt: skip


def _built_rows(
    task: AssociationTask, embed_dim: int, head_dim: int, heads: Sequence[int], seed: int
) -> Iterator[dict[str, object]]:
    for count in heads:
        start = time.perf_counter()
        built = memorize(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=count, seed=seed, check=False)
        seconds = time.perf_counter() - start
        yield {
            "kind": "built", "name": built.method, "num_heads": count, **measured_columns(measure(built.model, task)),
            "num_models": 1,
            "model_seed": seed, "dtype": "float64", "device": "cpu", "seconds": seconds, "source": built.source,
        }  # fmt: skip


def _trained_rows(
    task: AssociationTask,
    shapes: Sequence[AttentionShape],
    num_models: int,
    settings: TrainingSettings | None,
    variant: Variant,
    seed: int,
    progress: Callable[[int, int, float], None] | bool,
) -> Iterator[dict[str, object]]:
    start = time.perf_counter()
    trained = train(
        task=task, shapes=shapes, num_models=num_models, settings=settings, variant=variant, seed=seed, progress=progress
    )
    seconds = (time.perf_counter() - start) / len(shapes)  # one stack: the cost of a shape is its share
    for shape in shapes:
        finished = [model for model in trained.of_shape(shape) if not model.diverged]
        row = _mean_row(task, finished) if finished else {}
        yield {
            "kind": "trained", "name": "adam", "num_heads": shape.num_heads, **row, "num_models": num_models,
            "num_diverged": num_models - len(finished), "model_seed": seed, "variant": variant,
            "dtype": str(trained.settings.dtype).removeprefix("torch."), "device": trained.device, "seconds": seconds,
            "source": f"Adam on the schedule of {PAPER}" if settings is None else "Adam, settings given by the caller",
        }  # fmt: skip


def _mean_row(task: AssociationTask, models: Sequence[TrainedModel]) -> dict[str, object]:
    """Means over models with intervals; the least margin is the least over all of them."""
    measured = [
        measure(
            model.to_transformer(),
            task,
            nominal_parameters=model.nominal_parameters,
            effective_parameters=model.effective_parameters,
        )
        for model in models
    ]
    row: dict[str, object] = {
        name: float(np.mean([getattr(m, name) for m in measured]))
        for name in ("memory", "bits_per_parameter", "bits_per_effective_parameter")
    }
    row["margin_min"] = min(m.margin_min for m in measured)
    row["nominal_parameters"] = measured[0].nominal_parameters
    row["effective_parameters"] = measured[0].effective_parameters
    for name, values in {
        "accuracy": [m.accuracy for m in measured],
        "draw_accuracy": [model.notebook_accuracy for model in models],
        "held": [float(m.held) for m in measured],
    }.items():
        row[name], row[f"{name}_low"], row[f"{name}_high"] = mean_interval(values)
    return dict(row)


def _published_rows(task: AssociationTask, embed_dim: int, head_dim: int, heads: Sequence[int]) -> Iterator[dict[str, object]]:
    """Published points of the same shape, when the task is a complete table as in the paper."""
    if task.num_associations != task.vocab_size**task.seq_len:
        return
    published = read_published()
    shape = {"vocab_size": task.vocab_size, "seq_len": task.seq_len, "embed_dim": embed_dim, "head_dim": head_dim}
    for name, size in {**shape, "num_layers": 1}.items():
        published = published[published[name] == size]
    for point in published[published["num_heads"].isin(heads)].to_dict("records"):
        yield {
            "kind": "published", "name": "paper", "experiment": point["experiment"], "num_heads": point["num_heads"],
            "draw_accuracy": point["draw_accuracy"], "num_models": point["repetitions"], "variant": "notebook",
            "source": point["source"], "table_seed": None, "versions": None,
        }  # fmt: skip
