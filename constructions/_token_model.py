"""What the project's transformers have in common: tokens checked at the door, weights by name, files whole or refused."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from constructions.element_wise import ElementWise
from theory._messages import first_line
from theory._whole_files import whole_files
from theory.shapes import AttentionShape

ModelT = TypeVar("ModelT", bound="TokenModel")


class ModelFileError(ValueError):
    """A file that is not a model saved by the class that shall load it, or a damaged one."""


class TokenModel(nn.Module):
    """A model that reads sequences of `seq_len` tokens and gives one logit to each of `vocab_size`.

    A subclass names its arrays in `parameter_names` and its kind of file in `file_format`, gives the arguments that make an
    empty copy of it, and how its parameters are sized.
    """

    file_format: ClassVar[str]
    parameter_names: ClassVar[tuple[str, ...]]
    shape: AttentionShape
    vocab_size: int
    seq_len: int

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes, dtype and device left out: written into files."""
        raise NotImplementedError

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array, by name."""
        raise NotImplementedError

    def _names(self) -> tuple[str, ...]:
        """Names of all its arrays: `parameter_names`, and more where an option of the model brings more."""
        return self.parameter_names

    def _make_parameters(self, dtype: torch.dtype, device: torch.device | str | None) -> None:
        if not dtype.is_floating_point:
            raise ValueError(f"dtype = {dtype}: a floating-point type is legal")
        for name, size in self._sizes().items():
            setattr(self, name, nn.Parameter(torch.zeros(size, dtype=dtype, device=device)))

    @property
    def embed_dim(self) -> int:
        """d, the width of the residual stream."""
        return self.shape.embed_dim

    @property
    def num_heads(self) -> int:
        """H, the number of heads of a layer."""
        return self.shape.num_heads

    @property
    def head_dim(self) -> int:
        """d_h, the width of a head."""
        return self.shape.head_dim

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the parameters."""
        return getattr(self, self.parameter_names[0]).dtype

    @property
    def max_weight(self) -> float:
        """The largest absolute value among all parameters."""
        return max((float(p.detach().abs().max()) for p in self.parameters() if p.numel()), default=0.0)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.arguments().items()) + f", dtype={self.dtype}"

    def _checked_tokens(self, tokens: Tensor) -> Tensor:
        """The tokens as int64 on the model's device; ValueError for another type or shape, or a token not in the vocabulary."""
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            raise ValueError(f"tokens has dtype {tokens.dtype}: an integer type is legal")
        if tokens.ndim != 2 or tokens.shape[1] != self.seq_len:
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}: (batch, {self.seq_len}) is legal for this model")
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.vocab_size):
            worst = int(tokens.min()) if int(tokens.min()) < 0 else int(tokens.max())
            raise ValueError(f"tokens has the token {worst}: 0 to {self.vocab_size - 1} are legal for this model")
        return tokens.to(device=getattr(self, self.parameter_names[0]).device, dtype=torch.long)

    def to_dtype(self: ModelT, dtype: torch.dtype) -> ModelT:
        """A copy with every weight rounded to `dtype`; the model itself stays as it is."""
        device = getattr(self, self.parameter_names[0]).device
        copy = type(self)(**self.arguments(), dtype=dtype, device=device)
        with torch.no_grad():
            for name in self._names():
                getattr(copy, name).copy_(getattr(self, name))
        return copy

    def save(self, path: str | os.PathLike[str], provenance: Mapping[str, str] | None = None) -> None:
        """Write the weights as a safetensors file, whole or not at all.

        Args:
            path: the file; its folder must exist, an older file is replaced.
            provenance: strings to keep beside the weights: where they come from, from which task and seed.

        Raises:
            ModelFileError: the path is a folder, its folder does not exist or can't be written; the model has Python functions
                as element-wise maps, which no file can hold.
        """
        path = Path(path).resolve()  # a link stays a link: what it points to is replaced
        if (path.exists() and not path.is_file()) or not path.parent.is_dir():
            raise ModelFileError(f"{path}: an ordinary file in an existing folder is legal as a place for a model")
        kept = json.dumps(dict(provenance or {}))
        try:
            shape = json.dumps(self.arguments(), default=_plain)
        except TypeError as error:
            raise ModelFileError(f"{path}: {error}") from None
        metadata = {"format": self.file_format, "shape": shape, "provenance": kept}
        tensors = {name: getattr(self, name).detach().cpu().contiguous() for name in self._names()}
        try:
            with whole_files(path) as (partial,):
                save_file(tensors, partial, metadata=metadata)
        except (OSError, SafetensorError) as error:
            raise ModelFileError(f"{path}: can't be written ({first_line(error)})") from error

    @classmethod
    def load(cls: type[ModelT], path: str | os.PathLike[str], device: torch.device | str | None = None) -> ModelT:
        """Read a model that `save` wrote; nothing in the file is executed.

        Raises:
            ModelFileError: the file is missing, a pipe or device, truncated, no safetensors file, or its tensors are not those
                its shape asks for.
        """
        return read_model(cls, path, device)[0]


def read_model(
    kind: type[ModelT], path: str | os.PathLike[str], device: torch.device | str | None = None
) -> tuple[ModelT, dict[str, str]]:
    """A model of the class `kind`, and the strings kept beside its weights. Raises ModelFileError as `TokenModel.load` does."""
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
            model = _empty_model(kind, kind.file_format, path, metadata)
            provenance = json.loads(metadata.get("provenance", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file ({first_line(error)})") from error
    if not isinstance(provenance, dict) or not all(isinstance(word, str) for word in provenance.values()):
        raise ModelFileError(f"{path}: its provenance is not a table of strings")
    _fill(path, model, tensors, device)
    return model, provenance


def _plain(part: object) -> object:
    if isinstance(part, ElementWise):
        return part.as_plain()
    raise TypeError(f"a model with {part!r} can't be written; one whose maps are programs (ElementWise) or None can")


def _empty_model(make: Callable[..., ModelT], wanted: str, path: Path, metadata: Mapping[str, str]) -> ModelT:
    if metadata.get("format") != wanted:
        raise ModelFileError(f"{path}: not a headcount model (its metadata lacks format = {wanted!r})")
    try:
        # On the meta device a shape that lies about its size costs no memory.
        return make(**json.loads(metadata.get("shape", "")), device="meta")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: the shape in its metadata is not legal ({first_line(error)})") from error


def _fill(path: Path, model: TokenModel, tensors: Mapping[str, Tensor], device: torch.device | str | None) -> None:
    names = model._names()
    if set(tensors) != set(names):
        raise ModelFileError(f"{path}: holds the tensors {sorted(tensors)}; {sorted(names)} are legal")
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or not next(iter(dtypes)).is_floating_point:
        raise ModelFileError(f"{path}: its tensors have the types {sorted(map(str, dtypes))}; one floating-point type is legal")
    for name, tensor in tensors.items():
        wanted = tuple(getattr(model, name).shape)
        if tuple(tensor.shape) != wanted:
            raise ModelFileError(f"{path}: {name} has shape {tuple(tensor.shape)}; its metadata asks for {wanted}")
        setattr(model, name, nn.Parameter(tensor.to(device or "cpu")))
