"""The thing to be remembered: a table of token sequences, each with the one token, or the distribution, that must follow it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import isfinite
from numbers import Rational
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from theory._distributions import checked_probabilities, entropies, fewest_reaching, row_divergences
from theory._task_files import TaskFileError, read_rows, write_rows
from theory._token_rows import (
    MAX_TABLE_BYTES,
    MAX_VOCAB_SIZE,
    check_table_size,
    check_tokens,
    checked_sequences,
    checked_vocab_size,
    first_repeat,
    first_row_outside,
    frozen,
    integer_array,
    random_rows,
    rows_from_codes,
)
from theory.shapes import checked_integer

__all__ = ["MAX_TABLE_BYTES", "MAX_VOCAB_SIZE", "AssociationTask", "DistributionTask", "TaskFileError"]


@dataclass(frozen=True, eq=False, repr=False, init=False)
class AssociationTask:
    """T0 associations, sequence -> next token, over a vocabulary of N tokens numbered 0 to N-1; checked once, frozen.

    `sequences` (T0, S) and `targets` (T0,) may be any integer arrays or nested lists of ints; they are kept as int64
    copies that nothing can write to. T0 >= 1, S >= 1, 2 <= N <= 2**31, all entries in [0, N), no sequence twice.
    `description` is a line for people: where the task came from. It takes no part in equality or the fingerprint.
    The order of the rows does.

    Raises ValueError, naming the first offending row (rows count from 0).
    Source: the lookup table g of Assumption 1 in Dana, Pydi and Chevaleyre 2025 (T0 pairs, N tokens, length S).
    """

    sequences: Int[np.ndarray, "associations seq_len"]
    targets: Int[np.ndarray, " associations"]
    vocab_size: int
    description: str = ""

    def __init__(
        self, sequences: npt.ArrayLike, targets: npt.ArrayLike, vocab_size: int, description: str = ""
    ) -> None:
        vocab_size = checked_vocab_size(vocab_size)
        sequences = checked_sequences(sequences, vocab_size)
        targets = integer_array("targets", targets, 1)
        if targets.shape[0] != sequences.shape[0]:
            raise ValueError(
                f"targets has {targets.shape[0]} entries: must have one per sequence, that is {sequences.shape[0]}"
            )
        check_tokens("targets", targets, vocab_size)
        if not isinstance(description, str):
            raise ValueError(f"description = {description!r}: must be text")
        object.__setattr__(self, "sequences", frozen(sequences))
        object.__setattr__(self, "targets", frozen(targets.astype(np.int64, copy=False)))
        object.__setattr__(self, "vocab_size", vocab_size)
        object.__setattr__(self, "description", description)

    @property
    def num_associations(self) -> int:
        """T0, the number of sequences."""
        return int(self.sequences.shape[0])

    @property
    def seq_len(self) -> int:
        """S, the number of tokens in each sequence."""
        return int(self.sequences.shape[1])

    @cached_property
    def num_last_tokens(self) -> int:
        """K, the number of distinct last tokens; the skip connection is worth min(d, K) associations, not d."""
        return int(np.unique(self.sequences[:, -1]).size)

    def subset(self, indices: Sequence[int] | Int[np.ndarray, " kept"]) -> "AssociationTask":
        """The task of the associations at `indices` (each in [0, T0), at least one, none twice), in that order, same N.

        Raises ValueError for anything else, boolean masks included (use `np.flatnonzero(mask)`).
        """
        if len(indices) == 0:
            raise ValueError("indices is empty: must name at least one association")
        kept = integer_array("indices", indices, 1)
        position = first_row_outside(kept, self.num_associations)
        if position is not None:
            last = self.num_associations - 1
            raise ValueError(f"indices[{position}] = {kept[position]}: must lie between 0 and {last}")
        repeated = first_repeat(kept.astype(np.int64)[:, None], self.num_associations)
        if repeated is not None:
            raise ValueError(f"indices[{repeated[0]}] = {kept[repeated[0]]}: must not repeat indices[{repeated[1]}]")
        origin = f" of: {self.description}" if self.description else ""
        return AssociationTask(
            self.sequences[kept],
            self.targets[kept],
            self.vocab_size,
            f"{kept.size} of {self.num_associations} associations{origin}",
        )

    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of N and the rows in order; the same on every machine, blind to `description`."""
        digest = hashlib.sha256(f"association task {self.vocab_size} {self.sequences.shape}\n".encode())
        for part in (self.sequences, self.targets):
            digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AssociationTask):
            return NotImplemented
        return (
            self.vocab_size == other.vocab_size
            and np.array_equal(self.sequences, other.sequences)
            and np.array_equal(self.targets, other.targets)
        )

    def __hash__(self) -> int:
        return int(self.fingerprint()[:15], 16)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies, and tasks sent to another process, go through the constructor: their arrays are frozen again.
        return AssociationTask, (self.sequences, self.targets, self.vocab_size, self.description)

    def __repr__(self) -> str:
        if self.sequences.size <= 64:  # small enough to paste back into a test
            content = f"sequences={self.sequences.tolist()}, targets={self.targets.tolist()}"
        else:
            content = f"<{self.num_associations} sequences of length {self.seq_len}>"
        return f"AssociationTask({content}, vocab_size={self.vocab_size}, description={self.description!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis and IPython would print the arrays instead of something that can be pasted.
        printer.text(repr(self))

    @classmethod
    def complete(cls, vocab_size: int, seq_len: int, seed: int) -> "AssociationTask":
        """All N^S sequences in lexicographic order with independent uniform targets.

        Raises ValueError, before allocating anything, when the N^S (S + 1) entries exceed MAX_TABLE_BYTES.
        Source: the task of all experiments in Dana, Pydi and Chevaleyre 2025 (there S = 2).
        """
        vocab_size, seq_len = checked_vocab_size(vocab_size), checked_integer("seq_len", seq_len, 1)
        seed = checked_integer("seed", seed, 0)
        check_table_size(vocab_size, seq_len, None)
        sequences = rows_from_codes(np.arange(vocab_size**seq_len, dtype=np.int64), vocab_size, seq_len)
        targets = np.random.default_rng(seed).integers(0, vocab_size, size=(len(sequences),))
        return cls(sequences, targets, vocab_size, f"all {vocab_size}^{seq_len} sequences, targets from seed {seed}")

    @classmethod
    def random(cls, vocab_size: int, seq_len: int, num_associations: int, seed: int) -> "AssociationTask":
        """T0 distinct sequences drawn uniformly without replacement from the N^S, in random order, targets uniform.

        Works up to T0 = N^S and for any N^S, however large. Raises ValueError when T0 > N^S, or when the T0 (S + 1)
        entries exceed MAX_TABLE_BYTES.
        """
        vocab_size, seq_len = checked_vocab_size(vocab_size), checked_integer("seq_len", seq_len, 1)
        wanted, seed = checked_integer("num_associations", num_associations, 1), checked_integer("seed", seed, 0)
        check_table_size(vocab_size, seq_len, wanted)
        rng = np.random.default_rng(seed)
        sequences = random_rows(vocab_size, seq_len, wanted, rng, "num_associations")
        targets = rng.integers(0, vocab_size, size=(wanted,))
        origin = f"{wanted} random sequences of length {seq_len} over {vocab_size} tokens, seed {seed}"
        return cls(sequences, targets, vocab_size, origin)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], vocab_size: int | None = None) -> "AssociationTask":
        """Read a UTF-8 CSV file with the header token_1,..,token_S,target and one association per row.

        Without `vocab_size`, N is the largest entry plus one (at least 2), and `description` says so. Blank lines are
        skipped. Raises TaskFileError naming file and line: empty or unreadable file, pipe or device, wrong header, ragged
        rows, entries that are not plain non-negative integers or not below N, a sequence that was already given.
        """
        if vocab_size is not None:
            vocab_size = checked_vocab_size(vocab_size)
        name = str(path)
        rows, size = read_rows(name, vocab_size)
        inferred = f"; vocabulary size {size} inferred as largest entry + 1" if vocab_size is None else ""
        return cls(rows[:, :-1], rows[:, -1], size, f"read from {name}{inferred}")

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the file that `from_csv` reads. All or nothing: an existing file is replaced only when all is written.

        N itself is not in the file; give it to `from_csv` when no entry equals N - 1. Raises TaskFileError.
        """
        write_rows(path, np.column_stack([self.sequences, self.targets]))


@dataclass(frozen=True, eq=False, repr=False, init=False)
class DistributionTask:
    """T0 sequences, each with the distribution of its next token and the chance to meet it; checked once, frozen.

    `sequences` (T0, S): integers in [0, N), no sequence twice. `conditionals` (T0, N): row t is pi(. | t), not negative,
    sum 1; N is its number of columns, at least 2. `prior` (T0,): positive, sum 1; uniform when left out. Sums may miss 1 by
    what rounding in the given number format explains; rows are then normalised. All is kept as float64 and int64 copies that
    nothing can write to. `description` is a line for people, no part of equality or fingerprint. The order of rows is.

    Raises ValueError, naming the first offending row (rows count from 0).
    Source: Dana, Pydi and Chevaleyre 2025, section 2; entropy-0 rows are Assumption 1, full support is Assumption 2.
    """

    sequences: Int[np.ndarray, "sequences seq_len"]
    conditionals: Float[np.ndarray, "sequences vocab"]
    prior: Float[np.ndarray, " sequences"]
    description: str = ""

    def __init__(
        self,
        sequences: npt.ArrayLike,
        conditionals: npt.ArrayLike,
        prior: npt.ArrayLike | None = None,
        description: str = "",
    ) -> None:
        rows = checked_probabilities("conditionals", conditionals, 2)
        vocab_size = checked_vocab_size(rows.shape[1])
        sequences = checked_sequences(sequences, vocab_size)
        total = len(sequences)
        chances = np.full(total, 1 / total) if prior is None else checked_probabilities("prior", prior, 1)
        for name, found in (("conditionals", rows), ("prior", chances)):
            if len(found) != total:
                raise ValueError(f"{name} has {len(found)} rows: must have one per sequence, that is {total}")
        if not (chances > 0).all():
            raise ValueError(f"prior[{int(np.argmin(chances))}] = 0.0: must be positive (leave the sequence out instead)")
        if not isinstance(description, str):
            raise ValueError(f"description = {description!r}: must be text")
        object.__setattr__(self, "sequences", frozen(sequences))
        object.__setattr__(self, "conditionals", frozen(rows))
        object.__setattr__(self, "prior", frozen(chances))
        object.__setattr__(self, "description", description)

    @property
    def vocab_size(self) -> int:
        """N, the number of tokens."""
        return int(self.conditionals.shape[1])

    @property
    def num_sequences(self) -> int:
        """T0, the number of sequences."""
        return int(self.sequences.shape[0])

    @property
    def seq_len(self) -> int:
        """S, the number of tokens in each sequence."""
        return int(self.sequences.shape[1])

    @cached_property
    def full_support(self) -> bool:
        """Whether every conditional gives every token a positive probability (Assumption 2)."""
        return bool((self.conditionals > 0).all())

    @cached_property
    def modes(self) -> Int[np.ndarray, " sequences"]:
        """The most likely next token of each sequence, the first one on ties."""
        return frozen(self.conditionals.argmax(axis=1))

    def entropies(self) -> Float[np.ndarray, " sequences"]:
        """Shannon entropy of each conditional, in nats; exactly 0 for a sure token."""
        return entropies(self.conditionals)

    @cached_property
    def mean_entropy(self) -> float:
        """Prior average of `entropies`, in nats: the least cross-entropy that any model can have on this task."""
        return float(self.prior @ self.entropies())

    def likely(self, epsilon: int | float | Fraction = 0) -> Int[np.ndarray, " likely"]:
        """Indices of the T_epsilon most likely sequences, most likely first, equally likely ones in order of their rows."""
        order = np.argsort(-self.prior, kind="stable")
        return order[: fewest_reaching(self.prior, order, 1 - _checked_share(epsilon))]

    def t_epsilon(self, epsilon: int | float | Fraction = 0) -> int:
        """T_epsilon: the fewest sequences that together carry at least 1 - epsilon of the prior's mass, 0 <= epsilon <= 1.

        Decided exactly, the masses being the floats in `prior` over their exact sum. A float epsilon is read as the decimal
        that Python prints for it (0.3 is 3/10); give a Fraction to mean anything else. T_0 is T0.

        Dana, Pydi and Chevaleyre 2025, section 2, with "at least" where they print "more than": at epsilon = 0 no number of
        sequences carries more than everything.
        """
        return int(self.likely(epsilon).size)

    def divergences(self, logits: npt.ArrayLike) -> Float[np.ndarray, " sequences"]:
        """KL(pi(. | t) || softmax of row t of `logits`) for each sequence t, in nats.

        `logits` (T0, N) may be log-probabilities or anything equal to them up to a constant per row. -inf rules a token out,
        and makes the divergence infinite where the token has a positive probability.

        Raises ValueError for another shape, NaN, +inf, or a row of nothing but -inf.
        """
        found = np.asarray(logits, dtype=np.float64)
        if found.shape != self.conditionals.shape:
            raise ValueError(f"logits has shape {found.shape}: must be (T0, N) = {self.conditionals.shape}")
        if np.isnan(found).any() or not np.isfinite(found.max(axis=1)).all():
            raise ValueError("logits has NaN, +inf or a row of -inf only: must be finite or -inf, with a finite one per row")
        return row_divergences(self.conditionals, found)

    def divergence(self, logits: npt.ArrayLike) -> float:
        """The prior average of `divergences`, in nats: d_KL(pi, model) of Dana, Pydi and Chevaleyre 2025, section 2."""
        return float(self.prior @ self.divergences(logits))

    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of the rows in order; the same on every machine, blind to `description`."""
        digest = hashlib.sha256(f"distribution task {self.vocab_size} {self.sequences.shape}\n".encode())
        digest.update(self.sequences.astype("<i8").tobytes())
        for part in (self.conditionals, self.prior):
            digest.update((part + 0.0).astype("<f8").tobytes())  # -0.0 equals 0.0
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DistributionTask):
            return NotImplemented
        parts = ("sequences", "conditionals", "prior")
        return all(np.array_equal(getattr(self, part), getattr(other, part)) for part in parts)

    def __hash__(self) -> int:
        return int(self.fingerprint()[:15], 16)

    def __reduce__(self) -> tuple[Any, ...]:
        return DistributionTask, (self.sequences, self.conditionals, self.prior, self.description)

    def __repr__(self) -> str:
        if self.conditionals.size <= 64:
            rows = f"sequences={self.sequences.tolist()}, conditionals={self.conditionals.tolist()}"
            content = f"{rows}, prior={self.prior.tolist()}"
        else:
            content = f"<{self.num_sequences} sequences of length {self.seq_len}, {self.vocab_size} tokens>"
        return f"DistributionTask({content}, description={self.description!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @classmethod
    def from_associations(cls, task: AssociationTask, smoothing: float = 0.0) -> "DistributionTask":
        """The associations as conditionals (one-hot + smoothing) / (1 + N smoothing), prior uniform; smoothing >= 0.

        Without smoothing every entropy is 0 (Assumption 1); with it the support is full. Source: Dana, Pydi and Chevaleyre
        2025, proof of Corollary 1, where the smoothing goes to 0.
        """
        if not (isfinite(smoothing) and smoothing >= 0):
            raise ValueError(f"smoothing = {smoothing}: must be a finite number >= 0")
        rows = np.full((task.num_associations, task.vocab_size), smoothing / (1 + task.vocab_size * smoothing))
        rows[np.arange(len(rows)), task.targets] = (1 + smoothing) / (1 + task.vocab_size * smoothing)
        origin = f" of: {task.description}" if task.description else ""
        return cls(task.sequences, rows, None, f"associations, smoothing {smoothing}{origin}")

    @classmethod
    def random(
        cls,
        vocab_size: int,
        seq_len: int,
        num_sequences: int,
        seed: int,
        *,
        concentration: float = 1.0,
        prior_concentration: float | None = None,
    ) -> "DistributionTask":
        """T0 distinct random sequences with independent Dirichlet conditionals.

        `concentration` > 0 of the symmetric Dirichlet: small is near-deterministic (and may round to zeros), large is near
        uniform. `prior_concentration` the same for the prior, None for the uniform one. Raises ValueError for T0 > N^S.
        """
        vocab_size, seq_len = checked_vocab_size(vocab_size), checked_integer("seq_len", seq_len, 1)
        wanted, seed = checked_integer("num_sequences", num_sequences, 1), checked_integer("seed", seed, 0)
        for name, value in (("concentration", concentration), ("prior_concentration", prior_concentration)):
            if value is not None and not (isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value}: must be a finite number > 0")
        check_table_size(vocab_size, seq_len, wanted, "num_sequences", vocab_size)
        rng = np.random.default_rng(seed)
        sequences = random_rows(vocab_size, seq_len, wanted, rng, "num_sequences")
        rows = rng.dirichlet(np.full(vocab_size, concentration), size=wanted)
        prior = None
        if prior_concentration is not None:
            prior = np.maximum(rng.dirichlet(np.full(wanted, prior_concentration)), 1e-300)
        return cls(sequences, rows, prior, f"{wanted} random sequences, concentration {concentration}, seed {seed}")


def _checked_share(epsilon: int | float | Fraction) -> Fraction:
    try:
        share = Fraction(epsilon) if isinstance(epsilon, Rational) else Fraction(repr(float(epsilon)))
    except (ValueError, TypeError):
        share = Fraction(-1)
    if not 0 <= share <= 1:
        raise ValueError(f"epsilon = {epsilon!r}: must be a number between 0 and 1")
    return share
