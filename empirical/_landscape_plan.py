"""Which work a landscape is made of: methods, numbers of heads and label tables for one shape."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.memorization import effective_parameters, repaired_heads
from theory.shapes import checked_integer

FAST = ("staircase", "planar", "scalar", "mahdavi", "huben_morris", "bubeck")
"""Methods that take about a second on any table drawn here: always computed, never read from a record."""
BITS_PER_PARAMETER = 2.88
"""Label bits per effective parameter around which the solver's head counts are laid out (`empirical.fewest_heads`)."""
MOST_SOLVED_PARAMETERS = 30_000
MOST_COLUMN_ASSOCIATIONS = 225
SMALL_ASSOCIATIONS, MOST_READOUT_ASSOCIATIONS = 400, 3_000
TRAINING_SEED = 0
SEARCH_STEPS = 100
"""Of the block staircase's hill climb."""


@dataclass(frozen=True)
class LandscapeSpec:
    """Which landscape: complete tables of all pairs of tokens with random labels.

    Attributes:
        vocab_size: N, 2 to 200; the tables have T0 = N^2 associations.
        embed_dim: d >= 2.
        head_dim: d_h, 1 to d, of solved and trained models and of the constructions that take any; d by default.
        table_seeds: seeds of the label tables.
        num_models: models trained per number of heads, on the first table.

    Raises ValueError for anything else.
    """

    vocab_size: int = 50
    embed_dim: int = 10
    head_dim: int | None = None
    table_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    num_models: int = 5

    def __post_init__(self) -> None:
        checked_integer("vocab_size", self.vocab_size, 2)
        if self.vocab_size > 200:
            raise ValueError(f"vocab_size = {self.vocab_size}: 2 to 200 are legal for a landscape")
        checked_integer("embed_dim", self.embed_dim, 2)
        width = checked_integer("head_dim", self.embed_dim if self.head_dim is None else self.head_dim, 1)
        if width > self.embed_dim:
            raise ValueError(f"head_dim = {width}: 1 to embed_dim = {self.embed_dim} are legal for a built model")
        object.__setattr__(self, "head_dim", width)
        checked_integer("num_models", self.num_models, 1)
        seeds = tuple(checked_integer("table_seeds", seed, 0) for seed in self.table_seeds)
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"table_seeds = {self.table_seeds}: one or more distinct numbers are legal")
        object.__setattr__(self, "table_seeds", seeds)

    @property
    def num_associations(self) -> int:
        """T0 = N^2."""
        return self.vocab_size**2

    @property
    def width(self) -> int:
        """d_h."""
        return self.embed_dim if self.head_dim is None else self.head_dim

    @property
    def expected_heads(self) -> int:
        """Least H >= 1 whose effective parameters hold T0 log2 N bits at BITS_PER_PARAMETER: where the solver is tried."""
        wanted = self.num_associations * math.log2(self.vocab_size) / BITS_PER_PARAMETER
        heads = 1
        while effective_parameters(self.vocab_size, 2, self.embed_dim, heads, self.width) < wanted:
            heads += 1
        return heads


@dataclass(frozen=True)
class Cell:
    """One piece of work: a method on one table.

    Attributes:
        kind: "built", "solved" or "trained".
        method: its name.
        spec: all that determines the result (with the machine, where `max_seconds` ends a search).
        estimate: seconds that it may take, roughly.
        fast: whether it is always computed.
    """

    kind: str
    method: str
    spec: dict[str, Any]
    estimate: float
    fast: bool = False


def cells(spec: LandscapeSpec) -> list[Cell]:
    """The work of a landscape in the order of doing: cheap before dear, the first table before the others."""
    return sorted(_cells(spec), key=lambda cell: (not cell.fast, spec.table_seeds.index(cell.spec["table_seed"]), cell.estimate))


def _cells(spec: LandscapeSpec) -> Iterator[Cell]:
    base = {"vocab_size": spec.vocab_size, "embed_dim": spec.embed_dim, "head_dim": spec.width}
    total = spec.num_associations

    def cell(kind: str, method: str, table: int, estimate: float, **more: Any) -> Cell:
        fast = method in FAST
        return Cell(kind, method, {"method": method, **base, "table_seed": table, "seed": 0, **more}, estimate, fast)

    expected = spec.expected_heads
    for table in spec.table_seeds:
        yield cell("built", "staircase", table, 2.0)
        yield cell("built", "scalar", table, 2.0, head_dim=1)
        yield cell("built", "planar", table, 2.0, head_dim=2)
        yield cell("built", "mahdavi", table, 2.0, heads=[expected, 2 * expected, 4 * expected])
        yield cell("built", "huben_morris", table, 5.0, heads=[expected, 4 * expected, 16 * expected], head_dim=1)
        enough = -(-4 * (2 * spec.embed_dim + 2) // (4 * spec.embed_dim * spec.width))  # heads with the weights of four units
        sizes = {heads for heads in (expected // 2 + 1, expected, 2 * expected) if heads >= enough}
        yield cell("built", "bubeck", table, 2.0, heads=sorted(sizes or {enough}))
        if spec.width >= 2:  # with scores of rank one there is no order of all pairs
            yield cell("built", "block_staircase", table, 60.0 * total / 2500, points=3)
        if total <= SMALL_ASSOCIATIONS:
            yield cell("built", "readout", table, 3.0 * max(1.0, total / 100), points=4)
        elif total <= MOST_READOUT_ASSOCIATIONS and table == spec.table_seeds[0]:
            # A search for the fewest heads would take hours: a little above the law's count.
            seconds = 400.0 * (total / 2500) ** 2
            yield cell("built", "readout", table, seconds, law_factors=[0.25, 0.5, 0.75, 1.06])
        if total <= MOST_COLUMN_ASSOCIATIONS and spec.width >= 2:
            search = {"options": {"search": SEARCH_STEPS}, "name": "block_staircase_search", "points": 0}
            yield cell("built", "block_staircase", table, 15.0, **search)
            yield cell("built", "column_generation", table, 25.0, points=0)
        for heads, seconds in solved_heads(spec, curve=table == spec.table_seeds[0]):
            usual = min(seconds, 3.0 + total / 10)  # most are done long before their last stop
            yield cell("solved", "solver", table, usual, num_heads=heads, max_seconds=seconds)
    table = spec.table_seeds[0]
    for heads in trained_heads(spec):
        seconds = (2.0 + 0.01 * heads) * spec.num_models * max(1.0, spec.vocab_size / 15)
        yield cell(
            "trained", "adam", table, seconds, num_heads=heads, num_models=spec.num_models, variant="notebook"
        )


def bound_heads(spec: LandscapeSpec) -> list[int]:
    """Numbers of heads at which formulas are evaluated: about 40 up to what Corollary 1 needs for everything."""
    most = repaired_heads(spec.num_associations, spec.width, spec.embed_dim, spec.vocab_size)
    return sorted({round(heads) for heads in np.geomspace(1, max(1, most), 40)})


def solved_heads(spec: LandscapeSpec, *, curve: bool) -> list[tuple[int, float]]:
    """Where the solver is tried on a table: numbers of heads, and seconds for each.

    Around the number expected to be enough; `curve` adds fewer heads, with which it can't hold everything.
    """
    expected = spec.expected_heads
    size = effective_parameters(spec.vocab_size, 2, spec.embed_dim, 2 * expected, spec.width)
    if size > MOST_SOLVED_PARAMETERS:
        return []
    patience = 60.0 if size < 1000 else 300.0
    found = {max(1, math.ceil(factor * expected - 1e-9)): patience for factor in (1.0, 1.2, 1.55)}
    if curve or size < 1000:
        for factor in (1.1, 1.3):
            found.setdefault(max(1, math.ceil(factor * expected - 1e-9)), patience)
    if curve:
        for factor, share in ((0.25, 0.1), (0.5, 0.1), (0.75, 0.2), (0.9, 1.0)):
            found.setdefault(max(1, math.ceil(factor * expected - 1e-9)), share * patience)
    return sorted(found.items())


def trained_heads(spec: LandscapeSpec) -> list[int]:
    """Where models are trained: up to three times the heads that the solver is expected to need, six times on small tables."""
    factors = [0.25, 0.5, 0.75, 1.0, 1.25, 1.55, 1.8, 2.0, 2.25, 2.5, 3.0]
    if spec.num_associations <= SMALL_ASSOCIATIONS:
        factors += [4.0, 5.0, 6.0]
    return sorted({1, *(max(1, round(factor * spec.expected_heads)) for factor in factors)})


def cell_name(cell: Cell) -> str:
    """A cell in words, for progress and messages."""
    heads = f", H = {cell.spec['num_heads']}" if "num_heads" in cell.spec else ""
    return f"{cell.spec.get('name', cell.method)}{heads}, table {cell.spec['table_seed']}"
