"""What every builder returns: the model, what it holds, and in which number formats that was checked by running it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from constructions.transformer import Transformer
from theory.tasks import AssociationTask

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class DtypeCheck:
    """One ordinary forward pass in one number format over held associations.

    Attributes:
        dtype: "float64", "float32", "bfloat16" or "float16"; the weights were rounded to it first.
        num_checked: associations run; fewer than held when a sample was asked for.
        num_right: of these, how many have the label's logit strictly above every other.
        margin: least difference between the label's logit and the next, in logit units; negative when one is wrong.
    """

    dtype: str
    num_checked: int
    num_right: int
    margin: float

    @property
    def passed(self) -> bool:
        """Whether all that was run was right."""
        return self.num_right == self.num_checked > 0


@dataclass(frozen=True)
class Construction:
    """A model built by hand, with what it is known to do.

    Attributes:
        model: the weights, float64.
        task: the task that it was built for.
        method: name of the construction, "staircase" for instance.
        source: paper, number and equation that promise the count.
        num_heads: H.
        held: indices of the task's associations that the model holds by design, ascending; it may have others right by luck.
        promised_margin: least margin over the held associations in exact arithmetic, by design.
        checks: forward passes done, one per number format.
        failure: why the construction holds less than it promised; None when it holds all.
    """

    model: AttentionOnlyTransformer
    task: AssociationTask
    method: str
    source: str
    held: Int[np.ndarray, "held"]
    promised_margin: float
    checks: tuple[DtypeCheck, ...] = ()
    failure: str | None = None
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def num_heads(self) -> int:
        """H, the model's number of heads."""
        return self.model.num_heads

    @property
    def num_held(self) -> int:
        """How many associations the model holds."""
        return len(self.held)

    @property
    def max_weight(self) -> float:
        """The largest absolute weight."""
        return self.model.max_weight

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Number formats in which a forward pass over all held associations was right, every one."""
        return tuple(check.dtype for check in self.checks if check.passed and check.num_checked == self.num_held)

    @property
    def margin(self) -> float:
        """Least margin over the held associations in logit units: as run in float64 where that was done, else as promised."""
        measured = [check.margin for check in self.checks if check.dtype == "float64" and check.num_checked == self.num_held]
        return measured[0] if measured else self.promised_margin

    def checked(
        self, dtypes: Sequence[str] = ("float64", "float32"), *, sample: int | None = None, seed: int = 0
    ) -> "Construction":
        """The same construction with forward passes done.

        Args:
            dtypes: number formats, of "float64", "float32", "bfloat16" and "float16".
            sample: run only so many held associations, drawn without replacement; None for all.
            seed: of the sample.

        Returns:
            A copy with one `DtypeCheck` per format; earlier ones of the same format are replaced.

        Raises:
            ValueError: an unknown format, or a sample below 1.
        """
        for dtype in dtypes:
            if dtype not in DTYPES:
                raise ValueError(f"dtypes has {dtype!r}: {', '.join(DTYPES)} are legal")
        if sample is not None and sample < 1:
            raise ValueError(f"sample = {sample}: at least 1 is legal, or None for all held associations")
        held = self.held
        if sample is not None and sample < len(held):
            held = np.sort(np.random.default_rng(seed).choice(held, size=sample, replace=False))
        made = tuple(_run(self.model, self.task, held, dtype) for dtype in dtypes)
        kept = tuple(check for check in self.checks if check.dtype not in dtypes)
        return replace(self, checks=kept + made)


def logit_margins(
    model: AttentionOnlyTransformer | Transformer, task: AssociationTask, indices: Int[np.ndarray, "some"] | None = None
) -> Tensor:
    """Per association the label's logit minus the largest other one; NaN where a logit is not a number.

    Args:
        model: any attention-only transformer, or `Transformer`, whose vocabulary covers the task's.
        task: the associations.
        indices: which of them, all by default.

    Returns:
        One margin per association (float64, on the CPU), in logit units; an association is held when it is positive.

    Raises:
        ValueError: the task's sequence length or vocabulary doesn't fit the model.
    """
    if task.seq_len != model.seq_len:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: {model.seq_len} is legal for this model")
    if task.vocab_size > model.vocab_size:
        raise ValueError(f"task has a vocabulary of {task.vocab_size}: at most {model.vocab_size} is legal for this model")
    sequences = torch.from_numpy(np.array(task.sequences if indices is None else task.sequences[indices]))
    targets = torch.from_numpy(np.array(task.targets if indices is None else task.targets[indices]))
    rows = max(1, (1 << 24) // model.vocab_size)
    margins = []
    with torch.no_grad():
        for tokens, labels in zip(sequences.split(rows), targets.split(rows), strict=True):
            logits = model(tokens).to("cpu", torch.float64)
            right = logits.gather(1, labels[:, None])
            others = logits.scatter(1, labels[:, None], -torch.inf)
            gap = right.squeeze(1) - others.amax(dim=1)
            margins.append(torch.where(logits.isnan().any(dim=1), torch.nan, gap))
    return torch.cat(margins)


def _run(model: AttentionOnlyTransformer, task: AssociationTask, indices: np.ndarray, dtype: str) -> DtypeCheck:
    rounded = model if model.dtype == DTYPES[dtype] else model.to_dtype(DTYPES[dtype])
    margins = logit_margins(rounded, task, indices)
    worst = float(margins.min()) if len(margins) and not margins.isnan().any() else float("nan")
    return DtypeCheck(dtype, len(indices), int((margins > 0).sum()), worst)
