"""The decoder that learns to hop: a pre-norm transformer as the experiments on k-hop induction heads train it."""

import math
import os
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from constructions._token_model import TokenModel, read_model
from constructions.attention import CHUNK_ELEMENTS, attention, attention_pattern
from empirical._evaluated import evaluated
from theory.shapes import TransformerShape, checked_integer

FILE_FORMAT = "headcount decoder, version 1"
LAYER_PARAMETERS = (
    "attention_scale", "attention_shift", "attention_in", "attention_in_bias", "attention_out", "attention_out_bias",
    "mlp_scale", "mlp_shift", "mlp_in", "mlp_in_bias", "mlp_out", "mlp_out_bias",
)  # fmt: skip
PARAMETER_NAMES = ("token_embedding", "position_embedding", *LAYER_PARAMETERS, "final_scale", "final_shift")
NORM_EPSILON = 1e-5
INITIAL_DEVIATION = 0.02
MLP_FACTOR = 4
"""The hidden width of a layer's network, in units of embed_dim."""
LOOPED_FROM = 3
"""The first layer, counted from 1, whose weights a looped decoder uses for all the layers behind it too."""


class Decoder(TokenModel):
    r"""L causal layers with layer norms in front, learned positions, biases and dropout; logits are the last norm's output.

    The stream starts as \(x_i = e(t_i) + p_i\). A layer first adds what its heads, reading \(LN(x)\), mix (scores divided by
    \(\sqrt{d_h}\)), mapped by \(W_O\) with a bias; then \(\mathrm{GELU}(LN(x) W_1 + b_1) W_2 + b_2\) of width 4 d, GELU in its
    tanh form. There is no unembedding: the logits are \(LN(x^L)\) itself, one for each of the embed_dim coordinates, of which
    the first vocab_size stand for tokens. Dropout sits on the embedded stream, on attention weights and on what heads and
    network add, in training mode only.

    Parameters (m = embed_dim; E, P rows of the embeddings; vectors are rows; "layers" are the stored ones):
        token_embedding (E, m), position_embedding (P, m); attention_scale, attention_shift (layers, m);
        attention_in (layers, m, 3 m): queries, keys, values side by side, in each the heads side by side; attention_in_bias
        (layers, 3 m); attention_out (layers, m, m), attention_out_bias (layers, m); mlp_scale, mlp_shift (layers, m);
        mlp_in (layers, m, 4 m), mlp_in_bias (layers, 4 m); mlp_out (layers, 4 m, m), mlp_out_bias (layers, m);
        final_scale, final_shift (m).
    At birth weights are normal with deviation 0.02, those of attention_out and mlp_out divided by \(\sqrt{2 L}\), biases and
    shifts 0, scales 1.

    Args:
        vocab_size: tokens that may be read and answered.
        seq_len: positions of a sequence; for `theory.hops.HopTask` the length of the string and one more.
        embed_dim: m, a multiple of num_heads and at least vocab_size.
        num_heads: H >= 1 heads of width m / H.
        num_layers: L >= 1.
        dropout: share in [0, 1).
        looped: layers from the third on have one set of weights.
        embed_tokens: rows of the token embedding, at least vocab_size (None: just as many); the published models have 30 for 23.
        embed_positions: rows of the position embedding, at least seq_len (None: as many); the published models have 100 for 99.
        seed: of the initial weights.
        dtype: a floating-point type.
        device: any torch device; the initial weights are the same on all.

    Raises:
        ValueError: a size below its least value or one that does not fit, a share outside [0, 1).

    Source: Sanford, Hsu and Telgarsky 2024, appendix G.1, whose models are of the kind of Radford et al. 2019.
    """

    file_format = FILE_FORMAT
    parameter_names: ClassVar[tuple[str, ...]] = PARAMETER_NAMES
    least_width: ClassVar[int | None] = None
    """The least embed_dim; None: the vocabulary's size, as every token needs a coordinate for its logit."""
    shape: TransformerShape

    def __init__(
        self,
        vocab_size: int,
        seq_len: int,
        embed_dim: int,
        num_heads: int,
        num_layers: int,
        *,
        dropout: float | int = 0.1,
        looped: bool = False,
        embed_tokens: int | None = None,
        embed_positions: int | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.vocab_size, self.seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
        heads = checked_integer("num_heads", num_heads, 1)
        width = checked_integer("embed_dim", embed_dim, self.vocab_size if self.least_width is None else self.least_width)
        if width % heads:
            raise ValueError(f"embed_dim = {width}: must be a multiple of num_heads = {heads}")
        self.shape = TransformerShape(width, heads, width // heads, num_layers, MLP_FACTOR * width)
        self.dropout = checked_share("dropout", dropout)
        if not isinstance(looped, bool):
            raise ValueError(f"looped = {looped!r}: True and False are legal")
        self.looped = looped
        self.embed_tokens = self.vocab_size if embed_tokens is None else checked_integer("embed_tokens", embed_tokens, vocab_size)
        self.embed_positions = (
            self.seq_len if embed_positions is None else checked_integer("embed_positions", embed_positions, seq_len)
        )
        seed = checked_integer("seed", seed, 0)
        self._make_parameters(dtype, device)
        if not self.token_embedding.is_meta:
            self._draw(seed)

    token_embedding: Float[Tensor, "tokens embed_dim"]
    position_embedding: Float[Tensor, "positions embed_dim"]
    final_scale: Float[Tensor, " embed_dim"]
    final_shift: Float[Tensor, " embed_dim"]

    @property
    def num_layers(self) -> int:
        """L, the number of layers that a sequence passes."""
        return self.shape.num_layers

    @property
    def stored_layers(self) -> int:
        """Layers with weights of their own: L, or min(L, 3) of a looped decoder."""
        return min(self.num_layers, LOOPED_FROM) if self.looped else self.num_layers

    @property
    def num_parameters(self) -> int:
        r"""\(12 L m^2 + 13 L m + 2 m + (E + P) m\), with the stored layers for L."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        m, layers, wide = self.embed_dim, self.stored_layers, self.shape.mlp_width
        row = (layers, m)
        attending = (row, row, (layers, m, 3 * m), (layers, 3 * m), (layers, m, m), row)
        network = (row, row, (layers, m, wide), (layers, wide), (layers, wide, m), row)
        sizes = ((self.embed_tokens, m), (self.embed_positions, m), *attending, *network, (m,), (m,))
        return dict(zip(PARAMETER_NAMES, sizes, strict=True))

    def _draw(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("_scale"):
                    parameter.fill_(1.0)
                elif not name.endswith(("_bias", "_shift")):
                    last = name in ("attention_out", "mlp_out")
                    deviation = INITIAL_DEVIATION / (math.sqrt(2 * self.num_layers) if last else 1.0)
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes; seed, dtype and device left out."""
        sizes = {"vocab_size": self.vocab_size, "seq_len": self.seq_len, "embed_dim": self.embed_dim}
        layers = {"num_heads": self.num_heads, "num_layers": self.num_layers, "dropout": self.dropout, "looped": self.looped}
        return sizes | layers | {"embed_tokens": self.embed_tokens, "embed_positions": self.embed_positions}

    def forward(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions embed_dim"]:
        """Logits at every position, with dropout in training mode; the first vocab_size of them stand for tokens.

        Raises:
            ValueError: `tokens` is of a wrong type or shape, or has a token outside the vocabulary.
        """
        return self.stream(self._checked_tokens(tokens))

    def stream(
        self, tokens: Int[Tensor, "batch positions"], patterns: list[Tensor] | None = None
    ) -> Float[Tensor, "batch positions embed_dim"]:
        """`forward` without a look at the tokens; the layers' attention weights are appended to `patterns`."""
        m, rate = self.embed_dim, self.dropout if self.training else 0.0
        layers = list(zip(*(getattr(self, name).unbind(0) for name in LAYER_PARAMETERS), strict=True))
        layers += layers[-1:] * (self.num_layers - len(layers))
        # Not token_embedding[tokens]: on several threads the gradient of an indexed read adds up in no fixed order.
        embedded = functional.embedding(tokens, self.token_embedding) + self.position_embedding[: tokens.shape[1]]
        flow = functional.dropout(embedded, rate, rate > 0)
        for scale, shift, into, into_bias, out, out_bias, scale_2, shift_2, wide, wide_bias, back, back_bias in layers:
            read = functional.layer_norm(flow, (m,), scale, shift, NORM_EPSILON) @ into + into_bias
            queries, keys, values = read.unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(2)
            queries = queries / math.sqrt(self.head_dim)
            if patterns is not None:
                patterns.append(attention_pattern(queries, keys))
            mixed = attention(queries, keys, values, dropout=rate).flatten(2)
            flow = flow + functional.dropout(mixed @ out + out_bias, rate, rate > 0)
            read = functional.layer_norm(flow, (m,), scale_2, shift_2, NORM_EPSILON)
            added = functional.gelu(read @ wide + wide_bias, approximate="tanh") @ back + back_bias
            flow = flow + functional.dropout(added, rate, rate > 0)
        return functional.layer_norm(flow, (m,), self.final_scale, self.final_shift, NORM_EPSILON)

    def logits_at_every_position(
        self, tokens: Int[Tensor, "batch positions"]
    ) -> Float[Tensor, "batch positions vocab"]:
        """`forward` without dropout and gradients, whatever mode the model is in; long batches are computed in parts.

        Raises:
            ValueError: as `forward`.
        """
        tokens = self._checked_tokens(tokens)
        widest = max(self.shape.mlp_width, self.num_heads * self.seq_len)
        with evaluated(self):
            return torch.cat([self.stream(part) for part in tokens.split(max(1, CHUNK_ELEMENTS // (self.seq_len * widest)))])

    def attention_maps(
        self, tokens: Int[Tensor, "batch positions"]
    ) -> Float[Tensor, "layers batch heads positions positions"]:
        """Where every head looks: weights of all layers without dropout, rows are the positions that look.

        Raises:
            ValueError: as `forward`.

        Memory: L batch H S^2 numbers.
        """
        tokens, patterns = self._checked_tokens(tokens), list[Tensor]()
        with evaluated(self):
            self.stream(tokens, patterns)
        return torch.stack(patterns)


def checked_share(name: str, value: object) -> float:
    """`value` as a float when it is a number in [0, 1); ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} = {value!r}: must be a number in [0, 1)")
    return float(value)


def checked_rate(name: str, value: object, *, positive: bool) -> float:
    """`value` as a float when it is a finite number >= 0, above 0 if `positive`; ValueError otherwise."""
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(f"{name} = {value!r}: must be a finite number {'> 0' if positive else '>= 0'}")
    return float(number)


def load_decoder_with_provenance(
    path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[Decoder, dict[str, str]]:
    """`Decoder.load`, and the strings kept beside the weights."""
    return read_model(Decoder, path, device)
