"""The exponential and the softmax that certificates rest on, against Arb."""

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from constructions._enclosure import EXP_CUT, EXP_ERROR, FORMATS, NEGLIGIBLE, UNIT, exponential, gamma, softmax_ranges


def worst_error(points: np.ndarray) -> float:
    """Largest relative error of `exponential` over points where it is not cut off, by balls of 80 bits."""
    worst = arb(0)
    with ctx.workprec(80):
        for point, value in zip(points.tolist(), exponential(points).tolist(), strict=True):
            true = arb(point).exp()
            error = ((arb(value) - true) / true).abs_upper()
            if error > worst:
                worst = error
    return float(worst)


def test_exponential_is_as_good_as_proved() -> None:
    """A million points: uniform, tiny, next to where the range reduction turns, and at the edges."""
    rng = np.random.default_rng(0)
    turns = (np.arange(-1009, 866) + 0.5) * np.log(2)
    near_turns = np.concatenate([turns * (1 + k * 2.0**-52) for k in range(-4, 5)])
    points = np.concatenate([
        rng.uniform(EXP_CUT, 0, 500_000), rng.uniform(-2, 0, 200_000), rng.uniform(0, 600, 100_000),
        -(10.0 ** rng.uniform(-320, 2.8, 180_000)), near_turns, [0.0, -0.0, EXP_CUT, 600.0, 5e-324, -5e-324, -2.0**-1022],
    ])  # fmt: skip
    points = points[(points >= EXP_CUT) & (points <= 600)]
    assert len(points) > 990_000
    worst = worst_error(points)
    assert worst < 4.5 * UNIT < EXP_ERROR
    assert worst > 0.5 * UNIT  # the test sees errors at all


def test_exponential_beyond_its_range() -> None:
    assert exponential(np.array([EXP_CUT - 1e-9, -1e6, -1e308, -np.inf])).tolist() == [0.0] * 4
    assert arb(EXP_CUT).exp() < NEGLIGIBLE
    assert exponential(np.array([601.0, np.inf])).tolist() == [np.inf, np.inf]
    assert np.isnan(exponential(np.array([np.nan]))).all()
    assert exponential(np.array([0.0]))[0] == 1.0


def test_exponential_without_the_last_term_would_be_caught() -> None:
    """The bound is not so wide that a shorter polynomial would pass."""
    r = np.linspace(-0.34, 0.34, 2001)
    short = sum(r**k / float(np.prod(np.arange(1, k + 1, dtype=float))) for k in range(11))
    assert np.max(np.abs(short - np.exp(r)) / np.exp(r)) > EXP_ERROR


@given(
    st.lists(st.one_of(st.floats(-3, 0), st.floats(-800, 0), st.floats(-1e6, 0)), min_size=1, max_size=5),
    st.lists(st.one_of(st.just(0.0), st.floats(0, 1e-6), st.floats(0, 3), st.floats(0, 900)), min_size=5, max_size=5),
    st.lists(st.floats(-1, 1), min_size=5, max_size=5),
    st.floats(-50, 50),
)
def test_softmax_of_all_scores_meant_is_inside(
    exponents: list[float], reach: list[float], where: list[float], shift: float
) -> None:
    top = max(exponents)
    exponents = [exponent - top for exponent in exponents]
    reach, where = reach[: len(exponents)], where[: len(exponents)]
    weights, (widths,) = softmax_ranges([np.array([e]) for e in exponents], [[np.array([r]) for r in reach]])
    with ctx.workprec(3000):
        powers = [(arb(e) + arb(r) * arb(w) + arb(shift)).exp() for e, r, w in zip(exponents, reach, where, strict=True)]
        total = sum(powers[1:], powers[0])
        for weight, width, power in zip(weights, widths, powers, strict=True):
            slack = (len(exponents) + 4) * UNIT * float(weight[0]) + NEGLIGIBLE
            assert abs(power / total - arb(float(weight[0]))) <= arb(float(width[0])) + arb(slack)


def test_softmax_widths_are_not_wider_than_they_need_be() -> None:
    """Next to 0 and 1 the width is relative to the distance from 0 and 1; where nothing is known it is infinite."""
    _, ((first, second),) = softmax_ranges([np.array([0.0]), np.array([-100.0])], [[np.array([1e-9]), np.array([1e-9])]])
    assert first[0] < 1e-50 and second[0] < 1e-50
    _, ((first, second),) = softmax_ranges([np.array([0.0]), np.array([-1e6])], [[np.array([50.0]), np.array([50.0])]])
    assert first[0] <= 2 * NEGLIGIBLE * np.exp(60) and second[0] <= 2 * NEGLIGIBLE * np.exp(60)
    _, ((alone,),) = softmax_ranges([np.array([0.0])], [[np.array([7.0])]])
    assert alone[0] == 0
    for bad in (np.nan, np.inf):
        _, ((first, second),) = softmax_ranges([np.array([0.0]), np.array([-1.0])], [[np.array([bad]), np.array([0.0])]])
        assert np.isinf(first[0]) and np.isinf(second[0])
    _, ((first, second),) = softmax_ranges([np.array([0.0]), np.array([-1.0])], [[np.array([1e5]), np.array([1e5])]])
    assert first[0] == 1 and second[0] == 1


def test_gamma() -> None:
    assert gamma(0, UNIT) == 0
    assert gamma(10, UNIT) >= 10 * UNIT / (1 - 10 * UNIT) and gamma(10, UNIT) < 10.001 * UNIT
    assert gamma(128, 2.0**-8) == np.inf


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats_are_torchs(name: str) -> None:
    import torch

    facts = torch.finfo(getattr(torch, name))
    assert FORMATS[name].unit == facts.eps / 2 and FORMATS[name].largest == facts.max
    assert FORMATS[name].lost == (facts.tiny if name != "float16" else facts.smallest_normal * facts.eps)
