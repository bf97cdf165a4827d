"""The fewest heads with which the solver holds a whole table, and the law that they follow in bits per effective parameter.

The law: labels of N tokens are log2 N bits each, and a model with P_eff effective parameters holds about b P_eff of them,

    P_eff(N, S, d, H*, d_h) = T0 log2 N / b,  for d_h = d and S = 2:  H* = (T0 log2 N / b - 2 d N + d^2 - d) / (2 d^2),

with one number b for all shapes. The fewest heads *found* within a budget are an upper bound on the fewest that do, so b here is
a lower bound on what the model can hold. Derived here; parameters as in `theory.memorization.effective_parameters`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from empirical.comparison import mean_interval
from empirical.regression import Estimate, log_log_slope
from empirical.solver import Solved, solve
from theory._whole_files import whole_files
from theory.memorization import effective_parameters
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

RECORD = Path(__file__).with_name("fewest_heads.csv")
RECORD_COLUMNS = (
    "vocab_size",
    "seq_len",
    "embed_dim",
    "head_dim",
    "table_seed",
    "num_heads",
    "largest_failed",
    "num_associations",
    "effective_parameters",
    "bits_per_effective_parameter",
    "margin",
    "certified",
    "solver_seed",
    "attempts",
    "max_steps",
    "max_seconds",
    "cpu_seconds",
    "date",
)
FIRST_GUESS_BITS = 2.2  # where the search begins; the answer does not depend on it but for luck


@dataclass(frozen=True)
class Attempt:
    """One count of heads tried: whether some start held the table within the budget, in how many solver steps."""

    num_heads: int
    exact: bool
    num_held: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class FewestHeads:
    """Outcome of one search.

    Attributes:
        solved: the exact model with the fewest heads found; None when no count tried was solved.
        attempts: everything tried, in order.
    """

    solved: Solved | None
    attempts: tuple[Attempt, ...]

    @property
    def num_heads(self) -> int | None:
        """The fewest heads found: an upper bound on the fewest that do."""
        return None if self.solved is None else self.solved.model.num_heads

    @property
    def largest_failed(self) -> int | None:
        """The largest count below that which was tried and not solved within its budget; None when none was."""
        best = math.inf if self.num_heads is None else self.num_heads
        return max((a.num_heads for a in self.attempts if not a.exact and a.num_heads < best), default=None)


def heads_for_bits(bits: float | int, num_associations: int, vocab_size: int, seq_len: int, embed_dim: int, head_dim: int) -> int:
    """The fewest heads H with bits * P_eff(H) >= T0 log2 N: the law solved for H, rounded up.

    Raises ValueError for bits that are not positive, or sizes that are no shape.
    """
    if not (isinstance(bits, int | float) and 0 < bits < math.inf):
        raise ValueError(f"bits = {bits!r}: must be a finite number > 0")
    total = checked_integer("num_associations", num_associations, 1)
    wanted = total * math.log2(checked_integer("vocab_size", vocab_size, 2)) / bits

    def enough(heads: int) -> bool:
        return effective_parameters(vocab_size, seq_len, embed_dim, heads, head_dim) >= wanted

    if seq_len == 1:
        return 0
    high = 1
    while not enough(high):
        high *= 2
    low = -1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def fewest_heads(
    task: AssociationTask,
    embed_dim: int,
    head_dim: int,
    *,
    attempts: int = 1,
    max_steps: int = 600,
    max_seconds: float | int = 60.0,
    seed: int = 0,
    progress: Callable[[Attempt], None] | None = None,
) -> FewestHeads:
    """Search the fewest heads with which `solve` holds all of a task.

    Begins at the count that the law gives for 2.2 bits, goes up by a seventh until a count is solved, then halves the
    distance to the largest count that failed (or to the law at 4 bits, below which nothing is tried).

    Args:
        task: the associations.
        embed_dim: d.
        head_dim: d_h.
        attempts: seeds tried per count, `seed`, `seed` + 1, ...; each with its own budget and restarts.
        max_steps: solver steps per attempt: the budget that decides.
        max_seconds: last stop per attempt by the clock.
        seed: of the first attempt.
        progress: called after each count.

    Raises:
        ValueError: as `solve`; attempts below 1.
    """
    attempts = checked_integer("attempts", attempts, 1)
    sizes = (task.num_associations, task.vocab_size, task.seq_len, embed_dim, head_dim)
    known = -1 if task.seq_len == 1 else heads_for_bits(4.0, *sizes) - 1
    count, tried, best = heads_for_bits(FIRST_GUESS_BITS, *sizes), list[Attempt](), None
    highest = max(2 * count + 8, 8)
    while True:
        steps, held, seconds, found = 0, 0, 0.0, None
        for attempt in range(attempts):
            result = solve(
                task,
                AttentionShape(embed_dim, count, head_dim),
                seed=seed + attempt,
                target_margin=0.0,
                max_steps=max_steps,
                max_seconds=max_seconds,
            )
            steps, held, seconds = steps + len(result.history), max(held, result.num_held), seconds + result.seconds
            if result.exact:
                found = result
                break
        tried.append(Attempt(count, found is not None, held, steps, seconds))
        if progress is not None:
            progress(tried[-1])
        if found is not None:
            best = found
        else:
            known = max(known, count)
        if best is None:
            if count >= highest:
                return FewestHeads(None, tuple(tried))
            count = min(highest, count + max(1, count // 7))
        elif best.model.num_heads - known <= 1:
            return FewestHeads(best, tuple(tried))
        else:
            count = (best.model.num_heads + known) // 2


@dataclass(frozen=True)
class HeadLaw:
    """The law through a record, one point per shape (the mean over its tables), Student intervals over shapes.

    Attributes:
        bits: b.
        slope: of log P_eff(H*) against log(T0 log2 N); the law says 1. None with fewer than three shapes.
        num_shapes, num_tables: of the record.
    """

    bits: Estimate
    slope: Estimate | None
    num_shapes: int
    num_tables: int

    def heads(self, num_associations: int, vocab_size: int, seq_len: int, embed_dim: int, head_dim: int) -> int:
        """H* at the middle of the interval, rounded up."""
        return heads_for_bits(self.bits.value, num_associations, vocab_size, seq_len, embed_dim, head_dim)


def fit_law(record: pd.DataFrame) -> HeadLaw:
    """The law through a record of searches.

    Tables of one shape share the shape's rounding to whole heads, so that shapes are the points and tables are not.

    Args:
        record: columns as `read_record` gives them.

    Raises:
        ValueError: no row.
    """
    if not len(record):
        raise ValueError("record has no row: at least one search is legal")
    shapes = ["vocab_size", "seq_len", "embed_dim", "head_dim"]
    stored = record["num_associations"] * np.log2(record["vocab_size"])
    columns = ["bits_per_effective_parameter", "stored", "effective_parameters"]
    means = record.assign(stored=stored).groupby(shapes)[columns].mean()
    bits = Estimate(*mean_interval(means["bits_per_effective_parameter"].to_list()))
    varied = len(means) > 2 and means["stored"].nunique() > 1
    slope = log_log_slope(means["stored"].to_list(), means["effective_parameters"].to_list()) if varied else None
    return HeadLaw(bits, slope, len(means), len(record))


def read_record(path: str | Path = RECORD) -> pd.DataFrame:
    """The searches on record: one row per shape and label table, columns RECORD_COLUMNS.

    Raises ValueError where the file has other columns.
    """
    frame = pd.read_csv(path)
    if tuple(frame.columns) != RECORD_COLUMNS:
        raise ValueError(f"{path} has the columns {list(frame.columns)}: {list(RECORD_COLUMNS)} are legal")
    return frame


def write_record(rows: Iterable[dict[str, object]], path: str | Path = RECORD) -> None:
    """Write searches as `read_record` reads them, sorted by shape and table."""
    frame = pd.DataFrame(list(rows), columns=list(RECORD_COLUMNS))
    frame = frame.sort_values(["embed_dim", "head_dim", "vocab_size", "seq_len", "table_seed"])
    with whole_files(Path(path)) as (partial,):
        frame.to_csv(partial, index=False)
