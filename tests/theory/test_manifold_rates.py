"""Exponents on a manifold, their inverses and the identity between them: against searches, exactly, and in symbols."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from theory import manifold_rates as rates

EPSILON = np.finfo(float).eps
dimensions = st.floats(0.1, 1000)
smoothness = st.floats(0.05, 20)
fractions = st.builds(Fraction, st.integers(1, 999), st.integers(1, 99))


def _text(word: str) -> Any:
    return word


@pytest.mark.parametrize(("dimension", "beta"), [(1, 0.5), (2, 1.0), (7, 0.3), (12, 2.0)])
def test_exponents_are_slopes_of_the_least_risk_found_by_search(dimension: int, beta: float) -> None:
    def least(log_samples: float) -> float:
        # Least over t = ln eps of ln(eps^2 + eps^(-d/beta) / n), in logarithms.
        def log_risk(t: float) -> float:
            return float(np.logaddexp(2 * t, -dimension * t / beta - log_samples))

        return float(minimize_scalar(log_risk, bounds=(-log_samples, 1), method="bounded", options={"xatol": 1e-8}).fun)

    slope = (least(30.0) - least(10.0)) / 20
    # A point off by xatol is off by its square in a smooth minimum: what remains is rounding, 100 epsilon over 20.
    assert -slope == pytest.approx(rates.data_exponent(dimension, beta), abs=1e-10)
    parameters = np.array([1e3, 1e9])
    errors = parameters ** (-beta / dimension)
    measured = -np.log(errors[1] ** 2 / errors[0] ** 2) / np.log(parameters[1] / parameters[0])
    assert rates.model_exponent(dimension, beta) == pytest.approx(measured, rel=1e-12)


def test_printed_tables_of_exponents() -> None:
    grid = np.array([5, 8, 10, 12, 15, 20, 30])
    assert np.round(rates.data_exponent(grid, 1), 4).tolist() == [0.2857, 0.2, 0.1667, 0.1429, 0.1176, 0.0909, 0.0625]
    assert np.round(rates.model_exponent(grid, 1), 4).tolist() == [0.4, 0.25, 0.2, 0.1667, 0.1333, 0.1, 0.0667]


@given(fractions, fractions)
def test_inverses_and_the_identity_are_exact_for_fractions(dimension: Fraction, beta: Fraction) -> None:
    data, model = rates.data_exponent(dimension, beta), rates.model_exponent(dimension, beta)
    assert rates.inverse_difference(data, model) == 1
    assert rates.dimension_from_data_exponent(data, beta) == dimension == rates.dimension_from_model_exponent(model, beta)
    assert rates.smoothness_ratio(data, "data") == rates.smoothness_ratio(model, "model") == dimension / beta
    assert data < model and data < 1


@given(dimensions, smoothness)
def test_floats_agree_with_fractions_to_rounding(dimension: float, beta: float) -> None:
    data, model = rates.data_exponent(dimension, beta), rates.model_exponent(dimension, beta)
    assert isinstance(data, float) and isinstance(model, float)
    # Two products, a sum and a quotient; a product and a quotient: an epsilon each at most.
    assert data == pytest.approx(float(rates.data_exponent(Fraction(dimension), Fraction(beta))), rel=4 * EPSILON)
    assert model == pytest.approx(float(rates.model_exponent(Fraction(dimension), Fraction(beta))), rel=3 * EPSILON)
    # 1 - alpha loses epsilon alpha / (1 - alpha) of itself.
    lost = 8 * EPSILON * (1 + data / (1 - data))
    assert rates.dimension_from_data_exponent(data, beta) == pytest.approx(dimension, rel=lost)


def test_arrays_broadcast_and_symbols_stay() -> None:
    table = rates.data_exponent(np.arange(1, 4)[:, None], np.array([0.5, 1.0]))
    assert table.shape == (3, 2) and table.dtype == np.float64
    assert table[2, 0] == rates.data_exponent(3, 0.5)
    assert rates.data_exponent(Fraction(3), np.array([0.5, 1.0])).tolist() == table[2].tolist()
    d, beta = sympy.symbols("d beta", positive=True)
    assert rates.data_exponent(d, 1) == 2 / (d + 2)
    assert sympy.simplify(rates.inverse_difference(rates.data_exponent(d, beta), rates.model_exponent(d, beta))) == 1
    assert sympy.simplify(rates.dimension_from_data_exponent(rates.data_exponent(d, beta), beta) - d) == 0


def test_the_derivation_ends_in_the_formulas_and_leaves_nothing_over() -> None:
    found = rates.derive_rates()
    d, beta, n, eps = sympy.symbols("d beta n eps", positive=True)
    assert len(found.residuals) == 10 and set(found.residuals.values()) == {sympy.Integer(0)}
    assert sympy.simplify(found.data_exponent - rates.data_exponent(d, beta)) == 0
    assert sympy.simplify(found.model_exponent - rates.model_exponent(d, beta)) == 0
    assert found.inverse_difference == 1
    # In numbers: the risk at the best accuracy is the printed one, and both neighbours are worse.
    point = {d: 3, beta: sympy.Rational(1, 2), n: 10**6}
    at = {scale: float(found.risk.subs(eps, scale * found.best_accuracy).subs(point)) for scale in (0.9, 1, 1.1)}
    assert at[1] == pytest.approx(float(found.best_risk.subs(point)), rel=1e-12)
    assert at[1] < min(at[0.9], at[1.1])
    assert float(found.curvature.subs(eps, found.best_accuracy).subs(point)) > 0
    assert float(found.best_parameters.subs(point)) == pytest.approx(
        float((found.best_accuracy ** (-d / beta)).subs(point)), rel=1e-12
    )


@pytest.mark.parametrize(("dimension", "least", "largest"), [(16, 13, 20), (20, 16, 26)])
def test_an_agreement_within_two_hundredths_allows_many_dimensions(dimension: int, least: int, largest: int) -> None:
    low, high = rates.dimensions_within(rates.data_exponent(dimension, 1), 0.02, 1)
    assert (round(low), round(high)) == (least, largest)
    assert rates.data_exponent(low, 1) - rates.data_exponent(high, 1) == pytest.approx(0.04, abs=1e-12)


def test_rates_are_derived_once_and_stay() -> None:
    assert rates.derive_rates() is rates.derive_rates()
    with pytest.raises(TypeError):
        rates.derive_rates().residuals["more"] = 0  # type: ignore[index]


def test_an_agreement_as_wide_as_the_exponent_allows_any_dimension() -> None:
    assert rates.dimensions_within(0.5, 0.5, 1) == (0.0, float("inf"))
    assert rates.dimensions_within(0.02, 0.02, 1)[1] == float("inf")


@given(st.floats(0.05, 0.5), st.floats(0.05, 0.5), st.floats(0, 0.04), st.floats(0, 0.04))
def test_interval_of_the_difference_is_the_hull_of_its_corners(data: float, model: float, play: float, slack: float) -> None:
    low, high = rates.inverse_difference_interval((data - play, data + play), (model - slack, model + slack))
    corners = [rates.inverse_difference(data + i * play, model + j * slack) for i in (-1, 1) for j in (-1, 1)]
    assert (low, high) == (min(corners), max(corners))


def test_error_of_the_difference_is_that_of_simulated_estimates() -> None:
    generator, errors, correlation = np.random.default_rng(0), (0.002, 0.003), 0.6
    covariance = [[errors[0] ** 2, correlation * errors[0] * errors[1]], [correlation * errors[0] * errors[1], errors[1] ** 2]]
    drawn = generator.multivariate_normal([0.3, 0.4], covariance, size=40_000)
    simulated = float(np.std(rates.inverse_difference(drawn[:, 0], drawn[:, 1])))
    # A standard deviation of 40,000 draws is off by 1/sqrt(80000); the first order leaves out (0.01)^2.
    assert rates.inverse_difference_error(0.3, 0.4, *errors, correlation) == pytest.approx(simulated, rel=5 / 80_000**0.5 + 1e-3)
    worst = rates.inverse_difference_error(0.3, 0.4, *errors)
    assert worst == pytest.approx(0.002 / 0.09 + 0.003 / 0.16) and worst > simulated


@settings(max_examples=50)
@given(st.integers(1, 12), st.floats(0.2, 3), st.floats(0.01, 0.9))
def test_sizes_scale_as_the_theorems_say(dimension: int, beta: float, accuracy: float) -> None:
    size, finer = (rates.approximation_size(eps, dimension, beta) for eps in (accuracy, accuracy / 2))
    assert finer.tokens / size.tokens == pytest.approx(2 ** (dimension / beta), rel=1e-9)
    assert finer.blocks == size.blocks == 3 + int(np.ceil(np.log2(dimension + 1)))
    assert (size.embed_dim, size.hidden_layers, size.width, size.heads) == (5, 2, 11, size.tokens)
    samples = accuracy ** -(2 + dimension / beta)  # at which eps = n^(-beta/(2 beta + d)) is the accuracy
    if samples >= 2:
        best = rates.estimation_size(samples, dimension, beta)
        assert best.accuracy == pytest.approx(accuracy, rel=1e-9) and best.tokens == pytest.approx(size.tokens, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rates.data_exponent(0, 1), "dimension = 0.0: must be a finite number > 0"),
        (lambda: rates.data_exponent(2, float("nan")), "beta = nan"),
        (lambda: rates.data_exponent("2", 1), "dimension = '2'"),
        (lambda: rates.data_exponent(True, 1), "dimension = 'True'"),
        (lambda: rates.model_exponent(Fraction(-1, 2), 1), "dimension = -1/2: must be above 0"),
        (lambda: rates.model_exponent(sympy.Integer(-2), 1), "dimension = -2: must be above 0"),
        (lambda: rates.model_exponent(1e-300, 1e300), "within floating-point range"),
        (lambda: rates.model_exponent(np.ones(2), np.ones(3)), "broadcast"),
        (lambda: rates.data_exponent(np.ones(2), sympy.Symbol("b", positive=True)), "one number beside a symbol"),
        (lambda: rates.dimension_from_data_exponent(1.0, 1), "alpha = 1.0: must be above 0 and below 1"),
        (lambda: rates.dimension_from_data_exponent(Fraction(3, 2), 1), "alpha = 3/2"),
        (lambda: rates.smoothness_ratio(0.1, _text("loss")), "kind = 'loss'"),
        (lambda: rates.dimensions_within(0.1, -0.02, 1), "tolerance = -0.02"),
        (lambda: rates.inverse_difference_interval((0.2, 0.1), (0.1, 0.2)), "data_interval = "),
        (lambda: rates.inverse_difference_interval((0.1, 0.2), (0.0, 0.2)), "model_interval = "),
        (lambda: rates.inverse_difference_error(0.1, 0.1, 0.01, 0.01, 1.5), "correlation = 1.5"),
        (lambda: rates.approximation_size(1.0, 1, 1.0), "accuracy = 1.0: must be above 0 and below 1"),
        (lambda: rates.approximation_size(0.1, 0, 1.0), "dimension = 0"),
        (lambda: rates.approximation_size(0.1, 400, 0.5), "fewer than 1e300 tokens"),
        (lambda: rates.estimation_size(1, 1, 1.0), "num_samples = 1: must be at least 2"),
    ],
)
@pytest.mark.bad_input
def test_what_is_illegal_is_refused_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)
