"""What certificates ask of their arguments, and what they keep of them."""

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from jaxtyping import Int

from constructions._certificate_float import Weights
from constructions._enclosure import FORMATS
from constructions.aot import PARAMETER_NAMES, AttentionOnlyTransformer
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

FLOAT_PRECISION = 53
MOST_PRECISION = 1 << 16
Progress = Callable[[int, int], None]


def weights_sha256(model: AttentionOnlyTransformer) -> str:
    """SHA-256 of a model's parameters: names, number format, shapes and bytes, in the order of `PARAMETER_NAMES`."""
    digest = hashlib.sha256(f"attention-only transformer {model.dtype}\n".encode())
    for name in PARAMETER_NAMES:
        tensor = getattr(model, name).detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checked_precision(max_precision: int) -> int:
    """`max_precision` as an int from 53 up, not beyond all patience."""
    bits = checked_integer("max_precision", max_precision, FLOAT_PRECISION)
    if bits > MOST_PRECISION:
        raise ValueError(f"max_precision = {bits}: {FLOAT_PRECISION} to {MOST_PRECISION} bits are legal")
    return bits


def check_dtypes(dtypes: Sequence[str]) -> None:
    """ValueError unless these are known number formats, each once."""
    for place, name in enumerate(dtypes):
        if name not in FORMATS:
            raise ValueError(f"dtypes has {name!r}: {', '.join(FORMATS)} are legal")
        if name in dtypes[:place]:
            raise ValueError(f"dtypes has {name!r} twice: every format once is legal")


def checked_indices(
    task: AssociationTask, indices: Sequence[int] | Int[np.ndarray, " associations"] | None
) -> Int[np.ndarray, " associations"]:
    """The associations asked for, all by default."""
    if indices is None:
        return np.arange(task.num_associations)
    kept = np.asarray(indices)
    if kept.ndim != 1 or kept.dtype.kind not in "iu" or not len(kept):
        raise ValueError("indices: a list of at least one whole number is legal")
    kept = kept.astype(np.int64)
    if kept[0] < 0 or kept[-1] >= task.num_associations or (np.diff(kept) <= 0).any():
        raise ValueError(f"indices: ascending numbers from 0 to {task.num_associations - 1} are legal, none twice")
    return kept


def checked_weights(model: AttentionOnlyTransformer, task: AssociationTask) -> Weights:
    """The model's weights, when they are finite and the task fits."""
    if task.seq_len != model.seq_len:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: {model.seq_len} is legal for this model")
    if task.vocab_size > model.vocab_size:
        raise ValueError(f"task has a vocabulary of {task.vocab_size}: at most {model.vocab_size} is legal for this model")
    for name in PARAMETER_NAMES:
        if not bool(torch.isfinite(getattr(model, name)).all()):
            raise ValueError(f"model has a NaN or infinite weight in {name}: finite weights are legal for a certificate")
    return float_weights(model)


def float_weights(model: AttentionOnlyTransformer) -> Weights:
    """The weights in float64, which holds every narrower number exactly."""
    return Weights(*(getattr(model, name).detach().to("cpu", torch.float64).numpy() for name in PARAMETER_NAMES))


def model_shape(model: AttentionOnlyTransformer) -> dict[str, int]:
    """N, S, d, H and d_h by name."""
    names = ("vocab_size", "seq_len", "embed_dim", "num_heads", "head_dim")
    return {name: getattr(model, name) for name in names}


def versions() -> dict[str, str]:
    """Of this project and of the libraries that the proofs rest on."""
    found = {}
    for name in ("headcount", "numpy", "python-flint"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


class Steps:
    """Steps done, told on; parts of the work add steps as they turn out to be needed."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def more(self, steps: int) -> None:
        self.total += steps

    def at(self, done: int) -> None:
        if self.progress is not None:
            self.progress(self.done + done, self.total)

    def share(self, steps: int, part: float) -> None:
        self.at(round(part * steps))

    def advance(self, steps: int) -> None:
        self.done += steps
        self.at(0)
