"""How the claims about the published experiments are checked: on the authors' table, and on their checkpoints evaluated anew.

Reach at depth L is the largest K with an error below a level for all k up to K. The published errors have no intervals. Here each
is given that of `empirical.hop_errors`, for strings as unlike as an error e on n of them allows: n e of them wholly wrong, one
partly for what is over, all others wholly right. Without the one it is Clopper and Pearson's interval. The ends of reach are
those where every error lies at its upper, or its lower, end.

The lower end of reach is too large only if one error's interval fails, that of the first k beyond the true reach; the upper end
too small only if that of the true reach itself fails, where true errors do not fall as k grows and intervals above the level have
none after them that is not. So a reach has the confidence of one error. An error of 0 on 100 strings ends at 3.6%, on 300 at
1.2%: at a level below that every lower end of reach is 0, whatever the model, and nothing can be said that depends on it.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import product
from math import log, log2, sqrt
from typing import TYPE_CHECKING

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Interval, Method
from headcount.claims.sanford2024._printed import last_matches

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
LEVEL = 0.05
DECIDED = 0.02
"""A level that errors on 300 strings can be told to be below, so that both ends of reach come from the data."""
FAR_ABOVE = 0.12
"""Errors whose intervals on 100 strings and more lie above all levels here."""
SAMPLING = "errors with Clopper and Pearson's interval, as if every string but one were wholly right or wholly wrong"


@cache
def error_interval(error: float, num_strings: int) -> tuple[float, float]:
    """Ends of the interval of an error on so many strings, as unlike as can be: see the module."""
    import numpy as np

    from empirical.hop_interval import bounded_mean

    wrong = round(error * num_strings, 9)  # 0.29 * 100 is 29
    shares = np.clip(wrong - np.arange(num_strings), 0.0, 1.0)
    found = bounded_mean(shares, CONFIDENCE)
    return found.low, found.high


def with_intervals(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table of errors with the ends of their intervals; wider ones beyond `FAR_ABOVE`, where no reach depends on them."""
    pairs = zip(table["error"].astype(float), table["num_strings"].astype(int), strict=True)
    ends = [
        error_interval(error, count) if error < FAR_ABOVE else (error_interval(FAR_ABOVE, count)[0], 1.0)
        for error, count in pairs
    ]
    return table.assign(error_low=[low for low, _ in ends], error_high=[high for _, high in ends])


@cache
def curves(*, dropout: bool, num_heads: int = 4) -> "pd.DataFrame":
    """Published errors by k and depth, for models trained on new strings in every step."""
    from empirical.published_hops import DROPOUT_OFF, DROPOUT_ON, read_published_hops

    table = read_published_hops()
    table = table[(table["name"] == (DROPOUT_ON if dropout else DROPOUT_OFF)) & table["train_samples"].isna()]
    return table[(table["num_heads"] == num_heads) & (table["num_hops"] > 0)]


def _reached(*, dropout: bool, level: float) -> "pd.DataFrame":
    """One row per depth with the reach at a level and its ends."""
    from empirical.hop_thresholds import thresholds

    return thresholds(with_intervals(curves(dropout=dropout)), (level,)).sort_values("num_layers")


def _reaches(inquiry: Inquiry, *, dropout: bool, level: float, deepest: int = 6) -> list[Evidence]:
    said = "as published, dropout on" if dropout else "re-evaluated, dropout off"
    found = []
    for row in _reached(dropout=dropout, level=level).to_dict("records"):
        depth, low, middle, high = (int(row[name]) for name in ("num_layers", "low", "threshold", "high"))
        if depth > deepest:
            continue
        claimed = inquiry.formula(depth)
        # Where the errors may be small at every k of the table, the reach is known to that k alone.
        seen = min(claimed, int(row["measured_hops"])) if row["high_censored"] else claimed
        what = f"L = {depth}, {said}: largest k with errors below {level:.0%} up to it"
        interval = Interval(what, float(middle), float(low), float(high), float(seen), CONFIDENCE)
        measured = int(row["measured_hops"])
        found.append(Evidence(Method.MEASUREMENT, f"one model; {SAMPLING}", num_cases=measured, interval=interval))
    return found


def published(inquiry: Inquiry) -> list[Evidence]:
    return _reaches(inquiry, dropout=True, level=LEVEL)


def dropout_off(inquiry: Inquiry) -> list[Evidence]:
    return _reaches(inquiry, dropout=False, level=LEVEL)


def dropout_off_to_four(inquiry: Inquiry) -> list[Evidence]:
    return _reaches(inquiry, dropout=False, level=DECIDED, deepest=4)


def dropout_off_decided(inquiry: Inquiry) -> list[Evidence]:
    return _reaches(inquiry, dropout=False, level=DECIDED)


def dropout_off_both(inquiry: Inquiry) -> list[Evidence]:
    return [*_reaches(inquiry, dropout=False, level=LEVEL), *_reaches(inquiry, dropout=False, level=DECIDED)]


def _doubling(inquiry: Inquiry, *, dropout: bool) -> Evidence:
    from empirical.regression import line

    rows = _reached(dropout=dropout, level=LEVEL)
    largest = {int(depth): int(hops) for depth, hops in zip(rows["num_layers"], rows["threshold"], strict=True)}
    slope = line([float(depth) for depth in largest], [log2(hops) for hops in largest.values()]).slope
    said = "as published, dropout on" if dropout else "re-evaluated, dropout off"
    what = f"{said}: growth of log2 of the reach at {LEVEL:.0%} per layer"
    return Evidence(
        Method.MEASUREMENT, f"reaches {', '.join(f'{k} at L = {depth}' for depth, k in largest.items())}; one model per depth",
        num_cases=len(largest), interval=Interval(what, slope.value, slope.low, slope.high, float(inquiry.formula())),
        note="Least squares; the interval is Student's for points that scatter about one line.",
    )


def doubling_published(inquiry: Inquiry) -> Evidence:
    return _doubling(inquiry, dropout=True)


def doubling_dropout_off(inquiry: Inquiry) -> Evidence:
    return _doubling(inquiry, dropout=False)


def dropout_difference(inquiry: Inquiry) -> list[Evidence]:
    pairs = curves(dropout=True).merge(curves(dropout=False), on=["num_layers", "num_hops"], suffixes=("_on", "_off"))
    found = []
    for depth in sorted({int(each) for each in pairs["num_layers"]}):
        rows = pairs[pairs["num_layers"] == depth]
        difference = float((rows["error_on"] - rows["error_off"]).mean())
        # Hoeffding's inequality: each string's share of wrong symbols, in [0, 1], counts 1 / (number of k x strings per k).
        ranges = sum(float((1 / rows[f"num_strings_{which}"]).sum()) for which in ("on", "off")) / len(rows) ** 2
        half = sqrt(log(2 / (1 - CONFIDENCE)) * ranges / 2)
        what = f"L = {depth}, mean over k = 1..{len(rows)} of the published error less that with dropout off"
        predicted = float(inquiry.formula(depth))
        interval = Interval(what, difference, difference - half, difference + half, predicted, CONFIDENCE)
        said = "one model; Hoeffding's interval, strings drawn anew for each k"
        found.append(Evidence(Method.MEASUREMENT, said, num_cases=len(rows), interval=interval))
    return found


LEVELS = (0.02, 0.05, 0.1)


def _reach_by_depth(num_heads: int, level: float) -> dict[int, int]:
    from empirical.hop_thresholds import thresholds

    rows = thresholds(curves(dropout=True, num_heads=num_heads), (level,)).sort_values("num_layers")
    return {int(depth): int(hops) for depth, hops in zip(rows["num_layers"], rows["threshold"], strict=True)}


def _compared(inquiry: Inquiry, pairs: Iterator[tuple[str, int, int]], ranges: str) -> Evidence:
    cases = (Case(words, more, inquiry.formula(less)) for words, more, less in pairs)
    note = "One model per setting, numbers as tabulated; the table ends at k = 16."
    return enumerated(inquiry, cases, Method.MEASUREMENT, ranges, note=note)


def wider(inquiry: Inquiry) -> Evidence:
    def pairs() -> Iterator[tuple[str, int, int]]:
        for level in LEVELS:
            narrow, wide = _reach_by_depth(4, level), _reach_by_depth(8, level)
            yield from ((f"L = {depth}, level {level:.0%}: reach at m = 256", wide[depth], narrow[depth]) for depth in narrow)

    return _compared(inquiry, pairs(), "published table, L 2..6, levels 2, 5, 10%, against m = 128")


def deeper(inquiry: Inquiry) -> Evidence:
    def pairs() -> Iterator[tuple[str, int, int]]:
        for heads, level in product((4, 8), LEVELS):
            reaches = _reach_by_depth(heads, level)
            for depth in list(reaches)[1:]:
                yield f"{heads} heads, level {level:.0%}: reach at L = {depth}", reaches[depth], reaches[depth - 1]

    return _compared(inquiry, pairs(), "published table, 4 and 8 heads, L 3..6 against one layer less, levels 2, 5, 10%")


def attended_hops(inquiry: Inquiry) -> Evidence:
    deepest = inquiry.pick(8, 10, 12)

    def cases() -> Iterator[Case]:
        length = 2 ** (deepest - 1)
        pointer = last_matches(tuple(place % 2 for place in range(length)))  # each hop leads one position back
        for layer in range(3, deepest + 1):
            words = f"layer {layer}, string abab.. of {length}: hops to the position attended to"
            yield Case(words, length - pointer[length], inquiry.formula(layer))
            pointer = [pointer[target] for target in pointer]

    return enumerated(
        inquiry, cases(), Method.EXACT, f"layers 3..{deepest} of the pointer's recurrence",
        argument="a layer attends by the pointer that it has, find^1 after layer 2, and squares it",
    )


def _scores(inquiry: Inquiry, weights: tuple[Fraction, ...], size: int) -> Iterator[Case]:
    """All causal maps of one or two rows of these weights that sum to 1 per row, against all targets with one mark a row."""
    rows = [
        [row for row in product(weights, repeat=size) if sum(row) == 1 and not any(row[width:])] for width in range(1, size + 1)
    ]
    marks = [[tuple(int(place == mark) for place in range(size)) for mark in range(-1, width)] for width in range(1, size + 1)]
    for attention, target in product(product(*rows), product(*marks)):
        flat = [(a, b) for one, two in zip(attention, target, strict=True) for a, b in zip(one, two, strict=True)]
        if not any(b for _, b in flat):
            continue
        norms = sum(a * a for a, _ in flat) * sum(b for _, b in flat)
        cosine, printed = sum((a * b for a, b in flat), Fraction(0)), sum(((a * b) ** 2 for a, b in flat), Fraction(0))
        told = "; ".join(" ".join(map(str, row)) for row in attention), "; ".join(" ".join(map(str, row)) for row in target)
        words = f"attention ({told[0]}), target ({told[1]}): square of the code's score"
        yield Case(words, cosine**2 / norms, inquiry.formula(printed, cosine, norms))


def scores(inquiry: Inquiry) -> Evidence:
    grids = [tuple(Fraction(part, parts) for part in range(parts + 1)) for parts in (1, 2, 4)]
    cases = (case for size in (1, 2, 3) for weights in grids for case in _scores(inquiry, weights, size))
    ranges = "causal maps of 1, 2, 3 positions, weights in halves and quarters, all targets"
    return enumerated(inquiry, cases, Method.EXACT, ranges)


def scores_one_hot(inquiry: Inquiry) -> Evidence:
    most = inquiry.pick(3, 4, 4)
    cases = (case for size in range(1, most + 1) for case in _scores(inquiry, (Fraction(0), Fraction(1)), size))
    return enumerated(
        inquiry, cases, Method.EXACT, f"one-hot causal maps of 1..{most} positions, all targets",
        argument="the entries of A o B are 0 or 1 there, and equal their squares",
    )
