"""Networks of interaction heads: transformers whose every head makes exactly one ordered pair of tokens speak.

Tokens have five rows: two of data, two that say which token it is, and the constant 1. `HeadPairs` are arithmetic on chosen
tokens, `FeedForward` a scalar map on the first tokens and another on the rest, a `Block` is one after the other, and an
`InteractionNetwork` is blocks with places for inputs and a place where the answer stands.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions._interaction_bounds import after_heads, network_bounds, pair_bounds, start_bounds
from constructions._interaction_dense import InteractionPrecisionError, checked_precision, dense_model, dense_values
from constructions._interaction_errors import errors_after_heads, errors_after_network
from constructions._interaction_files import read_network, write_network
from constructions._interaction_maps import FeedForward, TokenMap, feed_forward
from constructions._interaction_pairs import (
    COSINE,
    DATA,
    NUM_ROWS,
    ONE,
    SECOND,
    SINE,
    HeadPairs,
    affine,
    clears,
    constants,
    interaction_head,
    joined,
    position_rows,
    products,
    routing_factor,
)
from constructions._interaction_sparse import ROWS, PairUpdate, apply_feed_forward
from constructions.transformer import Transformer
from theory.shapes import checked_integer

__all__ = [
    "COSINE", "DATA", "ONE", "SECOND", "SINE", "Block", "FeedForward", "HeadPairs", "InteractionNetwork",
    "InteractionPrecisionError", "TokenMap", "affine", "clears", "constants", "feed_forward", "interaction_head", "joined",
    "load_network_with_provenance", "position_rows", "product_tree", "products",
]  # fmt: skip

CHUNK_ELEMENTS = 1 << 24  # numbers of the largest temporary of a sparse evaluation (128 MiB in float64)
INPUT_SLACK = 1e-9  # relative room for rounding in inputs; the bounds hold with it
WEIGHTS_PER_HEAD = 4 * NUM_ROWS * NUM_ROWS


@dataclass(frozen=True, eq=False)
class Block:
    """One layer: heads that all read the stream before it, then a feed-forward network on every token, if there is one."""

    pairs: HeadPairs
    feed_forward: FeedForward | None = None


@dataclass(frozen=True, eq=False)
class InteractionNetwork:
    """Blocks on structured tokens: x_j goes into row DATA of token inputs[j], the answer is row DATA of the output token.

    Args:
        num_tokens: l >= 1.
        inputs: the tokens of the D inputs, all different.
        output: the token whose row DATA is the answer.
        blocks: applied one after the other.
        input_bound: largest |x_j| that is legal; the bounds, and with them the routing constants, rest on it.

    Raises:
        ValueError: a token that is not there, an input given twice, or a bound that is negative or not finite.

    Source: Havrilla and Liao 2024, section on the construction (recalled); heads, maps and constants derived here.
    """

    num_tokens: int
    inputs: Int[np.ndarray, "ambient_dim"]
    output: int
    blocks: tuple[Block, ...]
    input_bound: float

    def __post_init__(self) -> None:
        length = checked_integer("num_tokens", self.num_tokens, 1)
        if checked_integer("output", self.output, 0) >= length:
            raise ValueError(f"output = {self.output}: 0 to {length - 1} is legal")
        if self.inputs.size and (self.inputs.min() < 0 or self.inputs.max() >= length):
            raise ValueError(f"inputs reaches from {self.inputs.min()} to {self.inputs.max()}: 0 to {length - 1} is legal")
        if len(np.unique(self.inputs)) < len(self.inputs):
            raise ValueError("inputs has a token twice: different tokens are legal")
        if not 0 <= self.input_bound < math.inf:
            raise ValueError(f"input_bound = {self.input_bound!r}: a finite number >= 0 is legal")
        for number, block in enumerate(self.blocks):
            for name in ("targets", "sources"):
                tokens = getattr(block.pairs, name)
                if tokens.size and tokens.max() >= length:
                    raise ValueError(f"blocks[{number}] has {name} up to {tokens.max()}: 0 to {length - 1} is legal")
        object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def ambient_dim(self) -> int:
        """D, the number of inputs."""
        return len(self.inputs)

    @property
    def num_blocks(self) -> int:
        """Layers: heads and, if there is one, a feed-forward network each."""
        return len(self.blocks)

    @property
    def heads_per_block(self) -> tuple[int, ...]:
        """Heads of every block, two a pair."""
        return tuple(block.pairs.num_heads for block in self.blocks)

    @property
    def num_heads(self) -> int:
        """Heads of all blocks."""
        return sum(self.heads_per_block)

    @property
    def num_parameters(self) -> int:
        """Entries of all arrays, zeros included and without padding.

        100 per head (query, key, value and output, 5 x 5 each), the feed-forward networks' weights and biases, and 5 a token
        for the position rows.
        """
        networks = [block.feed_forward for block in self.blocks if block.feed_forward is not None]
        own = WEIGHTS_PER_HEAD * self.num_heads + NUM_ROWS * self.num_tokens
        return own + sum(network.num_parameters for network in networks)

    @cached_property
    def _updates(self) -> tuple[PairUpdate, ...]:
        return tuple(PairUpdate.of(block.pairs, self.num_tokens) for block in self.blocks)

    def evaluate(
        self,
        inputs: Float[np.ndarray, "samples ambient_dim"],
        *,
        dtype: Literal["float64", "float32"] = "float64",
        chunk_elements: int = CHUNK_ELEMENTS,
    ) -> Float[np.ndarray, "samples"]:
        """What the network answers, each head evaluated on its own pair of tokens only: in exact arithmetic the dense network.

        Args:
            inputs: one row a sample; |x_j| <= input_bound up to rounding.
            dtype: number format of the stream.
            chunk_elements: numbers of the largest temporary array.

        Returns:
            One number a sample, float64.

        Raises:
            ValueError: inputs of another shape, not finite or beyond input_bound; an unknown dtype.
        """
        inputs = self._checked(inputs)
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype = {dtype!r}: 'float64' and 'float32' are legal")
        widest = max([ROWS * self.num_tokens, *(len(each.owners) for each in self._updates)])
        step = max(1, checked_integer("chunk_elements", chunk_elements, 1) // widest)
        answers = np.empty(len(inputs))
        for start in range(0, len(inputs), step):
            part = slice(start, start + step)
            answers[part] = self._state(inputs[part].astype(dtype))[DATA * self.num_tokens + self.output]
        return answers

    def _state(self, inputs: Float[np.ndarray, "samples ambient_dim"]) -> Float[np.ndarray, "rows samples"]:
        state = np.zeros((ROWS * self.num_tokens, len(inputs)), inputs.dtype)
        state[DATA * self.num_tokens + self.inputs] = inputs.T
        for block, update in zip(self.blocks, self._updates, strict=True):
            update.apply(state)
            if block.feed_forward is not None:
                apply_feed_forward(block.feed_forward, state, self.num_tokens)
        return state

    def _checked(self, inputs: Float[np.ndarray, "samples ambient_dim"]) -> Float[np.ndarray, "samples ambient_dim"]:
        inputs = np.asarray(inputs, np.float64)
        if inputs.ndim != 2 or inputs.shape[1] != self.ambient_dim:
            raise ValueError(f"inputs has shape {inputs.shape}: (samples, {self.ambient_dim}) is legal")
        if not (np.abs(inputs) <= self.input_bound * (1 + INPUT_SLACK)).all():  # NaN is caught as well
            raise ValueError(f"inputs has an entry that is not finite or beyond input_bound = {self.input_bound:g} in size")
        return inputs

    def bounds(self) -> Float[np.ndarray, "stages 5 tokens 2"]:
        """Lower and upper end of every row of every token before each block, and behind the last, for all legal inputs.

        Interval arithmetic through heads and networks, rounded outwards: rigorous for exact and for sparse evaluation, not tight
        where one input enters a sum by several ways. Memory: (blocks + 1) * 10 * num_tokens numbers, kept.
        """
        return self._bounds

    @cached_property
    def _bounds(self) -> Float[np.ndarray, "stages 5 tokens 2"]:
        start = start_bounds(self.num_tokens, self.inputs, self.input_bound * (1 + 2 * INPUT_SLACK))
        return np.stack(network_bounds(self._updates, tuple(block.feed_forward for block in self.blocks), start))

    @property
    def score_bounds(self) -> tuple[float, ...]:
        """M of every block: at least |h_i^T W h_j| for all its heads and all ordered pairs of tokens, junk included."""
        found = (pair_bounds(block.pairs, bounds) for block, bounds in zip(self.blocks, self._bounds, strict=False))
        return tuple(float(each.max(initial=0.0)) for each in found)

    @property
    def routing_constants(self) -> tuple[float, ...]:
        r"""\(C = 1.05 M / (1 - \cos(\pi / 2l))\) of every block, about 0.85 M l^2: the largest weight routing needs there."""
        return tuple(routing_factor(self.num_tokens) * bound for bound in self.score_bounds)

    def rounding_error(self, dtype: torch.dtype) -> float:
        """eps(dtype) times the largest routing constant: how far one dense head can be off, about, before what reads it.

        A working estimate of one step, not a bound: a single copy was seen 1.6 times as far off, and can be 9 times (18
        roundings at the size of the constant, each eps/2); later blocks multiply it with their coefficients. `error_bound` is a
        bound.
        """
        return float(torch.finfo(dtype).eps) * max(self.routing_constants, default=0.0)

    def error_bound(self, dtype: torch.dtype = torch.float64) -> float:
        """Largest distance there can be between the answers of `evaluate_dense` in this format and those in exact arithmetic.

        Rounding of every score, sum and unit, carried through the blocks in absolute values: rigorous for sums in any
        order, and pessimistic, since errors never cancel in it. Infinite where it can say nothing.
        """
        errors = np.zeros((ROWS, self.num_tokens))
        unit = float(torch.finfo(dtype).eps) / 2
        errors[DATA, self.inputs] = unit * self.input_bound
        for block, update, bounds in zip(self.blocks, self._updates, self._bounds, strict=False):
            errors = errors_after_heads(update, block.pairs, bounds, errors, unit)
            if not np.isfinite(errors).all():
                return math.inf
            if block.feed_forward is not None:
                errors = errors_after_network(block.feed_forward, after_heads(update, bounds), errors, unit)
        return float(errors[DATA, self.output])

    def dense(self, dtype: torch.dtype = torch.float64, tolerance: float = 1e-6) -> Transformer:
        """The network as a `Transformer` (ReLU attention, MLPs of two hidden layers) where every head sees all pairs.

        Blocks with fewer heads than the largest are filled up with heads that do nothing. Run it on a stream of
        `position_rows` with the inputs in row DATA (`Transformer.layers`), or by `evaluate_dense`.

        Args:
            dtype: number format of weights and stream.
            tolerance: largest `rounding_error` that is accepted.

        Raises:
            InteractionPrecisionError: the routing rounds by more than `tolerance` in this format.
            ValueError: a dtype that is not floating-point, or a network whose dense attention takes too much memory.
        """
        checked_precision(self, dtype, tolerance)
        return dense_model(self, dtype)

    def evaluate_dense(
        self, inputs: Float[np.ndarray, "samples ambient_dim"], model: Transformer | None = None
    ) -> Float[np.ndarray, "samples"]:
        """What `dense` answers: every head on all pairs of tokens.

        Args:
            inputs: as in `evaluate`.
            model: what `dense` gave before; built in float64 when left out.

        Raises:
            ValueError: as `evaluate` and `dense`.
        """
        return dense_values(self, self._checked(inputs), self.dense() if model is None else model)

    def save(self, path: str | os.PathLike[str], provenance: Mapping[str, str] | None = None) -> None:
        """Write it as a safetensors file, whole or not at all, with strings kept beside it.

        Raises:
            ModelFileError: the path is a folder, its folder does not exist or can't be written.
        """
        write_network(self, path, provenance or {})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "InteractionNetwork":
        """Read a network that `save` wrote; nothing in the file is executed.

        Raises:
            ModelFileError: the file is missing, damaged, another kind of file, or its arrays are no legal network.
        """
        return read_network(cls, Block, path)[0]


def load_network_with_provenance(path: str | os.PathLike[str]) -> tuple[InteractionNetwork, dict[str, str]]:
    """`InteractionNetwork.load`, and the strings kept beside it."""
    return read_network(InteractionNetwork, Block, path)


def product_tree(num_factors: int, bound: float = 1.5) -> InteractionNetwork:
    """The product of d numbers in ceil(log2 d) blocks, exact but for rounding: one head pair multiplies two tokens.

    In every block the k-th partial product is multiplied into its left neighbour: four heads a product, two that write it and
    two that take away what the token held. A factor without partner goes on as it is (times 1). Tokens: one a factor.

    Args:
        num_factors: d >= 1.
        bound: largest |factor|.

    Raises:
        ValueError: num_factors is no integer >= 1, a bound that is negative or not finite, or whose d-th power is not finite.

    Source: figure on product trees of Havrilla and Liao 2024 (recalled); heads derived here.
    """
    num_factors = checked_integer("num_factors", num_factors, 1)
    if not 0 <= bound < math.inf or num_factors * math.log(max(bound, 1.0)) >= math.log(np.finfo(np.float64).max):
        raise ValueError(f"bound = {bound!r}: a finite number >= 0 with a finite power {num_factors} is legal")
    blocks = []
    step = 1
    while step < num_factors:
        lefts = np.arange(0, num_factors - step, 2 * step)
        blocks.append(Block(joined(products(lefts, DATA, DATA, lefts + step, DATA), clears(lefts, DATA))))
        step *= 2
    return InteractionNetwork(num_factors, np.arange(num_factors), 0, tuple(blocks), float(bound))
