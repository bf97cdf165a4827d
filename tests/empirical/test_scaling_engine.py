"""The optimiser and the forms: derivatives, minima that an independent optimiser agrees with, and what happens off the easy
path."""

import numpy as np
import pytest
from scipy.optimize import minimize

from empirical._scaling_engine import huber_sum, minimise
from empirical._scaling_forms import FORMS, HOFFMANN_BY_ALLOCATION
from empirical._scaling_hands import minimise_by_hands

TRUTH = np.array([6.178, 7.643, 0.5973, 0.3478, 0.3658])  # Besiroglu et al. 2024
NEAR = {
    "hoffmann": TRUTH, "tied": TRUTH[:4], "no-floor": np.array([3.0, 3.5, 0.12, 0.12]),
    "kaplan": np.array([23.5, 30.5, 0.74, 0.103]),
    "kaplan-parameters": np.array([2.4, 0.07]), "kaplan-data": np.array([3.0, 0.09]), "kaplan-compute": np.array([0.95, 0.05]),
}  # fmt: skip
ALL = [*FORMS.values(), HOFFMANN_BY_ALLOCATION]


def near(form):
    return HOFFMANN_BY_ALLOCATION.from_full(TRUTH[None])[0] if form is HOFFMANN_BY_ALLOCATION else NEAR[form.name]


def design(num_points, seed=0):
    generator = np.random.default_rng(seed)
    return np.log(10.0) * generator.uniform(8, 10, num_points), np.log(10.0) * generator.uniform(9.5, 11.5, num_points)


def noisy(num_points, noise, seed=0):
    log_n, log_d = design(num_points, seed)
    clean = FORMS["hoffmann"].log_prediction(TRUTH[None], log_n, log_d)[0]
    return log_n, log_d, clean + noise * np.random.default_rng(seed + 1).standard_normal(num_points)


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_jacobian_and_curvature_are_the_derivatives(form):
    log_n, log_d = design(7)
    theta, pull = near(form)[None], np.linspace(-1.0, 2.0, 7)[None]
    prediction, jacobian = form.with_jacobian(theta, log_n, log_d)
    assert np.array_equal(prediction, form.log_prediction(theta, log_n, log_d))
    step = 1e-5
    moves = step * np.eye(form.num_parameters)
    ahead, behind = (form.with_jacobian(theta + sign * moves, log_n, log_d) for sign in (1.0, -1.0))
    # central differences: step^2/6 times a third derivative (below 1e5 here, cubes of ln N) and rounding, 1e-15 * 40 / step
    np.testing.assert_allclose(((ahead[0] - behind[0]) / (2 * step)).T, jacobian[0], atol=1e-5, rtol=1e-6)
    slopes = np.einsum("i,pij->pj", pull[0], (ahead[1] - behind[1]) / (2 * step))
    curvature = form.curvature(theta, log_n, log_d, pull, prediction, jacobian)[0]
    np.testing.assert_allclose(curvature, slopes, atol=1e-4 * max(1.0, np.abs(slopes).max()))
    np.testing.assert_allclose(curvature, curvature.T, atol=1e-12 * max(1.0, np.abs(slopes).max()))


def test_forms_are_the_published_formulas():
    log_n, log_d = design(5)
    n, d = np.exp(log_n), np.exp(log_d)
    for name, constants in {
        "hoffmann": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        "kaplan": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
        "kaplan-parameters": {"N_c": 8.8e13, "alpha_N": 0.076},
        "kaplan-data": {"D_c": 5.4e13, "alpha_D": 0.095},
        "kaplan-compute": {"C_c": 1.6e7, "alpha_C": 0.057},
    }.items():
        form, (p, q) = FORMS[name], [*constants.values(), 0.0][:2]
        if name == "hoffmann":
            theta = [*np.log([482.01, 2085.43, 1.8172]), 0.3478, 0.3658]
            loss = 1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658
        elif name == "kaplan":
            theta = [0.076 / 0.103 * np.log(6.4e13), np.log(1.8e13), 0.076 / 0.103, 0.103]
            loss = ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103
        else:
            amount = {"kaplan-parameters": n, "kaplan-data": d, "kaplan-compute": 6 * n * d / 8.64e19}[name]
            theta, loss = [q * np.log(p), q], (p / amount) ** q
        theta = np.array(theta)
        np.testing.assert_allclose(np.exp(form.log_prediction(theta[None], log_n, log_d)[0]), loss, rtol=1e-12)
        assert form.constants(theta) == pytest.approx(constants, rel=1e-11)
        assert form.law(theta).constants == pytest.approx(constants, rel=1e-11)


def test_grid_is_the_published_one():
    starts = FORMS["hoffmann"].starts()
    assert starts.shape == (4500, 5)
    assert {tuple(row) for row in starts[[0, -1]]} == {(0, 0, -1, 0, 0), (25, 25, 1, 2, 2)}
    assert len(np.unique(starts, axis=0)) == 4500


def test_noise_free_table_gives_its_law_back_from_far_away():
    log_n, log_d, log_loss = noisy(40, 0.0)
    found = minimise(FORMS["hoffmann"], log_n, log_d, log_loss, FORMS["hoffmann"].starts()[7::450], tolerance=1e-12)
    assert found.converged[found.best]
    np.testing.assert_allclose(found.theta[found.best], TRUTH, rtol=1e-6)


@pytest.mark.parametrize(("num_points", "noise"), [(30, 0.02), (120, 0.005)])
def test_an_independent_optimiser_finds_nothing_lower(num_points, noise):
    form, data = FORMS["hoffmann"], noisy(num_points, noise, seed=3)
    found = minimise(form, *data, form.starts()[::300])
    best = found.best
    assert found.converged.sum() >= 14

    def objective(theta):
        size = np.abs(form.log_prediction(theta[None], *data[:2])[0] - data[2])
        return np.where(size <= 1e-3, size**2 / 2, 1e-3 * (size - 5e-4)).sum()

    assert objective(found.theta[best]) == pytest.approx(found.objective[best], rel=1e-12)
    rival = minimize(objective, found.theta[best], method="Nelder-Mead", options={"maxiter": 1000, "xatol": 1e-10})
    assert rival.fun >= found.objective[best] * (1 - 1e-9)
    rival = minimize(objective, TRUTH, method="Nelder-Mead", options={"maxiter": 3000, "maxfev": 3000})
    assert rival.fun >= found.objective[best] * (1 - 1e-9)


def test_whole_numbers_of_weight_are_repeated_points():
    form, data = FORMS["hoffmann"], noisy(40, 0.01, seed=5)
    weights = np.random.default_rng(0).integers(0, 3, size=(3, 40)).astype(float)
    start = np.tile(TRUTH, (3, 1))
    weighted = minimise(form, *data, start, weights=weights)
    for row in range(3):
        repeated = [np.repeat(values, weights[row].astype(int)) for values in data]
        alone = minimise(form, *repeated, start[:1])
        assert weighted.objective[row] == pytest.approx(alone.objective[0], rel=1e-9)
        np.testing.assert_allclose(weighted.theta[row], alone.theta[0], rtol=1e-5)


def test_fixed_parameters_stay_and_the_others_are_best():
    form, data = FORMS["hoffmann"], noisy(60, 0.01, seed=7)
    floors = np.array([0.45, 0.55, 0.6])
    found = minimise(form, *data, np.tile(TRUTH, (3, 1)), fixed={2: floors})
    assert np.array_equal(found.theta[:, 2], floors)
    assert found.converged.all()
    free = minimise(form, *data, TRUTH[None])
    assert (found.objective >= free.objective[0] * (1 - 1e-9)).all()
    again = minimise(form, *data, found.theta[:1], fixed={0: found.theta[:1, 0], 2: floors[:1]})
    assert again.objective[0] == pytest.approx(found.objective[0], rel=1e-9)


def test_allocation_form_has_the_same_minimum():
    data = noisy(60, 0.01, seed=9)
    full = minimise(FORMS["hoffmann"], *data, TRUTH[None])
    own = minimise(HOFFMANN_BY_ALLOCATION, *data, HOFFMANN_BY_ALLOCATION.from_full(TRUTH[None]))
    assert own.objective[0] == pytest.approx(full.objective[0], rel=1e-9)
    np.testing.assert_allclose(HOFFMANN_BY_ALLOCATION.full_theta(own.theta), full.theta, rtol=1e-5)


def test_starts_do_not_touch_each_other_and_every_one_is_counted():
    form, data, told = FORMS["hoffmann"], noisy(50, 0.01), []
    starts = form.starts()[::20]  # more than sit in the pool at once
    together = minimise(form, *data, starts, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (225, 225)
    assert np.isfinite(together.objective[together.converged]).all()
    for place in (0, 100, 224):
        alone = minimise(form, *data, starts[place : place + 1])
        assert alone.objective[0] == pytest.approx(together.objective[place], rel=1e-6)


def test_the_gradient_said_to_vanish_does():
    form, data = FORMS["hoffmann"], noisy(50, 0.01)
    found = minimise(form, *data, form.starts()[::200])
    prediction, jacobian = form.with_jacobian(found.theta, *data[:2])
    gradient = np.einsum("bi,bip->bp", np.clip(prediction - data[2], -1e-3, 1e-3), jacobian)
    size = np.abs(gradient).max(1)
    assert (size[found.converged] <= 1e-9 * 1e-3 * 50 * 1.01).all()


def test_few_iterations_are_said_not_to_converge():
    form, data = FORMS["hoffmann"], noisy(50, 0.01)
    found = minimise(form, *data, form.starts()[:3], max_iterations=5)
    assert not found.converged.any()


def test_huber_sum_against_the_definition():
    residual = np.array([[0.0, 5e-4, -1e-3, 2e-3, -4.0]])
    by_hand = 0 + 1.25e-7 + 5e-7 + 1e-3 * 1.5e-3 + 1e-3 * (4 - 5e-4)
    assert huber_sum(residual, np.ones((1, 5)), np.array([[1e-3]]))[0] == pytest.approx(by_hand, rel=1e-14)


def test_two_hands_find_what_one_finds() -> None:
    form, generator = FORMS["hoffmann"], np.random.default_rng(5)
    log_n, log_d = generator.uniform(18, 23, 40), generator.uniform(21, 26, 40)
    log_loss = form.log_prediction(np.array([[6.2, 7.7, 0.6, 0.35, 0.37]]), log_n, log_d)[0] + 0.01 * generator.normal(size=40)
    starts = form.starts()[:: len(form.starts()) // 80][:81]
    told: list[tuple[int, int]] = []
    both = minimise_by_hands(
        form, log_n, log_d, log_loss, starts, delta=1e-3, tolerance=1e-7, progress=lambda done, total: told.append((done, total))
    )
    for place in range(2):
        one = minimise(form, log_n, log_d, log_loss, starts[place::2], delta=1e-3, tolerance=1e-7)
        np.testing.assert_array_equal(both.theta[place::2], one.theta)
        np.testing.assert_array_equal(both.converged[place::2], one.converged)
    assert both.converged.all() and max(told) <= (81, 81)

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimise_by_hands(form, log_n, log_d, log_loss, starts, delta=1e-3, tolerance=1e-7, progress=interrupted)
