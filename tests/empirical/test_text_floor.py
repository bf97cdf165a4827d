"""The profile interval of an exponent with a floor is, where residuals are small, the linear one of least squares."""

import numpy as np
import pytest
from scipy import optimize, stats

from empirical._text_exponents import EXPONENTS, LEVEL, _floor


def test_ends_are_those_of_least_squares_where_it_is_nearly_linear() -> None:
    x = np.geomspace(1e5, 4e6, 12)
    loss = (1.0 + 2.0 * (x / 1e6) ** -0.5) * np.exp(5e-3 * np.random.default_rng(0).normal(size=len(x)))

    def curve(x: np.ndarray, floor: float, factor: float, exponent: float) -> np.ndarray:
        return floor + factor * (x / 1e6) ** -exponent

    best, covariance = optimize.curve_fit(curve, x, loss, p0=(1.0, 2.0, 0.5), sigma=loss)
    half = stats.t.ppf(0.5 + LEVEL / 2, len(x) - 3) * np.sqrt(covariance[2, 2])
    found = _floor(x, loss)
    step = np.diff(EXPONENTS)[np.searchsorted(EXPONENTS, best[2])]  # ends lie on a grid, rounded outwards
    assert found["exponent"] == pytest.approx(best[2], abs=step)
    assert found["low"] == pytest.approx(best[2] - half, abs=2 * step + 0.05 * half)
    assert found["high"] == pytest.approx(best[2] + half, abs=2 * step + 0.05 * half)
    assert 6 * step < half
