"""Units of scaling laws: amounts that know theirs, and the two ways of counting a transformer's parameters.

A loss of 2.0 may be nats per token, bits per token or bits per byte; 1e9 parameters may or may not include the embedding; 1 is a
small compute in PF-days and no compute at all in FLOP. Exact conversions are done when asked for, those that need a fact
(tokens per byte, tokens per batch, how parameters are counted) ask for it by name, and all others are refused.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import log
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Num

from theory.shapes import checked_integer

PF_DAY = 8.64e19
"""FLOP in a petaflop-day, 1e15 * 24 * 3600: the unit of compute of Kaplan et al. 2020."""

FLOPS_PER_PARAMETER_TOKEN = 6.0
"""C = 6 N D: two FLOP per parameter and token forward, four backward (Kaplan et al. 2020, section 2.1)."""

Values = Num[np.ndarray, "..."] | float | int | np.number


class Unit(StrEnum):
    """What a number in a scaling law counts."""

    TOTAL_PARAMETERS = "total parameters"
    NON_EMBEDDING_PARAMETERS = "non-embedding parameters"
    TOKENS = "tokens"
    UNIQUE_TOKENS = "unique tokens"
    TOKENS_PER_PARAMETER = "tokens per parameter"
    NATS_PER_TOKEN = "nats per token"
    BITS_PER_TOKEN = "bits per token"
    BITS_PER_BYTE = "bits per byte"
    FLOP = "FLOP"
    PF_DAYS = "PF-days"
    STEPS = "steps"
    TOKENS_PER_BATCH = "tokens per batch"
    ERROR_SHARE = "share of errors"


def checked_values(name: str, value: Any, *, zero: bool = False, infinite: bool = False) -> Num[np.ndarray, "..."]:
    """`value` as float64 numbers above 0 (0 itself with `zero`, infinity with `infinite`); ValueError names the first other."""
    try:
        given = np.asarray(value)
        # Integers beyond 64 bits, as budgets in FLOP are, come as objects.
        real = given.dtype.kind in "iuf" or (given.dtype.kind == "O" and all(type(number) is int for number in given.flat))
        numbers = np.asarray(given, dtype=np.float64) if real else None
    except (TypeError, ValueError, OverflowError):
        numbers = None
    if numbers is None:
        raise ValueError(f"{name} = {str(value)[:40]!r}: must be a number or an array of numbers")
    legal = (numbers >= 0) if zero else (numbers > 0)
    if not infinite:
        legal &= np.isfinite(numbers)
    if not legal.all():
        words = f"{'a' if infinite else 'a finite'} number {'>=' if zero else '>'} 0"
        raise ValueError(f"{name} = {float(numbers[~legal].flat[0])!r}: must be {words}")
    return numbers


def plain(numbers: Any) -> Any:
    """A float for a single number, a float64 array for an array."""
    return float(numbers) if np.ndim(numbers) == 0 else np.asarray(numbers, dtype=np.float64)


@runtime_checkable
class ParameterCounting(Protocol):
    """A rule that says how many parameters a model has in total, given those outside its embedding, and the other way round."""

    def total(self, non_embedding: Values) -> Any:
        """Total parameters of a model with so many non-embedding parameters."""

    def non_embedding(self, total: Values) -> Any:
        """Non-embedding parameters of a model with so many in total."""


@dataclass(frozen=True)
class PearceSongCounting:
    """N_total = N + 47491 N^(1/3): total from non-embedding parameters of models shaped as Chinchilla's 50.

    The embedding is V d_model, and at a fixed shape d_model grows as the cube root of N. Pearce and Song 2024 fit the
    `coefficient` to the table of architectures of Hoffmann et al. 2022 (vocabulary of 32k): another vocabulary, another number.
    """

    coefficient: float = 47491.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficient", float(checked_values("coefficient", self.coefficient)))

    def total(self, non_embedding: Values) -> Any:
        """N + c N^(1/3); numbers >= 0, otherwise ValueError."""
        numbers = checked_values("non_embedding", non_embedding, zero=True)
        return plain(numbers + self.coefficient * np.cbrt(numbers))

    def non_embedding(self, total: Values) -> Any:
        """The one N >= 0 with N + c N^(1/3) = total: the cubic in N^(1/3) in closed form (hyperbolic sine), derived here."""
        numbers = checked_values("total", total, zero=True)
        scale = 2 * np.sqrt(self.coefficient / 3)
        root = scale * np.sinh(np.arcsinh(4 * numbers / scale**3) / 3)
        return plain(root**3)

    def elasticity(self, non_embedding: Values) -> Any:
        """d ln N_total / d ln N: 1/3 for models that are all embedding, 1 for those that have next to none. Derived here."""
        numbers = checked_values("non_embedding", non_embedding)
        return plain(1 - (2 / 3) * self.embedding_share(numbers))

    def embedding_share(self, non_embedding: Values) -> Any:
        """The embedding's share of all parameters, c N^(1/3) / N_total."""
        numbers = checked_values("non_embedding", non_embedding)
        return plain(self.coefficient / (self.coefficient + np.cbrt(numbers) ** 2))


@dataclass(frozen=True)
class TransformerCounts:
    """Parameters and FLOPs of one decoder-only transformer, by the rules of Kaplan et al. 2020, section 2.1.

    Attributes:
        embed_dim, num_layers, attention_dim, context: d_model, n_layer, d_attn, n_ctx.
        non_embedding_parameters: N = 2 d_model n_layer (2 d_attn + d_ff), without biases and norms.
        embedding_parameters: V d_model, twice that if the unembedding is another matrix, and n_ctx d_model for learned positions.
    """

    embed_dim: int
    num_layers: int
    attention_dim: int
    context: int
    non_embedding_parameters: int
    embedding_parameters: int

    @property
    def total_parameters(self) -> int:
        """Those of the embedding included."""
        return self.non_embedding_parameters + self.embedding_parameters

    @property
    def attention_flops_per_token(self) -> int:
        """2 n_layer n_ctx d_attn: scores and mixing of a forward pass. By default 2 N n_ctx / (12 d_model)."""
        return 2 * self.num_layers * self.context * self.attention_dim

    @property
    def forward_flops_per_token(self) -> int:
        """2 N + 2 n_layer n_ctx d_attn."""
        return 2 * self.non_embedding_parameters + self.attention_flops_per_token

    @property
    def training_flops_per_token(self) -> int:
        """Three times the forward pass: going back costs two. 6 N where the attention term is left out."""
        return 3 * self.forward_flops_per_token

    def total(self, non_embedding: Values) -> Any:
        """Total parameters of this model; ValueError for another number of non-embedding parameters than its own."""
        return self._other("non_embedding", non_embedding, self.non_embedding_parameters, self.total_parameters)

    def non_embedding(self, total: Values) -> Any:
        """Non-embedding parameters of this model; ValueError for another total than its own."""
        return self._other("total", total, self.total_parameters, self.non_embedding_parameters)

    def _other(self, name: str, given: Values, own: int, other: int) -> Any:
        numbers = checked_values(name, given)
        if (numbers != own).any():
            raise ValueError(f"{name} = {float(numbers[numbers != own].flat[0]):g}: must be {own}, that of the model counted")
        return plain(np.full_like(numbers, other))


def transformer_counts(
    embed_dim: int,
    num_layers: int,
    vocab_size: int,
    *,
    context: int = 1024,
    attention_dim: int | None = None,
    mlp_width: int | None = None,
    tied: bool = True,
    learned_positions: bool = False,
) -> TransformerCounts:
    """Counts of a decoder-only transformer: N = 2 d_model n_layer (2 d_attn + d_ff), which is 12 n_layer d_model^2 by default.

    `embed_dim` d_model, `num_layers` n_layer, `vocab_size` V, `context` n_ctx, `attention_dim` d_attn (d_model by default),
    `mlp_width` d_ff (4 d_model by default); `tied` says that embedding and unembedding are one matrix. Kaplan et al. 2020,
    section 2.1. Raises ValueError for sizes below 1 (`mlp_width` may be 0).
    """
    width, layers = checked_integer("embed_dim", embed_dim, 1), checked_integer("num_layers", num_layers, 1)
    words, length = checked_integer("vocab_size", vocab_size, 1), checked_integer("context", context, 1)
    attention = width if attention_dim is None else checked_integer("attention_dim", attention_dim, 1)
    hidden = 4 * width if mlp_width is None else checked_integer("mlp_width", mlp_width, 0)
    inner = 2 * width * layers * (2 * attention + hidden)
    outer = width * (words * (1 if tied else 2) + (length if learned_positions else 0))
    return TransformerCounts(width, layers, attention, length, inner, outer)


@dataclass(frozen=True, eq=False)
class Amount:
    """A number, or an array of numbers, and its unit.

    Attributes:
        value: finite and >= 0; a float, or a float64 array.
        unit: one of `Unit`, or its words.

    Raises ValueError for anything else.
    """

    value: Values
    unit: Unit

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", plain(checked_values("value", self.value, zero=True)))
        object.__setattr__(self, "unit", checked_unit(self.unit))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Amount):
            return NotImplemented
        return self.unit == other.unit and np.array_equal(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def to(
        self,
        unit: Unit | str,
        *,
        tokens_per_byte: float | None = None,
        counting: ParameterCounting | None = None,
        tokens_per_batch: float | None = None,
    ) -> "Amount":
        """The same amount in another unit.

        Args:
            unit: wanted.
            tokens_per_byte: of the tokenizer on the text at hand; needed between losses per token and per byte.
            counting: how total and non-embedding parameters hang together; needed between the two.
            tokens_per_batch: needed between steps and tokens.

        Raises:
            ValueError: a fact that is needed is missing, or there is no conversion (tokens are not unique tokens, say).
        """
        wanted = checked_unit(unit)
        if wanted == self.unit:
            return self
        pair = (self.unit, wanted)
        if set(pair) <= _LOSSES:
            nats = self.value * _nats_per(self.unit, tokens_per_byte, pair)
            return Amount(nats / _nats_per(wanted, tokens_per_byte, pair), wanted)
        if set(pair) == {Unit.FLOP, Unit.PF_DAYS}:
            return Amount(self.value * PF_DAY if wanted is Unit.FLOP else self.value / PF_DAY, wanted)
        if set(pair) == {Unit.STEPS, Unit.TOKENS}:
            batch = _fact("tokens_per_batch", tokens_per_batch, pair)
            return Amount(self.value * batch if wanted is Unit.TOKENS else self.value / batch, wanted)
        if set(pair) == {Unit.TOTAL_PARAMETERS, Unit.NON_EMBEDDING_PARAMETERS}:
            if counting is None:
                raise ValueError(f"counting = None: must be a parameter counting to turn {self.unit} into {wanted}")
            convert = counting.total if wanted is Unit.TOTAL_PARAMETERS else counting.non_embedding
            return Amount(convert(self.value), wanted)
        raise ValueError(f"unit = {str(wanted)!r}: {self.unit} cannot be turned into it; {_reachable(self.unit)}")


_LOSSES = {Unit.NATS_PER_TOKEN, Unit.BITS_PER_TOKEN, Unit.BITS_PER_BYTE}
_GROUPS = (
    _LOSSES,
    {Unit.FLOP, Unit.PF_DAYS},
    {Unit.STEPS, Unit.TOKENS},
    {Unit.TOTAL_PARAMETERS, Unit.NON_EMBEDDING_PARAMETERS},
)


def checked_unit(unit: Unit | str) -> Unit:
    """`unit` as a `Unit`; ValueError, naming all of them, where it is none."""
    try:
        return Unit(unit)
    except ValueError:
        raise ValueError(f"unit = {str(unit)[:40]!r}: must be one of {', '.join(Unit)}") from None


def _nats_per(unit: Unit, tokens_per_byte: float | None, pair: tuple[Unit, Unit]) -> float:
    """Nats per token in one of `unit`, on the way from one unit of the pair to the other."""
    if unit is Unit.NATS_PER_TOKEN:
        return 1.0
    return log(2) if unit is Unit.BITS_PER_TOKEN else log(2) / _fact("tokens_per_byte", tokens_per_byte, pair)


def _fact(name: str, value: float | None, pair: tuple[Unit, Unit]) -> float:
    if value is None:
        raise ValueError(f"{name} = None: must be a number > 0 to turn {pair[0]} into {pair[1]}")
    return float(checked_values(name, value))


def _reachable(unit: Unit) -> str:
    others = sorted(str(other) for group in _GROUPS if unit in group for other in group if other != unit)
    return f"legal are {', '.join([str(unit), *others])}"
