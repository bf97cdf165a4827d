"""Checks of what heads, shared maps and an MLP are worth, by ratios of memory in models trained on the same tables.

Each claim's number is a ratio of two differences or two memories on one table; its one-sided 95% end is over independent tables.
"""

from statistics import fmean, stdev

from scipy import stats

from headcount.claims.checks import Tally
from headcount.claims.claim import Case, Evidence, Inquiry, Kind, Method
from headcount.claims.dana2025 import _retrained as retrained
from theory.shapes import TransformerShape

RISK = 0.05
HEAD_DIM = 10


def _end(values: list[float], kind: Kind) -> float:
    """One-sided Student end of a mean over independent tables: the lower one for a lower bound, the upper for an upper."""
    half = float(stats.t.ppf(1 - RISK, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return fmean(values) + (half if kind is Kind.UPPER else -half)


def _decided(inquiry: Inquiry, what: str, ratios: list[float], ranges: str, num_cases: int) -> Evidence:
    kind = inquiry.claim.comparison
    side = "upper" if kind is Kind.UPPER else "lower"
    tally = Tally(inquiry)
    tally.see(Case(f"{what}: {side} {1 - RISK:.0%} end over {len(ratios)} tables", _end(ratios, kind), inquiry.formula()))
    return tally.evidence(Method.MEASUREMENT, f"{ranges}; {num_cases} models", note=f"Mean ratio: {fmean(ratios):.2f}.")


def shared_knee(inquiry: Inquiry) -> Evidence:
    """Slope of memory in d from d_h to d_h + 5, over that from d_h - 5 to d_h, in the notebook's model."""
    return _knee(inquiry, retrained.embed_dims("notebook"))


def own_knee(inquiry: Inquiry) -> Evidence:
    """The same ratio in the paper's own model."""
    return _knee(inquiry, retrained.embed_dims("paper"))


def _knee(inquiry: Inquiry, runs: retrained.Runs) -> Evidence:
    num_tables = inquiry.pick(4, 4, 8)
    tables = retrained.memories(inquiry, runs, num_tables)
    below, at, above = runs.shapes
    ratios = [(table[above] - table[at]) / (table[at] - table[below]) for table in tables]
    words = f"N = 50, d_h = {HEAD_DIM}, H = {at.num_heads}, d in {below.embed_dim}, {at.embed_dim}, {above.embed_dim}"
    ranges = f"{words}, variant {runs.variant}, the paper's schedule, seeds {inquiry.seed}..{inquiry.seed + num_tables - 1}"
    return _decided(inquiry, "slope of memory in d beyond d_h over that before it", ratios, ranges, 3 * num_tables)


def mlp(inquiry: Inquiry) -> Evidence:
    """Memory of one head with an MLP over that of as many parameters of heads."""
    heads, networks = retrained.equal_parameters()
    num_tables = 4
    halves = [retrained.memories(inquiry, runs, num_tables, (k / 2, (k + 1) / 2)) for k, runs in enumerate((heads, networks))]
    ratios = [two[networks.shapes[0]] / one[heads.shapes[0]] for one, two in zip(*halves, strict=True)]
    shape = networks.shapes[0]
    assert isinstance(shape, TransformerShape)
    ranges = (
        f"N = {heads.vocab_size}, d = d_h = {shape.embed_dim}, H = {heads.shapes[0].num_heads} beside one head and width "
        f"{shape.mlp_width}, 64 epochs of 64 batches of 256, seeds {inquiry.seed}..{inquiry.seed + num_tables - 1}"
    )
    return _decided(inquiry, "memory with an MLP over that of heads", ratios, ranges, 2 * num_tables)
