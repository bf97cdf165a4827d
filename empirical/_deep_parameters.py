"""The parameters of models of several layers, or of one layer with an MLP: blocks, first weights, and what they become.

A layer is a bank of heads as in `_parameters` and, for a width w > 0, an MLP behind it. The notebook's layers share the position
vectors and, for d_h != d, the two maps around the heads; the paper's model adds positions to the residual stream, once.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from constructions.transformer import Transformer
from empirical._parameters import Layout
from theory.memorization import logit_dimension
from theory.shapes import TransformerShape


@dataclass(frozen=True)
class DeepLayout(Layout):
    """Sizes of the blocks of one model: vocabulary N, length S, d, H, d_h, L, w and the variant."""

    shape: TransformerShape

    def blocks(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every block of one model, in the order in which they lie in the flat tensor.

        Layer by layer, numbered from 0: `left0` and `right0` are those of `Layout`; `mlp_in0` has the MLP's biases as its last
        row, so that they take part in the matrix product; like `mlp_out0` it has the hidden units last.
        """
        shape, k = self.shape, self.inner_dim
        d, heads, r, width = shape.embed_dim, shape.num_heads, shape.head_dim, shape.mlp_width
        blocks: dict[str, tuple[int, ...]] = {
            "token": (d, self.vocab_size),
            "position": (k, self.seq_len),
            "unembedding": (self.vocab_size, d),
        }
        if self.shared_maps:
            blocks |= {"down": (k, d), "up": (d, k)}
        for layer in range(shape.num_layers):
            blocks |= {f"left{layer}": (2, heads, k, r), f"right{layer}": (2, heads, r, k)}
            if width:
                blocks |= {f"mlp_in{layer}": (d + 1, width), f"mlp_out{layer}": (d, width)}
        return blocks

    def num_effective_parameters(self) -> int | None:
        """Nominal parameters less the directions that alter no logit of any sequence, for generic weights; None if not known.

        The count of one layer of heads (`Layout.num_effective_parameters`, with all that the layers share: bases of the residual
        stream and of the notebook's head inputs and outputs), for each further layer and head twice r (2 k - r), the dimension
        of k x k matrices of rank r, and 2 d + 1 for each hidden unit, since a GELU unit has no freedom but its place in the
        row. Derived here; equal to the numerical rank of the Jacobian of the logits in the tests. It stands for H >= 1, S >= 2,
        d < N and fewer parameters than logits can vary in, with d_h <= d in the notebook variant and d <= 2 H r in the paper's;
        elsewhere None is returned.
        """
        shape, d, k = self.shape, self.shape.embed_dim, self.inner_dim
        rank = min(shape.head_dim, k)
        seen = k <= d if self.variant == "notebook" else d <= 2 * shape.num_heads * rank
        if not (shape.num_heads and self.seq_len > 1 and d < self.vocab_size and seen):
            return None
        one_layer = Layout(self.vocab_size, self.seq_len, shape.heads, self.variant).num_effective_parameters()
        if one_layer is None:
            return None
        further = (shape.num_layers - 1) * shape.num_heads * 2 * rank * (2 * k - rank)
        count = one_layer + further + shape.num_layers * shape.mlp_width * (2 * d + 1)
        return count if count < logit_dimension(self.vocab_size, self.seq_len, d) else None


def deep_initial_weights(layout: DeepLayout, generator: np.random.Generator) -> dict[str, Float[np.ndarray, "..."]]:
    """Blocks of one untrained model, drawn in float64 in a fixed order from `generator`.

    Bounds of embeddings, maps and the heads of every layer as in `initial_weights`; both matrices of an MLP and its biases as
    torch draws those of a Linear, U(-b, b) with b = 1/sqrt(fan in): 1/sqrt(d) before the GELU, 1/sqrt(w) behind it.
    """
    shape, k = layout.shape, layout.inner_dim
    d, r = shape.embed_dim, shape.head_dim
    bounds = {"token": d**-0.5, "position": k**-0.5, "unembedding": d**-0.5, "down": d**-0.5, "up": k**-0.5}
    fused = sqrt(6 / (3 * r + k))
    weights = {name: generator.uniform(-1.0, 1.0, size) * bounds.get(name, 1.0) for name, size in layout.blocks().items()}
    for layer in range(shape.num_layers):
        weights[f"left{layer}"] *= fused
        weights[f"right{layer}"][0] *= fused
        weights[f"right{layer}"][1] *= r**-0.5
        if shape.mlp_width:
            weights[f"mlp_in{layer}"] *= d**-0.5
            weights[f"mlp_out{layer}"] *= shape.mlp_width**-0.5
    return weights


def deep_to_transformer(layout: DeepLayout, weights: dict[str, Tensor], dtype: torch.dtype) -> Transformer:
    """The `Transformer` with the same logits as the trained model.

    The paper's model goes over as it is. The notebook's gets S more coordinates in its residual stream, in which position i is
    the unit vector i, which no layer writes to and which neither MLPs nor the unembedding read: with them, the shared maps and
    the positions of all layers fold into each head's own maps, as in `_parameters.to_transformer`. Products are taken in float64.
    """
    shape, seq_len = layout.shape, layout.seq_len
    block = {name: values.to(torch.float64) for name, values in weights.items()}

    def layers(name: str) -> Tensor:
        return torch.stack([block[f"{name}{layer}"] for layer in range(shape.num_layers)])

    key, value = layers("left").unbind(1)
    right = layers("right")
    query, output = right[:, 0].transpose(-1, -2), right[:, 1]
    token, position, unembedding = block["token"].T, block["position"].T, block["unembedding"]
    extra = seq_len if layout.variant == "notebook" else 0
    if extra:
        identity = torch.eye(shape.embed_dim, dtype=torch.float64)
        inside = torch.cat([block["down"].T if layout.shared_maps else identity, position])
        query, key, value = inside @ query * layout.score_scale, inside @ key, inside @ value
        output = output @ block["up"].T if layout.shared_maps else output
        position = torch.eye(seq_len, shape.embed_dim + extra, dtype=torch.float64).roll(shape.embed_dim, dims=1)
    state = dict(
        token_embedding=pad(token, (0, extra)),
        position_embedding=position,
        query=query,
        key=key,
        value=value,
        output=pad(output, (0, extra)),
        unembedding=pad(unembedding, (0, extra)),
    )
    if shape.mlp_width:
        state["mlp_in"] = pad(layers("mlp_in")[:, :-1], (0, 0, 0, extra))
        state["mlp_bias"] = layers("mlp_in")[:, -1]
        state["mlp_out"] = pad(layers("mlp_out").transpose(1, 2), (0, extra))
    model = Transformer(
        layout.vocab_size, seq_len, shape.embed_dim + extra, shape.num_heads, shape.head_dim, shape.num_layers, shape.mlp_width,
        dtype=dtype,
    )  # fmt: skip
    with torch.no_grad():
        for name, values in state.items():
            getattr(model, name).copy_(values)
    return model
