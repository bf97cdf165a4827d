"""Decoders trained on k-hop induction heads: how deep must a model be to learn k hops?

    from empirical.hop_training import TIERS, train_hops
    for run in TIERS["quick"]:
        trained = train_hops(run, f"runs/quick/{run.name}")

A run is a pure function of its settings: the strings and the dropout of a step depend on the seed and the step's number alone. So
a run that was interrupted goes on from its last checkpoint and ends with the very bits of one that was not (on one machine, one
device and one number of threads). Everything is in the run's folder: `run.json` (settings, outcome, loss curve, versions),
`checkpoint.safetensors` while it is unfinished, `model.safetensors` when it is finished.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from empirical._hop_batches import FixedBatches, FreshBatches
from empirical._hop_run import HopRun
from empirical._hop_tiers import TIERS
from empirical._run_files import RUN_FILE, Outcome, RunFileError, RunFiles
from empirical._run_training import Batches, Progress, checked_device, checked_seconds, descend, no_trace, resumed
from empirical.decoder import Decoder, load_decoder_with_provenance

__all__ = ["TIERS", "HopFileError", "HopProgress", "HopRun", "TrainedHops", "read_run", "train_hops"]

HopProgress = Progress
HopFileError = RunFileError
"""One kind of error for the files of all runs, under the name that it has among hops."""
BETAS = (0.9, 0.999)
FILES = RunFiles("hop", HopRun.from_plain)


@dataclass(frozen=True, eq=False)
class TrainedHops:
    """A run, as far as it got.

    Attributes:
        run: its settings.
        model: the weights, in eval mode: at the end, or at the last checkpoint of an unfinished run.
        finished: whether there is nothing more to do: all steps are done, or it diverged.
        steps_done: optimiser steps behind these weights.
        failure: why it ended early (a loss or a weight was not finite: the model then answers nothing); empty otherwise.
        seconds: wall seconds of training, of all calls together.
        curve: (steps done, mean loss in nats since the point before) along the run, at most 200 points.
    """

    run: HopRun
    model: Decoder
    finished: bool
    steps_done: int
    failure: str
    seconds: float
    curve: tuple[tuple[int, float], ...]


def train_hops(
    run: HopRun,
    folder: str | os.PathLike[str],
    *,
    device: str = "cpu",
    progress: HopProgress | None = None,
    checkpoint_seconds: float | int = 20.0,
) -> TrainedHops:
    """Train a model, or go on with the run that is in `folder`, or only read it where that run is finished.

    What `progress` raises interrupts the run between two steps, behind a checkpoint of all that was done: nothing is lost. A
    KeyboardInterrupt elsewhere, or a kill, loses what was done since the last checkpoint, at most `checkpoint_seconds` (and 16
    steps). The next call goes on from there, and clears away what a kill left half-written. A loss or a weight that is not finite
    ends the run, with its reason in `failure`.

    Args:
        run: the settings.
        folder: of this run alone; made where it is not there.
        device: "cpu", "cuda" or "cuda:<number>".
        progress: called every 16 steps and after the last; what it raises comes out of here, behind a checkpoint.
        checkpoint_seconds: between two checkpoints, >= 0.

    Raises:
        HopFileError (a ValueError): the folder holds another run, or a damaged file, or can't be written.
        ValueError: a device that is not there, checkpoint_seconds that are no number >= 0.
    """
    place, where, between = Path(folder), checked_device(device), checked_seconds(checkpoint_seconds)
    if (done := FILES.opened(place, run)) is not None:
        return _finished(place, run, done[0])
    state = resumed(run, where, FILES, place, betas=BETAS)
    if not (place / RUN_FILE).exists():
        FILES.write_run(place, run, state.outcome(False), str(where))
    with no_trace(run, where):
        descend(state, _batches(run), FILES, place, progress, between)
    state.model.eval()
    FILES.write_end(place, run, state.model, state.outcome(True), str(where))
    return _finished(place, run, state.outcome(True))


def read_run(folder: str | os.PathLike[str]) -> TrainedHops:
    """The run in a folder: the finished model, that of its last checkpoint, or the untrained one of a run without a checkpoint.

    Raises HopFileError where there is no run, or a damaged file.
    """
    place = Path(folder)
    run, outcome, _ = FILES.read_run(place)
    if outcome.finished:
        return _finished(place, run, outcome)
    state = resumed(run, checked_device("cpu"), FILES, place, betas=BETAS)
    state.model.eval()
    return TrainedHops(run, state.model, False, state.steps_done, "", state.seconds, state.outcome(False).curve)


def _batches(run: HopRun) -> Batches:
    if run.train_samples is None:
        return FreshBatches(run.task, run.batch_size, run.seed)
    return FixedBatches(run.task, run.batch_size, run.seed, run.train_samples)


def _finished(folder: Path, run: HopRun, outcome: Outcome) -> TrainedHops:
    model = FILES.read_model(folder, run, load_decoder_with_provenance)
    return TrainedHops(run, model, True, outcome.steps_done, outcome.failure, outcome.seconds, outcome.curve)
