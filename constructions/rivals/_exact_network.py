"""ReLU networks whose weights are rational numbers of any length, evaluated without a rounding: float64 can't hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from jaxtyping import Int, Shaped


@dataclass(frozen=True)
class Affine:
    """A weighted sum of the neurons of one layer, plus a constant: what a neuron of the next layer is fed with."""

    weights: Mapping[int, Fraction]
    constant: Fraction = Fraction(0)

    def __add__(self, other: "Affine | int") -> "Affine":
        if isinstance(other, int):
            return Affine(self.weights, self.constant + other)
        weights = dict(self.weights)
        for neuron, weight in other.weights.items():
            weights[neuron] = weights.get(neuron, Fraction(0)) + weight
        return Affine(weights, self.constant + other.constant)

    def __mul__(self, factor: "int | Fraction") -> "Affine":
        return Affine({neuron: factor * weight for neuron, weight in self.weights.items()}, factor * self.constant)

    def __sub__(self, other: "Affine | int") -> "Affine":
        return self + (-other if isinstance(other, int) else other * -1)


@dataclass(frozen=True)
class Layer:
    """One layer: `weight` (a row per neuron, dense) and `bias`, rational; ReLU follows unless `linear`."""

    weight: tuple[tuple[Fraction, ...], ...]
    bias: tuple[Fraction, ...]
    linear: bool = False

    @property
    def num_parameters(self) -> int:
        """Entries of the weight matrix and of the bias, zeros included."""
        return len(self.bias) + sum(len(row) for row in self.weight)

    def parameters(self) -> list[Fraction]:
        """All entries, zeros included."""
        return [*self.bias, *(entry for row in self.weight for entry in row)]

    def forward(self, columns: Sequence[Shaped[np.ndarray, " points"]]) -> list[np.ndarray]:
        """The layer's values for every point, exactly; one array of Python integers per neuron.

        Raises:
            ArithmeticError: a neuron's value is not an integer (none of this project's networks has such a neuron).
        """
        return [self._neuron(row, bias, columns) for row, bias in zip(self.weight, self.bias, strict=True)]

    def _neuron(self, row: tuple[Fraction, ...], bias: Fraction, columns: Sequence[np.ndarray]) -> np.ndarray:
        denominator = lcm(bias.denominator, *(weight.denominator for weight in row))
        total = np.full(len(columns[0]), int(bias * denominator), dtype=object)
        for weight, column in zip(row, columns, strict=True):
            if weight:
                factor = int(weight * denominator)
                total = total + (column if factor == 1 else factor * column)
        if denominator > 1:
            whole = total // denominator
            if (whole * denominator != total).any():
                raise ArithmeticError("a neuron's value is not an integer: the layers are not those of an integer construction")
            total = whole
        return total if self.linear else np.maximum(total, 0)


@dataclass(frozen=True)
class ExactNetwork:
    """A feed-forward ReLU network as data, with its honest sizes."""

    layers: tuple[Layer, ...]

    @property
    def depth(self) -> int:
        """Layers with weights, the linear last one included."""
        return len(self.layers)

    @property
    def width(self) -> int:
        """The largest number of neurons in a hidden layer."""
        return max((len(layer.bias) for layer in self.layers[:-1]), default=0)

    @property
    def num_parameters(self) -> int:
        """All entries of all weight matrices and biases, zeros included."""
        return sum(layer.num_parameters for layer in self.layers)

    @property
    def num_nonzero(self) -> int:
        """The entries that are not zero."""
        return sum(entry != 0 for layer in self.layers for entry in layer.parameters())

    @property
    def weight_bits(self) -> int:
        """Bits of the longest parameter; see `bit_length`."""
        return max(bit_length(entry) for layer in self.layers for entry in layer.parameters())

    @property
    def total_bits(self) -> int:
        """Bits of all parameters together, each at its own length; zeros are free."""
        return sum(bit_length(entry) for layer in self.layers for entry in layer.parameters())

    def evaluate(self, points: Int[np.ndarray, "points dims"]) -> list[list[int]]:
        """The network's outputs, exactly.

        Args:
            points: integer points, one a row.

        Returns:
            Per point, the list of outputs.
        """
        columns: list[np.ndarray] = [points[:, axis].astype(object) for axis in range(points.shape[1])]
        for layer in self.layers:
            columns = layer.forward(columns)
        return [[int(value) for value in row] for row in zip(*columns, strict=True)]


def bit_length(value: Fraction) -> int:
    """Bits of a dyadic rational in fixed point with a sign: 1 + max(bits of the numerator, binary places); 0 for zero."""
    if value == 0:
        return 0
    return 1 + max(abs(value.numerator).bit_length(), value.denominator.bit_length() - 1)


class NetworkWriter:
    """Writes a network layer by layer: hand over what each neuron is fed with, get back the neurons."""

    def __init__(self, num_inputs: int) -> None:
        self._fan_in = num_inputs
        self._layers: list[Layer] = []
        self.inputs = [Affine({axis: Fraction(1)}) for axis in range(num_inputs)]

    def layer(self, fed: Mapping[str, Affine]) -> dict[str, Affine]:
        """Append a ReLU layer of these neurons; a constant needs no neuron and comes back as it is."""
        names = [name for name, form in fed.items() if form.weights]
        self._append([fed[name] for name in names], linear=False)
        return {**fed, **{name: Affine({place: Fraction(1)}) for place, name in enumerate(names)}}

    def finish(self, outputs: Sequence[Affine]) -> ExactNetwork:
        """Append the linear last layer."""
        self._append(list(outputs), linear=True)
        return ExactNetwork(tuple(self._layers))

    def _append(self, forms: list[Affine], linear: bool) -> None:
        rows = tuple(tuple(form.weights.get(place, Fraction(0)) for place in range(self._fan_in)) for form in forms)
        self._layers.append(Layer(rows, tuple(form.constant for form in forms), linear))
        self._fan_in = len(forms)
