"""The transformer of several layers: heads as in `AttentionOnlyTransformer`, behind them a network or a map if wanted."""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions._token_model import TokenModel, read_model
from constructions.attention import CHUNK_ELEMENTS, AttentionKind, attention, attention_pattern
from constructions.element_wise import StreamMap, checked_maps
from theory.shapes import TransformerShape, checked_integer

Positions = Literal["residual", "attention"]
MlpActivation = Literal["gelu", "relu"]

FILE_FORMAT = "headcount transformer, version 1"
PARAMETER_NAMES = (
    "token_embedding", "position_embedding", "query", "key", "value", "output", "mlp_in", "mlp_bias", "mlp_out", "unembedding",
)  # fmt: skip
DEEP_NAMES = ("mlp_hidden", "mlp_hidden_bias")  # beside them where the MLPs have more than one hidden layer


class Transformer(TokenModel):
    r"""L layers of multi-head attention, each followed by an MLP or an element-wise map if wanted; skip connections, no norm.

    The residual stream starts as \(x_i = e(t_i) + pos_i\). In each layer a head reads \(u_i = x_i\) and adds
    \(\sum_{j \le i} a_{ij} u_j W_V W_O\) to position i, with \(a_{ij} = \mathrm{softmax}_j(c\, u_i W_Q (u_j W_K)^T)\); then an
    MLP of width w > 0 adds \(\mathrm{GELU}(x_i W_1 + b) W_2\), GELU in its exact form \(z \Phi(z)\). Logits are
    \(x_S W_U^T\). With `positions="attention"` positions stay out of the residual stream: \(x_i = e(t_i)\), and
    \(u_i = x_i + pos_i\) in every layer, with the same position vectors in all. Last in a layer, its element-wise map, if it has
    one, replaces every \(x_i\) by a function of \(x_i\) alone. With `attention="relu"` the weights \(a_{ij}\) are
    \(\max(0, score)\), not normalised; with `mlp_activation="relu"` GELU is \(\max(0, z)\), and with k = `mlp_layers` > 1 the MLP
    has k hidden layers of width w, the activation behind each.

    Parameters, all zero at birth (N = vocab_size, S = seq_len, d = embed_dim, H = num_heads, d_h = head_dim, L = num_layers,
    w = mlp_width); vectors are rows:
        token_embedding (N, d), position_embedding (S, d), query, key, value (L, H, d, d_h), output (L, H, d_h, d),
        mlp_in (L, d, w), mlp_bias (L, w), mlp_out (L, w, d), unembedding (N, d);
        with k > 1 also mlp_hidden (L, k - 1, w, w) and mlp_hidden_bias (L, k - 1, w).

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
        causal: whether a position sees only those up to its own.
        attention: "softmax", or "relu": not normalised, and exactly 0 for scores that are not positive.
        mlp_activation: "gelu" or "relu".
        mlp_layers: k >= 1 hidden layers in every MLP.
        maps: None, or for every layer None, an `ElementWise` program, or a function that takes the stream (batch, positions, d)
            to one of the same shape, every position by itself. A model with functions can't be saved.
        dtype: a floating-point type; float64 unless said otherwise.
        device: any torch device.

    With one layer, no MLP or map, causal, softmax, positions in the residual stream and c = 1 it is `AttentionOnlyTransformer`.

    Raises:
        ValueError: a size below its least value, an unknown place of the positions, attention or activation, a scale that is
            not positive and finite, maps that don't fit, or a dtype that is not floating-point.

    Source: Dana, Pydi and Chevaleyre 2025, equations (1) and (2) for one layer, experiments section for MLPs and depth; Sanford,
    Hsu and Telgarsky 2024, section 2.1, for element-wise maps; Havrilla and Liao 2024 for attention and MLPs of ReLUs (recalled).
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
        causal: bool = True,
        attention: AttentionKind = "softmax",
        mlp_activation: MlpActivation = "gelu",
        mlp_layers: int = 1,
        maps: Sequence[object] | None = None,
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
        if not isinstance(causal, bool):
            raise ValueError(f"causal = {causal!r}: True and False are legal")
        self.causal = causal
        for name, choice, legal in (("attention", attention, AttentionKind), ("mlp_activation", mlp_activation, MlpActivation)):
            if choice not in get_args(legal):
                raise ValueError(f"{name} = {choice!r}: legal are {' and '.join(map(repr, get_args(legal)))}")
        self.attention: AttentionKind = attention
        self.mlp_activation: MlpActivation = mlp_activation
        self.mlp_layers = checked_integer("mlp_layers", mlp_layers, 1)
        self.maps: tuple[StreamMap | None, ...] = checked_maps(maps, self.shape.num_layers, self.shape.embed_dim)
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
    mlp_hidden: Float[Tensor, "layers deeper width width"]
    mlp_hidden_bias: Float[Tensor, "layers deeper width"]
    unembedding: Float[Tensor, "vocab embed_dim"]

    def _names(self) -> tuple[str, ...]:
        return (*PARAMETER_NAMES, *DEEP_NAMES) if self.mlp_layers > 1 else PARAMETER_NAMES

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        d, layers, width = self.embed_dim, self.num_layers, self.mlp_width
        into, out_of = (layers, self.num_heads, d, self.head_dim), (layers, self.num_heads, self.head_dim, d)
        mlp = ((layers, d, width), (layers, width), (layers, width, d))
        sizes = [(self.vocab_size, d), (self.seq_len, d), into, into, into, out_of, *mlp, (self.vocab_size, d)]
        if self.mlp_layers > 1:
            sizes += [(layers, self.mlp_layers - 1, width, width), (layers, self.mlp_layers - 1, width)]
        return dict(zip(self._names(), sizes, strict=True))

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes, dtype and device left out."""
        shape, own = self.shape, {"vocab_size": self.vocab_size, "seq_len": self.seq_len, "embed_dim": self.embed_dim}
        sizes = own | {"num_heads": shape.num_heads, "head_dim": shape.head_dim}
        options: dict[str, Any] = {"positions": self.positions, "score_scale": self.score_scale}
        if not self.causal:
            options["causal"] = False
        usual = {"attention": "softmax", "mlp_activation": "gelu", "mlp_layers": 1}  # left out, as in files older than they are
        options |= {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}
        if any(each is not None for each in self.maps):
            options["maps"] = self.maps
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
            all_positions: also at every other position (in a causal model, position p sees positions 0..p only).

        Returns:
            Logits after the last position, or after every position.

        Raises:
            ValueError: `tokens` is of a wrong type or shape, or has a token outside the vocabulary.

        Cost: temporaries are bounded by some `CHUNK_ELEMENTS` beside the result; long batches are computed in parts.
        """
        tokens = self._checked_tokens(tokens)
        widest = max(self.num_heads * self.head_dim, self.mlp_width, self.embed_dim, self.num_heads * self.seq_len)
        parts = tokens.split(max(1, CHUNK_ELEMENTS // (self.seq_len * widest)))  # an empty batch is one empty part
        logits = torch.cat([self._last(self._embedded(part), all_positions) @ self.unembedding.T for part in parts])
        return logits if all_positions else logits.squeeze(1)

    def logits_at_every_position(
        self, tokens: Int[Tensor, "batch positions"]
    ) -> Float[Tensor, "batch positions vocab"]:
        """`forward` with `all_positions`, without gradients: what is measured of models that answer at every position."""
        with torch.no_grad():
            return self(tokens, all_positions=True)

    def attention_maps(
        self, tokens: Int[Tensor, "batch positions"]
    ) -> Float[Tensor, "layers batch heads positions positions"]:
        """Where every head looks: weights of all layers, rows are the positions that look, without gradients.

        Raises:
            ValueError: as `forward`.

        Memory: L batch H S^2 numbers.
        """
        patterns: list[Tensor] = []
        with torch.no_grad():
            for layer, _queried, seen in self._steps(self._embedded(self._checked_tokens(tokens)), all_positions=True):
                if layer < self.num_layers:
                    queries, keys = self._heads(layer, seen, self.query), self._heads(layer, seen, self.key)
                    patterns.append(attention_pattern(queries * self.score_scale, keys, causal=self.causal, kind=self.attention))
        return torch.stack(patterns)

    def layers(self, stream: Float[Tensor, "batch positions embed_dim"]) -> Float[Tensor, "batch positions embed_dim"]:
        """All layers on a residual stream of one's own, at any number of positions (positions="residual" only).

        Raises:
            ValueError: the stream has another width or number format, or the model's positions are in the attention.
        """
        if self.positions == "attention":
            raise ValueError("positions = 'attention': layers on a stream of one's own take 'residual'")
        if stream.ndim != 3 or stream.shape[2] != self.embed_dim or stream.dtype != self.query.dtype:
            wanted = f"(batch, positions, {self.embed_dim}) of {self.query.dtype}"
            raise ValueError(f"stream has shape {tuple(stream.shape)} and dtype {stream.dtype}: {wanted} is legal")
        return self._last(stream, all_positions=True)

    def _embedded(self, tokens: Tensor) -> Tensor:
        stream = self.token_embedding[tokens]
        return stream + self.position_embedding if self.positions == "residual" else stream

    def _last(self, stream: Tensor, all_positions: bool) -> Tensor:
        """The residual stream behind the last layer, at the last position or at all."""
        *_, (_layer, queried, _seen) = self._steps(stream, all_positions)
        return queried

    def _steps(self, stream: Tensor, all_positions: bool) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For every layer its number, the stream before it, and what its heads see; at last L and the stream behind all."""
        for layer in range(self.num_layers):
            seen = stream + self.position_embedding if self.positions == "attention" else stream
            yield layer, stream, seen
            queried = seen
            if layer == self.num_layers - 1 and not all_positions:  # nobody reads the other positions any more
                stream, queried = stream[:, -1:], seen[:, -1:]
            if self.num_heads:
                stream = stream + self._attend(layer, queried, seen)
            if self.mlp_width:
                stream = stream + self._mlp(layer, stream)
            chosen = self.maps[layer] if self.maps else None
            if chosen is not None:
                stream = _mapped(chosen, stream, layer)
        yield self.num_layers, stream, stream

    def _heads(self, layer: int, rows: Tensor, maps: Tensor) -> Tensor:
        # One matrix product for all heads: heads and head coordinates side by side.
        return (rows @ maps[layer].transpose(0, 1).flatten(1)).unflatten(-1, (self.num_heads, self.head_dim))

    def _attend(self, layer: int, queried: Tensor, seen: Tensor) -> Tensor:
        queries, keys, values = (
            self._heads(layer, rows, maps) for rows, maps in ((queried, self.query), (seen, self.key), (seen, self.value))
        )
        mixed = attention(queries * self.score_scale, keys, values, causal=self.causal, kind=self.attention)
        return mixed.flatten(2) @ self.output[layer].flatten(0, 1)

    def _mlp(self, layer: int, stream: Tensor) -> Tensor:
        activation = torch.relu if self.mlp_activation == "relu" else torch.nn.functional.gelu
        hidden = activation(stream @ self.mlp_in[layer] + self.mlp_bias[layer])
        for deeper in range(self.mlp_layers - 1):
            hidden = activation(hidden @ self.mlp_hidden[layer, deeper] + self.mlp_hidden_bias[layer, deeper])
        return hidden @ self.mlp_out[layer]


def _mapped(chosen: StreamMap, stream: Tensor, layer: int) -> Tensor:
    after = chosen(stream)
    if not isinstance(after, Tensor) or after.shape != stream.shape or after.dtype != stream.dtype:
        given = f"shape {tuple(after.shape)} and dtype {after.dtype}" if isinstance(after, Tensor) else repr(type(after))
        raise ValueError(f"maps[{layer}] returned {given}: the stream's {tuple(stream.shape)} and {stream.dtype} are legal")
    return after


def load_transformer_with_provenance(
    path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[Transformer, dict[str, str]]:
    """`Transformer.load`, and the strings kept beside the weights."""
    return read_model(Transformer, path, device)
