"""How often a model that answers hop_k at every position is wrong, for each k, with an interval over strings.

One ruler for built and trained models. It asks nothing of a model but logits at every position, and reads them with dropout off:
an error measured with dropout on, as those published with Sanford, Hsu and Telgarsky 2024 were, is that of a noisier model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from constructions.attention import CHUNK_ELEMENTS
from empirical._evaluated import device_of, evaluated
from empirical.hop_interval import bounded_mean
from empirical.regression import Estimate
from theory.hop_strings import random_strings
from theory.hops import HopTask, chance_error
from theory.shapes import checked_integer

HOP_COLUMNS = (
    "kind", "name", "recipe", "tier", "num_layers", "num_heads", "embed_dim", "seq_len", "vocab_size", "max_hops",
    "train_samples", "seed", "num_hops", "num_strings", "error", "error_low", "error_high", "missing_error", "last_error",
    "exact_match", "source",
)  # fmt: skip
"""Columns of every table of errors: one row for each model and k, errors as shares in [0, 1], NaN where there is none."""
KINDS = ("bound", "built", "trained", "published")
TEXTS = ("kind", "name", "recipe", "tier", "source")
COUNTS = (
    "num_layers", "num_heads", "embed_dim", "seq_len", "vocab_size", "max_hops", "train_samples", "seed", "num_hops",
    "num_strings",
)  # fmt: skip
MEASURED = ("num_hops", "num_strings", "error", "error_low", "error_high", "missing_error", "last_error", "exact_match")


@runtime_checkable
class HopModel(Protocol):
    """What is measured: a model that reads the N+1 tokens of a `HopTask` and gives logits at every position."""

    def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]: ...


@dataclass(frozen=True)
class HopErrors:
    """Counts by k and string, from which every error is a mean over strings.

    Row r belongs to `hops[r]`. Position 0, whose target is the blank, counts nowhere. A position is missing where find^k is
    undefined, so that the target is the missing token; all others are defined. A prediction is the token of the largest logit,
    the first of several; logits that are NaN are wrong.

    Attributes:
        task: what was asked.
        hops: the k, ascending.
        wrong: wrong predictions at defined positions of each string.
        defined: number of defined positions.
        missing_wrong: wrong predictions at missing positions.
        missing: number of missing positions.
        last_wrong: whether the answer at position N is wrong.
        last_defined: whether position N is defined.
        num_layers, num_heads, embed_dim: of the model, None where it doesn't say.
    """

    task: HopTask
    hops: tuple[int, ...]
    wrong: Int[np.ndarray, "hops strings"]
    defined: Int[np.ndarray, "hops strings"]
    missing_wrong: Int[np.ndarray, "hops strings"]
    missing: Int[np.ndarray, "hops strings"]
    last_wrong: Bool[np.ndarray, "hops strings"]
    last_defined: Bool[np.ndarray, "hops strings"]
    num_layers: int | None = None
    num_heads: int | None = None
    embed_dim: int | None = None

    def error(self, num_hops: int, level: float = 0.95) -> Estimate:
        """The error at k = `num_hops`: mean over strings of the share of defined positions that are predicted wrongly.

        Strings without a defined position are left out; NaN where all are. The interval is over strings, for the mean of a
        quantity in [0, 1] whose distribution is not known. Its upper end adds to the strings one more that is wholly wrong, its
        lower end one that is wholly right, and takes the quantile of the weighted mean under Dirichlet(1, ..., 1) weights: no
        errors on n strings give [0, 1 - a^(1/n)] with a = (1 - level)/2, 0.036 for n = 100 at 0.95. It is wide, as a rare string
        may be wholly wrong. Where every string is wholly right or wholly wrong it is Clopper and Pearson's exact interval;
        otherwise that it holds the mean as often as promised is a conjecture (Gaffke 2005).

        Source of the error: Sanford, Hsu and Telgarsky 2024, appendix G.1.
        """
        return _mean(*self._row("wrong", "defined", num_hops), level)

    def missing_error(self, num_hops: int, level: float = 0.95) -> Estimate:
        """The same for positions without an answer: mean over strings that have some; NaN where none has."""
        return _mean(*self._row("missing_wrong", "missing", num_hops), level)

    def last_error(self, num_hops: int, level: float = 0.95) -> Estimate:
        """The share of strings whose answer at position N is wrong, of those where it is defined; NaN where it never is."""
        return _mean(*self._row("last_wrong", "last_defined", num_hops), level)

    def exact_match(self, num_hops: int, level: float = 0.95) -> Estimate:
        """The share of strings right at all positions 1..N, missing ones included."""
        wrong, missing = self._row("wrong", "missing_wrong", num_hops)
        right = (wrong + missing == 0).astype(int)
        return _mean(right, np.ones_like(right), level)

    def left_out(self, num_hops: int) -> int:
        """How many strings have no defined position, and no part in `error`."""
        return int((self._row("defined", "defined", num_hops)[0] == 0).sum())

    def table(self, **columns: object) -> pd.DataFrame:
        """One row per k, with HOP_COLUMNS.

        Args:
            columns: values of columns that the measurement does not know, `kind` at least: "built" for weights set by hand,
                "trained" for those that were trained here, "published" for the authors'. Left out ones are empty. `num_strings`
                is the number of strings that `error` is a mean over.

        Raises:
            ValueError: no legal kind, an unknown column, or one that is measured.
        """
        own = {
            "num_layers": self.num_layers, "num_heads": self.num_heads, "embed_dim": self.embed_dim,
            "seq_len": self.task.seq_len, "vocab_size": self.task.vocab_size, "max_hops": self.task.max_hops,
        }  # fmt: skip
        for name in columns:
            if name not in HOP_COLUMNS or name in MEASURED:
                legal = ", ".join(column for column in HOP_COLUMNS if column not in MEASURED)
                raise ValueError(f"column {name!r} = {columns[name]!r}: must be one of {legal}")
        rows = []
        for num_hops in self.hops:
            error = self.error(num_hops)
            rows.append(own | columns | {
                "num_hops": num_hops, "num_strings": self.wrong.shape[1] - self.left_out(num_hops), "error": error.value,
                "error_low": error.low, "error_high": error.high, "missing_error": self.missing_error(num_hops).value,
                "last_error": self.last_error(num_hops).value, "exact_match": self.exact_match(num_hops).value,
            })  # fmt: skip
        return hop_table(rows)

    def _row(self, wrong: str, of: str, num_hops: int) -> tuple[Int[np.ndarray, " strings"], Int[np.ndarray, " strings"]]:
        if num_hops not in self.hops:
            raise ValueError(f"num_hops = {num_hops}: must be one of {', '.join(map(str, self.hops))}, which were measured")
        place = self.hops.index(num_hops)
        return getattr(self, wrong)[place].astype(int), getattr(self, of)[place].astype(int)


def measure_hops(
    model: HopModel,
    task: HopTask,
    *,
    hops: Sequence[int] | None = None,
    num_strings: int = 100,
    seed: int = 0,
    strings: Int[np.ndarray, "strings positions"] | None = None,
    repeats: bool = False,
) -> HopErrors:
    """Ask a model hop_k on strings, for each k, in eval mode.

    Args:
        model: built or trained. It is put in eval mode, dropout off, and gets its own modes back, whatever happens.
        task: its token format.
        hops: which k, distinct, within the task's; all of them if None.
        num_strings: how many strings are drawn for each k, >= 1. An interval without errors ends below 10% for 36 strings
            or more, below 5% for 72, below 1% for 368: the least n with 1 - 0.025^(1/n) below it.
        seed: of the draws, >= 0. The strings of one k depend on (seed, k, task) alone, so that models are compared on the same.
        strings: symbols of the strings instead, the same for every k.
        repeats: whether drawn strings may have equal neighbours; those of the paper have none.

    Returns:
        Counts by k and string.

    Raises:
        ValueError: k outside the task, a size or seed out of range, strings of another shape or with other symbols, a model
            without `logits_at_every_position`, logits of another shape than (batch, N+1, at least `task.num_tokens`).

    The batch is read in parts, so that memory does not grow with `num_strings`.
    """
    if not isinstance(model, HopModel):
        raise ValueError(f"model is a {type(model).__name__}: must have the method logits_at_every_position(tokens)")
    asked = _checked_hops(task, hops)
    count, seed = checked_integer("num_strings", num_strings, 1), checked_integer("seed", seed, 0)
    if strings is not None:
        strings = _checked_strings(task, strings)
    columns: dict[str, list[Int[np.ndarray, " strings"]]] = {}
    with evaluated(model):
        for num_hops in asked:
            drawn = drawn_strings(task, count, seed=seed, num_hops=num_hops, repeats=repeats) if strings is None else strings
            for name, row in _counts(model, task, drawn, num_hops).items():
                columns.setdefault(name, []).append(row)
    counts: dict[str, Any] = {name: np.stack(rows) for name, rows in columns.items()}
    sizes: dict[str, Any] = {name: _size(model, name) for name in ("num_layers", "num_heads", "embed_dim")}
    return HopErrors(task, asked, **counts, **sizes)


def drawn_strings(
    task: HopTask, num_strings: int, *, seed: int, num_hops: int, repeats: bool = False
) -> Int[np.ndarray, "strings positions"]:
    """The strings that `measure_hops` draws for one k: uniform over all, or over those without equal neighbours."""
    generator = np.random.default_rng([seed, num_hops])
    return random_strings(task.vocab_size, task.seq_len, num_strings, repeats=repeats, generator=generator)


def chance_table(task: HopTask, *, hops: Sequence[int] | None = None, num_strings: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Rows of kind "bound", named "chance": the least error of an answer at i that sees X_i and nothing else, for each k.

    Estimated on `num_strings` strings by `theory.hops.chance_error`; without interval. Raises ValueError as `measure_hops`.
    """
    rows = [
        {"kind": "bound", "name": "chance", "seq_len": task.seq_len, "vocab_size": task.vocab_size, "max_hops": task.max_hops,
         "seed": seed, "num_hops": num_hops, "num_strings": num_strings,
         "error": chance_error(task.vocab_size, num_hops, task.seq_len, num_strings=num_strings, seed=seed),
         "source": "least error from the current symbol alone, derived here"}
        for num_hops in _checked_hops(task, hops)
    ]  # fmt: skip
    return hop_table(rows)


def hop_table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Rows as a table with HOP_COLUMNS and their types; what a row doesn't name is empty.

    Counts are nullable integers, errors floats, texts never missing. Raises ValueError for a column that is not of
    HOP_COLUMNS and a kind that is not of KINDS.
    """
    for row in rows:
        if unknown := sorted(set(row) - set(HOP_COLUMNS)):
            raise ValueError(f"row has the columns {', '.join(unknown)}: must have some of {', '.join(HOP_COLUMNS)}")
        if row.get("kind") not in KINDS:
            raise ValueError(f"kind = {row.get('kind')!r}: must be one of {', '.join(KINDS)}")
    return typed(pd.DataFrame([dict.fromkeys(HOP_COLUMNS) | row for row in rows], columns=list(HOP_COLUMNS), dtype=object))


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table with HOP_COLUMNS, as read from a file or put together, in the types of `hop_table`.

    Raises ValueError for a column that is missing and a cell that is no number where there has to be one.
    """
    missing = [name for name in HOP_COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"table lacks the columns {', '.join(missing)}: must have those of empirical.hop_errors.HOP_COLUMNS")
    made = table[list(HOP_COLUMNS)].copy()
    for name in HOP_COLUMNS:
        if name in TEXTS:
            made[name] = made[name].astype(object).where(made[name].notna(), "").astype(str)
            continue
        try:
            numbers = pd.to_numeric(made[name])
            made[name] = numbers.astype("Int64" if name in COUNTS else "float64")
        except (TypeError, ValueError):
            legal = "whole numbers" if name in COUNTS else "numbers"
            raise ValueError(f"column {name} has a cell that is no number it may have: {legal}, or empty, are legal") from None
    return made.reset_index(drop=True)


def _counts(
    model: HopModel, task: HopTask, symbols: Int[np.ndarray, "strings positions"], num_hops: int
) -> dict[str, Int[np.ndarray, " strings"]]:
    tokens, targets = task.tokens(symbols, num_hops), task.targets(symbols, num_hops)
    each = max(1, CHUNK_ELEMENTS // ((task.seq_len + 1) * max(task.seq_len + 1, task.num_tokens)))
    device = device_of(model)
    right = np.empty(targets.shape, dtype=bool)
    for start in range(0, len(tokens), each):
        part = slice(start, start + each)
        logits = model.logits_at_every_position(torch.as_tensor(np.asarray(tokens[part], dtype=np.int64), device=device))
        if logits.shape[:2] != tokens[part].shape or logits.ndim != 3 or logits.shape[2] < task.num_tokens:
            least = (*tokens[part].shape, task.num_tokens)
            raise ValueError(f"logits_at_every_position gave the shape {tuple(logits.shape)}: must be {least}, or more tokens")
        predicted = logits.argmax(dim=2)
        known = ~torch.isnan(logits).any(dim=2)
        right[part] = (predicted.cpu().numpy() == targets[part]) & known.cpu().numpy()
    wrong, missing = ~right[:, 1:], targets[:, 1:] == task.missing_token
    return {
        "wrong": (wrong & ~missing).sum(axis=1), "defined": (~missing).sum(axis=1),
        "missing_wrong": (wrong & missing).sum(axis=1), "missing": missing.sum(axis=1),
        "last_wrong": wrong[:, -1] & ~missing[:, -1], "last_defined": ~missing[:, -1],
    }  # fmt: skip


def _mean(part: Int[np.ndarray, " strings"], whole: Int[np.ndarray, " strings"], level: float) -> Estimate:
    counted = whole > 0
    if not counted.any():
        return Estimate(nan, nan, nan, level)
    return bounded_mean(part[counted] / whole[counted], level)


def _checked_hops(task: HopTask, hops: Sequence[int] | None) -> tuple[int, ...]:
    if hops is None:
        return tuple(range(task.min_hops, task.max_hops + 1))
    asked = sorted(checked_integer("hops", num_hops, 0) for num_hops in hops)
    if not asked or len(set(asked)) < len(asked) or asked[0] < task.min_hops or asked[-1] > task.max_hops:
        raise ValueError(f"hops = {list(hops)}: distinct numbers from {task.min_hops} to {task.max_hops} are legal")
    return tuple(asked)


def _checked_strings(task: HopTask, strings: Int[np.ndarray, "strings positions"]) -> Int[np.ndarray, "strings positions"]:
    array = np.asarray(strings)
    if array.ndim != 2 or array.shape[1] != task.seq_len or not len(array) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"strings of shape {array.shape}, {array.dtype}: integers of shape (strings, {task.seq_len}) are legal")
    if array.min() < 0 or array.max() >= task.vocab_size:
        raise ValueError(f"strings has symbols from {array.min()} to {array.max()}: 0 to {task.vocab_size - 1} are legal")
    return array


def _size(model: object, name: str) -> int | None:
    found = getattr(model, name, None)
    found = getattr(getattr(model, "shape", None), name, None) if found is None else found
    return None if found is None else int(found)
