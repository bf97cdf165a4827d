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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional

from constructions._token_model import ModelFileError
from empirical._hop_batches import Batches, FixedBatches, FreshBatches, dropout_seed
from empirical._hop_files import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    RUN_FILE,
    Checkpoint,
    HopFileError,
    Outcome,
    curve_of,
    read_checkpoint,
    read_outcome,
    remove_leftovers,
    write_checkpoint,
    write_run,
)  # fmt: skip
from empirical._hop_run import HopRun
from empirical._hop_tiers import TIERS
from empirical.decoder import Decoder, load_decoder_with_provenance

__all__ = ["TIERS", "HopFileError", "HopProgress", "HopRun", "TrainedHops", "read_run", "train_hops"]

HopProgress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, mean loss in nats over the steps since the last call."""

LOOK_EVERY = 16
"""Steps between two looks at the loss and the clock."""
BETAS = (0.9, 0.999)
FIRST_MOMENT, SECOND_MOMENT = "first moment of ", "second moment of "


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
    place, where, between = Path(folder), _checked_device(device), _checked_seconds(checkpoint_seconds)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HopFileError(f"{place}: is no folder, and none can be made there ({error.strerror})") from None
    if (place / RUN_FILE).exists():
        known, outcome = read_outcome(place)
        if known != run:
            raise HopFileError(f"{place}: holds a run with other settings ({_first_difference(known, run)}); give another folder")
        if outcome.finished:
            return _finished(place, run, outcome)
    elif (place / CHECKPOINT_FILE).exists() or (place / MODEL_FILE).exists():
        raise HopFileError(f"{place}: holds weights but no {RUN_FILE}; give another folder")
    remove_leftovers(place)
    state = _State(run, where, read_checkpoint(place, run, _checkpoint_shapes(run)))
    if not (place / RUN_FILE).exists():
        write_run(place, run, state.outcome(False), str(where))
    with _no_trace(run, where):
        _descend(run, state, place, progress, between)
    state.model.eval()
    try:
        state.model.save(place / MODEL_FILE, {"run": run.as_text()})
    except ModelFileError as error:
        raise HopFileError(str(error)) from error
    write_run(place, run, state.outcome(True), str(where))
    (place / CHECKPOINT_FILE).unlink(missing_ok=True)
    return _finished(place, run, state.outcome(True))


def read_run(folder: str | os.PathLike[str]) -> TrainedHops:
    """The run in a folder: the finished model, that of its last checkpoint, or the untrained one of a run without a checkpoint.

    Raises HopFileError where there is no run, or a damaged file.
    """
    place = Path(folder)
    run, outcome = read_outcome(place)
    if outcome.finished:
        return _finished(place, run, outcome)
    state = _State(run, torch.device("cpu"), read_checkpoint(place, run, _checkpoint_shapes(run)))
    state.model.eval()
    return TrainedHops(run, state.model, False, state.steps_done, "", state.seconds, state.outcome(False).curve)


class _State:
    """What changes while a run is trained."""

    def __init__(self, run: HopRun, device: torch.device, checkpoint: Checkpoint | None) -> None:
        self.run, self.device = run, device
        self.model = run.model(device=str(device))
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=run.learning_rate, betas=BETAS, weight_decay=run.weight_decay, fused=True
        )
        self.losses = torch.zeros(run.steps, device=device)
        self.steps_done, self.seconds, self.failure = 0, 0.0, ""
        if checkpoint is not None:
            self._restore(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.steps_done, self.seconds = len(checkpoint.losses), checkpoint.seconds
        self.losses[: self.steps_done] = checkpoint.losses
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(checkpoint.tensors[name])
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(self.steps_done), device=self.device),
                    "exp_avg": checkpoint.tensors[FIRST_MOMENT + name].to(self.device, copy=True),
                    "exp_avg_sq": checkpoint.tensors[SECOND_MOMENT + name].to(self.device, copy=True),
                }

    def checkpoint(self) -> Checkpoint:
        """A copy on the CPU, after at least one step."""
        tensors = dict[str, Tensor]()
        for name, parameter in self.model.named_parameters():
            moments = self.optimiser.state[parameter]
            kept = {"": parameter, FIRST_MOMENT: moments["exp_avg"], SECOND_MOMENT: moments["exp_avg_sq"]}
            tensors |= {prefix + name: tensor.detach().cpu().contiguous() for prefix, tensor in kept.items()}
        return Checkpoint(tensors, self.losses[: self.steps_done].cpu(), self.seconds)

    def outcome(self, finished: bool) -> Outcome:
        curve = curve_of(self.losses[: self.steps_done].cpu(), self.run.steps)
        return Outcome(finished, self.steps_done, self.failure, self.seconds, curve)

    def step(self, tokens: Tensor, targets: Tensor) -> None:
        """One step of the optimiser."""
        if self.run.dropout:
            torch.manual_seed(dropout_seed(self.run.seed, self.steps_done))
        logits = self.model.stream(tokens.to(self.device))
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.to(self.device).flatten())
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.param_groups[0]["lr"] = self.run.rate(self.steps_done)
        self.optimiser.step()
        self.losses[self.steps_done] = loss.detach()
        self.steps_done += 1

    def look(self, since: int) -> float:
        """The mean loss of the steps behind `since`; sets `failure` where one, or a weight in the end, is not finite."""
        seen = self.losses[since : self.steps_done].cpu()
        bad = (~seen.isfinite()).nonzero()
        if len(bad):
            self.failure = f"the loss was not finite in step {since + int(bad[0]) + 1}"
        elif self.steps_done == self.run.steps and not all(bool(each.isfinite().all()) for each in self.model.parameters()):
            self.failure = f"a weight was not finite behind the last step, {self.steps_done}"
        return float(seen.mean())


def _descend(run: HopRun, state: _State, folder: Path, progress: HopProgress | None, checkpoint_seconds: float) -> None:
    batches: Batches
    if run.train_samples is None:
        batches = FreshBatches(run.task, run.batch_size, run.seed)
    else:
        batches = FixedBatches(run.task, run.batch_size, run.seed, run.train_samples)
    state.model.train()
    spent, begun = state.seconds, perf_counter()
    looked, saved = state.steps_done, begun
    while state.steps_done < run.steps and not state.failure:
        state.step(*batches.at(state.steps_done))
        if state.steps_done % LOOK_EVERY and state.steps_done < run.steps:
            continue
        loss = state.look(looked)
        looked, now = state.steps_done, perf_counter()
        state.seconds = spent + now - begun
        if state.steps_done < run.steps and not state.failure and now - saved >= checkpoint_seconds:
            write_checkpoint(folder, run, state.checkpoint())
            saved = now
        if progress is not None:
            try:
                progress(state.steps_done, run.steps, loss)
            except BaseException:
                # Between two steps the state is consistent. A run that diverged comes to the same end from the checkpoint before.
                if saved != now and not state.failure:
                    write_checkpoint(folder, run, state.checkpoint())
                raise


def _finished(folder: Path, run: HopRun, outcome: Outcome) -> TrainedHops:
    place = folder / MODEL_FILE
    try:
        model, provenance = load_decoder_with_provenance(place)
    except ModelFileError as error:
        raise HopFileError(str(error)) from None
    if provenance.get("run") != run.as_text() or model.arguments() != run.model(device="meta").arguments():
        raise HopFileError(f"{place}: is the model of another run than {folder / RUN_FILE}")
    model.eval()
    return TrainedHops(run, model, True, outcome.steps_done, outcome.failure, outcome.seconds, outcome.curve)


def _checkpoint_shapes(run: HopRun) -> dict[str, torch.Size]:
    shapes = {name: parameter.shape for name, parameter in run.model(device="meta").named_parameters()}
    return {prefix + name: shape for prefix in ("", FIRST_MOMENT, SECOND_MOMENT) for name, shape in shapes.items()}


@contextmanager
def _no_trace(run: HopRun, device: torch.device) -> Iterator[None]:
    """Torch's generators behind the context as before it: dropout seeds them in every step."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices) if run.dropout else nullcontext():
        yield


def _checked_device(device: object) -> torch.device:
    try:
        found = torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"device = {device!r}: 'cpu' and 'cuda' are legal")
    if found.type == "cuda" and not (torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count()):
        raise ValueError(f"device = {device!r}: is not there; 'cpu' is")
    return found


def _checked_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"checkpoint_seconds = {value!r}: must be a number >= 0")
    return float(value)


def _first_difference(known: HopRun, run: HopRun) -> str:
    here, there = known.as_plain(), run.as_plain()
    name = next(name for name in here if here[name] != there[name])
    return f"{name} = {here[name]!r}, asked for {there[name]!r}"
