"""One descent for all runs that train token models step by step: interrupted anywhere, it ends with the same bits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional

from empirical._run_files import Checkpoint, Outcome, RunFiles, Settings, curve_of

Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, mean loss in nats over the steps since the last call."""
LOOK_EVERY = 16
"""Steps between two looks at the loss and the clock."""
DROPOUT_STREAM = 0x484F5003
"""First word of the seeds of the dropout of a step."""
FIRST_MOMENT, SECOND_MOMENT = "first moment of ", "second moment of "


@runtime_checkable
class TrainedSettings(Settings, Protocol):
    """The settings that a descent reads."""

    @property
    def seed(self) -> int:
        """Of everything random."""

    @property
    def learning_rate(self) -> float | int:
        """The largest."""

    @property
    def weight_decay(self) -> float | int:
        """Of AdamW."""

    @property
    def dropout(self) -> float | int:
        """Share in [0, 1)."""

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""


@runtime_checkable
class Batches(Protocol):
    """Where a run's batches come from."""

    def at(self, step: int) -> tuple[Int[Tensor, "batch positions"], Int[Tensor, "batch positions"]]:
        """Tokens and targets of a step, counted from 0: the same whatever was asked before."""
        ...


class Descent:
    """What changes while a run is trained: weights, moments, losses."""

    def __init__(
        self, run: TrainedSettings, device: torch.device, checkpoint: Checkpoint | None, *, betas: tuple[float, float]
    ) -> None:
        self.run, self.device = run, device
        self.model = run.model(device=str(device))
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=run.learning_rate, betas=betas, weight_decay=run.weight_decay, fused=True
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
        """What training goes on from, after at least one step.

        On the CPU these are the descent's own tensors, not copies: write them before the next step changes them.
        """
        tensors = dict[str, Tensor]()
        for name, parameter in self.model.named_parameters():
            moments = self.optimiser.state[parameter]
            kept = {"": parameter, FIRST_MOMENT: moments["exp_avg"], SECOND_MOMENT: moments["exp_avg_sq"]}
            tensors |= {prefix + name: tensor.detach().cpu().contiguous() for prefix, tensor in kept.items()}
        return Checkpoint(tensors, self.losses[: self.steps_done].cpu(), self.seconds)

    def outcome(self, finished: bool) -> Outcome:
        """As far as it got."""
        curve = curve_of(self.losses[: self.steps_done].cpu(), self.run.steps)
        return Outcome(finished, self.steps_done, self.failure, self.seconds, curve)

    def step(self, tokens: Tensor, targets: Tensor) -> None:
        """One step of the optimiser."""
        if self.run.dropout:
            torch.manual_seed(_dropout_seed(self.run.seed, self.steps_done))
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


def resumed(
    run: TrainedSettings, device: torch.device, files: RunFiles[Any], folder: Path, *, betas: tuple[float, float]
) -> Descent:
    """The descent as the checkpoint in a folder left it, before its first step where there is none. Raises RunFileError."""
    return Descent(run, device, files.read_checkpoint(folder, run, _checkpoint_shapes(run)), betas=betas)


def descend(
    state: Descent, batches: Batches, files: RunFiles[Any], folder: Path, progress: Progress | None, checkpoint_seconds: float
) -> None:
    """All steps that are left, with a checkpoint from time to time, and one before what `progress` raises comes out of here."""
    run = state.run
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
            files.write_checkpoint(folder, run, state.checkpoint())
            saved = now
        if progress is not None:
            try:
                progress(state.steps_done, run.steps, loss)
            except BaseException:
                # Between two steps the state is consistent. A run that diverged comes to the same end from the checkpoint before.
                if saved != now and not state.failure:
                    files.write_checkpoint(folder, run, state.checkpoint())
                raise


def _checkpoint_shapes(run: TrainedSettings) -> dict[str, torch.Size]:
    shapes = {name: parameter.shape for name, parameter in run.model(device="meta").named_parameters()}
    return {prefix + name: shape for prefix in ("", FIRST_MOMENT, SECOND_MOMENT) for name, shape in shapes.items()}


def _dropout_seed(seed: int, step: int) -> int:
    """What torch's generator is seeded with before a step that drops out."""
    return int(np.random.SeedSequence([DROPOUT_STREAM, seed, step]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def no_trace(run: TrainedSettings, device: torch.device) -> Iterator[None]:
    """Torch's generators behind the context as before it: dropout seeds them in every step."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices) if run.dropout else nullcontext():
        yield


def checked_device(device: object) -> torch.device:
    """A device of torch that is there; ValueError otherwise."""
    try:
        found = torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"device = {device!r}: 'cpu' and 'cuda' are legal")
    if found.type == "cuda" and not (torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count()):
        raise ValueError(f"device = {device!r}: is not there; 'cpu' is")
    return found


def checked_seconds(value: object) -> float:
    """`value` as a float where it is a number >= 0; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"checkpoint_seconds = {value!r}: must be a number >= 0")
    return float(value)
