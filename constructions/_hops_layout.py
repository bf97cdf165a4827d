"""From heads and maps written with names of coordinates to a Transformer's tensors, and back to nothing: names stay here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from constructions.element_wise import ElementWise, Step
from constructions.transformer import Transformer
from theory.hop_precision import Primitive
from theory.hops import HopTask

Form = Mapping[str, float]
"""A linear form of the stream: what a coordinate is multiplied with, by name; coordinates left out do not enter."""


@dataclass(frozen=True)
class HeadRole:
    """What a head is there for.

    Attributes:
        layer: 1 is the first.
        head: 0 is the first of its layer.
        role: "previous token" (attends to i - 1), "find" (to find^j(i), to the start where there is none), "rank" (to the start
            and all earlier equal symbols alike), "broadcast" (to the start) or "idle" (all weights zero).
        hops: j of a "find"; None for other roles, and where j depends on the k that a multi-task model reads.
    """

    layer: int
    head: int
    role: str
    hops: int | None = None


@dataclass(frozen=True)
class Head:
    """One head by names: its score is the sum over d of query[d](x_i) key[d](x_j); value[d](x_j) is added to all `targets[d]`.

    `beside` names kinds of scores whose coordinates follow those of `primitive`; a query has all but one of them zero.
    """

    role: str
    primitive: Primitive
    query: tuple[Form, ...]
    key: tuple[Form, ...]
    value: tuple[Form, ...]
    targets: tuple[tuple[str, ...], ...]
    hops: int | None = None
    beside: tuple[Primitive, ...] = ()

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """All kinds of scores of the head, in the order of their coordinates."""
        return (self.primitive, *self.beside)


@dataclass
class Program:
    """Steps of an element-wise map, by names; every method assigns one coordinate."""

    coordinates: Sequence[str]
    steps: list[Step] = field(default_factory=list)

    def linear(self, target: str, form: Form, constant: float = 0.0) -> None:
        self._add(target, "linear", tuple(form), (*form.values(), constant))

    def copy(self, target: str, source: str) -> None:
        self.linear(target, {source: 1.0})

    def clear(self, *targets: str) -> None:
        for target in targets:
            self.linear(target, {"one": 0.0})

    def round(self, target: str, source: str) -> None:
        self._add(target, "round", (source,), (1.0,))

    def product(self, target: str, first: str, second: str) -> None:
        self._add(target, "product", (first, second))

    def reciprocal(self, target: str, source: str) -> None:
        self._add(target, "reciprocal", (source,))

    def floor(self, target: str, source: str) -> None:
        self._add(target, "floor", (source,))

    def point(self, cosine: str, sine: str, source: str, frequency: float) -> None:
        """The point of the unit circle at the angle frequency times source."""
        self._add(cosine, "cos", (source,), (frequency,))
        self._add(sine, "sin", (source,), (frequency,))

    def select(self, target: str, condition: str, then: str, otherwise: str) -> None:
        self._add(target, "select", (condition, then, otherwise))

    def _add(self, target: str, function: str, sources: tuple[str, ...], numbers: tuple[float, ...] = ()) -> None:
        place = list(self.coordinates).index
        self.steps.append(Step(place(target), function, tuple(place(source) for source in sources), numbers))


@dataclass
class Plan:
    """A model by names.

    Attributes:
        coordinates: of the residual stream.
        symbol: what the coordinates start as at a symbol coded x = 1..S, by name; zero where not named.
        start: likewise at the start token that says k.
        position: likewise at position 0..N; both add up.
        layers: the heads of every layer.
        programs: the map behind every layer; None for models without maps.
        answer: the coordinate with the answer's code: 1..S, 0 for missing.
    """

    coordinates: tuple[str, ...]
    symbol: dict[str, list[float]]
    start: dict[str, list[float]]
    position: dict[str, list[float]]
    layers: list[list[Head]]
    programs: list[Program] | None
    answer: str

    @property
    def num_heads(self) -> int:
        return max(len(heads) for heads in self.layers)

    def roles(self) -> tuple[HeadRole, ...]:
        """Every head of the model with what it is there for, idle ones too."""
        roles = []
        for layer, heads in enumerate(self.layers, 1):
            roles += [HeadRole(layer, index, head.role, head.hops) for index, head in enumerate(heads)]
            roles += [HeadRole(layer, index, "idle") for index in range(len(heads), self.num_heads)]
        return tuple(roles)

    def realised(self, task: HopTask, dtype: torch.dtype) -> Transformer:
        """The model: every number of the plan in one of the Transformer's tensors, or in its programs."""
        place = {name: index for index, name in enumerate(self.coordinates)}
        head_dim = max(max(len(head.query), len(head.value)) for heads in self.layers for head in heads)
        maps = None if self.programs is None else [ElementWise(tuple(program.steps)) for program in self.programs]
        sizes = (task.num_tokens, task.seq_len + 1, len(place), self.num_heads, head_dim, len(self.layers))
        model = Transformer(*sizes, maps=maps, dtype=dtype)
        model.requires_grad_(False)
        symbols = slice(task.symbol_tokens, task.symbol_tokens + task.vocab_size)
        for features, rows, table in (
            (self.symbol, symbols, model.token_embedding),
            (self.start, slice(0, task.symbol_tokens), model.token_embedding),
            (self.position, slice(None), model.position_embedding),
        ):
            for name, numbers in features.items():
                table[rows, place[name]] = torch.tensor(numbers, dtype=torch.float64).to(dtype)
        for layer, heads in enumerate(self.layers):
            for index, head in enumerate(heads):
                for tensor, forms in ((model.query, head.query), (model.key, head.key), (model.value, head.value)):
                    for column, form in enumerate(forms):
                        for name, number in form.items():
                            tensor[layer, index, place[name], column] = number
                for row, targets in enumerate(head.targets):
                    for name in targets:
                        model.output[layer, index, row, place[name]] = 1.0
        _write_unembedding(model, task, place["one"], place["e"], place[self.answer])
        return model


def _write_unembedding(model: Transformer, task: HopTask, one: int, start: int, answer: int) -> None:
    # Logit of the code v is 2 y v - v^2, largest at v = y by at least 1; the blank has 1 at the start and -1 elsewhere, where the
    # right code has y^2 >= 0; hop tokens have -1 everywhere.
    codes = torch.arange(1, task.vocab_size + 1, dtype=torch.float64)
    symbols = slice(task.symbol_tokens, task.symbol_tokens + task.vocab_size)
    model.unembedding[symbols, answer] = (2 * codes).to(model.dtype)
    model.unembedding[symbols, one] = (-codes * codes).to(model.dtype)
    model.unembedding[: task.symbol_tokens, one] = -1.0
    model.unembedding[task.blank_token, one] = -1.0
    model.unembedding[task.blank_token, start] = 2.0
