"""Which layout, engine, first weights and transformer belong to a shape: the one place that tells one layer from several."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from constructions.transformer import Transformer
from empirical._deep_engine import DeepEngine
from empirical._deep_pairs import DeepPairEngine
from empirical._deep_parameters import DeepLayout, deep_initial_weights, deep_to_transformer
from empirical._parameters import Layout, StackedParameters, Variant, initial_weights, to_transformer
from empirical._stacked import Engine, PairEngine
from empirical._token_engine import TokenEngine
from theory.shapes import AttentionShape, TransformerShape


def layout_of(vocab_size: int, seq_len: int, shape: AttentionShape, variant: Variant) -> Layout:
    """The layout of a model; a TransformerShape of one attention-only layer has that of its heads."""
    if isinstance(shape, TransformerShape) and not shape.attention_only:
        return DeepLayout(vocab_size, seq_len, shape, variant)
    return Layout(vocab_size, seq_len, AttentionShape(shape.embed_dim, shape.num_heads, shape.head_dim), variant)


def drawn_weights(layout: Layout, generator: np.random.Generator) -> dict[str, Float[np.ndarray, "..."]]:
    """Blocks of one untrained model."""
    return deep_initial_weights(layout, generator) if isinstance(layout, DeepLayout) else initial_weights(layout, generator)


def transformer_of(
    layout: Layout, weights: dict[str, Tensor], dtype: torch.dtype
) -> AttentionOnlyTransformer | Transformer:
    """The trained model as one of `constructions`, with the same logits."""
    make = deep_to_transformer if isinstance(layout, DeepLayout) else to_transformer
    return make(layout, weights, dtype)  # type: ignore[arg-type]  # each gets its own kind of layout


def engine_of(parameters: StackedParameters, rows: int) -> Engine:
    """The quicker of the engines that compute this layout on so many rows."""
    if isinstance(parameters.layout, DeepLayout):
        return (DeepPairEngine if parameters.layout.seq_len == 2 else DeepEngine)(parameters, rows)
    return (PairEngine if use_pairs(parameters.layout) else TokenEngine)(parameters, rows)


def use_pairs(layout: Layout) -> bool:
    """Whether the engine for pairs is the quicker one: S = 2, and up to k = 24 (measured for N = 50, 70 and 200)."""
    return layout.seq_len == 2 and layout.inner_dim <= 24


def largest_result(layout: Layout, rows: int) -> int:
    """Entries of the largest intermediate result of one model."""
    heads_width = layout.shape.num_heads * layout.shape.head_dim
    if isinstance(layout, DeepLayout):
        inner = max(layout.shape.mlp_width, layout.shape.embed_dim + 1, heads_width) * layout.seq_len
        pairs = layout.inner_dim**2 if layout.seq_len == 2 else layout.shape.num_heads * layout.seq_len**2
        return max(rows * max(inner, pairs, layout.vocab_size), layout.num_parameters())
    if use_pairs(layout):
        inner, tokens = max(layout.inner_dim**2, layout.shape.num_heads), 0
    else:
        inner = layout.inner_dim * layout.shape.num_heads * max(1, layout.seq_len - 1)
        tokens = inner * layout.vocab_size
    return max(rows * max(inner, layout.vocab_size), tokens, layout.num_parameters())


def stack_elements(layout: Layout) -> int:
    """Entries that the largest intermediate result of a stack may have on a CPU: one layer is slower where it leaves the caches.

    Several layers make so many short calls that all repetitions together are quicker than apart at every size (measured).
    """
    return 1 << 22 if isinstance(layout, DeepLayout) else 1 << 18


def kept_results(layout: Layout, rows: int) -> int:
    """Entries of all intermediate results of one model, parameters left out: for the check of memory."""
    layers = layout.shape.num_layers if isinstance(layout, DeepLayout) else 1
    return (4 + 4 * layers) * largest_result(layout, rows)


def step_work(layout: Layout, rows: int) -> int:
    """Multiplications in the large products of one pass of one model, about."""
    if isinstance(layout, DeepLayout):
        shape = layout.shape
        heads = 4 * shape.num_heads * shape.head_dim * layout.inner_dim
        return rows * shape.num_layers * (heads + 2 * shape.mlp_width * shape.embed_dim)
    return rows * layout.inner_dim**2 * layout.shape.num_heads
