"""The files of a training run: settings and outcome as JSON, checkpoints as safetensors; whole, or refused."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from constructions._token_model import ModelFileError, TokenModel
from empirical._origin import origin_here
from theory._messages import first_line
from theory._whole_files import whole_files

RUN_FILE, CHECKPOINT_FILE, MODEL_FILE = "run.json", "checkpoint.safetensors", "model.safetensors"
MOST_JSON_BYTES = 1 << 20
CURVE_POINTS = 200
"""Points of the loss curve in run.json: means over so many equal parts of the run."""


@runtime_checkable
class Settings(Protocol):
    """What the files need to know of a run's settings."""

    @property
    def name(self) -> str:
        """Of its folder."""

    @property
    def steps(self) -> int:
        """Of the optimiser, in all."""

    def as_plain(self) -> dict[str, Any]:
        """What JSON can hold."""

    def as_text(self) -> str:
        """The one JSON text of these settings."""

    def model(self, device: str | None = None) -> Any:
        """The model before the first step: a TokenModel whose `stream` gives logits."""


RunT = TypeVar("RunT", bound=Settings)
ModelT = TypeVar("ModelT", bound=TokenModel)


class RunFileError(ValueError):
    """A folder or file that is not of a run, or of another run, or a damaged one: one line with the place and what is wrong."""


@dataclass(frozen=True)
class Outcome:
    """What run.json says beside the settings.

    Attributes:
        finished: whether there is nothing more to do.
        steps_done: optimiser steps taken when it was written.
        failure: why the run ended early; empty where it did not.
        seconds: wall seconds of training so far, of all calls together.
        curve: (steps done, mean loss in nats since the point before) along the run.
    """

    finished: bool
    steps_done: int
    failure: str
    seconds: float
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that training goes on from: tensors on the CPU, losses of the steps done, seconds that they took."""

    tensors: Mapping[str, Tensor]
    losses: Tensor
    seconds: float


def curve_of(losses: Tensor, steps: int) -> tuple[tuple[int, float], ...]:
    """At most `CURVE_POINTS` points of the loss curve of a run of `steps` steps, from the losses of those done."""
    size = -(-steps // CURVE_POINTS)
    parts = losses.double().split(size) if len(losses) else ()
    ends = (min((place + 1) * size, len(losses)) for place in range(len(parts)))
    return tuple((end, float(part.mean())) for end, part in zip(ends, parts, strict=True))


@dataclass(frozen=True)
class RunFiles(Generic[RunT]):
    """Reads and writes the files of runs of one kind.

    Attributes:
        kind: what the files call it.
        from_plain: the inverse of the settings' `as_plain`; ValueError for anything else.
        others: names of further files that a run leaves in its folder.
    """

    kind: str
    from_plain: Callable[[object], RunT]
    others: tuple[str, ...] = ()

    def opened(self, folder: Path, run: RunT) -> tuple[Outcome, dict[str, Any]] | None:
        """Make a folder ready for a run: None where there is something left to do, else what its run.json says.

        Raises RunFileError for a folder of another run, or with weights of no run, or that can't be made, and as `read_run`.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFileError(f"{folder}: is no folder, and none can be made there ({error.strerror})") from None
        if (folder / RUN_FILE).exists():
            known, outcome, content = self.read_run(folder)
            if known != run:
                different = _first_difference(known, run)
                raise RunFileError(f"{folder}: holds a run with other settings ({different}); give another folder")
            if outcome.finished:
                return outcome, content
        elif (folder / CHECKPOINT_FILE).exists() or (folder / MODEL_FILE).exists():
            raise RunFileError(f"{folder}: holds weights but no {RUN_FILE}; give another folder")
        self._remove_leftovers(folder)
        return None

    def write_run(
        self, folder: Path, run: RunT, outcome: Outcome, device: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Write run.json, replacing the one of this run that is there; `more` are further entries."""
        origin = origin_here(device)
        content = {
            "format": f"headcount {self.kind} run, version 1", "name": run.name, "run": run.as_plain(),
            "finished": outcome.finished, "steps_done": outcome.steps_done, "failure": outcome.failure,
            "seconds": round(outcome.seconds, 3),
            # JSON has no NaN: a loss that is not finite is null.
            "curve": [[step, loss if abs(loss) < float("inf") else None] for step, loss in outcome.curve],
            "device": device, "versions": json.loads(origin.versions), "git_revision": origin.git_revision,
            "machine": json.loads(origin.machine), **(more or {}),
        }  # fmt: skip
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        with named_errors(folder / RUN_FILE), whole_files(folder / RUN_FILE) as (partial,):
            partial.write_text(text, encoding="utf-8")

    def read_run(self, folder: Path) -> tuple[RunT, Outcome, dict[str, Any]]:
        """What run.json of a folder says: settings, outcome, and everything as it is written. Raises RunFileError."""
        place, wanted = folder / RUN_FILE, f"headcount {self.kind} run, version 1"
        if not place.is_file():
            raise RunFileError(f"{place}: no such file; the folder of a training run has one")
        if place.stat().st_size > MOST_JSON_BYTES:
            raise RunFileError(f"{place}: is too large to be the file of a run")
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunFileError(f"{place}: can't be read ({first_line(error)})") from None
        if not isinstance(content, dict) or content.get("format") != wanted:
            raise RunFileError(f"{place}: is not the file of a run (it lacks format = {wanted!r})")
        try:
            run = self.from_plain(content.get("run"))
            return run, _outcome(content, run.steps), content
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise RunFileError(f"{place}: does not describe a run ({first_line(error)})") from None

    def write_checkpoint(self, folder: Path, run: RunT, checkpoint: Checkpoint) -> None:
        """Write the checkpoint beside the one before it, which it replaces when all of it was written.

        A process that ends in the middle, however it ends, leaves the one before. Nothing waits for the disk: where the machine
        goes down, the file may be damaged, and `read_checkpoint` says so.
        """
        tensors = {**checkpoint.tensors, "losses": checkpoint.losses}
        metadata = {
            "format": f"headcount {self.kind} checkpoint, version 1", "run": run.as_text(), "seconds": repr(checkpoint.seconds),
            "digest": _digest(tensors),
        }  # fmt: skip
        place = folder / CHECKPOINT_FILE
        with named_errors(place), whole_files(place) as (partial,):
            save_file(tensors, partial, metadata=metadata)

    def read_checkpoint(self, folder: Path, run: RunT, wanted: Mapping[str, torch.Size]) -> Checkpoint | None:
        """The checkpoint of a run with tensors of the names and shapes in `wanted`; None where there is none.

        Raises RunFileError for a damaged one, or one of another run.
        """
        place = folder / CHECKPOINT_FILE
        if not place.exists():
            return None
        if not place.is_file():
            raise RunFileError(f"{place}: is no ordinary file")
        advice = "delete it to begin the run again"
        try:
            with safe_open(str(place), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, OSError) as error:
            raise RunFileError(f"{place}: is damaged or no checkpoint ({first_line(error)}); {advice}") from None
        if metadata.get("format") != f"headcount {self.kind} checkpoint, version 1":
            raise RunFileError(f"{place}: is no checkpoint of {self.kind} training; {advice}")
        if metadata.get("run") != run.as_text():
            raise RunFileError(f"{place}: is the checkpoint of a run with other settings; {advice}")
        losses = tensors.get("losses")
        known = {name: tensor.shape for name, tensor in tensors.items() if name != "losses"}
        fits = losses is not None and losses.ndim == 1 and len(losses) <= run.steps and known == dict(wanted)
        if losses is None or not fits or metadata.get("digest") != _digest(tensors):
            raise RunFileError(f"{place}: is damaged (its tensors are not those that were written); {advice}")
        try:
            seconds = float(metadata.get("seconds", ""))
        except ValueError:
            raise RunFileError(f"{place}: is damaged (its seconds are no number); {advice}") from None
        return Checkpoint({name: tensors[name] for name in wanted}, losses, seconds)

    def write_end(
        self, folder: Path, run: RunT, model: TokenModel, outcome: Outcome, device: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model, then the run.json that vouches for it, and delete the checkpoint: nobody goes on from it."""
        try:
            model.save(folder / MODEL_FILE, {"run": run.as_text()})
        except ModelFileError as error:
            raise RunFileError(str(error)) from error
        self.write_run(folder, run, outcome, device, more)
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)

    def read_model(self, folder: Path, run: RunT, load: Callable[[Path], tuple[ModelT, dict[str, str]]]) -> ModelT:
        """The model of a finished run, in eval mode; `load` reads one with the strings beside it.

        Raises RunFileError for a damaged one, or one of another run.
        """
        place = folder / MODEL_FILE
        try:
            model, provenance = load(place)
        except ModelFileError as error:
            raise RunFileError(str(error)) from None
        if provenance.get("run") != run.as_text() or model.arguments() != run.model(device="meta").arguments():
            raise RunFileError(f"{place}: is the model of another run than {folder / RUN_FILE}")
        model.eval()
        return model

    def _remove_leftovers(self, folder: Path) -> None:
        """Delete the half-written files of a run that a kill in the middle of a write left in its folder."""
        names = "|".join(map(re.escape, (RUN_FILE, CHECKPOINT_FILE, MODEL_FILE, *self.others)))
        leftover = re.compile(rf"\.({names})\.[0-9a-f]{{8}}\.partial")  # names of theory._whole_files
        for place in folder.iterdir():
            if leftover.fullmatch(place.name) and place.is_file():
                with named_errors(place):
                    place.unlink(missing_ok=True)


def _outcome(content: Mapping[str, Any], all_steps: int) -> Outcome:
    finished, steps, failure, seconds = (content[name] for name in ("finished", "steps_done", "failure", "seconds"))
    typed = type(finished) is bool and type(steps) is int and isinstance(failure, str)
    if not typed or not 0 <= steps <= all_steps or (finished and not failure and steps < all_steps):
        raise ValueError(f"finished = {finished!r} after steps_done = {steps!r}, failure = {failure!r}")
    curve = tuple((int(step), float("nan") if loss is None else float(loss)) for step, loss in content["curve"])
    return Outcome(finished, steps, failure, float(seconds), curve)


def _first_difference(known: Settings, run: Settings) -> str:
    here, there = known.as_plain(), run.as_plain()
    name = next(name for name in here if here[name] != there[name])
    return f"{name} = {here[name]!r}, asked for {there[name]!r}"


@contextmanager
def named_errors(place: Path) -> Iterator[None]:
    """What goes wrong in writing a file becomes one RunFileError that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunFileError(f"{place}: can't be written ({first_line(error)})") from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        found.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
