"""The same network as a `Transformer` in which every head looks at every pair of tokens: what routing costs in precision."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions._interaction_bounds import Bounds, pair_bounds
from constructions._interaction_maps import FeedForward
from constructions._interaction_pairs import DATA, NUM_ROWS, ONE, HeadPairs, position_rows, routed_forms
from constructions.transformer import Transformer

if TYPE_CHECKING:
    from constructions.interaction import InteractionNetwork

SCORE_ELEMENTS = 1 << 25  # attention scores of one block and sample: 256 MiB in float64, about three times that at once
WEIGHT_ELEMENTS = 1 << 27  # entries of the arrays of heads, padded to the block with most of them


class InteractionPrecisionError(ValueError):
    """A number format in which the routing of a network rounds by more than was allowed."""


def checked_precision(network: "InteractionNetwork", dtype: torch.dtype, tolerance: float) -> None:
    """Refuse what `InteractionNetwork.dense` says it refuses."""
    if not dtype.is_floating_point:
        raise ValueError(f"dtype = {dtype}: a floating-point type is legal")
    if not tolerance > 0:
        raise ValueError(f"tolerance = {tolerance!r}: a number > 0 is legal")
    heads, tokens = max(network.heads_per_block, default=0), network.num_tokens
    if heads * tokens**2 > SCORE_ELEMENTS or 4 * NUM_ROWS**2 * heads * network.num_blocks > WEIGHT_ELEMENTS:
        raise ValueError(
            f"num_tokens = {tokens} with {heads} heads in a block: dense attention is legal up to {SCORE_ELEMENTS} scores and "
            f"{WEIGHT_ELEMENTS} weights; evaluate() takes any size"
        )
    error = network.rounding_error(dtype)
    if error > tolerance:
        raise InteractionPrecisionError(
            f"dtype = {dtype} with {tokens} tokens: routing rounds by about {error:.1e}, tolerance = {tolerance:g} is allowed; "
            "a format with more digits, a larger tolerance, or evaluate() is legal"
        )


def dense_model(network: "InteractionNetwork", dtype: torch.dtype) -> Transformer:
    """The transformer; every head has the routing constant that its own M asks for."""
    networks = [block.feed_forward for block in network.blocks]
    width = max((each.width for each in networks if each is not None), default=0)
    model = Transformer(
        vocab_size=1, seq_len=network.num_tokens, embed_dim=NUM_ROWS, num_heads=max(network.heads_per_block, default=0),
        head_dim=NUM_ROWS, num_layers=max(1, network.num_blocks), mlp_width=width, causal=False, attention="relu",
        mlp_activation="relu", mlp_layers=2, dtype=dtype,
    )  # fmt: skip
    with torch.no_grad():
        model.position_embedding.copy_(torch.from_numpy(position_rows(network.num_tokens)))
        model.unembedding[0, DATA] = 1.0
        for number, (block, bounds) in enumerate(zip(network.blocks, network.bounds(), strict=False)):
            _fill_heads(model, number, block.pairs, bounds)
            if block.feed_forward is not None:
                _fill_network(model, number, block.feed_forward)
    return model.requires_grad_(False)


def _fill_heads(model: Transformer, number: int, pairs: HeadPairs, bounds: Bounds) -> None:
    count, each = len(pairs), np.arange(len(pairs))
    forms = np.zeros((count, NUM_ROWS, NUM_ROWS))
    forms[each, pairs.lefts, pairs.rights] += pairs.scales
    forms[:, ONE, ONE] += pairs.shifts
    largest = pair_bounds(pairs, bounds)
    for side, sign in enumerate((1.0, -1.0)):
        heads = slice(side, 2 * count, 2)
        routed = routed_forms(sign * forms, pairs.targets, pairs.sources, model.seq_len, largest)
        values = np.zeros_like(routed)
        values[each, ONE, pairs.rows] = sign
        model.query[number, heads] = torch.from_numpy(routed).to(model.dtype)
        model.value[number, heads] = torch.from_numpy(values).to(model.dtype)
        model.key[number, heads] = torch.eye(NUM_ROWS, dtype=model.dtype)
        model.output[number, heads] = torch.eye(NUM_ROWS, dtype=model.dtype)


def _fill_network(model: Transformer, number: int, network: FeedForward) -> None:
    width = network.width
    model.mlp_in[number, :, :width] = torch.from_numpy(network.weight_1)
    model.mlp_bias[number, :width] = torch.from_numpy(network.bias_1)
    model.mlp_hidden[number, 0, :width, :width] = torch.from_numpy(network.weight_2)
    model.mlp_hidden_bias[number, 0, :width] = torch.from_numpy(network.bias_2)
    model.mlp_out[number, :width] = torch.from_numpy(network.weight_3)


def dense_values(
    network: "InteractionNetwork", inputs: Float[np.ndarray, "samples ambient_dim"], model: Transformer
) -> Float[np.ndarray, "samples"]:
    """The answers of the dense model, in parts of samples that fit in memory."""
    start = model.position_embedding.detach()
    step = max(1, SCORE_ELEMENTS // max(1, model.num_heads * network.num_tokens**2))
    answers: list[Tensor] = []
    for first in range(0, len(inputs), step):
        part = torch.from_numpy(np.ascontiguousarray(inputs[first : first + step])).to(model.dtype)
        stream = start.repeat(len(part), 1, 1)
        stream[:, torch.from_numpy(network.inputs), DATA] += part
        with torch.no_grad():
            answers.append(model.layers(stream)[:, network.output] @ model.unembedding[0])
    return torch.cat(answers).double().numpy() if answers else np.zeros(0)


