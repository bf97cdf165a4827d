"""Element-wise maps between layers, as data: short programs on the coordinates of one position's vector.

The theory lets a layer apply any function to every position by itself. A program names its functions from a short list, so that
a model with such maps can be written to a file, read by a person, and checked, without running code that came with the file.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theory.shapes import checked_integer

StreamMap = Callable[[Tensor], Tensor]
"""What a layer may apply to the residual stream (batch, positions, embed_dim), each position by itself; same shape."""


@dataclass(frozen=True)
class _Function:
    """How many coordinates and numbers a function takes (None: any, one number more), and what it computes."""

    sources: int | None
    numbers: int | None
    apply: Callable[[list[Tensor], tuple[float, ...]], Tensor]


def _linear(values: list[Tensor], numbers: tuple[float, ...]) -> Tensor:
    total: Tensor | None = None
    for value, number in zip(values, numbers, strict=False):
        part = value if number == 1 else number * value
        total = part if total is None else total + part
    assert total is not None
    return total + numbers[-1] if numbers[-1] else total


FUNCTIONS: dict[str, _Function] = {
    "linear": _Function(None, None, _linear),
    "product": _Function(2, 0, lambda values, numbers: values[0] * values[1]),
    "reciprocal": _Function(1, 0, lambda values, numbers: values[0].reciprocal()),
    "round": _Function(1, 1, lambda values, numbers: torch.round(values[0] / numbers[0]) * numbers[0]),
    "floor": _Function(1, 0, lambda values, numbers: torch.floor(values[0])),
    "cos": _Function(1, 1, lambda values, numbers: torch.cos(numbers[0] * values[0])),
    "sin": _Function(1, 1, lambda values, numbers: torch.sin(numbers[0] * values[0])),
    "select": _Function(3, 0, lambda values, numbers: torch.where(values[0] > 0.5, values[1], values[2])),
}
"""By name: linear (numbers times sources, summed in this order, plus the last number), product of two, reciprocal, round to
multiples of a number (halves to even), floor, cos and sin of a number times the source, select (sources c, a, b: a where c > 1/2,
else b)."""


@dataclass(frozen=True)
class Step:
    """One assignment of a program: coordinate `target` becomes `function` of the coordinates `sources`.

    Raises ValueError for an unknown function, a wrong count of sources or numbers, a number that is not finite, a negative
    coordinate, rounding to multiples of nothing.
    """

    target: int
    function: str
    sources: tuple[int, ...]
    numbers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", checked_integer("target", self.target, 0))
        if not isinstance(self.function, str) or self.function not in FUNCTIONS:
            raise ValueError(f"function = {self.function!r}: legal are {', '.join(FUNCTIONS)}")
        object.__setattr__(self, "sources", tuple(checked_integer("sources", source, 0) for source in self.sources))
        for number in self.numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"numbers = {self.numbers!r}: finite numbers are legal")
        object.__setattr__(self, "numbers", tuple(float(number) for number in self.numbers))
        wanted = FUNCTIONS[self.function]
        if (wanted.sources is None and not self.sources) or wanted.sources not in (None, len(self.sources)):
            raise ValueError(f"sources = {self.sources}: {self.function} takes {wanted.sources or 'at least 1'}")
        count = len(self.sources) + 1 if wanted.numbers is None else wanted.numbers
        if len(self.numbers) != count:
            raise ValueError(f"numbers = {self.numbers}: {self.function} of {len(self.sources)} sources takes {count}")
        if self.function == "round" and self.numbers[0] <= 0:
            raise ValueError(f"numbers = {self.numbers}: rounding to multiples of a number > 0 is legal")


@dataclass(frozen=True)
class ElementWise:
    """A program: steps one after the other, each reading what those before it wrote; a coordinate not assigned stays.

    Called with a stream (..., embed_dim) it gives a new one of the same shape, in the stream's own number format, every position
    by itself.

    Raises:
        ValueError: in a call, when a step names a coordinate that the stream does not have.

    Source: element-wise maps as in Sanford, Hsu and Telgarsky 2024, section 2.1; the list of functions is ours.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        for step in self.steps:
            if not isinstance(step, Step):
                raise ValueError(f"steps has {step!r}: steps of a program are legal")

    @property
    def num_coordinates(self) -> int:
        """The least width of a stream that it can be applied to."""
        return max((coordinate + 1 for step in self.steps for coordinate in (step.target, *step.sources)), default=0)

    def __call__(self, stream: Float[Tensor, "*positions embed_dim"]) -> Float[Tensor, "*positions embed_dim"]:
        if self.num_coordinates > stream.shape[-1]:
            raise ValueError(
                f"stream has {stream.shape[-1]} coordinates: the program names coordinate {self.num_coordinates - 1}, "
                f"so at least {self.num_coordinates} are legal"
            )
        columns = list(stream.unbind(-1))
        for step in self.steps:
            columns[step.target] = FUNCTIONS[step.function].apply([columns[source] for source in step.sources], step.numbers)
        return torch.stack(columns, -1)

    def as_plain(self) -> list[list[Any]]:
        """The steps as lists, strings and numbers: what is written into a file."""
        return [[step.target, step.function, list(step.sources), list(step.numbers)] for step in self.steps]

    @classmethod
    def from_plain(cls, plain: object) -> "ElementWise":
        """Back from `as_plain`. Raises ValueError for anything else."""
        if not isinstance(plain, list | tuple):
            raise ValueError(f"map = {plain!r}: a list of steps is legal")
        steps = []
        for entry in plain:
            is_step = isinstance(entry, list | tuple) and len(entry) == 4
            if not is_step or not all(isinstance(part, list | tuple) for part in entry[2:]):
                raise ValueError(f"step = {entry!r}: [target, function, [sources], [numbers]] is legal")
            target, function, sources, numbers = entry
            steps.append(Step(target, function, tuple(sources), tuple(numbers)))
        return cls(tuple(steps))


def checked_maps(maps: Sequence[object] | None, num_layers: int, embed_dim: int) -> tuple[StreamMap | None, ...]:
    """One map or None for every layer, nothing at all without maps: programs, functions, or programs as a file has them.

    Raises ValueError for another number of maps, something that is none of these, or a program for a wider stream.
    """
    if maps is None:
        return ()
    if isinstance(maps, str) or not isinstance(maps, Sequence) or len(maps) != num_layers:
        count = len(maps) if isinstance(maps, Sequence) else repr(maps)
        raise ValueError(f"maps = {count}: one map or None for each of the {num_layers} layers is legal")
    checked: list[StreamMap | None] = []
    for layer, given in enumerate(maps):
        chosen = ElementWise.from_plain(given) if isinstance(given, list | tuple) else given
        if chosen is not None and not callable(chosen):
            raise ValueError(f"maps[{layer}] = {chosen!r}: an ElementWise, a function of the stream or None is legal")
        if isinstance(chosen, ElementWise) and chosen.num_coordinates > embed_dim:
            raise ValueError(f"maps[{layer}] names coordinate {chosen.num_coordinates - 1}: 0 to {embed_dim - 1} are legal")
        checked.append(chosen)
    return tuple(checked)
