"""The transformer of several layers: heads as in `AttentionOnlyTransformer`, behind them a two-layer network if wanted."""

import math
import os
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions._token_model import TokenModel, read_model
from constructions.attention import CHUNK_ELEMENTS, attention
from theory.shapes import TransformerShape, checked_integer

Positions = Literal["residual", "attention"]

FILE_FORMAT = "headcount transformer, version 1"
PARAMETER_NAMES = (
    "token_embedding", "position_embedding", "query", "key", "value", "output", "mlp_in", "mlp_bias", "mlp_out", "unembedding",
)  # fmt: skip


class Transformer(TokenModel):
    r"""L layers of causal multi-head attention, each followed by an MLP if wanted; skip connections, no norm.

    The residual stream starts as \(x_i = e(t_i) + pos_i\). In each layer a head reads \(u_i = x_i\) and adds
    \(\sum_{j \le i} a_{ij} u_j W_V W_O\) to position i, with \(a_{ij} = \mathrm{softmax}_j(c\, u_i W_Q (u_j W_K)^T)\); then an
    MLP of width w > 0 adds \(\mathrm{GELU}(x_i W_1 + b) W_2\), GELU in its exact form \(z \Phi(z)\). Logits are
    \(x_S W_U^T\). With `positions="attention"` positions stay out of the residual stream: \(x_i = e(t_i)\), and
    \(u_i = x_i + pos_i\) in every layer, with the same position vectors in all.

    Parameters, all zero at birth (N = vocab_size, S = seq_len, d = embed_dim, H = num_heads, d_h = head_dim, L = num_layers,
    w = mlp_width); vectors are rows:
        token_embedding (N, d), position_embedding (S, d), query, key, value (L, H, d, d_h), output (L, H, d_h, d),
        mlp_in (L, d, w), mlp_bias (L, w), mlp_out (L, w, d), unembedding (N, d).

    Args:
        vocab_size: N >= 1 tokens.
        seq_len: S >= 1 positions.
        embed_dim: d >= 1.
        num_heads: H >= 0 in every layer.
        head_dim: d_h >= 1; larger than d is legal.
        num_layers: L >= 1.
        mlp_width: w >= 0; 0 leaves the MLPs out.
        positions: "residual" (added to the embedding) or "attention" (added to what the heads read).
        score_scale: c, what scores are multiplied with, positive and finite; 1/sqrt(d_h) is that of Vaswani et al. 2017.
        dtype: a floating-point type; float64 unless said otherwise.
        device: any torch device.

    With one layer, no MLP, positions in the residual stream and c = 1 it is `AttentionOnlyTransformer`.

    Raises:
        ValueError: a size below its least value, an unknown place of the positions, a scale that is not positive and finite,
            or a dtype that is not floating-point.

    Source: Dana, Pydi and Chevaleyre 2025, equations (1) and (2) for one layer, experiments section for MLPs and depth.
    """

    file_format = FILE_FORMAT
    parameter_names = PARAMETER_NAMES
    shape: TransformerShape

    def __init__(
        self,
        vocab_size: int,
        seq_len: int,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        num_layers: int = 1,
        mlp_width: int = 0,
        *,
        positions: Positions = "residual",
        score_scale: float = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
        if positions not in get_args(Positions):
            raise ValueError(f"positions = {positions!r}: legal are 'residual' and 'attention'")
        is_number = isinstance(score_scale, int | float) and not isinstance(score_scale, bool)
        if not is_number or not 0 < score_scale < math.inf:
            raise ValueError(f"score_scale = {score_scale!r}: a finite number > 0 is legal")
        self.shape = TransformerShape(embed_dim, num_heads, head_dim, num_layers, mlp_width)
        self.vocab_size, self.seq_len = vocab_size, seq_len
        self.positions: Positions = positions
        self.score_scale = float(score_scale)
        self._make_parameters(dtype, device)

    token_embedding: Float[Tensor, "vocab embed_dim"]
    position_embedding: Float[Tensor, "positions embed_dim"]
    query: Float[Tensor, "layers heads embed_dim head_dim"]
    key: Float[Tensor, "layers heads embed_dim head_dim"]
    value: Float[Tensor, "layers heads embed_dim head_dim"]
    output: Float[Tensor, "layers heads head_dim embed_dim"]
    mlp_in: Float[Tensor, "layers embed_dim width"]
    mlp_bias: Float[Tensor, "layers width"]
    mlp_out: Float[Tensor, "layers width embed_dim"]
    unembedding: Float[Tensor, "vocab embed_dim"]

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        d, layers, width = self.embed_dim, self.num_layers, self.mlp_width
        into, out_of = (layers, self.num_heads, d, self.head_dim), (layers, self.num_heads, self.head_dim, d)
        mlp = ((layers, d, width), (layers, width), (layers, width, d))
        sizes = ((self.vocab_size, d), (self.seq_len, d), into, into, into, out_of, *mlp, (self.vocab_size, d))
        return dict(zip(PARAMETER_NAMES, sizes, strict=True))

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes, dtype and device left out."""
        shape, own = self.shape, {"vocab_size": self.vocab_size, "seq_len": self.seq_len, "embed_dim": self.embed_dim}
        sizes = own | {"num_heads": shape.num_heads, "head_dim": shape.head_dim}
        options = {"positions": self.positions, "score_scale": self.score_scale}
        return sizes | {"num_layers": shape.num_layers, "mlp_width": shape.mlp_width} | options

    @property
    def num_layers(self) -> int:
        """L, the number of layers."""
        return self.shape.num_layers

    @property
    def mlp_width(self) -> int:
        """w, the hidden width of the MLP of every layer; 0 without MLPs."""
        return self.shape.mlp_width

    def forward(
        self, tokens: Int[Tensor, "batch positions"], *, all_positions: bool = False
    ) -> Float[Tensor, "batch vocab"] | Float[Tensor, "batch positions vocab"]:
        """The next-token logits.

        Args:
            tokens: whole sequences of exactly `seq_len` tokens in [0, vocab_size), of an integer type.
            all_positions: also after every prefix (position p then sees positions 0..p only).

        Returns:
            Logits after the last position, or after every position.

        Raises:
            ValueError: `tokens` is of a wrong type or shape, or has a token outside the vocabulary.

        Cost: temporaries are bounded by some `CHUNK_ELEMENTS` beside the result; long batches are computed in parts.
        """
        tokens = self._checked_tokens(tokens)
        widest = max(self.num_heads * self.head_dim, self.mlp_width, self.embed_dim, self.num_heads * self.seq_len)
        parts = tokens.split(max(1, CHUNK_ELEMENTS // (self.seq_len * widest)))  # an empty batch is one empty part
        logits = torch.cat([self._stream(part, all_positions) @ self.unembedding.T for part in parts])
        return logits if all_positions else logits.squeeze(1)

    def _stream(self, tokens: Tensor, all_positions: bool) -> Float[Tensor, "batch queried embed_dim"]:
        """The residual stream behind the last layer, at the last position or at all."""
        stream = self.token_embedding[tokens]
        if self.positions == "residual":
            stream = stream + self.position_embedding
        for layer in range(self.num_layers):
            seen = stream + self.position_embedding if self.positions == "attention" else stream
            queried = seen
            if layer == self.num_layers - 1 and not all_positions:  # nobody reads the other positions any more
                stream, queried = stream[:, -1:], seen[:, -1:]
            if self.num_heads:
                stream = stream + self._attend(layer, queried, seen)
            if self.mlp_width:
                stream = stream + self._mlp(layer, stream)
        return stream

    def _attend(self, layer: int, queried: Tensor, seen: Tensor) -> Tensor:
        # One matrix product for all heads: heads and head coordinates side by side.
        queries, keys, values = (
            (rows @ maps[layer].transpose(0, 1).flatten(1)).unflatten(-1, (self.num_heads, self.head_dim))
            for rows, maps in ((queried, self.query), (seen, self.key), (seen, self.value))
        )
        mixed = attention(queries * self.score_scale, keys, values)
        return mixed.flatten(2) @ self.output[layer].flatten(0, 1)

    def _mlp(self, layer: int, stream: Tensor) -> Tensor:
        hidden = torch.nn.functional.gelu(stream @ self.mlp_in[layer] + self.mlp_bias[layer])
        return hidden @ self.mlp_out[layer]


def load_transformer_with_provenance(
    path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[Transformer, dict[str, str]]:
    """`Transformer.load`, and the strings kept beside the weights."""
    return read_model(Transformer, path, device)
