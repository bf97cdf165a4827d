"""The attention-only transformer of Dana, Pydi and Chevaleyre 2025: one module for built, solved and trained weights alike."""

import os

import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions._token_model import ModelFileError, TokenModel, read_model
from constructions.attention import token_attention
from theory.shapes import AttentionShape, checked_integer

__all__ = ["FILE_FORMAT", "PARAMETER_NAMES", "AttentionOnlyTransformer", "ModelFileError", "load_with_provenance"]

FILE_FORMAT = "headcount attention-only transformer, version 1"
PARAMETER_NAMES = ("token_embedding", "position_embedding", "query", "key", "value", "output", "unembedding")


class AttentionOnlyTransformer(TokenModel):
    r"""One layer of multi-head attention with a skip connection and no MLP, no norm, no bias, no factor 1/sqrt(d).

    With \(x_i = e(t_i) + pos_i\), the logits after a sequence \(t\) of \(S\) tokens are
    \(W_U \bigl(x_S + \sum_h W_O^h W_V^h \sum_i a_i^h x_i\bigr)\), \(a^h = \mathrm{softmax}_i(x_S^T W_Q^{hT} W_K^h x_i)\).

    Parameters, all zero at birth (N = vocab_size, S = seq_len, d = embed_dim, H = num_heads, d_h = head_dim); vectors are rows,
    so a matrix here is the transpose of the paper's:
        token_embedding (N, d), position_embedding (S, d), query, key, value (H, d, d_h), output (H, d_h, d), unembedding (N, d).

    Args:
        vocab_size: N >= 1 tokens.
        seq_len: S >= 1 positions.
        embed_dim: d >= 1.
        num_heads: H >= 0; with H = 0 only the skip connection is left.
        head_dim: d_h >= 1; larger than d is legal (and useless).
        dtype: a floating-point type; float64 unless said otherwise.
        device: any torch device.

    Raises:
        ValueError: a size below its least value, or a dtype that is not floating-point.

    Source: Dana, Pydi and Chevaleyre 2025, equations (1) and (2).
    """

    file_format = FILE_FORMAT
    parameter_names = PARAMETER_NAMES

    def __init__(
        self,
        vocab_size: int,
        seq_len: int,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
        self.shape = AttentionShape(embed_dim=embed_dim, num_heads=num_heads, head_dim=head_dim)
        self.vocab_size, self.seq_len = vocab_size, seq_len
        self._make_parameters(dtype, device)

    token_embedding: Float[Tensor, "vocab embed_dim"]
    position_embedding: Float[Tensor, "positions embed_dim"]
    query: Float[Tensor, "heads embed_dim head_dim"]
    key: Float[Tensor, "heads embed_dim head_dim"]
    value: Float[Tensor, "heads embed_dim head_dim"]
    output: Float[Tensor, "heads head_dim embed_dim"]
    unembedding: Float[Tensor, "vocab embed_dim"]

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        d, heads, width = self.embed_dim, self.num_heads, self.head_dim
        into, out_of = (heads, d, width), (heads, width, d)
        sizes = ((self.vocab_size, d), (self.seq_len, d), into, into, into, out_of, (self.vocab_size, d))
        return dict(zip(PARAMETER_NAMES, sizes, strict=True))

    def arguments(self) -> dict[str, int]:
        """What the constructor takes, dtype and device left out."""
        own = {"vocab_size": self.vocab_size, "seq_len": self.seq_len, "embed_dim": self.embed_dim}
        return own | {"num_heads": self.num_heads, "head_dim": self.head_dim}

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
        """
        tokens = self._checked_tokens(tokens)
        if not all_positions:
            return self._logits(tokens)
        return torch.stack([self._logits(tokens[:, : p + 1]) for p in range(self.seq_len)], dim=1)

    def _logits(self, prefix: Tensor) -> Tensor:
        length = prefix.shape[1]
        rows = self.token_embedding + self.position_embedding[:length, None, :]
        stream = rows[-1][prefix[:, -1]]
        if self.num_heads:
            stream = stream + token_attention(rows, prefix, self.query, self.key, self.value, self.output)
        return stream @ self.unembedding.T


def load_with_provenance(
    path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[AttentionOnlyTransformer, dict[str, str]]:
    """`AttentionOnlyTransformer.load`, and the strings kept beside the weights."""
    return read_model(AttentionOnlyTransformer, path, device)
