"""What the commands do, once their arguments are read. Everything slow to import is imported here."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, TimeElapsedColumn, TimeRemainingColumn

from constructions import Construction, memorize
from empirical.capacity import Measurement
from empirical.capacity import measure as measure_model
from empirical.comparison import compare as compare_models
from empirical.training import TrainingSettings, Variant
from headcount import __version__, console
from headcount._inputs import model_and_task
from headcount._output import checked_file, output_folder
from headcount._progress import progress_bar
from headcount.figures.compare import draw
from theory._whole_files import whole_files
from theory.tasks import AssociationTask

DEFAULT_VOCAB_SIZE = 10
ACCURACY_WINDOW = 100
"""Batches over which the notebook averages its accuracy."""


def compare(
    *,
    task_file: Path | None,
    vocab_size: int | None,
    embed_dim: int,
    head_dim: int,
    heads: list[int],
    num_models: int,
    variant: Variant,
    epochs: int,
    num_batches: int,
    batch_size: int,
    table_seed: int | None,
    seed: int,
    out: Path,
) -> None:
    """`headcount compare`: one table and one figure from bounds, built and trained models."""
    if head_dim > embed_dim:
        raise ValueError(f"--head-dim {head_dim}: 1 to --embed-dim {embed_dim} is legal for a built model")
    if epochs * num_batches < 2:
        raise ValueError(f"--epochs {epochs} --num-batches {num_batches}: at least two batches in all are legal")
    task = _comparison_task(task_file, vocab_size, table_seed)
    settings = TrainingSettings(
        epochs=epochs,
        num_batches=num_batches,
        batch_size=batch_size,
        accuracy_window=min(ACCURACY_WINDOW, epochs * num_batches - 1),
    )
    with output_folder(out, "--out") as folder:
        inputs = {"task file": task_file} if task_file else {}
        places = [checked_file(folder / f"compare.{suffix}", "--out", inputs) for suffix in ("csv", "png", "pdf")]
        with _progress("training") as report:
            table = compare_models(
                task=task,
                embed_dim=embed_dim,
                head_dim=head_dim,
                heads=heads,
                num_models=num_models,
                settings=None if settings == TrainingSettings.notebook() else settings,  # None: the row says whose schedule it is
                variant=variant,
                table_seed=None if task_file else table_seed or 0,
                seed=seed,
                progress=report,
            )
        with whole_files(*places) as (data, png, pdf):
            table.to_csv(data, index=False)
            draw(table, png, pdf)
    console.show(console.comparison(table))
    for place in places:
        console.say(f"{place.suffix[1:].upper()} {place}")


def build(
    *,
    task_file: Path,
    embed_dim: int,
    head_dim: int,
    output: Path,
    num_heads: int | None,
    vocab_size: int | None,
    method: str,
    seed: int,
) -> None:
    """`headcount build`: weights by hand for a user's own associations."""
    checked_file(output, "--output", {"task file": task_file})
    task = AssociationTask.from_csv(task_file, vocab_size)
    built = memorize(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, method=method, seed=seed)
    inferred = vocab_size is None
    arguments = {
        "embed_dim": embed_dim,
        "head_dim": head_dim,
        "num_heads": num_heads,
        "vocab_size": vocab_size,
        "method": method,
        "seed": seed,
    }
    provenance = {
        "made by": f"headcount {__version__} build",
        "method": built.method,
        "source": built.source,
        "task fingerprint": task.fingerprint(),
        "task file": task_file.name,
        "vocabulary": f"{task.vocab_size}, {'inferred as largest entry + 1' if inferred else 'as given'}",
        "held": f"{built.num_held} of {task.num_associations}",
        "arguments": json.dumps(arguments),
    }
    built.model.save(output, provenance)
    console.show(console.facts(f"Built by hand: {built.method}", _construction_facts(built, inferred)))
    if built.num_held < task.num_associations:
        more = "; without --num-heads there are as many as it takes" if num_heads is not None else ""
        console.say(f"not all fit: H = {built.num_heads} holds {built.num_held} of {task.num_associations} associations{more}")
    console.say(f"model {output}")


def measure(*, model_file: Path, task_file: Path, json_file: Path | None) -> None:
    """`headcount measure`: the ruler, applied to a saved model and a user's associations."""
    if json_file is not None:
        checked_file(json_file, "--json", {"model": model_file, "task file": task_file})
    model, task, provenance = model_and_task(model_file, task_file)
    found = measure_model(model, task)
    if json_file is not None:
        numbers = {"model": str(model_file), "task": str(task_file), "task_fingerprint": task.fingerprint(),
                   "headcount": __version__, **_finite_or_none(asdict(found))}
        text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
        with whole_files(json_file) as (partial,):
            partial.write_text(text, encoding="utf-8")
    size = (f"N = {model.vocab_size}, S = {model.seq_len}, d = {model.embed_dim}, H = {model.num_heads}, d_h = {model.head_dim}, "
            f"{str(model.dtype).removeprefix('torch.')}")
    rows = {"model": size, **_measurement_facts(found)}
    if provenance.get("task fingerprint") not in (None, task.fingerprint()):
        rows["note"] = "the model was built for another table than this"
    console.show(console.facts(f"{model_file.name} on {task_file.name}", rows))
    if json_file is not None:
        console.say(f"JSON {json_file}")


def _comparison_task(task_file: Path | None, vocab_size: int | None, table_seed: int | None) -> AssociationTask:
    if task_file is None:
        return AssociationTask.complete(vocab_size or DEFAULT_VOCAB_SIZE, 2, table_seed or 0)
    if table_seed is not None:
        raise ValueError(f"--table-seed {table_seed}: not legal together with --task, which is a table already")
    task = AssociationTask.from_csv(task_file, vocab_size)
    if task.seq_len != 2:
        raise ValueError(f"{task_file}: has sequences of {task.seq_len} tokens; 2 are legal for the models built here")
    return task


def _construction_facts(built: Construction, inferred: bool) -> dict[str, str]:
    task, model = built.task, built.model
    rows = {
        "vocabulary size N": f"{task.vocab_size:,} ({'inferred: largest entry + 1' if inferred else 'given'})",
        "sequence length S": str(task.seq_len),
        "shape": f"d = {model.embed_dim}, d_h = {model.head_dim}",
        "heads H": f"{built.num_heads:,}",
        "parameters": f"{sum(weights.numel() for weights in model.parameters()):,}",
        "held by design": f"{built.num_held:,} of {task.num_associations:,}",
    }
    missing = np.setdiff1d(np.arange(task.num_associations), built.held)
    if len(missing):
        rows["not promised"] = f"{len(missing):,}: rows {console.few(missing + 1)} below the header"
        if "limit" in built.notes:
            rows["limit"] = built.notes["limit"]
    rows["least margin"] = f"{built.margin:.3g} (logit of the target above the next, over those held)"
    rows["largest weight"] = f"{built.max_weight:.3g}"
    for check in built.checks:
        rows[f"run in {check.dtype}"] = f"{check.num_right:,} of {check.num_checked:,} right, least margin {check.margin:.3g}"
    if built.failure is not None:
        rows["failure"] = built.failure
    return rows


def _measurement_facts(found: Measurement) -> dict[str, str]:
    return {
        "associations": f"{found.num_associations:,}",
        "accuracy": f"{found.accuracy:.4f} (fraction right, each association counted once)",
        "held": f"{found.held:,} (margin above 0)",
        "margin": f"{found.margin_min:.3g} least, {found.margin_median:.3g} median, {found.margin_max:.3g} greatest",
        "memory": f"{found.memory:.4g} (associations that explain the accuracy beyond guessing)",
        "cross-entropy": f"{found.cross_entropy:.4g} nats as is; "
        f"{found.cross_entropy_at_best_temperature:.4g} at the best temperature, {found.best_temperature:.3g}",
        "parameters": f"{found.nominal_parameters:,} nominal, {found.effective_parameters:,} effective",
        "bits per parameter": f"{found.bits_per_parameter:.4g} nominal, {found.bits_per_effective_parameter:.4g} effective",
        "bits by cross-entropy": f"{found.bits_by_cross_entropy:.4g} per nominal parameter",
    }


def _finite_or_none(numbers: dict[str, object]) -> dict[str, object]:
    """JSON knows neither NaN nor infinity."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in numbers.items()}


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """A bar on stderr while the context is open, gone afterwards; the callback takes steps done, steps in all, loss."""
    columns = ("{task.description}", BarColumn(), "{task.fields[loss]}", TimeElapsedColumn(), TimeRemainingColumn())
    with progress_bar(*columns) as bar:
        row = bar.add_task(what, total=None, loss="")
        yield lambda done, total, loss: bar.update(
            row, completed=done, total=total, loss="" if math.isnan(loss) else f"loss {loss:.3f}"
        )
