"""Spectra: the laws against integrals and against each other, verdicts on matrices of known kinds, and the nulls they rest on."""

import numpy as np
import pytest
from scipy import integrate

from theory.power_laws import PowerLawVerdict, fit_power_law
from theory.spectra import (
    MarchenkoPastur,
    independence_residuals,
    judge_spectrum,
    local_slopes,
    quarter_circle_cdf,
    quarter_circle_density,
    quarter_circle_quantiles,
)

RATIOS = (0.05, 0.25, 0.9, 1.0, 2.0, 8.0)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def power_matrix(side: int, exponent: float) -> np.ndarray:
    """A square matrix with singular values near r^-exponent and no column that is special."""
    rotation = np.linalg.qr(normal(side, side, seed=1))[0]
    return (normal(side, side, seed=2) * np.arange(1, side + 1) ** -exponent) @ rotation


# The laws.


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_distribution_function_is_the_integral_of_the_density(ratio: float) -> None:
    law = MarchenkoPastur(ratio, 1.7)
    low, high = law.edges

    def mass(x: float, moment: int = 0) -> float:
        # x = low + (high - low) sin^2: the roots at both ends, and the pole at 0 for ratio 1, go.
        def integrand(angle: float) -> float:
            place = low + (high - low) * np.sin(angle) ** 2
            return float(law.density(np.array([place]))[0]) * place**moment * (high - low) * np.sin(2 * angle)

        return integrate.quad(integrand, 1e-9, np.arcsin(np.sqrt((x - low) / (high - low))), limit=200)[0]

    for share in (0.1, 0.5, 0.9):
        x = low + share * (high - low)
        assert law.cdf(np.array([x]))[0] == pytest.approx(law.share_of_zeros + mass(x), abs=1e-7)
    assert mass(high) == pytest.approx(1 - law.share_of_zeros, abs=1e-7)
    assert mass(high, 1) == pytest.approx(1.7, rel=1e-6)  # the mean eigenvalue is the variance


@pytest.mark.parametrize("ratio", RATIOS)
def test_quantiles_undo_the_distribution_function(ratio: float) -> None:
    law = MarchenkoPastur(ratio)
    shares = np.linspace(law.share_of_zeros, 1, 12)[1:]
    np.testing.assert_allclose(law.cdf(law.quantiles(shares)), shares, atol=1e-9)
    assert law.quantiles(np.array([1.0]))[0] == pytest.approx(law.edges[1])
    assert law.quantiles(np.array([0.0]))[0] == pytest.approx(0 if ratio >= 1 else law.edges[0], abs=1e-9)
    assert (np.diff(law.expected(50)) < 0).all()


def test_wide_and_tall_have_the_same_spectrum() -> None:
    # X^T X / n and X X^T / p share their eigenvalues above 0, up to the factor p / n.
    np.testing.assert_allclose(MarchenkoPastur(4.0).expected(40), 4 * MarchenkoPastur(0.25).expected(40), rtol=1e-9)


def test_the_quarter_circle_is_the_square_case() -> None:
    s = np.linspace(0, 2, 21)
    np.testing.assert_allclose(quarter_circle_cdf(s), MarchenkoPastur(1.0).cdf(s**2), atol=1e-12)
    np.testing.assert_allclose(quarter_circle_quantiles(quarter_circle_cdf(s)), s, atol=1e-9)
    assert integrate.quad(lambda x: float(quarter_circle_density(np.array([x]))[0]), 0, 1.3)[0] == pytest.approx(
        quarter_circle_cdf(np.array([1.3]))[0], abs=1e-8
    )
    assert quarter_circle_density(np.array([-0.1, 2.1])).tolist() == [0, 0]


def test_a_tall_gaussian_matrix_reaches_its_edges() -> None:
    """The published example: 2000 x 500, largest eigenvalue 2.209 (edge 2.25), smallest .260 (edge .25), distance .0045."""
    verdict = judge_spectrum(normal(400, 100), permutations=19, bootstraps=0, centre=False)
    values, law = verdict.singular_values**2, MarchenkoPastur(0.25)
    # Tracy and Widom: the largest lies within a few (1 + sqrt q)^(4/3) q^(-1/6) n^(-2/3) of the edge, the smallest likewise.
    width = 1.5 ** (4 / 3) * 0.25 ** (-1 / 6) * 400 ** (-2 / 3)
    assert -5 * width < values[0] - 2.25 < 3 * width
    assert -3 * width < values[-1] - 0.25 < 5 * width
    # Eigenvalues repel each other: their number below a point has a spread of under one. 5 steps; draws would give up to .1.
    assert verdict.nulls[0].statistic < 5 / 100
    assert verdict.scale == pytest.approx(1, abs=0.02)
    assert np.abs(verdict.expected**2 - law.expected(100)).max() < 0.05 * 2.25


def test_the_square_law_has_no_straight_part() -> None:
    """Slopes over ranks 1-32, 32-512 and 512-1000 of 1024: -.026, -.32 and -3.5 on one matrix; here from the quantiles."""
    values = np.sqrt(MarchenkoPastur(1.0).expected(1024))
    slopes = [piece.slope for piece in local_slopes(values, ((1, 32), (32, 512), (512, 1000)))]
    np.testing.assert_allclose(slopes, [-0.026, -0.32, -3.5], rtol=0.02, atol=0.002)
    ranks = np.log(np.arange(1, 1025))
    assert np.corrcoef(ranks, np.log(values))[0, 1] ** 2 == pytest.approx(0.46, abs=0.02)


def test_a_fit_alone_would_find_an_exponent_in_noise() -> None:
    """(The published 2.99 with 317 values in the tail is the bound of 3 that the package powerlaw puts on exponents.)"""
    fit = fit_power_law(MarchenkoPastur(1.0).expected(1024), discrete=False, bootstraps=0, max_candidates=20)
    assert fit.exponent > 3 and fit.num_tail >= 50


def test_slopes_of_a_power_law_are_its_exponent_everywhere() -> None:
    values = 3.0 * np.arange(1, 301) ** -0.8
    pieces = local_slopes(values)
    assert [piece.slope for piece in pieces] == pytest.approx([-0.8] * len(pieces))
    assert pieces[0].first_rank == 1 and pieces[-1].last_rank == 300
    with_zeros = local_slopes(np.append(values, np.zeros(40)), ((200, 340),))[0]
    assert with_zeros.slope == pytest.approx(-0.8) and with_zeros.num_types == 101


# Verdicts.


@pytest.mark.parametrize("shape", [(60, 60), (200, 40), (40, 200)])
def test_noise_is_told_to_be_noise(shape: tuple[int, int]) -> None:
    verdict = judge_spectrum(normal(*shape, seed=3) + 5, permutations=19)
    assert verdict.verdict is PowerLawVerdict.REJECTED and verdict.fit is None
    assert "Gaussian noise" in verdict.reasons[0]
    assert len(verdict.singular_values) == min(shape[0] - 1, shape[1])


def test_a_mean_that_is_left_in_is_one_giant_value() -> None:
    matrix = normal(100, 40, seed=4) + 5
    centred, raw = (judge_spectrum(matrix, permutations=19, centre=centre, bootstraps=0) for centre in (True, False))
    assert centred.singular_values[0] < 2
    assert raw.singular_values[0] == pytest.approx(5 * np.sqrt(40), rel=0.05)
    # Permuting columns keeps the mean: only the Gaussian null is beaten.
    assert raw.nulls[0].beaten and not raw.nulls[1].beaten
    assert raw.verdict is PowerLawVerdict.NOT_DISTINGUISHABLE


def test_columns_of_falling_size_are_no_joint_structure() -> None:
    verdict = judge_spectrum(normal(200, 60, seed=5) * np.arange(1, 61) ** -0.8, permutations=19)
    gaussian, permuted = verdict.nulls
    assert gaussian.beaten and not permuted.beaten
    assert verdict.verdict is PowerLawVerdict.NOT_DISTINGUISHABLE and verdict.fit is None
    assert "permuted" in verdict.reasons[0]


def test_a_power_law_in_the_singular_values_is_found() -> None:
    verdict = judge_spectrum(power_matrix(300, 0.8), permutations=19, bootstraps=3)
    assert verdict.verdict is PowerLawVerdict.POWER_LAW, verdict.reasons
    assert verdict.slopes[1].slope == pytest.approx(-0.8, abs=0.05)
    # r^-.8 is a tail with exponent 2.25; n in the tail values that repel each other.
    assert abs(verdict.fit.exponent - 2.25) < 3 * verdict.fit.standard_error


def test_one_common_direction_is_no_power_law() -> None:
    matrix = normal(100, 40, seed=6) + 2 * normal(100, 1, seed=7)
    verdict = judge_spectrum(matrix, permutations=19, bootstraps=3)
    assert all(null.beaten and null.num_above == 1 for null in verdict.nulls)
    assert verdict.verdict is PowerLawVerdict.REJECTED


def test_a_weak_spike_is_seen_by_both_nulls() -> None:
    """One value just above the edge moves the distance by 1/60 at most: the largest value has to count as well."""
    matrix = normal(300, 60, seed=8) + 0.7 * normal(300, 1, seed=9) * np.sign(normal(60, seed=10))
    verdict = judge_spectrum(matrix, permutations=19, bootstraps=0)
    assert all(null.beaten for null in verdict.nulls)


def test_scale_and_order_do_not_matter_and_the_seed_decides() -> None:
    matrix = normal(40, 20, seed=12) * np.arange(1, 21) ** -0.5
    one = judge_spectrum(matrix, permutations=19, bootstraps=0)
    scaled = judge_spectrum(64 * matrix, permutations=19, bootstraps=0)  # a power of 2: exact
    shuffled = judge_spectrum(matrix[::-1], permutations=19, bootstraps=0)
    np.testing.assert_allclose(scaled.singular_values, 64 * one.singular_values, rtol=1e-10)
    np.testing.assert_allclose(shuffled.singular_values, one.singular_values, rtol=1e-10)
    assert [null.p_value for null in scaled.nulls] == [null.p_value for null in one.nulls]
    assert scaled.scale == pytest.approx(64 * one.scale)


def test_copies_keep_the_energy_of_the_columns() -> None:
    matrix = normal(60, 40, seed=13) * np.arange(1, 41) ** -0.5
    verdict = judge_spectrum(matrix, permutations=19, bootstraps=0)
    total = np.sum((matrix - matrix.mean(axis=0)) ** 2) / 59
    assert np.sum(verdict.singular_values**2) == pytest.approx(total)
    permuted = verdict.nulls[1]
    assert np.sum(permuted.low**2) < total < np.sum(permuted.high**2)


def test_counts_of_independent_rows_and_columns_leave_noise() -> None:
    generator = np.random.default_rng(11)
    rows, columns = generator.random(50) + 0.1, 1 / np.arange(1, 31)
    assert np.abs(independence_residuals(np.outer(rows, columns))).max() < 1e-12
    counts = generator.poisson(2000 * np.outer(rows, columns))
    assert judge_spectrum(counts, permutations=19, bootstraps=0).nulls[0].beaten
    assert not judge_spectrum(independence_residuals(counts), permutations=19, bootstraps=0, centre=False).nulls[0].beaten


@pytest.mark.bad_input
@pytest.mark.parametrize(("matrix", "arguments", "told"), [
    (np.ones(20), {}, "must be a matrix"),
    (np.ones((5, 30)), {}, "is 5 x 30"),
    (np.ones((20, 30)), {}, "constant in every column"),
    (np.zeros((20, 30)), {"centre": False}, "constant in every column"),
    (np.full((20, 30), np.nan), {}, "600 entries are not"),
    ([["a"] * 20] * 20, {}, "matrix of numbers"),
    (np.eye(20), {"permutations": 18}, "permutations = 18"),
])  # fmt: skip
def test_bad_matrices_are_refused_in_one_line(matrix, arguments: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        judge_spectrum(matrix, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [(0.0,), (float("nan"),), (0.5, -1.0), (float("inf"),)])
def test_bad_laws_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        MarchenkoPastur(*arguments)


@pytest.mark.parametrize("counts", [np.zeros((3, 3)), np.array([[1.0, -1.0]])])
def test_bad_counts_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="counts"):
        independence_residuals(counts)
