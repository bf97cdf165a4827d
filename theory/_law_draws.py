"""Scaling laws at random for Hypothesis, around the published ones and at the edges where their formulas meet each other."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from theory.scaling import PUBLISHED, HoffmannLaw, ScalingLaw

Draw = Callable[..., Any]

HOFFMANN_FAMILIES = (
    "free",  # all five constants by themselves
    "published",  # one of the published sets
    "tied",  # alpha = beta
    "no floor",  # E = 0
    "symmetric",  # A = B and alpha = beta: N = D is optimal
    "lopsided",  # one exponent two to five times the other
)
"""How a drawn law of Hoffmann's form is made."""

LAW_KINDS = tuple(dict.fromkeys(type(published.law) for published in PUBLISHED.values()))
"""The classes of the published laws."""


def hoffmann_laws(*, family: str | None = None) -> st.SearchStrategy[HoffmannLaw]:
    """Laws L = E + A/N^alpha + B/D^beta with 0 <= E <= 3, 10 <= A, B <= 1e4 and exponents from 0.1 to 1.5, all of few digits.

    `family` is one of HOFFMANN_FAMILIES; None mixes them.

        @given(hoffmann_laws(), st.floats(1e15, 1e26))
        def test_allocation(law, compute): ...

    Raises ValueError for an unknown family.
    """
    if family is not None and family not in HOFFMANN_FAMILIES:
        raise ValueError(f"family = {family!r}: must be None or one of {', '.join(HOFFMANN_FAMILIES)}")
    return _hoffmann_laws(family)


def scaling_laws(*, kind: type[ScalingLaw] | None = None) -> st.SearchStrategy[ScalingLaw]:
    """Laws of every class in LAW_KINDS (or of `kind`): a published set, each constant moved by up to a third either way.

        @given(scaling_laws())
        def test_expression(law): ...

    Raises ValueError for another class.
    """
    if kind is not None and kind not in LAW_KINDS:
        raise ValueError(f"kind = {kind!r}: must be None or one of {', '.join(law.__name__ for law in LAW_KINDS)}")
    return _scaling_laws(kind)


@st.composite
def _hoffmann_laws(draw: Draw, family: str | None) -> HoffmannLaw:
    family = draw(st.sampled_from(HOFFMANN_FAMILIES)) if family is None else family
    if family == "published":
        published: HoffmannLaw = draw(st.sampled_from([p.law for p in PUBLISHED.values() if isinstance(p.law, HoffmannLaw)]))
        return published
    floor = 0.0 if family == "no floor" else draw(st.integers(1, 30)) / 10
    scales = [float(draw(st.integers(10, 10_000))) for _ in range(2)]
    exponents = [draw(st.integers(10, 100)) / 100 for _ in range(2)]
    if family in ("tied", "symmetric"):
        exponents[1] = exponents[0]
    if family == "symmetric":
        scales[1] = scales[0]
    if family == "lopsided":
        exponents = draw(st.permutations([round(exponents[0] / 5 + 0.1, 3), exponents[0] + 0.5]))
    return HoffmannLaw(floor, *scales, *exponents)


@st.composite
def _scaling_laws(draw: Draw, kind: type[ScalingLaw] | None) -> ScalingLaw:
    laws = [published.law for published in PUBLISHED.values() if kind is None or isinstance(published.law, kind)]
    law: ScalingLaw = draw(st.sampled_from(laws))
    return type(law)(**{name: value * draw(st.integers(75, 133)) / 100 for name, value in law.constants.items()})
