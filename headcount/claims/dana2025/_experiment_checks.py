"""Checks of the experiments section: how memory grows with heads, head width and embedding width, in trained models.

Memory X is what explains an accuracy beyond guessing, phi^-1 of Corollary 2. In models trained here it is taken on the uniform
table; the published accuracies are on training draws, which flatters them by up to 7 points, so that statements on published
points have claims of their own. A growth "like z^p" is the exponent p of X = offset + factor z^p with all three free: the
paper's own fits have an intercept, since a model without heads already guesses well. Points with an accuracy above SATURATED
are left out: the paper's rule, everything up to the first point above .95, keeps points that have begun to bend.
Intervals are over independent tables; several in one claim are simultaneous.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from empirical.comparison import read_published
from empirical.regression import Line, before_saturation, least_squares, line, log_log_slope, power_law
from headcount.claims.checks import Tally, mean_interval
from headcount.claims.claim import Case, Evidence, Inquiry, Interval, Method
from headcount.claims.dana2025 import _published as published
from headcount.claims.dana2025 import _retrained as retrained
from headcount.claims.dana2025._retrained import Memories, Runs
from theory.memorization import accuracy_from_memory, memory_from_accuracy
from theory.shapes import AttentionShape

SATURATED = 0.8
"""Accuracy on the uniform table above which trained points are left out of fits."""

CONFIDENCE = 0.95
"""Of all intervals of a claim together (Bonferroni)."""

SCHEDULE = "trained with the paper's schedule"


def _tables(inquiry: Inquiry) -> int:
    return inquiry.pick(4, 4, 10)


def _more_tables(inquiry: Inquiry) -> int:
    return inquiry.pick(8, 8, 20)


def _ranges(inquiry: Inquiry, runs: Runs, num_tables: int, words: str) -> str:
    seeds = f"{inquiry.seed}..{inquiry.seed + num_tables - 1}"
    repeated = f", {runs.num_models} models on each" if runs.num_models > 1 else ""
    return f"N = {runs.vocab_size}, {words}, {SCHEDULE}, {num_tables} tables (seeds {seeds}){repeated}"


def _unsaturated(tables: Sequence[Memories], runs: Runs, shapes: Sequence[AttentionShape]) -> list[AttentionShape]:
    """The leading shapes whose mean accuracy over the tables is not above SATURATED."""
    means = [fmean(table[shape] for table in tables) for shape in shapes]
    accuracies = [accuracy_from_memory(mean, runs.vocab_size, runs.num_associations) for mean in means]
    return list(shapes[: before_saturation(accuracies, limit=SATURATED, with_first_above=False)])


def _by_width(tables: Sequence[Memories], runs: Runs) -> dict[int, list[AttentionShape]]:
    """Unsaturated shapes of experiment 1 by d, ascending in H."""
    dims = sorted({shape.embed_dim for shape in runs.shapes})
    shapes = {dim: sorted((s for s in runs.shapes if s.embed_dim == dim), key=lambda s: s.num_heads) for dim in dims}
    return {dim: _unsaturated(tables, runs, some) for dim, some in shapes.items()}


def _exponent(x: Sequence[float], y: Sequence[float]) -> float:
    fit = power_law(x, y)
    if fit.reason:
        raise ArithmeticError(fit.reason)
    return fit.exponent.value


def linear_in_heads(inquiry: Inquiry) -> list[Evidence]:
    """Exponent of memory in H at each width d = d_h with at least four points."""
    runs, num_tables = retrained.heads(inquiry), _tables(inquiry)
    tables = retrained.memories(inquiry, runs, num_tables)
    fitted = {dim: some for dim, some in _by_width(tables, runs).items() if len(some) > 3}
    found = []
    for dim, shapes in fitted.items():
        counts = [shape.num_heads for shape in shapes]
        exponents = [_exponent(counts, [table[shape] for shape in shapes]) for table in tables]
        interval = mean_interval(
            exponents, f"exponent of memory in H at d = d_h = {dim}", inquiry.formula(embed_dim=dim),
            level=1 - (1 - CONFIDENCE) / len(fitted),
        )
        words = f"H in {', '.join(map(str, counts))}"
        found.append(
            Evidence(Method.MEASUREMENT, _ranges(inquiry, runs, num_tables, words), num_tables * len(shapes), interval=interval)
        )
    return found


def in_head_dim(inquiry: Inquiry) -> list[Evidence]:
    """Exponent of memory in d_h in the paper's own model, at H = 20 as printed and at H = 8."""
    runs, num_tables = retrained.head_dims(inquiry), _tables(inquiry)
    tables = retrained.memories(inquiry, runs, num_tables)
    counts = sorted({shape.num_heads for shape in runs.shapes})
    return [_head_dim_evidence(inquiry, runs, tables, count, len(counts)) for count in counts]


def in_shared_head_dim(inquiry: Inquiry) -> Evidence:
    """Exponent of memory in d_h in the notebook's model, d_h < d."""
    runs, num_tables = retrained.shared_head_dims(inquiry), _more_tables(inquiry)
    return _head_dim_evidence(inquiry, runs, retrained.memories(inquiry, runs, num_tables), 20, 1)


def _head_dim_evidence(inquiry: Inquiry, runs: Runs, tables: Sequence[Memories], num_heads: int, together: int) -> Evidence:
    shapes = sorted((s for s in runs.shapes if s.num_heads == num_heads), key=lambda s: s.head_dim)
    shapes = _unsaturated(tables, runs, shapes)
    widths = [shape.head_dim for shape in shapes]
    exponents = [_exponent(widths, [table[shape] for shape in shapes]) for table in tables]
    interval = mean_interval(
        exponents, f"exponent of memory in d_h at d = 10, H = {num_heads}", inquiry.formula(num_heads=num_heads),
        level=1 - (1 - CONFIDENCE) / together,
    )
    top = fmean(table[shapes[-1]] for table in tables)
    accuracy = accuracy_from_memory(top, runs.vocab_size, runs.num_associations)
    note = f"Mean accuracy at d_h = {widths[-1]}: {accuracy:.2f}."
    words = f"d_h in {', '.join(map(str, widths))}"
    return Evidence(
        Method.MEASUREMENT, _ranges(inquiry, runs, len(tables), words), len(tables) * len(shapes), interval=interval, note=note
    )


def quadratic_published(inquiry: Inquiry) -> Evidence:
    """Exponent of memory in d_h through the published points that come from one model."""
    every = power_law(published.HEAD_DIMS, _published_memories(published.EXPERIMENT_2)).exponent
    fit = power_law(published.HEAD_DIMS[:-1], _published_memories(published.EXPERIMENT_2[:-1]))
    interval = Interval(
        "exponent of memory in d_h", fit.exponent.value, fit.exponent.low, fit.exponent.high, inquiry.formula(num_heads=20)
    )
    return Evidence(
        Method.MEASUREMENT, "published points of experiment 2, N = 50, d = 10, H = 20, d_h 1..9", len(published.HEAD_DIMS) - 1,
        interval=interval,
        note=f"With d_h = 10, which has no shared map: {every.value:.2f} ({every.low:.2f} to {every.high:.2f}).",
    )


def _effective_parameters(shape: AttentionShape) -> int:
    """2 H r (2d - r): what a bank of heads has when changes without effect are taken out."""
    return 2 * shape.num_heads * shape.rank * (2 * shape.embed_dim - shape.rank)


def affine_in_parameters(inquiry: Inquiry) -> Evidence:
    """Exponent of memory in the effective parameters of the heads, over all H and d_h at d = 10."""
    num_tables = _tables(inquiry)
    groups = (retrained.heads(inquiry), retrained.head_dims(inquiry))
    halves = [retrained.memories(inquiry, runs, num_tables, (k / 2, (k + 1) / 2)) for k, runs in enumerate(groups)]
    tables = [{**first, **second} for first, second in zip(*halves, strict=True)]
    runs = groups[0]
    shapes = sorted((s for s in tables[0] if s.embed_dim == 10), key=_effective_parameters)
    means = {shape: fmean(table[shape] for table in tables) for shape in shapes}
    shapes = [
        shape for shape in shapes if accuracy_from_memory(means[shape], runs.vocab_size, runs.num_associations) <= SATURATED
    ]
    sizes = [float(_effective_parameters(shape)) for shape in shapes]
    memories = [[table[shape] for shape in shapes] for table in tables]
    exponents = [_exponent(sizes, row) for row in memories]
    interval = mean_interval(exponents, "exponent of memory in 2 H r (2d - r)", inquiry.formula(embed_dim=10), level=CONFIDENCE)
    fits = [line(sizes, row) for row in memories]
    note = (
        f"Straight lines: {fmean(fit.slope.value for fit in fits):.3f} associations for each such parameter, R^2 at least "
        f"{min(fit.r_squared for fit in fits):.3f}."
    )
    words = f"d = 10, {len(shapes)} pairs of H 1..{max(s.num_heads for s in shapes)} and d_h 1..10"
    return Evidence(
        Method.MEASUREMENT, _ranges(inquiry, runs, num_tables, words), num_tables * len(shapes), interval=interval, note=note
    )


def _slopes(tables: Sequence[Memories], runs: Runs) -> tuple[list[int], list[list[float]]]:
    """Widths d, and for each table the associations that one more head adds at each of them."""
    fitted = {dim: shapes for dim, shapes in _by_width(tables, runs).items() if len(shapes) > 1}
    slopes = [
        [line([s.num_heads for s in shapes], [table[s] for s in shapes]).slope.value for shapes in fitted.values()]
        for table in tables
    ]
    return list(fitted), slopes


def _slope_exponents(inquiry: Inquiry) -> tuple[list[float], list[int], str, str]:
    runs, num_tables = retrained.heads(inquiry), _tables(inquiry)
    tables = retrained.memories(inquiry, runs, num_tables)
    dims, slopes = _slopes(tables, runs)
    per_head = [fmean(column) for column in zip(*slopes, strict=True)]
    shown = ", ".join(f"{slope:.1f} at d = {dim}" for dim, slope in zip(dims, per_head, strict=True))
    note = f"Associations that one more head adds: {shown}."
    words = f"d = d_h in {', '.join(map(str, dims))}, slope in H up to accuracy {SATURATED}"
    return [log_log_slope(dims, row).value for row in slopes], dims, _ranges(inquiry, runs, num_tables, words), note


def cubic(inquiry: Inquiry) -> Evidence:
    """Exponent in d = d_h of the memory that one more head adds."""
    exponents, dims, ranges, note = _slope_exponents(inquiry)
    what = "exponent in d of the memory that one more head adds"
    interval = mean_interval(exponents, what, inquiry.formula(), level=CONFIDENCE)
    return Evidence(Method.MEASUREMENT, ranges, len(exponents) * len(dims), interval=interval, note=note)


def at_least_quadratic(inquiry: Inquiry) -> Evidence:
    """The same exponent, its lower end."""
    exponents, _, ranges, note = _slope_exponents(inquiry)
    tally = Tally(inquiry)
    low = _lower_end(exponents, 1 - CONFIDENCE)
    tally.see(Case(f"exponent in d of the memory that one more head adds, lower {CONFIDENCE:.0%} end", low, inquiry.formula()))
    return tally.evidence(Method.MEASUREMENT, ranges, note=note)


def _published_line(heads: Sequence[int], accuracies: Sequence[float], vocab_size: int) -> Line:
    """Memory against heads, as the published scripts cut it off: up to the first accuracy above .95."""
    kept = before_saturation(accuracies)
    return line(heads[:kept], _published_memories(accuracies[:kept], vocab_size))


def _published_memories(accuracies: Sequence[float], vocab_size: int = published.VOCAB_SIZE) -> list[float]:
    return [memory_from_accuracy(float(accuracy), vocab_size, vocab_size**2) for accuracy in accuracies]


def cubic_published(inquiry: Inquiry) -> Evidence:
    """The same exponent through the published points."""
    slopes = [
        _published_line(published.HEADS, row, published.VOCAB_SIZE).slope.value for row in published.EXPERIMENT_1.values()
    ]
    exponent = log_log_slope(list(published.EXPERIMENT_1), slopes)
    interval = Interval(
        "exponent in d of the memory that one more head adds", exponent.value, exponent.low, exponent.high, inquiry.formula()
    )
    ranges = "published points of experiments 1 and 4, N = 50, d = d_h 3..13, slopes by the paper's cut-off"
    return Evidence(Method.MEASUREMENT, ranges, len(slopes), interval=interval)


def _experiment_6() -> tuple[list[int], list[float]]:
    rows = read_published()
    rows = rows[rows["experiment"] == "exp_6"].sort_values("num_heads")
    return rows["num_heads"].tolist(), rows["draw_accuracy"].tolist()


def printed_factor(inquiry: Inquiry) -> Evidence:
    """Slope of the published points at d = 2 over that of the bound, recomputed."""
    heads, accuracies = _experiment_6()
    shares = np.array(heads) - fmean(heads)
    # Half a unit of the printed factor's last digit, and of each accuracy's, whose effect on the slope is at most this.
    rounding = 0.05 + published.ROUNDING * 100 / 0.9 * float(np.abs(shares).sum() / (shares @ shares)) / 2
    factor = _published_line(heads, accuracies, 10).slope.value / 2
    others = ", ".join(
        f"{_published_line(heads[:kept], accuracies[:kept], 10).slope.value / 2:.2f} from the first {kept}" for kept in (5, 4)
    )
    case = Case("published points of experiment 6, slope of memory in H over d_h", factor, inquiry.formula(), rounding)
    tally = Tally(inquiry)
    tally.see(case)
    note = f"From all {len(heads)} points, none above .95; {others}: the last one has bent."
    return tally.evidence(Method.MEASUREMENT, "least squares, cut off as in the published script", note=note)


def factor(inquiry: Inquiry) -> Evidence:
    """The same ratio in models trained anew."""
    runs, num_tables = retrained.two_dimensions(inquiry), _more_tables(inquiry)
    tables = retrained.memories(inquiry, runs, num_tables)
    heads = [shape.num_heads for shape in runs.shapes]
    means = [fmean(table[shape] for table in tables) for shape in runs.shapes]
    kept = before_saturation([accuracy_from_memory(mean, runs.vocab_size, runs.num_associations) for mean in means])

    if kept < 4:
        raise ArithmeticError(f"only {kept} points up to the first accuracy above .95: no slope")

    def factors(first: int) -> list[float]:
        return [line(heads[:first], [table[s] for s in runs.shapes[:first]]).slope.value / 2 for table in tables]

    what = "slope of memory in H over d_h"
    interval = mean_interval(factors(kept), what, inquiry.formula(), level=CONFIDENCE)
    early = mean_interval(factors(4), what, inquiry.formula(), level=CONFIDENCE)
    words = f"d = d_h = 2, H in {', '.join(map(str, heads[:kept]))}"
    return Evidence(
        Method.MEASUREMENT, _ranges(inquiry, runs, num_tables, words), num_tables * kept, interval=interval,
        note=f"From the first four points: {early.estimate:.2f} ({early.low:.2f} to {early.high:.2f}).",
    )


def _lower_end(values: Sequence[float], risk: float) -> float:
    """One-sided Student lower end for a mean over independent tables."""
    count = len(values)
    return fmean(values) - float(stats.t.ppf(1 - risk, count - 1)) * stdev(values) / sqrt(count)


def above(inquiry: Inquiry) -> Evidence:
    """Mean memory, its lower end over tables, in every setting of experiments 1, 2 and 6."""
    groups = {
        retrained.heads(inquiry): _tables(inquiry),
        retrained.head_dims(inquiry): _tables(inquiry),
        retrained.two_dimensions(inquiry): _more_tables(inquiry),
    }
    tally = Tally(inquiry)
    for place, (runs, num_tables) in enumerate(groups.items()):
        tables = retrained.memories(inquiry, runs, num_tables, (place / len(groups), (place + 1) / len(groups)))
        for shape in runs.shapes:
            low = _lower_end([table[shape] for table in tables], 0.01)
            words = f"N = {runs.vocab_size}, d = {shape.embed_dim}, d_h = {shape.head_dim}, H = {shape.num_heads}"
            claimed = inquiry.formula(shape.num_heads, shape.head_dim, shape.embed_dim)
            case = Case(f"{words}, {num_tables} tables: lower end of the mean memory", low, claimed)
            tally.see(case, size=shape.num_heads)
    ranges = f"settings of experiments 1, 2 and 6, {SCHEDULE}; 99% lower ends over tables, each for itself"
    return tally.evidence(Method.MEASUREMENT, ranges)


def bend_in_embed_dim(inquiry: Inquiry) -> list[Evidence]:
    """Coefficient of d^2 in the published memory on either side of d = d_h."""
    knee = published.EMBED_DIMS.index(10)
    memories = _published_memories(published.EXPERIMENT_3)
    found = []
    for part in (slice(0, knee + 1), slice(knee, None)):
        dims = np.array(published.EMBED_DIMS[part], dtype=float)
        centred = dims - dims.mean()
        *_, bend = least_squares(
            np.column_stack([np.ones_like(centred), centred, centred**2]), memories[part], level=1 - (1 - CONFIDENCE) / 2
        )
        what = f"coefficient of d^2 in memory, d {dims[0]:.0f}..{dims[-1]:.0f}"
        interval = Interval(what, bend.value, bend.low, bend.high, inquiry.formula(), bend.level)
        ranges = "published points of experiment 3, N = 50, d_h = 10, H = 20"
        found.append(Evidence(Method.MEASUREMENT, ranges, dims.size, interval=interval))
    return found
