"""A claim is data: what a paper states, what a check of it saw, and the verdict that follows from the two.

Nobody writes a verdict. A check hands over evidence (cases that it compared, an interval that it measured, whether that settles
the statement for good); `decide` alone turns evidence into a verdict, and the claim's kind alone says which comparison counts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from math import isfinite
from typing import Any

Number = int | float | Fraction


class Kind(StrEnum):
    """What sort of statement it is; this picks the comparison."""

    TIGHT = "tight"
    """The true value equals the formula, up to a computed tolerance."""
    LOWER = "lower"
    """The formula is a lower bound: the true value is at least that, less a computed tolerance."""
    UPPER = "upper"
    """The formula is an upper bound: the true value is at most that, plus a computed tolerance."""
    ASYMPTOTIC = "asymptotic"
    """The formula is an exponent, slope or mean: it lies in an interval measured for it."""
    CONDITIONAL = "conditional"
    """The statement rests on an assumption that no check here can settle: shown as such, never "held"."""


class Verdict(StrEnum):
    """What can be said of a claim."""

    PROVED = "proved"
    """Symbolic or exact arithmetic, or rigorous bounds, settle the statement for all cases that it speaks of."""
    HELD = "held"
    """No violation in the cases tried."""
    MEASURED = "measured"
    """A statistical statement, and the interval agrees with it."""
    REFUTED = "refuted"
    """A counterexample, or an interval that excludes it."""
    NEEDS_ASSUMPTION = "needs assumption"
    """Conditional, and not violated where its assumption was granted."""
    NOT_CHECKED = "not checked"
    """No check at this effort."""
    ERROR = "error"
    """The check crashed, or saw nothing: never a pass."""


class Effort(StrEnum):
    """How long a check may take, for a whole paper on two cores: quick 1 minute, standard 10 minutes, exhaustive hours."""

    QUICK = "quick"
    STANDARD = "standard"
    EXHAUSTIVE = "exhaustive"

    @property
    def rank(self) -> int:
        """0, 1, 2 in the order of length."""
        return list(Effort).index(self)


class Method(StrEnum):
    """How a check looks."""

    SYMBOLIC = "symbolic"
    EXACT = "exact arithmetic"
    BALL = "rigorous bounds"
    PROPERTY = "property test"
    MEASUREMENT = "measurement"


RIGOROUS = (Method.SYMBOLIC, Method.EXACT, Method.BALL)
"""Methods that can prove a statement."""


@dataclass(frozen=True)
class Case:
    """One comparison of the true value of something with what the claim's formula says of it.

    Attributes:
        description: what was looked at, in words that allow repeating it (sizes, sequences, seeds).
        value: the true value, as found by a way that is independent of the formula.
        formula: what the formula says.
        tolerance: bound on the error of `value` and `formula`, computed, 0 for exact numbers.
    """

    description: str
    value: Number
    formula: Number
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"{self.description}: tolerance = {self.tolerance}: a finite number of at least 0 is legal")
        for name, number in (("value", self.value), ("formula", self.formula)):
            if number != number:
                raise ValueError(f"{self.description}: {name} is not a number; a case needs one")

    def slack(self, kind: Kind) -> float:
        """How far from violating the claim, rounded to a float: for ordering cases; whether one agrees says `agrees`."""
        exact = self._slack(kind)
        return exact if isinstance(exact, float) else _as_float(exact)

    def agrees(self, kind: Kind) -> bool:
        """Whether the case is as the claim says, decided exactly."""
        return self._slack(kind) >= 0

    def _slack(self, kind: Kind) -> Fraction | float:
        value, formula, tolerance = _comparable(self.value), _comparable(self.formula), Fraction(self.tolerance)
        if kind not in (Kind.LOWER, Kind.UPPER, Kind.TIGHT):
            raise ValueError(f"kind = {kind}: 'tight', 'lower' and 'upper' are legal for a case")
        if value == formula:
            return tolerance
        if isinstance(value, float) or isinstance(formula, float):  # an infinity
            difference = float("inf") if value > formula else float("-inf")
            return {Kind.LOWER: difference, Kind.UPPER: -difference, Kind.TIGHT: float("-inf")}[kind]
        gap = value - formula
        return tolerance + {Kind.LOWER: gap, Kind.UPPER: -gap, Kind.TIGHT: -abs(gap)}[kind]

    def text(self) -> str:
        """One line: what was looked at, what was found, what the formula says."""
        return f"{self.description}: {_shown(self.value)}, formula {_shown(self.formula)}"


@dataclass(frozen=True)
class Interval:
    """A number estimated with an interval, and what the claim's formula predicts for it.

    Attributes:
        what: the quantity, with its unit.
        estimate, low, high: the estimate and the ends of its interval.
        predicted: what the formula says.
        level: of confidence.
    """

    what: str
    estimate: float
    low: float
    high: float
    predicted: float
    level: float = 0.95

    def __post_init__(self) -> None:
        numbers = (self.estimate, self.low, self.high, self.predicted)
        if not all(isfinite(number) for number in numbers) or not self.low <= self.estimate <= self.high:
            given = f"estimate, low, high, predicted = {numbers}"
            raise ValueError(f"{self.what}: {given}: finite numbers with low <= estimate <= high are legal")

    def agrees(self, kind: Kind) -> bool:
        """Two-sided for asymptotic and tight claims; for a lower (upper) bound, whether the interval reaches above (below) it."""
        above, below = self.high >= self.predicted, self.low <= self.predicted
        return above if kind is Kind.LOWER else below if kind is Kind.UPPER else above and below

    def text(self) -> str:
        """One line."""
        return (
            f"{self.what}: {self.estimate:.4g} ({self.level:.0%} interval {self.low:.4g} to {self.high:.4g}), "
            f"claimed {self.predicted:.4g}"
        )


@dataclass(frozen=True)
class Evidence:
    """What one check saw.

    Attributes:
        method: how it looked.
        ranges: what was covered, in words: sizes, families, seeds.
        num_cases: comparisons made.
        closest: of those that agree, the one nearest to violating the claim.
        counterexample: the smallest violation found, None without one.
        interval: for statistical statements.
        complete: whether this settles the whole statement, for all cases; for rigorous methods only, and `argument` says why.
        argument: the step from what was computed to the statement, for complete evidence.
        note: what a reader should know besides.
    """

    method: Method
    ranges: str
    num_cases: int = 0
    closest: Case | None = None
    counterexample: Case | None = None
    interval: Interval | None = None
    complete: bool = False
    argument: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.complete and (self.method not in RIGOROUS or not self.argument):
            raise ValueError(f"complete = True with method = {self.method!r}: a rigorous method and an argument are legal")
        if isinstance(self.num_cases, bool) or not isinstance(self.num_cases, int) or self.num_cases < 0:
            raise ValueError(f"num_cases = {self.num_cases!r}: a whole number of at least 0 is legal")

    def violates(self, kind: Kind) -> bool:
        """Whether it speaks against the claim; any of its cases may.

        Raises ValueError for a counterexample that agrees with the claim.
        """
        if self.counterexample is not None and self.counterexample.agrees(kind):
            raise ValueError(f"counterexample agrees with the claim: {self.counterexample.text()}")
        refuting = self.counterexample is not None or (self.closest is not None and not self.closest.agrees(kind))
        return refuting or (self.interval is not None and not self.interval.agrees(kind))

    def text(self, kind: Kind) -> str:
        """One line for a table."""
        if self.counterexample is not None:
            return f"counterexample: {self.counterexample.text()}"
        if self.interval is not None:
            return f"{self.interval.text()}; {self.ranges}"
        if self.complete:
            return f"{self.method}: {self.argument}"
        nearest = f"; closest {self.closest.text()}" if self.closest is not None else ""
        return f"{self.num_cases:,} cases, {self.method}, {self.ranges}{nearest}"


Check = Callable[["Inquiry"], "Evidence | Sequence[Evidence]"]


@dataclass(frozen=True)
class Claim:
    r"""A statement of a paper, or its repair, with the check that can decide it.

    Attributes:
        name: "dana2025/corollary-1": the paper's key and a name that is unique in the paper.
        number: where it stands: "Corollary 1", or "repairs Corollary 1".
        title: a few words.
        kind: see `Kind`; picks the comparison.
        statement: LaTeX, in our own words.
        assumptions: in words; those that the paper states, or those of the repair.
        formula: the theoretical side, called by the check only; a test that swaps it must see the verdict change.
        check: looks for evidence; None where the statement can't be checked as it is, and `note` says why.
        least_effort: below it the claim is not checked.
        granted: for conditional claims, the comparison that counts where the assumption is granted.
        repairs: name of the claim that this one puts right.
        code: where in this project the statement lives.
        note: what is loose or wrong in the original, and why.
        shares: name of something costly that several checks compute once per process; such claims are checked together.
    """

    name: str
    number: str
    title: str
    kind: Kind
    statement: str
    formula: Callable[..., Any]
    check: Check | None
    assumptions: tuple[str, ...] = ()
    least_effort: Effort = Effort.QUICK
    granted: Kind | None = None
    repairs: str | None = None
    code: tuple[str, ...] = ()
    note: str = ""
    shares: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9-]+", self.name):
            raise ValueError(f"name = {self.name!r}: paper/name in lower-case letters, digits and hyphens is legal")
        if (self.kind is Kind.CONDITIONAL) != (self.granted is not None):
            raise ValueError(f"{self.name}: granted = {self.granted!r}: legal with, and only with, a conditional claim")
        if self.granted is Kind.CONDITIONAL:
            raise ValueError(f"{self.name}: granted = 'conditional': another kind is legal")

    @property
    def paper(self) -> str:
        """The paper's key."""
        return self.name.partition("/")[0]

    @property
    def own(self) -> bool:
        """Whether it is a statement of the paper itself, not one derived here or a repair."""
        return not self.number.startswith(("derived here", "repairs"))

    @property
    def comparison(self) -> Kind:
        """The kind that picks the comparison."""
        return self.granted if self.granted is not None else self.kind


@dataclass(frozen=True)
class Inquiry:
    """What a check is given: the claim, how hard to look, where chance comes from.

    Attributes:
        claim: checks take the formula from it.
        effort: how hard to look.
        seed: of all that is random.
        report: called with the fraction done, from 0 to 1.
    """

    claim: Claim
    effort: Effort
    seed: int = 0
    report: Callable[[float], None] = field(default=lambda done: None)

    def formula(self, *arguments: Any, **named: Any) -> Any:
        """What the claim's formula says."""
        return self.claim.formula(*arguments, **named)

    def pick(self, quick: int, standard: int, exhaustive: int) -> int:
        """One of three numbers, by effort."""
        return (quick, standard, exhaustive)[self.effort.rank]


def decide(claim: Claim, evidence: Sequence[Evidence]) -> Verdict:
    """The verdict that evidence amounts to; the only place where verdicts come from.

    A violation refutes. Evidence without a single case or interval is an error. A conditional claim that is not violated needs
    its assumption. Otherwise an interval makes it measured, complete evidence proved, and cases held.
    """
    kind = claim.comparison
    if not evidence:
        return Verdict.NOT_CHECKED
    if any(piece.violates(kind) for piece in evidence):
        return Verdict.REFUTED
    if any(piece.num_cases == 0 and piece.interval is None for piece in evidence):
        return Verdict.ERROR
    if claim.kind is Kind.CONDITIONAL:
        return Verdict.NEEDS_ASSUMPTION
    if any(piece.interval is not None for piece in evidence):
        return Verdict.MEASURED
    return Verdict.PROVED if any(piece.complete for piece in evidence) else Verdict.HELD


def _comparable(number: Number) -> Fraction | float:
    # Fractions of floats are exact, so that a comparison never rounds; infinities stay floats.
    return number if isinstance(number, float) and not isfinite(number) else Fraction(number)


def _as_float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _shown(number: Number) -> str:
    if isinstance(number, Fraction):
        return str(number) if number.denominator < 10**6 else f"{float(number):.6g}"
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"
