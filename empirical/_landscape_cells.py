"""The work of a landscape, one method on one table at a time: build, solve or train, then measure and certify."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from constructions import AttentionOnlyTransformer, certify, memorize, readout
from constructions.rivals import bubeck, huben_morris, mahdavi
from empirical.capacity import measure
from empirical.comparison import measured_columns
from empirical.solver import solve
from empirical.training import train
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

MOST_HEADS_ON_A_CURVE = 8
RIVALS: dict[str, Any] = {"mahdavi": mahdavi, "huben_morris": huben_morris, "bubeck": bubeck}


def run_cell(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one cell, as its specification asks; see `empirical.landscape.cells` for what there is."""
    task = AssociationTask.complete(spec["vocab_size"], 2, spec["table_seed"])
    make = {"solver": _solved, "adam": _trained, **dict.fromkeys(RIVALS, _rival)}.get(spec["method"], _built)
    return list(make(task, spec))


def _built(task: AssociationTask, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A construction with as many heads as it needs for everything, then with fewer: its curve.

    Or with so many times the heads that the threshold law expects to be enough.
    """
    shape = {"embed_dim": spec["embed_dim"], "head_dim": spec["head_dim"]}
    options = dict(spec.get("options", {}))

    def row(num_heads: int | None) -> dict[str, Any]:
        start = time.perf_counter()
        built = memorize(
            task, **shape, num_heads=num_heads, method=spec["method"], seed=spec["seed"], check=False, **options
        )
        seconds = time.perf_counter() - start
        return {
            "kind": "built", "name": spec.get("name", spec["method"]), **_model_columns(built.model, task, seconds),
            "model_seed": spec["seed"], "table_seed": spec["table_seed"], "source": built.source, "reason": built.failure,
        }  # fmt: skip

    if "law_factors" in spec:
        law = readout.plan(task, **shape, seed=spec["seed"]).num_heads
        yield from (row(math.ceil(factor * law)) for factor in spec["law_factors"])
        return
    whole = row(None)
    yield whole
    most = int(whole["num_heads"])
    for heads in _fewer(most, spec.get("points", MOST_HEADS_ON_A_CURVE)):
        yield row(heads)


def _fewer(most: int, points: int) -> list[int]:
    """Some numbers of heads below `most`, evenly spaced on a logarithmic axis from 1."""
    if most <= 1 or points < 1:
        return []
    return sorted({round(heads) for heads in np.geomspace(1, most, points + 1)[:-1]} - {most})


def _rival(task: AssociationTask, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A rival's recipe on this task at a few numbers of heads, or with as many weights as so many heads have."""
    rival = RIVALS[spec["method"]]
    for heads in spec["heads"]:
        start = time.perf_counter()
        memory = rival.transplant(
            task, embed_dim=spec["embed_dim"], head_dim=spec["head_dim"], num_heads=heads, seed=spec["seed"]
        )
        seconds = time.perf_counter() - start
        row = {
            "held": memory.num_held, "accuracy": memory.num_held / task.num_associations, "dtype": "float64", "device": "cpu",
            "nominal_parameters": memory.num_parameters, "bits_per_parameter": memory.bits_per_parameter, "seconds": seconds,
            "num_models": 1,
        }  # fmt: skip
        if memory.model is not None:
            row = _model_columns(memory.model, task, seconds)
        yield {
            **row, "kind": "built", "name": spec["method"], "num_heads": heads, "model_seed": spec["seed"],
            "table_seed": spec["table_seed"], "source": rival.SOURCE,
        }  # fmt: skip


def _solved(task: AssociationTask, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shape = AttentionShape(spec["embed_dim"], spec["num_heads"], spec["head_dim"])
    found = solve(task, shape, seed=spec["seed"], max_seconds=spec["max_seconds"], target_margin=0.0)
    yield {
        "kind": "solved", "name": "solver", **_model_columns(found.model, task, found.seconds), "model_seed": spec["seed"],
        "table_seed": spec["table_seed"], "source": "Levenberg-Marquardt on violated margins (empirical.solver)",
        "reason": found.reason,
    }  # fmt: skip


def _trained(task: AssociationTask, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shape = AttentionShape(spec["embed_dim"], spec["num_heads"], spec["head_dim"])
    start = time.perf_counter()
    models = train(task=task, shapes=[shape], num_models=spec["num_models"], seed=spec["seed"], variant=spec["variant"])
    seconds = (time.perf_counter() - start) / spec["num_models"]
    for model in models:
        common = {
            "kind": "trained", "name": "adam", "num_heads": shape.num_heads, "table_seed": spec["table_seed"],
            "model_seed": model.repetition, "variant": spec["variant"], "dtype": "float32", "seconds": seconds,
            "nominal_parameters": model.nominal_parameters, "effective_parameters": model.effective_parameters,
            "source": "Adam on the schedule of Dana, Pydi and Chevaleyre 2025",
        }  # fmt: skip
        if model.diverged:
            yield {**common, "num_diverged": 1, "reason": model.reason}
            continue
        counts = {"nominal_parameters": model.nominal_parameters, "effective_parameters": model.effective_parameters}
        converted = model.to_transformer()
        assert isinstance(converted, AttentionOnlyTransformer)  # as the shape has one layer and no MLP
        columns = _model_columns(converted, task, seconds, **counts)
        yield {**columns, **common, "draw_accuracy": model.notebook_accuracy}


def _model_columns(
    model: AttentionOnlyTransformer,
    task: AssociationTask,
    seconds: float,
    nominal_parameters: int | None = None,
    effective_parameters: int | None = None,
) -> dict[str, Any]:
    """What the ruler says of a model, and how much of that is certain."""
    proved = certify(model, task, dtypes=()).statements["exact"].num_right
    measured = measure(model, task, nominal_parameters=nominal_parameters, effective_parameters=effective_parameters)
    return {
        "num_heads": model.num_heads, "head_dim": model.head_dim, **measured_columns(measured),
        "certified": proved, "num_models": 1, "dtype": "float64", "device": "cpu", "seconds": seconds,
    }  # fmt: skip
