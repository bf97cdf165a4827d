"""Scaling runs of one's own: small language models over a real text, trained on D tokens seen once, measured on held-out files.

    from empirical.data import stdlib_corpus
    from empirical.scaling_runs import TIERS, read_runs, train_run
    corpus = stdlib_corpus()
    for run in TIERS["smoke"]:
        train_run(run, corpus, f"results/smoke/{run.name}")
    table = read_runs("results", "smoke")

A run is a pure function of its settings and the corpus: windows and dropout of a step depend on the seed and the step's number
alone. So a run that was interrupted goes on from its last checkpoint and ends with the very bits of one that was not (on one
machine, one device and one number of threads). Everything is in the run's folder: `run.json` (settings with the corpus' digest,
outcome, held-out loss, loss curve, versions), `positions.csv` (held-out loss by token position), `model.safetensors` when it is
finished, `checkpoint.safetensors` while it is not.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from empirical._run_files import RUN_FILE, Outcome, RunFileError, RunFiles, named_errors
from empirical._run_training import Progress, checked_device, checked_seconds, descend, no_trace, resumed
from empirical._scaling_run import ScalingRun
from empirical._scaling_tiers import TIERS
from empirical._scaling_windows import HeldOutLoss, TrainingWindows, held_out_loss, require_validation
from empirical.data import Corpus, require_same_corpus
from empirical.language_models import AnyLanguageModel, load_language_model
from theory._whole_files import whole_files

__all__ = [
    "POSITION_COLUMNS", "SCALING_COLUMNS", "TIERS", "HeldOutLoss", "RunFileError", "ScalingRun", "TrainedRun", "read_positions",
    "read_run", "read_runs", "train_run",
]  # fmt: skip

POSITIONS_FILE = "positions.csv"
BETAS = (0.9, 0.98)
SCALING_COLUMNS = (
    "kind", "name", "architecture", "embed_dim", "num_layers", "num_heads", "vocab_size", "context", "total_parameters",
    "non_embedding_parameters", "tokens", "flops", "loss", "loss_low", "loss_high", "train_loss", "learning_rate", "warmup",
    "batch_size", "steps", "seed", "tier", "corpus", "tokenizer", "tokens_per_byte", "python_version", "seconds", "failure",
)  # fmt: skip
"""Columns of `read_runs`, a row per finished run: N both ways, D, FLOP (three forward passes, counted in full, not 6 N D), loss
on held-out files in nats per token with its 95% interval (`HeldOutLoss` says what was chosen on these files), loss of the last
part of training, settings, where it comes from."""
POSITION_COLUMNS = (
    "name", "architecture", "total_parameters", "non_embedding_parameters", "tokens", "seed", "tier", "corpus",
    "position", "loss", "loss_low", "loss_high",
)  # fmt: skip
"""Columns of `read_positions`, a row per run and position: loss of the token that is predicted from `position` tokens."""

FILES = RunFiles("scaling", ScalingRun.from_plain, (POSITIONS_FILE,))


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run, as far as it got.

    Attributes:
        run: its settings, with the corpus' digest.
        model: the weights, in eval mode: at the end, or at the last checkpoint of an unfinished run.
        finished: whether there is nothing more to do: all steps are done and measured, or it diverged.
        steps_done: optimiser steps behind these weights.
        failure: why it ended early (a loss or a weight was not finite; nothing is measured then); empty otherwise.
        seconds: wall seconds of training, of all calls together; measuring is not in it.
        curve: (steps done, mean loss in nats since the point before) along the run, at most 200 points.
        loss, loss_low, loss_high: on held-out files with its 95% interval; NaN where nothing is measured.
        content: all that run.json says.
    """

    run: ScalingRun
    model: AnyLanguageModel
    finished: bool
    steps_done: int
    failure: str
    seconds: float
    curve: tuple[tuple[int, float], ...]
    loss: float
    loss_low: float
    loss_high: float
    content: dict[str, Any]


def train_run(
    run: ScalingRun,
    corpus: Corpus,
    folder: str | os.PathLike[str],
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint_seconds: float | int = 20.0,
) -> TrainedRun:
    """Train a model and measure it, or go on with the run that is in `folder`, or only read it where that run is finished.

    What `progress` raises interrupts the run behind a checkpoint of all that was done: nothing is lost. A kill loses what was
    done since the last checkpoint. The next call goes on from there. A loss or a weight that is not finite ends the run, with its
    reason in `failure`.

    Args:
        run: the settings; an empty `corpus` in them becomes that of the corpus.
        corpus: whole; what is held out is decided here.
        folder: of this run alone; made where it is not there.
        device: "cpu", "cuda" or "cuda:<number>".
        progress: called every 16 steps with (steps done, steps, mean loss), after the last, and while the loss is measured.
        checkpoint_seconds: between two checkpoints, >= 0.

    Raises:
        RunFileError (a ValueError): the folder holds another run, or a damaged file, or can't be written.
        ValueError: a corpus with another digest or other tokens than the run's, or with too few; a device that is not there;
            checkpoint_seconds that are no number >= 0.
    """
    place, where, between = Path(folder), checked_device(device), checked_seconds(checkpoint_seconds)
    run = run.on(corpus.digest)
    batches = TrainingWindows(run, corpus)
    require_validation(run, corpus)
    if (done := FILES.opened(place, run)) is not None:
        return _finished(place, run, *done)
    state = resumed(run, where, FILES, place, betas=BETAS)
    about = {"digest": run.digest, "corpus": _about(corpus)}
    if not (place / RUN_FILE).exists():
        FILES.write_run(place, run, state.outcome(False), str(where), about)
    todo = state.steps_done < run.steps
    with no_trace(run, where):
        descend(state, batches, FILES, place, progress, between)
    state.model.eval()
    if not state.failure:
        if todo:  # what stops the measuring does not cost the training
            FILES.write_checkpoint(place, run, state.checkpoint())
        last = float(state.losses[-max(1, run.steps // 20) :].mean())
        tick: Callable[[], None] | None = None if progress is None else lambda: progress(run.steps, run.steps, last)
        measured = held_out_loss(state.model, run, corpus, where, tick)
        _write_positions(place, measured)
        about["result"] = {
            "loss": measured.loss, "loss_low": measured.low, "loss_high": measured.high, "windows": measured.num_windows,
            "files": measured.num_files, "train_loss": last,
        }  # fmt: skip
    FILES.write_end(place, run, state.model, state.outcome(True), str(where), about)
    return read_run(place)


def read_run(folder: str | os.PathLike[str]) -> TrainedRun:
    """The run in a folder: the finished model, that of its last checkpoint, or the untrained one of a run without a checkpoint.

    Raises RunFileError where there is no run, or a damaged file.
    """
    place = Path(folder)
    run, outcome, content = FILES.read_run(place)
    if outcome.finished:
        return _finished(place, run, outcome, content)
    state = resumed(run, checked_device("cpu"), FILES, place, betas=BETAS)
    state.model.eval()
    nothing = float("nan")
    curve = state.outcome(False).curve
    return TrainedRun(
        run, state.model, False, state.steps_done, "", state.seconds, curve, nothing, nothing, nothing, content
    )


def read_runs(folder: str | os.PathLike[str], tier: str) -> pd.DataFrame:
    """The finished runs below `<folder>/<tier>/` as a table in `SCALING_COLUMNS`, smallest first.

    A run that diverged has its reason in `failure` and NaN for a loss. Names of unfinished runs are in `attrs["unfinished"]`.

    Raises:
        ValueError: no finished run there; runs on different corpora, whose losses do not compare.
        RunFileError (a ValueError): a damaged file.
    """
    rows, unfinished = list[dict[str, Any]](), list[str]()
    for place in _run_folders(Path(folder) / tier):
        run, outcome, content = FILES.read_run(place)
        if not outcome.finished:
            unfinished.append(run.name)
            continue
        if rows:
            require_same_corpus(rows[0]["corpus"], run.corpus)
        rows.append(_row(place, run, outcome, content) | {"tier": tier})
    if not rows:
        advice = f"headcount scaling train --tier {tier} makes them"
        raise ValueError(f"{Path(folder) / tier}: holds no finished scaling run; {advice}")
    table = pd.DataFrame(rows, columns=list(SCALING_COLUMNS))
    table = table.sort_values(["architecture", "total_parameters", "tokens", "seed"], ignore_index=True)
    table.attrs["unfinished"] = unfinished
    return table


def read_positions(folder: str | os.PathLike[str], tier: str) -> pd.DataFrame:
    """Held-out loss by token position of the runs that `read_runs` lists, in `POSITION_COLUMNS`; diverged ones have none.

    Raises:
        ValueError: as `read_runs`, and for a positions.csv that is missing or not the run's.
    """
    parts = []
    runs = read_runs(folder, tier)
    for row in runs[runs["failure"] == ""].to_dict("records"):
        place = Path(folder) / tier / str(row["name"]) / POSITIONS_FILE
        table = _positions(place, int(row["context"]), float(row["loss"]))
        parts.append(table.assign(**{name: row[name] for name in POSITION_COLUMNS if name not in table.columns}))
    if not parts:
        raise ValueError(f"{Path(folder) / tier}: all runs diverged, none has losses by position")
    return pd.concat(parts, ignore_index=True)[list(POSITION_COLUMNS)]


def _run_folders(place: Path) -> list[Path]:
    if not place.is_dir():
        raise ValueError(f"{place}: is no folder; headcount scaling train makes it")
    return sorted(path.parent for path in place.glob(f"*/{RUN_FILE}"))


def _row(place: Path, run: ScalingRun, outcome: Outcome, content: dict[str, Any]) -> dict[str, Any]:
    if place.name != run.name:
        raise RunFileError(f"{place}: holds the run {run.name}, which belongs into a folder of that name")
    model = run.model(device="meta")
    loss, low, high = _losses(place, outcome, content)
    try:
        known, result = content["corpus"], content.get("result", {})
        more = {"tokens_per_byte": float(known["tokens_per_byte"]), "python_version": str(known["python_version"])}
        train_loss = float(result.get("train_loss", float("nan")))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunFileError(f"{place / RUN_FILE}: does not say what corpus it is about") from None
    return {
        "kind": "trained", **run.as_plain(), "name": run.name, "steps": run.steps, "flops": float(run.flops),
        "total_parameters": model.total_parameters, "non_embedding_parameters": model.non_embedding_parameters, "loss": loss,
        "loss_low": low, "loss_high": high, "train_loss": train_loss, "seconds": outcome.seconds, "failure": outcome.failure,
        **more,
    }  # fmt: skip


def _losses(place: Path, outcome: Outcome, content: dict[str, Any]) -> tuple[float, float, float]:
    if outcome.failure:
        return float("nan"), float("nan"), float("nan")
    try:
        loss, low, high = (float(content["result"][name]) for name in ("loss", "loss_low", "loss_high"))
    except (KeyError, TypeError, ValueError):
        loss = low = high = float("nan")
    if not 0 <= loss < float("inf") or not low <= loss <= high:
        raise RunFileError(f"{place / RUN_FILE}: is of a finished run but has no held-out loss")
    return loss, low, high


def _finished(place: Path, run: ScalingRun, outcome: Outcome, content: dict[str, Any]) -> TrainedRun:
    losses = _losses(place, outcome, content)
    model = FILES.read_model(place, run, load_language_model)
    return TrainedRun(run, model, True, outcome.steps_done, outcome.failure, outcome.seconds, outcome.curve, *losses, content)


def _about(corpus: Corpus) -> dict[str, Any]:
    return {
        "digest": corpus.digest, "text_digest": corpus.text_digest, "python_version": corpus.python_version,
        "tokenizer": corpus.tokenizer, "tokens_per_byte": corpus.tokens_per_byte, "files": len(corpus.files),
        "bytes": sum(file.size for file in corpus.files),
    }  # fmt: skip


def _write_positions(folder: Path, measured: HeldOutLoss) -> None:
    table = pd.DataFrame(measured.by_position, columns=["loss", "loss_low", "loss_high"])
    table.insert(0, "position", np.arange(1, len(table) + 1))
    with named_errors(folder / POSITIONS_FILE), whole_files(folder / POSITIONS_FILE) as (partial,):
        table.to_csv(partial, index=False)


def _positions(place: Path, context: int, loss: float) -> pd.DataFrame:
    try:
        table = pd.read_csv(place).astype({"position": int, "loss": float, "loss_low": float, "loss_high": float})
    except (ValueError, OSError, KeyError) as error:
        raise RunFileError(f"{place}: is no table of losses by position ({str(error).splitlines()[0]})") from None
    whole = list(table["position"]) == list(range(1, context + 1)) and abs(float(table["loss"].mean()) - loss) < 1e-6 * (1 + loss)
    if not whole:
        advice = "without the folder, headcount scaling train makes it again"
        raise RunFileError(f"{place}: has not the losses of its run.json; {advice}")
    return table
