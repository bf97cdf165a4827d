"""A cell: one model to be trained and measured, told by a specification that determines every number of its result.

Experiments and sweeps are sets of cells; stores keep one row for each, under the hash of its specification.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import torch

from empirical._parameters import VARIANTS, Variant
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape, checked_integer
from theory.tasks import AssociationTask

DeviceKind = Literal["cpu", "cuda"]
DEVICE_KINDS: tuple[DeviceKind, ...] = ("cpu", "cuda")

NUMERICS = 1
"""To be raised when the same specification begins to give other numbers: results of earlier numerics are then computed anew."""


@dataclass(frozen=True)
class Cell:
    """One model: which table it learns, its shape, its schedule and its seeds.

    The task is `AssociationTask.complete(vocab_size, seq_len, seed=table_seed)`: all N^S sequences with one uniformly random
    target each. `seed` and `repetition` are those of `empirical.training.train`: cells that differ in `repetition` or in
    `shape` alone learn the same training draws. `device` is part of what determines the numbers: "cpu" or "cuda".

    Raises ValueError for sizes out of range, an unknown variant or device.
    """

    vocab_size: int
    shape: TransformerShape
    repetition: int = 0
    variant: Variant = "notebook"
    settings: TrainingSettings = field(default_factory=TrainingSettings.notebook)
    seq_len: int = 2
    table_seed: int = 0
    seed: int = 0
    device: DeviceKind = "cpu"

    def __post_init__(self) -> None:
        for name, least in (("vocab_size", 2), ("seq_len", 1), ("repetition", 0), ("table_seed", 0), ("seed", 0)):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), least))
        if not isinstance(self.shape, TransformerShape):
            raise ValueError(f"shape = {self.shape!r}: must be a TransformerShape")
        if not isinstance(self.settings, TrainingSettings):
            raise ValueError(f"settings = {self.settings!r}: must be a TrainingSettings")
        for name, legal in (("variant", VARIANTS), ("device", DEVICE_KINDS)):
            if getattr(self, name) not in legal:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(map(repr, legal))}")

    @property
    def spec(self) -> dict[str, Any]:
        """All that determines the result, as a flat JSON object; settings are prefixed with `settings.`."""
        settings = {f"settings.{name}": value for name, value in asdict(self.settings).items()}
        settings["settings.dtype"] = str(self.settings.dtype).removeprefix("torch.")
        settings["settings.betas"] = list(self.settings.betas)
        own = {name: getattr(self, name) for name in CELL_NAMES}
        return {"numerics": NUMERICS, **own, **asdict(self.shape), **settings}

    @property
    def text(self) -> str:
        """The specification as one line of JSON, the same for equal cells."""
        return json.dumps(self.spec, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def key(self) -> str:
        """SHA-256 of `text`, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def words(self) -> str:
        """The cell in a few words, for messages."""
        shape = self.shape
        layers = f", L = {shape.num_layers}" if shape.num_layers > 1 else ""
        network = f", MLP {shape.mlp_width}" if shape.mlp_width else ""
        sizes = f"N = {self.vocab_size}, d = {shape.embed_dim}, H = {shape.num_heads}, d_h = {shape.head_dim}"
        return f"{sizes}{layers}{network}, model {self.repetition}"

    @property
    def company(self) -> "Cell":
        """The cell with shape and repetition set to the least: cells of equal company can be trained by one call."""
        return Cell(
            self.vocab_size, TransformerShape(1, 0, 1), 0, self.variant, self.settings, self.seq_len, self.table_seed, self.seed,
            self.device,
        )  # fmt: skip

    def task(self) -> AssociationTask:
        """The table that the model learns."""
        return AssociationTask.complete(self.vocab_size, self.seq_len, seed=self.table_seed)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Cell":
        """The cell of a specification as `spec` gives it.

        Raises ValueError for a missing or unknown name, a value out of range, or another `numerics`.
        """
        settings_names = tuple(f"settings.{entry.name}" for entry in fields(TrainingSettings))
        known = {"numerics", *CELL_NAMES, *SHAPE_NAMES, *settings_names}
        if set(spec) != known:
            wrong = sorted(set(spec) ^ known)[0]
            what = "unknown" if wrong in spec else "missing"
            raise ValueError(f"spec: {wrong} is {what}; legal are {', '.join(sorted(known))}")
        if spec["numerics"] != NUMERICS:
            raise ValueError(f"spec: numerics = {spec['numerics']!r}: this version computes numerics {NUMERICS}")
        chosen = {name.removeprefix("settings."): spec[name] for name in settings_names}
        if chosen["dtype"] not in DTYPES:
            raise ValueError(f"spec: settings.dtype = {chosen['dtype']!r}: must be one of {', '.join(map(repr, DTYPES))}")
        settings = TrainingSettings(**{**chosen, "betas": tuple(chosen["betas"]), "dtype": DTYPES[chosen["dtype"]]})
        shape = TransformerShape(**{name: spec[name] for name in SHAPE_NAMES})
        return cls(shape=shape, settings=settings, **{name: spec[name] for name in CELL_NAMES})


DTYPES = {"float32": torch.float32, "float64": torch.float64}
SHAPE_NAMES = tuple(entry.name for entry in fields(TransformerShape))
CELL_NAMES = tuple(entry.name for entry in fields(Cell) if entry.name not in ("shape", "settings"))


@dataclass(frozen=True)
class CellResult:
    """What a cell came to, with where and how long.

    Attributes:
        cell: what determined it.
        state: "done", or "failed" when an error kept it from being computed; `reason` then says which.
        draw_accuracy: the notebook's number, mean accuracy on the training batches of the window; NaN where training diverged.
        accuracy: fraction of all N^S associations held, each counted once (the uniform table).
        held: associations held, strictly.
        memory: phi^-1 of `accuracy`, associations beyond guessing.
        margin_min: least margin, in logit units.
        final_loss: mean cross-entropy over the window, nats.
        nominal_parameters, effective_parameters: scalars trained; those left after gauge freedom (None where not known).
        diverged: whether training left the range of floats; `reason` says when. A result, not a failure.
        reason: of a failure or a divergence; empty otherwise.
        seconds: the cell's share of the wall time of the stack it was trained in, measuring included.
    """

    cell: Cell
    state: Literal["done", "failed"]
    draw_accuracy: float = float("nan")
    accuracy: float = float("nan")
    held: int | None = None
    memory: float = float("nan")
    margin_min: float = float("nan")
    final_loss: float = float("nan")
    nominal_parameters: int | None = None
    effective_parameters: int | None = None
    diverged: bool = False
    reason: str = ""
    seconds: float = float("nan")
