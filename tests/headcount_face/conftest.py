"""Sabotage: a claim whose formula is broken on purpose, so that its check has to come to another verdict."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headcount.claims import Claim, Evidence, Kind, Verdict

FAR = 10**9


def _broken(claim: Claim, verdict: Verdict, evidence: tuple[Evidence, ...]) -> Claim:
    """The claim with a formula that should turn the verdict: a false one where it agreed, a trivial one where it was refuted.

    A tight claim that was refuted has no such formula; the caller gives it.
    """
    kind, formula = claim.comparison, claim.formula
    new: Callable[..., Any]
    if verdict is Verdict.REFUTED:
        if kind is Kind.TIGHT:
            raise LookupError(claim.name)
        if kind is Kind.ASYMPTOTIC:
            estimates = [piece.interval.estimate for piece in evidence if piece.interval is not None]
            new = lambda *given, **named: estimates[0]  # noqa: E731
        else:
            bound = -FAR if kind is Kind.LOWER else FAR
            new = lambda *given, **named: bound  # noqa: E731
    else:
        shift = {Kind.TIGHT: 1, Kind.LOWER: FAR, Kind.UPPER: -FAR, Kind.ASYMPTOTIC: FAR}[kind]
        new = lambda *given, **named: formula(*given, **named) + shift  # noqa: E731
    return replace(claim, formula=new)


@pytest.fixture
def broken() -> Callable[[Claim, Verdict, tuple[Evidence, ...]], Claim]:
    """See `_broken`."""
    return _broken
