"""Small language models for scaling runs: a transformer and an LSTM that give logits at every position, and their sizes."""

import json
import math
import os
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from constructions._token_model import ModelFileError, TokenModel, read_model
from constructions.attention import CHUNK_ELEMENTS
from empirical._evaluated import evaluated
from empirical.decoder import PARAMETER_NAMES, Decoder
from theory.shapes import checked_integer

TRANSFORMER_FORMAT, RECURRENT_FORMAT = "headcount language transformer, version 1", "headcount language LSTM, version 1"
OUTPUT_DEVIATION = 0.02
"""Of the initial weights of an unembedding: at birth all tokens are nearly equally likely."""
TOKEN_DEVIATION, POSITION_DEVIATION = 0.3, 0.05
"""Of the initial rows of a transformer's embeddings: what a token is outweighs where it is."""


@runtime_checkable
class LanguageModel(Protocol):
    """What a scaling run trains and measures: reads `seq_len` tokens, answers with `vocab_size` logits behind each of them."""

    vocab_size: int
    seq_len: int

    @property
    def total_parameters(self) -> int:
        """All weights: N as Hoffmann et al. 2022 count it."""

    @property
    def non_embedding_parameters(self) -> int:
        """All weights but those of token embedding, position embedding and unembedding (biases and norms are in)."""

    @property
    def forward_flops_per_token(self) -> int:
        """Operations of the matrix products behind one token, two for each multiply-add; training costs three times that."""

    def stream(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        """Logits at every position, with gradients, without a look at the tokens."""

    def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        """Logits at every position without gradients and dropout; ValueError for tokens that the model can't read."""


class LanguageTransformer(Decoder):
    r"""The decoder with an unembedding: \(LN(x^L) U^T\) behind every position, U (vocab_size, m) weights of its own.

    Everything else, attention included, is `Decoder`'s; its width need not reach the vocabulary. At birth U is normal with
    deviation 0.02, embeddings of tokens with 0.3, of positions with 0.05, and a matrix that reads k numbers with
    \(1/\sqrt{2 k}\), divided by \(\sqrt{2 L}\) where it writes to the stream: `Decoder`'s 0.02 is right for widths near
    1000; in those of 30 to 100 it costs the first hundreds of steps. Sizes with m = embed_dim, L layers, V tokens, n positions:

        total_parameters          12 L m^2 + 13 L m + 2 m + (2 V + n) m
        non_embedding_parameters  12 L m^2 + 13 L m + 2 m
        forward_flops_per_token   24 L m^2 + 2 L n m + 2 m V

    The second is Kaplan et al. 2020's 12 L m^2 and the biases and norms that they leave out, 13/(12 m) of it: not little in
    narrow models. In the third, 2 L n m is theirs: a causal mask hides half of the 4 n m of scores and mixing; they leave out
    2 m V, the last layer, which Porian et al. 2024 name as one of three reasons for Kaplan's exponents.

    Args, Raises: as `Decoder`, but embed_dim may be any multiple of num_heads, and dropout is 0 unless given.

    Source: Kaplan et al. 2020, table 1, for what is counted; the unembedding is not tied to the embedding, as it is in theirs.
    """

    file_format = TRANSFORMER_FORMAT
    parameter_names = (*PARAMETER_NAMES, "unembedding")
    least_width = 1
    unembedding: Float[Tensor, "vocab embed_dim"]

    def __init__(
        self, vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, num_layers: int, *, dropout: float | int = 0.0,
        **others: Any,
    ) -> None:  # fmt: skip
        super().__init__(vocab_size, seq_len, embed_dim, num_heads, num_layers, dropout=dropout, **others)

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        return super()._sizes() | {"unembedding": (self.vocab_size, self.embed_dim)}

    def _draw(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        known = {"token_embedding": TOKEN_DEVIATION, "position_embedding": POSITION_DEVIATION, "unembedding": OUTPUT_DEVIATION}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("_scale"):
                    parameter.fill_(1.0)
                elif not name.endswith(("_bias", "_shift")):
                    last = math.sqrt(2 * self.num_layers) if name in ("attention_out", "mlp_out") else 1.0
                    deviation = known.get(name, 1 / math.sqrt(2 * parameter.shape[1]) / last)
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)

    def stream(
        self, tokens: Int[Tensor, "batch positions"], patterns: list[Tensor] | None = None
    ) -> Float[Tensor, "batch positions vocab"]:
        """`forward` without a look at the tokens; the layers' attention weights are appended to `patterns`."""
        return super().stream(tokens, patterns) @ self.unembedding.T

    @property
    def total_parameters(self) -> int:
        """All weights."""
        return self.num_parameters

    @property
    def non_embedding_parameters(self) -> int:
        """All weights but the two embeddings and the unembedding."""
        return self.num_parameters - sum(
            parameter.numel() for parameter in (self.token_embedding, self.position_embedding, self.unembedding)
        )

    @property
    def forward_flops_per_token(self) -> int:
        """See the class."""
        m, layers = self.embed_dim, self.num_layers
        return 24 * layers * m * m + 2 * layers * self.seq_len * m + 2 * m * self.vocab_size


class RecurrentModel(TokenModel):
    r"""An LSTM: embedding, L recurrent layers as wide as it, unembedding; what `torch.nn.LSTM` computes.

    Weights are stored by layer, gates in torch's order (input, forget, cell, output) one below another. At birth they are uniform
    on \(\pm 1/\sqrt m\) as torch's are, biases 0 but the forget gate's, 1 (without which a fresh LSTM forgets within a few
    tokens); the embedding is normal with deviation 1 (torch's), the unembedding with 0.02. Sizes with m = embed_dim, L layers, V
    tokens:

        total_parameters          8 L m^2 + 8 L m + 2 V m
        non_embedding_parameters  8 L m^2 + 8 L m
        forward_flops_per_token   16 L m^2 + 2 m V

    Args:
        vocab_size: tokens that may be read and answered.
        seq_len: positions of a sequence; the state is zero in front of each.
        embed_dim: m >= 1, the width of everything.
        num_layers: L >= 1.
        seed: of the initial weights.
        dtype: a floating-point type.
        device: any torch device; the initial weights are the same on all.

    Raises:
        ValueError: a size below its least value.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000; Kaplan et al. 2020,
    figure 7, for the comparison.
    """

    file_format = RECURRENT_FORMAT
    parameter_names = (
        "token_embedding", "gates_in", "gates_in_bias", "gates_back", "gates_back_bias", "unembedding"
    )  # fmt: skip
    token_embedding: Float[Tensor, "vocab embed_dim"]
    gates_in: Float[Tensor, "layers gates embed_dim"]
    gates_in_bias: Float[Tensor, "layers gates"]
    gates_back: Float[Tensor, "layers gates embed_dim"]
    gates_back_bias: Float[Tensor, "layers gates"]
    unembedding: Float[Tensor, "vocab embed_dim"]

    def __init__(
        self,
        vocab_size: int,
        seq_len: int,
        embed_dim: int,
        num_layers: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.vocab_size, self.seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
        self._width = checked_integer("embed_dim", embed_dim, 1)
        self.num_layers = checked_integer("num_layers", num_layers, 1)
        seed = checked_integer("seed", seed, 0)
        self._make_parameters(dtype, device)
        if not self.token_embedding.is_meta:
            self._draw(seed)

    @property
    def embed_dim(self) -> int:
        """m, the width of embedding and state."""
        return self._width

    @property
    def num_heads(self) -> int:
        """0: nothing attends."""
        return 0

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        m, layers = self.embed_dim, self.num_layers
        gates, bias, words = (layers, 4 * m, m), (layers, 4 * m), (self.vocab_size, m)
        return dict(zip(self.parameter_names, (words, gates, bias, gates, bias, words), strict=True))

    def _draw(self, seed: int) -> None:
        generator, m = torch.Generator().manual_seed(seed), self.embed_dim
        with torch.no_grad():
            self.token_embedding.copy_(torch.randn(self.token_embedding.shape, generator=generator))
            for gates in (self.gates_in, self.gates_back):
                gates.copy_((2 * torch.rand(gates.shape, generator=generator) - 1) / math.sqrt(m))
            self.gates_in_bias[:, m : 2 * m] = 1.0
            self.unembedding.copy_(torch.randn(self.unembedding.shape, generator=generator) * OUTPUT_DEVIATION)

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes; seed, dtype and device left out."""
        sizes = {"vocab_size": self.vocab_size, "seq_len": self.seq_len}
        return sizes | {"embed_dim": self.embed_dim, "num_layers": self.num_layers}

    def forward(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        """Logits at every position.

        Raises:
            ValueError: `tokens` is of a wrong type or shape, or has a token outside the vocabulary.
        """
        return self.stream(self._checked_tokens(tokens))

    def stream(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        """`forward` without a look at the tokens."""
        flow = torch.nn.functional.embedding(tokens, self.token_embedding)
        names = ("gates_in", "gates_back", "gates_in_bias", "gates_back_bias")
        weights = [array for layer in zip(*(getattr(self, name).unbind(0) for name in names), strict=True) for array in layer]
        state = flow.new_zeros(self.num_layers, len(tokens), self.embed_dim)
        # nn.LSTM's own function: biases, so many layers, no dropout, one direction, the batch first.
        read = torch.lstm(flow, (state, state), weights, True, self.num_layers, 0.0, self.training, False, True)[0]
        return read @ self.unembedding.T

    def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        """`forward` without gradients; long batches are computed in parts.

        Raises:
            ValueError: as `forward`.
        """
        tokens = self._checked_tokens(tokens)
        widest = max(4 * self.embed_dim, self.vocab_size)
        with evaluated(self):
            return torch.cat([self.stream(part) for part in tokens.split(max(1, CHUNK_ELEMENTS // (self.seq_len * widest)))])

    @property
    def total_parameters(self) -> int:
        """All weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def non_embedding_parameters(self) -> int:
        """Those of the recurrent layers."""
        return self.total_parameters - self.token_embedding.numel() - self.unembedding.numel()

    @property
    def forward_flops_per_token(self) -> int:
        """See the class."""
        return 16 * self.num_layers * self.embed_dim**2 + 2 * self.embed_dim * self.vocab_size


AnyLanguageModel = LanguageTransformer | RecurrentModel
KINDS: dict[str, type[LanguageTransformer] | type[RecurrentModel]] = {
    TRANSFORMER_FORMAT: LanguageTransformer, RECURRENT_FORMAT: RecurrentModel
}  # fmt: skip


def load_language_model(
    path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[AnyLanguageModel, dict[str, str]]:
    """A model that `save` of either class wrote, and the strings kept beside its weights.

    Raises:
        ModelFileError (a ValueError): as `TokenModel.load`, and for a file of another kind of model.
    """
    kind: type[LanguageTransformer] | type[RecurrentModel] = LanguageTransformer  # its reader says what is wrong with a file
    if os.path.isfile(path):
        try:
            with safe_open(str(path), framework="pt") as file:
                found = (file.metadata() or {}).get("format", "")
        except (SafetensorError, OSError):
            found = TRANSFORMER_FORMAT
        if found not in KINDS:
            raise ModelFileError(f"{path}: is no language model (format = {json.dumps(found)}; {list(KINDS)} are legal)")
        kind = KINDS[found]
    return read_model(kind, path, device)
