"""The parameters of a stack of models: where each block lies in one flat tensor, how it is drawn, what it becomes.

A stack holds M models of one embedding width d and one head width d_h; a model with fewer heads than the stack's H has
its missing heads all zero, and zero they stay: every gradient of a head is a product with another block of that head.
Blocks are kept feature-major (rows of data run along the last axis), because that is the axis that is long.
"""

from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from theory.memorization import effective_parameters, logit_dimension
from theory.shapes import AttentionShape

Variant = Literal["notebook", "paper"]
PADDING = 64

VARIANTS: tuple[Variant, ...] = ("notebook", "paper")


@dataclass(frozen=True)
class Layout:
    """Sizes of the blocks of one model of a stack: vocabulary N, length S, d, H, d_h and the variant."""

    vocab_size: int
    seq_len: int
    shape: AttentionShape
    variant: Variant

    @property
    def inner_dim(self) -> int:
        """k, the width on which the heads work: d_h in the notebook variant, d in the paper's model."""
        return self.shape.head_dim if self.variant == "notebook" else self.shape.embed_dim

    @property
    def shared_maps(self) -> bool:
        """Whether one map d -> d_h stands before all heads and one d_h -> d behind them."""
        return self.inner_dim != self.shape.embed_dim

    @property
    def score_scale(self) -> float:
        """What query-key products are multiplied with: 1/sqrt(d_h) in the notebook variant, 1 in the paper's model."""
        return 1 / sqrt(self.shape.head_dim) if self.variant == "notebook" else 1.0

    def blocks(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every block of one model, in the order in which they lie in the flat tensor.

        `left` holds W_K and W_V, `right` holds W_Q transposed and W_O, so that left @ right is, per head, the k x k
        matrix of the scores (key side first) and that of the values.
        """
        d, k, heads, r = self.shape.embed_dim, self.inner_dim, self.shape.num_heads, self.shape.head_dim
        blocks: dict[str, tuple[int, ...]] = {
            "token": (d, self.vocab_size),
            "position": (k, self.seq_len),
            "unembedding": (self.vocab_size, d),
            "left": (2, heads, k, r),
            "right": (2, heads, r, k),
        }
        if self.shared_maps:
            blocks |= {"down": (k, d), "up": (d, k)}
        return blocks

    def num_parameters(self) -> int:
        """Number of trained scalars of one model."""
        return sum(prod(size) for size in self.blocks().values())

    def num_effective_parameters(self) -> int | None:
        """Nominal parameters less the directions that alter no logit of any sequence, for generic weights.

        Paper variant: `theory.memorization.effective_parameters`.
        Notebook variant, k = d_h and d < N: 2 N d + S k + 2 H k^2 - d^2 for d_h = d (positions stay out of the residual
        stream); for d_h < d, 2 d k more for the shared maps and 2 k^2 less, a basis of the heads' inputs and one of
        their outputs; for d_h > d the heads see no more than d token coordinates and S - 1 position differences, which
        leaves at most H (2 d + 1) (d + S - 1) + 2 N d - d^2. H = 0 leaves no attention: 2 N d - d^2.

        All equal the numerical rank of the Jacobian of the logits in the tests (S = 2; an upper bound for the notebook's
        d_h > d at S > 2). For d >= N the notebook's count is only an upper bound: no more than the parameters, no more than
        the logits can vary. The leading term 2 H k^2 is the one that the published curves fit.
        """
        if self.variant == "paper" or not self.shape.num_heads:
            return effective_parameters(
                self.vocab_size, self.seq_len, self.shape.embed_dim, self.shape.num_heads, self.shape.head_dim
            )
        if self.shape.embed_dim >= self.vocab_size:
            return min(self.num_parameters(), logit_dimension(self.vocab_size, self.seq_len, self.shape.embed_dim))
        d, k, heads = self.shape.embed_dim, self.inner_dim, self.shape.num_heads
        free_of_heads = 2 * self.vocab_size * d - d**2
        with_maps = free_of_heads + self.seq_len * k + 2 * heads * k**2
        if self.shared_maps:
            with_maps += 2 * d * k - 2 * k**2
        if k <= d:
            return with_maps
        return min(with_maps, free_of_heads + heads * (2 * d + 1) * (d + self.seq_len - 1))


def summed_products(
    left: Float[Tensor, "models outer rows"], right: Float[Tensor, "models inner rows"]
) -> Float[Tensor, "models outer inner"]:
    """left right^T, the sum over rows of their products, rounded alike however many models there are.

    Matrix products are (see `constructions`), but one with a vector is not: where one side has a single entry it is a plain sum.
    """
    if 1 in (left.shape[1], right.shape[1]):
        return (left * right).sum(2).view(left.shape[0], left.shape[1], right.shape[1])
    return torch.bmm(left, right.transpose(1, 2))


class StackedParameters:
    """M models of one layout in one flat tensor, with a gradient of the same form; every block is a view of shape (M, ...).

    `score_scale` is the layout's; a stack of models of different d_h, padded with zeros, has a tensor (M, 1, 1, 1) there.

    The flat tensor ends in `PADDING` unused zeros: processors take the last few entries one by one, with other rounding than
    the rest, and a model's result shall not depend on whether it comes last.
    """

    def __init__(self, layout: Layout, num_models: int, dtype: torch.dtype, device: torch.device) -> None:
        self.layout, self.num_models = layout, num_models
        self.score_scale: float | Tensor = layout.score_scale
        self.flat = torch.zeros(num_models * layout.num_parameters() + PADDING, dtype=dtype, device=device)
        self.flat_grad = torch.zeros_like(self.flat)
        self.block: dict[str, Tensor] = {}
        self.grad: dict[str, Tensor] = {}
        start = 0
        for name, size in layout.blocks().items():
            end = start + num_models * prod(size)
            self.block[name] = self.flat[start:end].view(num_models, *size)
            self.grad[name] = self.flat_grad[start:end].view(num_models, *size)
            start = end

    def put(self, model: int, weights: dict[str, Float[np.ndarray, "..."]]) -> None:
        """Write one model's blocks, of any sizes up to the stack's, into place `model`; the rest stays zero."""
        for name, values in weights.items():
            self._part(self.block[name][model], values.shape).copy_(torch.as_tensor(values))

    def take(self, model: int, layout: Layout) -> dict[str, Tensor]:
        """A copy on the CPU of one model's blocks in the sizes of its own layout."""
        sizes = layout.blocks()
        return {name: self._part(block[model], sizes[name]).detach().cpu().clone() for name, block in self.block.items()}

    @staticmethod
    def _part(block: Tensor, size: tuple[int, ...]) -> Tensor:
        return block[tuple(map(slice, size))]


def initial_weights(layout: Layout, generator: np.random.Generator) -> dict[str, Float[np.ndarray, "..."]]:
    """Blocks of one untrained model, drawn in float64 in a fixed order from `generator`.

    Notebook variant, U(-b, b) throughout: token embedding and unembedding b = 1/sqrt(d), positions 1/sqrt(d_h); W_Q,
    W_K, W_V Xavier over the fused (3 d_h, d_h) matrix, b = sqrt(6 / (4 d_h)); W_O 1/sqrt(d_h); the shared maps
    1/sqrt(fan in). The paper says nothing of its initialisation, so its variant follows the same rules on its own
    shapes: positions 1/sqrt(d), W_Q, W_K, W_V Xavier over (3 d_h, d), b = sqrt(6 / (3 d_h + d)), W_O 1/sqrt(d_h).
    The two coincide for d = d_h.
    """
    d, k, r = layout.shape.embed_dim, layout.inner_dim, layout.shape.head_dim
    bounds = {"token": d**-0.5, "position": k**-0.5, "unembedding": d**-0.5, "down": d**-0.5, "up": k**-0.5}
    weights = {}
    for name, size in layout.blocks().items():
        weights[name] = generator.uniform(-1.0, 1.0, size)
        if name in bounds:
            weights[name] *= bounds[name]
    fused = sqrt(6 / (3 * r + k))
    weights["left"] *= fused
    weights["right"][0] *= fused
    weights["right"][1] *= r**-0.5
    return weights


def to_transformer(layout: Layout, weights: dict[str, Tensor], dtype: torch.dtype) -> AttentionOnlyTransformer:
    """The model of equations (1)-(2) with the same logits as the trained one.

    The paper's model goes over as it is. The notebook's adds positions inside the attention only, which equations
    (1)-(2) cannot do in d coordinates; so its residual stream gets S more, in which position i is the unit vector i
    and which the unembedding does not read. A head then sees A^T x with A (d + S, d_h) the shared map (or the
    identity) on top of the position vectors, and all of it folds into the head's own maps, with 1/sqrt(d_h) in the
    query. Products are taken in float64.
    """
    shape, seq_len = layout.shape, layout.seq_len
    block = {name: values.to(torch.float64) for name, values in weights.items()}
    key, value = block["left"]
    query, output = block["right"][0].transpose(-1, -2), block["right"][1]
    token, position, unembedding = block["token"].T, block["position"].T, block["unembedding"]
    embed_dim = shape.embed_dim
    if layout.variant == "notebook":
        embed_dim = shape.embed_dim + seq_len
        identity = torch.eye(shape.embed_dim, dtype=torch.float64)
        inside = torch.cat([block["down"].T if layout.shared_maps else identity, position])
        back = block["up"].T if layout.shared_maps else identity
        query, key, value = inside @ query * layout.score_scale, inside @ key, inside @ value
        output = torch.nn.functional.pad(output @ back, (0, seq_len))
        token, unembedding = (torch.nn.functional.pad(rows, (0, seq_len)) for rows in (token, unembedding))
        position = torch.eye(seq_len, embed_dim, dtype=torch.float64).roll(shape.embed_dim, dims=1)
    model = AttentionOnlyTransformer(
        layout.vocab_size, seq_len, embed_dim, shape.num_heads, shape.head_dim, dtype=dtype
    )
    state = dict(
        token_embedding=token,
        position_embedding=position,
        query=query,
        key=key,
        value=value,
        output=output,
        unembedding=unembedding,
    )
    with torch.no_grad():
        for name, values in state.items():
            getattr(model, name).copy_(values)
    return model
