"""The attention-only transformer of Dana, Pydi and Chevaleyre 2025: one module for built, solved and trained weights alike."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from constructions.attention import token_attention
from theory._whole_files import whole_files
from theory.shapes import AttentionShape, checked_integer

FILE_FORMAT = "headcount attention-only transformer, version 1"
PARAMETER_NAMES = ("token_embedding", "position_embedding", "query", "key", "value", "output", "unembedding")


class ModelFileError(ValueError):
    """A file that is not a model saved by `AttentionOnlyTransformer.save`, or a damaged one."""


class AttentionOnlyTransformer(nn.Module):
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
        if not dtype.is_floating_point:
            raise ValueError(f"dtype = {dtype}: a floating-point type is legal")
        self.shape = AttentionShape(embed_dim=embed_dim, num_heads=num_heads, head_dim=head_dim)
        self.vocab_size, self.seq_len = vocab_size, seq_len
        for name, size in self._sizes().items():
            setattr(self, name, nn.Parameter(torch.zeros(size, dtype=dtype, device=device)))

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

    @property
    def embed_dim(self) -> int:
        """d, the width of the residual stream."""
        return self.shape.embed_dim

    @property
    def num_heads(self) -> int:
        """H, the number of heads."""
        return self.shape.num_heads

    @property
    def head_dim(self) -> int:
        """d_h, the width of a head."""
        return self.shape.head_dim

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the parameters."""
        return self.token_embedding.dtype

    @property
    def max_weight(self) -> float:
        """The largest absolute value among all parameters."""
        return max((float(p.detach().abs().max()) for p in self.parameters() if p.numel()), default=0.0)

    def extra_repr(self) -> str:
        return (
            f"vocab_size={self.vocab_size}, seq_len={self.seq_len}, embed_dim={self.embed_dim}, "
            f"num_heads={self.num_heads}, head_dim={self.head_dim}, dtype={self.dtype}"
        )

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
        self._check_tokens(tokens)
        tokens = tokens.to(device=self.token_embedding.device, dtype=torch.long)
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

    def _check_tokens(self, tokens: Tensor) -> None:
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            raise ValueError(f"tokens has dtype {tokens.dtype}: an integer type is legal")
        if tokens.ndim != 2 or tokens.shape[1] != self.seq_len:
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}: (batch, {self.seq_len}) is legal for this model")
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.vocab_size):
            worst = int(tokens.min()) if int(tokens.min()) < 0 else int(tokens.max())
            raise ValueError(f"tokens has the token {worst}: 0 to {self.vocab_size - 1} are legal for this model")

    def to_dtype(self, dtype: torch.dtype) -> "AttentionOnlyTransformer":
        """A copy with every weight rounded to `dtype`; the model itself stays as it is."""
        copy = AttentionOnlyTransformer(
            self.vocab_size,
            self.seq_len,
            self.embed_dim,
            self.num_heads,
            self.head_dim,
            dtype=dtype,
            device=self.token_embedding.device,
        )
        with torch.no_grad():
            for name in PARAMETER_NAMES:
                getattr(copy, name).copy_(getattr(self, name))
        return copy

    def save(self, path: str | os.PathLike[str], provenance: Mapping[str, str] | None = None) -> None:
        """Write the weights as a safetensors file, whole or not at all.

        Args:
            path: the file; its folder must exist, an older file is replaced.
            provenance: strings to keep beside the weights: where they come from, from which task and seed.

        Raises:
            ModelFileError: the path is a folder, its folder does not exist or can't be written.
        """
        path = Path(path).resolve()  # a link stays a link: what it points to is replaced
        if (path.exists() and not path.is_file()) or not path.parent.is_dir():
            raise ModelFileError(f"{path}: an ordinary file in an existing folder is legal as a place for a model")
        shape = {
            "vocab_size": self.vocab_size,
            "seq_len": self.seq_len,
            "embed_dim": self.embed_dim,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
        }
        metadata = {"format": FILE_FORMAT, "shape": json.dumps(shape), "provenance": json.dumps(dict(provenance or {}))}
        tensors = {name: getattr(self, name).detach().cpu().contiguous() for name in PARAMETER_NAMES}
        try:
            with whole_files(path) as (partial,):
                save_file(tensors, partial, metadata=metadata)
        except (OSError, SafetensorError) as error:
            raise ModelFileError(f"{path}: can't be written ({_first_line(error)})") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> "AttentionOnlyTransformer":
        """Read a model that `save` wrote; nothing in the file is executed.

        Raises:
            ModelFileError: the file is missing, a pipe or device, truncated, no safetensors file, or its tensors are not those
                its shape asks for.
        """
        return load_with_provenance(path, device)[0]


def load_with_provenance(
    path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[AttentionOnlyTransformer, dict[str, str]]:
    """`AttentionOnlyTransformer.load`, and the strings kept beside the weights."""
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; a safetensors file is legal")
    if not path.exists():
        raise ModelFileError(f"{path}: no such file")
    if not path.is_file():  # a pipe would be waited for without end
        raise ModelFileError(f"{path}: is no ordinary file; a safetensors file is legal")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            model = _empty_model(path, metadata)
            provenance = json.loads(metadata.get("provenance", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file ({_first_line(error)})") from error
    if not isinstance(provenance, dict) or not all(isinstance(word, str) for word in provenance.values()):
        raise ModelFileError(f"{path}: its provenance is not a table of strings")
    return _filled(path, model, tensors, device), provenance


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _empty_model(path: Path, metadata: Mapping[str, str]) -> AttentionOnlyTransformer:
    if metadata.get("format") != FILE_FORMAT:
        raise ModelFileError(f"{path}: not a headcount model (its metadata lacks format = {FILE_FORMAT!r})")
    try:
        # On the meta device a shape that lies about its size costs no memory.
        return AttentionOnlyTransformer(**json.loads(metadata.get("shape", "")), device="meta")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: the shape in its metadata is not legal ({_first_line(error)})") from error


def _filled(
    path: Path, model: AttentionOnlyTransformer, tensors: Mapping[str, Tensor], device: torch.device | str | None
) -> AttentionOnlyTransformer:
    if set(tensors) != set(PARAMETER_NAMES):
        raise ModelFileError(f"{path}: holds the tensors {sorted(tensors)}; {sorted(PARAMETER_NAMES)} are legal")
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or not next(iter(dtypes)).is_floating_point:
        raise ModelFileError(f"{path}: its tensors have the types {sorted(map(str, dtypes))}; one floating-point type is legal")
    for name, tensor in tensors.items():
        wanted = tuple(getattr(model, name).shape)
        if tuple(tensor.shape) != wanted:
            raise ModelFileError(f"{path}: {name} has shape {tuple(tensor.shape)}; its metadata asks for {wanted}")
        setattr(model, name, nn.Parameter(tensor.to(device or "cpu")))
    return model
