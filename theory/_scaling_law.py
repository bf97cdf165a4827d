"""What all scaling laws share: a formula written once, for numbers, arrays and symbols alike, and units at its door."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np

from theory.scaling_units import Amount, ParameterCounting, Unit, Values, checked_values, plain

_NUMPY = SimpleNamespace(exp=np.exp, minimum=np.minimum)


@dataclass(frozen=True)
class ScalingLaw:
    """A formula with its constants (the fields), the units of what goes in and comes out, and its source.

    A law is called with its inputs by symbol, as numbers or arrays in the units of `inputs`, or as `Amount`s, which are
    converted where that needs no fact (see `value` for those that do): `HoffmannLaw(...)(N=7e10, D=1.4e12)`.

    Attributes:
        name: of the law, in words.
        inputs: symbol -> unit, in the order in which `function` takes them.
        output: the unit of the value.
        source: paper and equation.

    Constants are finite and > 0 (those in `may_be_zero` >= 0); anything else raises ValueError.
    """

    name: ClassVar[str]
    inputs: ClassVar[Mapping[str, Unit]]
    output: ClassVar[Unit] = Unit.NATS_PER_TOKEN
    source: ClassVar[str]
    may_be_zero: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for symbol, value in self.constants.items():
            checked = checked_values(symbol, value, zero=symbol in self.may_be_zero)
            if checked.ndim:
                raise ValueError(f"{symbol} has shape {checked.shape}: must be one number")
            object.__setattr__(self, symbol, float(checked))

    @property
    def constants(self) -> dict[str, float]:
        """Symbol -> value, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.metadata.get("constant", True)}

    @property
    def _kind(self) -> Any:
        return type(self)  # a class is hashable, which mypy does not believe of one whose instances are dataclasses

    @property
    def units(self) -> Mapping[str, Unit]:
        """Symbol -> unit of this law: `inputs`, unless the law says otherwise about its own fit."""
        return self.inputs

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # as something to paste: IPython's and Hypothesis' own way prints class facts as constants

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """The law itself, of constants and inputs by symbol; `operations` has exp and minimum for the kind of number at hand."""
        raise NotImplementedError

    def __call__(self, **inputs: Values | Amount) -> Any:
        """The law's value in the unit of `output`: a float for numbers, a float64 array (broadcast) for arrays.

        Raises ValueError for symbols missing or unknown, numbers that are not > 0 (infinity is legal where the law has a
        limit there), and amounts that can't be converted without a fact.
        """
        return self._at(inputs, {})

    def value(
        self,
        *,
        tokens_per_byte: float | None = None,
        counting: ParameterCounting | None = None,
        tokens_per_batch: float | None = None,
        **inputs: Values | Amount,
    ) -> Amount:
        """The law's value as an `Amount`, with the facts that conversions of its inputs need (see `Amount.to`)."""
        facts = {"tokens_per_byte": tokens_per_byte, "counting": counting, "tokens_per_batch": tokens_per_batch}
        return Amount(self._at(inputs, facts), self.output)

    def expression(self, numbers: bool = False) -> "sympy.Expr":
        """The law in sympy: inputs and constants as positive symbols of their names, or the constants' values (`numbers`)."""
        import sympy

        # The formula with symbols for constants, and numbers put in afterwards: the two can't differ.
        expression = _symbolic(self._kind)
        values = {sympy.Symbol(name, positive=True): sympy.Float(value) for name, value in self.constants.items()}
        return expression.subs(values) if numbers else expression

    def function(self, library: Literal["numpy", "torch"] = "numpy") -> Callable[..., Any]:
        """`expression` as a function of its inputs, by position in the order of `inputs`, of arrays or tensors of the library.

        Nothing is checked and nothing converted; torch differentiates through it. Raises ValueError for another library.
        """
        if library not in ("numpy", "torch"):
            raise ValueError(f"library = {library!r}: must be 'numpy' or 'torch'")
        written, constants = _function(self._kind, library), tuple(self.constants.values())
        return partial(written, *constants) if library == "numpy" else partial(_of_tensors, written, constants)

    def _at(self, inputs: Mapping[str, Any], facts: Mapping[str, Any]) -> Any:
        if set(inputs) != set(self.inputs):
            wanted = ", ".join(f"{symbol} ({unit})" for symbol, unit in self.units.items())
            raise ValueError(f"inputs = {', '.join(sorted(inputs)) or 'none'}: must be {wanted}")
        numbers = {}
        for symbol, unit in self.units.items():
            given = inputs[symbol]
            value = given.to(unit, **facts).value if isinstance(given, Amount) else given
            numbers[symbol] = self._checked(symbol, value)
        return plain(self.formula(_NUMPY, **self.constants, **numbers))

    def _checked(self, symbol: str, value: Any) -> Any:
        return checked_values(symbol, value, infinite=True)


@cache
def _symbolic(kind: Any) -> Any:
    import sympy

    names = [field.name for field in fields(kind) if field.metadata.get("constant", True)] + list(kind.inputs)
    symbols = {name: sympy.Symbol(name, positive=True) for name in names}
    return kind.formula(SimpleNamespace(exp=sympy.exp, minimum=sympy.Min), **symbols)


@cache
def _function(kind: Any, library: str) -> Callable[..., Any]:
    import sympy

    names = [field.name for field in fields(kind) if field.metadata.get("constant", True)] + list(kind.inputs)
    # Constants stay arguments: printed into code they would lose digits, and one function serves all laws of a kind.
    return sympy.lambdify([sympy.Symbol(name, positive=True) for name in names], _symbolic(kind), modules=library)


def _of_tensors(written: Callable[..., Any], constants: tuple[float, ...], *inputs: Any) -> Any:
    # torch's functions refuse two plain floats; 0-dimensional float64 tensors leave the precision of the inputs as it is.
    numbers = inputs[0].new_empty(0).double().new_tensor(constants)
    return written(*numbers, *inputs)
