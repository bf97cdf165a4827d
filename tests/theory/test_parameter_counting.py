"""Kaplan's exponent out of Hoffmann's law by leaving out the embedding: slopes, limits, and the optimum by search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from theory.parameter_counting import kaplan_sizes, reconciliation
from theory.scaling import PUBLISHED, HoffmannLaw
from theory.scaling_units import PearceSongCounting, Unit

EPOCH = PUBLISHED["besiroglu2024"].law


def test_the_reconciliation_in_numbers() -> None:
    found = reconciliation(EPOCH)
    assert (found.parameters[0], found.parameters[-1]) == (768.0, pytest.approx(1.5e9))
    assert found.parameters.size == 20
    assert round(found.global_slope, 2) == 0.79
    assert round(found.large_limit, 3) == 0.513
    assert round(found.tiny_limit, 3) == 0.759
    assert round(found.loss_exponent, 3) == -0.069
    fine = reconciliation(EPOCH, kaplan_sizes(400))
    assert (round(fine.local_slopes.min(), 2), round(fine.local_slopes.max(), 2)) == (0.53, 0.98)
    assert round(fine.global_slope, 2) == 0.79


def test_both_limits_are_reached() -> None:
    found = reconciliation(EPOCH, np.array([1e-3, 1.0, 1e14, 1e16]))
    assert found.local_slopes[0] == pytest.approx(found.tiny_limit, abs=1e-4)
    assert found.local_slopes[-1] == pytest.approx(found.large_limit, abs=1e-4)


@pytest.mark.parametrize("name", ["besiroglu2024", "hoffmann2022", "hoffmann2022_rounded"])
def test_local_slopes_are_the_derivatives(name: str) -> None:
    found = reconciliation(PUBLISHED[name].law, kaplan_sizes(2001))
    middle = (found.parameters[2:], found.parameters[:-2], found.compute[2:], found.compute[:-2])
    numerical = np.log(middle[0] / middle[1]) / np.log(middle[2] / middle[3])
    # Central differences over 0.0145 in ln N: the error is h^2 / 6 of a third derivative of order 1.
    np.testing.assert_allclose(found.local_slopes[1:-1], numerical, atol=4e-5)


@settings(max_examples=25)
@given(st.floats(1e3, 1e11), st.sampled_from(["besiroglu2024", "hoffmann2022", "hoffmann2022_rounded"]))
def test_sizes_are_optimal_for_their_non_embedding_compute(size: float, name: str) -> None:
    law, rule = PUBLISHED[name].law, PearceSongCounting()
    found = reconciliation(law, np.array([size, 2 * size]))
    budget = found.compute[0]

    def loss(log_size: float) -> float:
        return float(law.loss(rule.total(np.exp(log_size)), budget / 6 / np.exp(log_size)))

    searched = minimize_scalar(loss, bracket=(np.log(size) - 1, np.log(size) + 1), method="brent")
    # A flat minimum: found to the root of the rounding error over the curvature, which is above 1e-3 here.
    assert np.exp(searched.x) == pytest.approx(size, rel=1e-4)
    assert found.loss[0] <= searched.fun + 1e-13
    assert found.total_parameters[0] == rule.total(size)
    assert 6 * size * found.tokens[0] == pytest.approx(budget)


def test_without_an_embedding_nothing_changes() -> None:
    found = reconciliation(EPOCH, counting=PearceSongCounting(1e-9))
    np.testing.assert_allclose(found.local_slopes, found.large_limit, atol=1e-9)
    assert found.global_slope == pytest.approx(found.large_limit, abs=1e-9)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: reconciliation(EPOCH, np.array([1e6])), "sizes has shape (1,): must be at least two ascending numbers"),
        (lambda: reconciliation(EPOCH, np.array([1e7, 1e6])), "sizes has shape (2,): must be at least two ascending"),
        (lambda: reconciliation(EPOCH, np.array([0.0, 1e6])), "sizes = 0.0: must be a finite number > 0"),
        (
            lambda: reconciliation(HoffmannLaw(1, 1, 1, 1, 1, parameter_unit=Unit.NON_EMBEDDING_PARAMETERS)),
            "law has N in non-embedding parameters: must be in total parameters",
        ),
        (lambda: reconciliation(HoffmannLaw(1, 400, 400, 0.1, 0.1)), "sizes = "),
    ],
)
def test_bad_input_is_refused_in_one_line(work, message: str) -> None:
    with pytest.raises(ValueError) as error:
        work()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
