"""Points of a scaling law: parameters, tokens and loss of trained models, validated once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN

if TYPE_CHECKING:
    import pandas as pd

ParameterCount = Literal["total", "non-embedding", "not stated"]


@dataclass(frozen=True)
class DroppedRow:
    """A row that was left out: its line in the file (the header is line 1) or row of a table (the first is 1), and why."""

    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class ScalingPoints:
    """Trained models as points (N, D, L).

    Attributes:
        parameters: N, float64 > 0.
        tokens: D, training tokens seen, float64 > 0.
        loss: L, nats per token, float64 > 0.
        runs: the training run of each point (checkpoints of one run are not independent); None where not known.
        dropped: rows of the source that are not among the points.
        parameter_count: what N counts.
        source: where the points are from, for people.
        notes: what was assumed, for people.
        warnings: what looks wrong, for people.

    Raises ValueError for arrays of different lengths, no point, or a number that is not finite and > 0.
    """

    parameters: Float[np.ndarray, " points"]
    tokens: Float[np.ndarray, " points"]
    loss: Float[np.ndarray, " points"]
    runs: tuple[str, ...] | None = None
    dropped: tuple[DroppedRow, ...] = ()
    parameter_count: ParameterCount = "not stated"
    source: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.parameter_count not in get_args(ParameterCount):
            legal = ", ".join(map(repr, get_args(ParameterCount)))
            raise ValueError(f"parameter_count = {self.parameter_count!r}: must be one of {legal}")
        for name in ("parameters", "tokens", "loss"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.size == 0:
                raise ValueError(f"{name} has shape {values.shape}: one row of at least one number is legal")
            wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
            if wrong.size:
                raise ValueError(f"{name}[{wrong[0]}] = {values[wrong[0]]:g}: finite numbers > 0 are legal")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        counts = {name: getattr(self, name).size for name in ("parameters", "tokens", "loss")}
        if self.runs is not None:
            object.__setattr__(self, "runs", tuple(self.runs))
            counts["runs"] = len(self.runs or ())
        if len(set(counts.values())) > 1:
            raise ValueError(f"{', '.join(f'{count} {name}' for name, count in counts.items())}: as many of each are legal")

    @classmethod
    def of(
        cls,
        parameters: Iterable[float] | Float[np.ndarray, " points"],
        tokens: Iterable[float] | Float[np.ndarray, " points"],
        loss: Iterable[float] | Float[np.ndarray, " points"],
        runs: Sequence[str] | None = None,
        *,
        parameter_count: ParameterCount = "not stated",
        source: str = "",
    ) -> "ScalingPoints":
        """Points from any rows of numbers. Raises ValueError as the class."""
        first, second, third = (
            np.asarray(row if isinstance(row, np.ndarray) else list(row), dtype=np.float64) for row in (parameters, tokens, loss)
        )
        told = None if runs is None else tuple(runs)
        return cls(first, second, third, runs=told, parameter_count=parameter_count, source=source)

    @property
    def num_points(self) -> int:
        """How many points there are."""
        return self.loss.size

    @property
    def compute(self) -> Float[np.ndarray, " points"]:
        """C = 6 N D, training FLOP; infinite or 0 where floats end."""
        with np.errstate(over="ignore", under="ignore"):
            return FLOPS_PER_PARAMETER_TOKEN * self.parameters * self.tokens

    @property
    def log_parameters(self) -> Float[np.ndarray, " points"]:
        """ln N."""
        return np.log(self.parameters)

    @property
    def log_tokens(self) -> Float[np.ndarray, " points"]:
        """ln D."""
        return np.log(self.tokens)

    @property
    def log_loss(self) -> Float[np.ndarray, " points"]:
        """ln L, L in nats per token."""
        return np.log(self.loss)

    def select(self, mask: Bool[np.ndarray, " points"]) -> "ScalingPoints":
        """The points where `mask` is true. Raises ValueError for a mask of another length, or without a true entry."""
        if mask.shape != (self.num_points,):
            raise ValueError(f"mask has shape {mask.shape}: ({self.num_points},) is legal")
        if not mask.any():
            raise ValueError("mask has no true entry: at least one point must stay")
        runs = None if self.runs is None else tuple(run for run, kept in zip(self.runs, mask, strict=True) if kept)
        return replace(self, parameters=self.parameters[mask], tokens=self.tokens[mask], loss=self.loss[mask], runs=runs)

    def without(self, mask: Bool[np.ndarray, " points"]) -> "ScalingPoints":
        """The points where `mask` is false. Raises ValueError as `select`."""
        return self.select(~mask)

    def table(self) -> "pd.DataFrame":
        """One row per point: parameters, tokens, compute (FLOP), loss (nats per token), run where known."""
        import pandas as pd

        columns: dict[str, Any] = {
            "parameters": self.parameters, "tokens": self.tokens, "compute": self.compute, "loss": self.loss
        }  # fmt: skip
        return pd.DataFrame(columns | ({} if self.runs is None else {"run": self.runs}))
