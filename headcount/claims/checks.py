"""Ways of looking, shared by the checks of all papers: they gather cases; whether these speak for a claim, its kind decides."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from math import isfinite, tanh
from pathlib import Path
from typing import Any

import sympy
from hypothesis import HealthCheck, Phase, Verbosity, given, reject, seed, settings, target
from hypothesis import configuration as hypothesis_files
from hypothesis.strategies import SearchStrategy

from headcount.claims.claim import Case, Evidence, Inquiry, Interval, Method

Strategy = SearchStrategy[Any]
SCRATCH: str | None = None
"""A folder for what Hypothesis caches, kept and taken away by whoever sets it; None for a new one each time."""


class Tally:
    """Cases gathered one by one: how many, the nearest to violating the claim, and the smallest that violates it."""

    def __init__(self, inquiry: Inquiry) -> None:
        self.kind = inquiry.claim.comparison
        self.num_cases = 0
        self.closest: Case | None = None
        self.counterexample: Case | None = None
        self._size = float("inf")

    def see(self, case: Case, size: float = 0.0) -> bool:
        """Count a case; `size` orders violations, the first of the smallest is kept. Returns whether it agrees."""
        self.num_cases += 1
        if case.agrees(self.kind):
            if self.closest is None or case.slack(self.kind) < self.closest.slack(self.kind):
                self.closest = case
            return True
        if self.counterexample is None or size < self._size:
            self.counterexample, self._size = case, size
        return False

    def evidence(self, method: Method, ranges: str, *, argument: str = "", note: str = "") -> Evidence:
        """What was seen. With an `argument` it is complete, unless it has a counterexample or no case at all."""
        complete = bool(argument) and self.counterexample is None and self.num_cases > 0
        return Evidence(
            method=method,
            ranges=ranges,
            num_cases=self.num_cases,
            closest=self.closest,
            counterexample=self.counterexample,
            complete=complete,
            argument=argument if complete else "",
            note=note,
        )


def enumerated(
    inquiry: Inquiry, cases: Iterable[Case], method: Method, ranges: str, *, argument: str = "", note: str = ""
) -> Evidence:
    """Evidence from listed cases, given from small to large; it ends at the first violation, which is the smallest then."""
    tally = Tally(inquiry)
    for case in cases:
        if not tally.see(case):
            break
    return tally.evidence(method, ranges, argument=argument, note=note)


class _Violated(Exception):
    """Raised inside Hypothesis so that it shrinks the example."""


def property_tested(
    inquiry: Inquiry,
    observe: Callable[..., Case | None],
    drawn: Mapping[str, Strategy],
    *,
    examples: int,
    ranges: str,
    method: Method = Method.PROPERTY,
    note: str = "",
) -> Evidence:
    """Evidence from cases that Hypothesis draws and pushes towards the worst; a violation is shrunk to a small one.

    Args:
        inquiry: gives kind and seed.
        observe: makes a case of what is drawn; None where there is nothing to compare.
        drawn: strategies by argument of `observe`.
        examples: how many to draw.
        ranges: what they cover, in words.
        method: PROPERTY, or EXACT where each case is computed exactly.
        note: passed on.

    Writes nothing that outlives the call, whatever folder it runs in.
    """
    kind = inquiry.claim.comparison
    tally = Tally(inquiry)
    smallest: list[Case] = []

    @seed(inquiry.seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.target, Phase.shrink),
    )
    @given(**drawn)
    def run(**arguments: Any) -> None:
        case = observe(**arguments)
        if case is None:
            reject()
        inquiry.report(min(1.0, tally.num_cases / examples))
        if not tally.see(case):
            smallest.append(case)  # while shrinking each failure is smaller than the one before, and the last is run again
            raise _Violated
        target(-tanh(case.slack(kind) / (1 + abs(float(case.formula)))), label="nearness to a violation")

    with _hypothesis_writes_elsewhere():
        try:
            run()
        except _Violated:
            tally.counterexample = smallest[-1]
    return tally.evidence(method, ranges, note=note)


@contextmanager
def _hypothesis_writes_elsewhere() -> Iterator[None]:
    # Without an example database Hypothesis still caches what it read from source files, in .hypothesis of the current folder.
    before: Path | None = getattr(hypothesis_files, "__hypothesis_home_directory", None)
    with tempfile.TemporaryDirectory(prefix="headcount-") if SCRATCH is None else nullcontext(SCRATCH) as folder:
        hypothesis_files.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            hypothesis_files.set_hypothesis_home_dir(before)


def identity(inquiry: Inquiry, pairs: Mapping[str, tuple[sympy.Expr, sympy.Expr]], *, argument: str) -> Evidence:
    """Evidence that expressions in symbols are equal: per description, the true one and the formula's.

    The difference has to simplify to zero. Where it does not, whole numbers from small to large are put in until the two sides
    differ, so that a counterexample is always a number; an undecided difference is an error, not a pass.
    """
    tally = Tally(inquiry)
    for description, (true, claimed) in pairs.items():
        true, claimed = sympy.sympify(true), sympy.sympify(claimed)
        if sympy.simplify(true - claimed) == 0:
            tally.see(Case(description, 0, 0))
        else:
            tally.see(_numbers_that_tell_apart(description, true, claimed))
    return tally.evidence(Method.SYMBOLIC, f"{len(pairs)} identities in symbols", argument=argument)


def _numbers_that_tell_apart(description: str, true: sympy.Expr, claimed: sympy.Expr) -> Case:
    symbols = sorted(true.free_symbols | claimed.free_symbols, key=str)
    for size in range(1, 8):
        point = {symbol: size + place for place, symbol in enumerate(symbols)}
        left, right = true.subs(point), claimed.subs(point)
        if left.is_number and right.is_number and sympy.simplify(left - right) != 0:
            where = ", ".join(f"{symbol} = {value}" for symbol, value in point.items())
            return Case(f"{description}, {where}" if where else description, float(left), float(right))
    raise ArithmeticError(f"{description}: {true} - ({claimed}) neither simplifies to zero nor differs at the numbers tried")


def mean_interval(values: Iterable[float], what: str, predicted: float, *, level: float = 0.95) -> Interval:
    """Student interval for a mean over independent repetitions (at least two)."""
    from empirical import comparison  # brings pandas: only for those who measure

    numbers = list(values)
    if len(numbers) < 2 or not all(isfinite(number) for number in numbers):
        raise ArithmeticError(f"{what}: {len(numbers)} repetitions, not all finite or fewer than two; no interval")
    mean, low, high = comparison.mean_interval(numbers, level)
    return Interval(what, mean, low, high, predicted, level)
