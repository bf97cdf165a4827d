"""A whole fit: recovery of a law, refusals with their reasons, certificates that can say no, tables and allocation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from empirical._scaling_forms import FORMS
from empirical.scaling_fits import fit_scaling_law
from empirical.scaling_identifiability import design_of, design_refusals, identifiability
from empirical.scaling_points import ScalingPoints
from theory.scaling import HoffmannLaw
from theory.scaling_units import Unit

LAW = HoffmannLaw(1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # Besiroglu et al. 2024
DECADES, FALLING = np.geomspace(1e9, 1e11, 40), np.linspace(3, 2, 40)
STARTS = FORMS["hoffmann"].starts()[31::300]


def drawn(num_points=60, noise=0.005, seed=0, **facts):
    generator = np.random.default_rng(seed)
    n, d = 10 ** generator.uniform(8, 10, num_points), 10 ** generator.uniform(9.5, 11.5, num_points)
    return ScalingPoints.of(n, d, LAW(N=n, D=d) * np.exp(noise * generator.standard_normal(num_points)), **facts)


def quick(points, law="hoffmann", **told):
    told = {"bootstraps": 0, "profiles": False, "influence": False, "back_tested": False, "starts": STARTS} | told
    return fit_scaling_law(points, law, **told)


@pytest.fixture(scope="module")
def whole():
    runs = [f"run {number // 3}" for number in range(60)]
    stages = []
    points = drawn(runs=runs, parameter_count="non-embedding")
    fit = fit_scaling_law(points, bootstraps=40, level=0.9, starts=STARTS, progress=lambda stage, *_: stages.append(stage))
    return fit, stages


def test_whole_fit_holds_the_truth_and_says_how(whole):
    fit, stages = whole
    assert isinstance(fit.law, HoffmannLaw) and fit.law.parameter_unit is Unit.NON_EMBEDDING_PARAMETERS
    assert not fit.refusals and fit.convergence.certified
    table = fit.table()
    assert {"bootstrap of pairs", "bootstrap of runs", "profile likelihood"} == set(table["method"])
    part = table[(table["method"] == "profile likelihood") & table["parameter"].isin(["E", "alpha", "beta", "a"])]
    assert len(part) == 4 and (part["low"] < part["value"]).all() and (part["value"] < part["high"]).all()
    truth = {"E": 1.8172, "alpha": 0.3478, "beta": 0.3658, "a": 0.3658 / 0.7136}
    wide = part.assign(width=part["high"] - part["low"])
    for row in wide.itertuples():  # within one width of the 90% interval beyond its ends: over 4 standard errors
        assert row.low - row.width < truth[row.parameter] < row.high + row.width
    assert {"starts", "best starts", "bootstrap of pairs", "bootstrap of runs", "profile of a"} <= set(stages)
    text = "\n".join(fit.summary())
    assert "root mean square" in text and "weakest" in text and "leaving out" in text and "back-test" in text


def test_constants_exponents_and_allocation_agree(whole):
    fit, _ = whole
    constants = fit.constants
    assert constants["a"] + constants["b"] == pytest.approx(1, abs=1e-12)
    assert constants["a"] == pytest.approx(constants["beta"] / (constants["alpha"] + constants["beta"]), rel=1e-12)
    largest = fit.points.compute.max()
    near = fit.allocation(2 * largest)
    assert near.parameters.value * near.tokens.value == pytest.approx(largest / 3, rel=1e-9)
    assert near.method == "bootstrap of runs" and not near.warnings
    assert near.parameters.low < near.parameters.value < near.parameters.high
    grid = near.parameters.value * np.geomspace(0.5, 2, 401)
    assert fit.law(N=grid, D=2 * largest / (6 * grid)).min() == pytest.approx(near.loss.value, rel=1e-6)
    far = fit.allocation(11 * largest)
    assert far.extrapolation == pytest.approx(11) and any("11 times" in line for line in far.warnings)


def test_residuals_give_the_objective(whole):
    fit, _ = whole
    size = np.abs(fit.residuals)
    assert fit.objective == pytest.approx(np.where(size <= 1e-3, size**2 / 2, 1e-3 * (size - 5e-4)).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("points", "what"),
    [
        (drawn(9), "too few points"),
        (ScalingPoints.of(np.geomspace(1e8, 5e8, 40), DECADES[::-1], FALLING), "N spans under a decade"),
        (ScalingPoints.of(np.geomspace(1e8, 1e10, 40), np.full(40, 1e10), FALLING), "D spans under a decade"),
        (ScalingPoints.of(np.geomspace(1e8, 1e10, 40), 2 * DECADES, FALLING), "N and D are collinear"),
        (ScalingPoints.of(np.tile([1e8, 1e10], 20), DECADES, FALLING), "too few different N"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(points, what):
    fit = quick(points)
    assert fit.law is None and np.isnan(fit.theta).all() and fit.constants == {}
    assert what in [one.what for one in fit.refusals]
    assert f"refused: {what}" in "\n".join(fit.summary()) and fit.table().empty
    with pytest.raises(ValueError, match="not fitted"):
        fit.allocation(1e21)


def test_refused_table_fitted_anyway_warns():
    n = np.geomspace(1e8, 1e10, 40)
    points = ScalingPoints.of(n, 20 * n, LAW(N=n, D=20 * n) * np.exp(0.01 * np.random.default_rng(0).standard_normal(40)))
    fit = quick(points, anyway=True)
    assert any("collinear" in line for line in fit.warnings)
    assert fit.identifiability.condition > 1e5 and any("hardly decides" in line for line in fit.warnings)


def test_certificate_can_say_no():
    """A start whose term in N is nothing at once stays in the valley of laws without N: stationary, and far from the minimum."""
    good, flat = [6.2, 7.6, 0.6, 0.35, 0.36], [0.0, 0.0, 1.0, 2.0, 0.0]
    assert quick(drawn(), starts=np.array([good])).convergence.certified
    fit = quick(drawn(), starts=np.array([good, flat]))
    seen = fit.convergence
    assert (seen.num_starts, seen.num_converged, seen.reached_by, seen.num_elsewhere) == (2, 2, 1, 1)
    assert not seen.certified and seen.runner_up > 1.5 and any("ten best" in line for line in fit.warnings)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"loss": np.full(60, 2.5)}, "all losses are equal"),
        ({"parameters": drawn().parameters * 1e295}, "numbers are out of range"),
    ],
    ids=["equal", "huge"],
)
def test_what_no_fit_can_be_made_of_stays_refused(changed, what):
    for anyway in (False, True):
        fit = quick(replace(drawn(), **changed), anyway=anyway)
        assert what in [one.what for one in fit.refusals] and fit.law is None and fit.convergence is None and fit.table().empty


def test_a_table_without_noise_has_intervals_without_width():
    fit = fit_scaling_law(drawn(40, noise=0.0), bootstraps=40, starts=STARTS[:5])
    assert fit.convergence.certified and sum("passes through all points" in line for line in fit.warnings) == 1
    assert [fit.constants[name] for name in ("E", "A", "alpha")] == pytest.approx([1.8172, 482.01, 0.3478], rel=1e-6)
    table = fit.table()
    assert np.isfinite(table[["low", "high"]]).all(axis=None)
    assert table["low"].to_numpy() == pytest.approx(table["high"].to_numpy(), rel=1e-6)
    assert fit.influence.sentences == ("leaving points out moves neither E nor a",)
    assert fit.back_test.table.set_index("form").loc["hoffmann", "coverage"] == 1


def test_points_far_off_are_named():
    points = drawn()
    n, loss = points.parameters.copy(), points.loss.copy()
    assert not any("point " in line for line in quick(points).warnings)
    n[7] /= 1e6
    loss[11] *= 3
    lines = quick(replace(points, parameters=n, loss=loss)).warnings
    assert any("3 decades of N" in line and f"point 7 (N = {n[7]:.4g}" in line for line in lines)
    assert any("times the median" in line and "point 11 (" in line for line in lines)


def test_dense_tables_have_as_many_sizes_as_they_have():
    """20,000 log-uniform sizes over two decades: a chain of neighbours is not one size; no square of them is made."""
    n, d = 10 ** np.random.default_rng(0).uniform(8, 10, (2, 20_000))
    points = ScalingPoints.of(n, d, LAW(N=n, D=d))
    design = design_of(points)
    assert 200 < design.num_parameters <= 1 + np.log(100) / 0.01  # 461 would touch
    assert not design_refusals(FORMS["hoffmann"], points)
    assert np.isfinite(identifiability(FORMS["hoffmann"], points).condition)


@pytest.mark.bad_input
def test_no_table_is_an_error_in_one_line():
    with pytest.raises(ValueError, match="points = NoneType") as caught:
        fit_scaling_law(None)
    assert "\n" not in str(caught.value)


def test_a_minimum_that_is_no_law_is_refused():
    points = drawn(noise=0.0)
    rising = ScalingPoints.of(points.parameters, points.tokens, np.exp(0.05 * points.log_parameters + 0.05 * points.log_tokens))
    fit = quick(rising, "no-floor", starts=FORMS["no-floor"].starts()[::40])
    assert fit.law is None and "no law" in fit.refusals[0].what and fit.table().empty and not fit.constants


def test_exact_table_gives_exact_constants_whatever_the_form():
    n, d = drawn().parameters, drawn().tokens
    kaplan = ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103
    fit = quick(ScalingPoints.of(n, d, kaplan), "kaplan", starts=FORMS["kaplan"].starts()[::20])
    assert fit.constants == pytest.approx({"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}, rel=1e-5)
    few = FORMS["kaplan-parameters"].starts()[::5]
    line = quick(ScalingPoints.of(n, d, (8.8e13 / n) ** 0.076), "kaplan-parameters", starts=few)
    assert line.law.constants == pytest.approx({"N_c": 8.8e13, "alpha_N": 0.076}, rel=1e-6)
    with pytest.raises(ValueError, match="optimal allocation"):
        line.allocation(1e21)


def test_pandas_table_and_arrays_are_one():
    points = drawn()
    table = pd.DataFrame({"N": points.parameters, "D": points.tokens, "loss": points.loss})
    assert quick(table).objective == pytest.approx(quick(points).objective, rel=1e-12)


def test_identifiability_is_the_singular_values():
    points, theta = drawn(), np.array([6.178, 7.643, 0.5973, 0.3478, 0.3658])
    found = identifiability(FORMS["hoffmann"], points, theta)
    jacobian = FORMS["hoffmann"].with_jacobian(theta[None], points.log_parameters, points.log_tokens)[1][0]
    np.testing.assert_allclose(found.singular_values**2, np.linalg.eigvalsh(jacobian.T @ jacobian)[::-1], rtol=1e-6, atol=1e-9)
    # moving along the weakest direction moves the predictions by no more than the smallest singular value
    assert np.linalg.norm(jacobian @ found.direction) == pytest.approx(found.singular_values[-1], rel=1e-9)
    assert set(found.weakest.replace(" and ", ", ").split(", ")) in ({"A", "alpha"}, {"B", "beta"})


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_has_constants_to_judge_a_design_by(form):
    before = identifiability(form, drawn())
    assert np.isfinite(before.singular_values).all() and before.at == "published constants"
    assert not design_refusals(form, drawn())


def test_design_counts_nearly_equal_sizes_once():
    n = np.array([1e8, 1.001e8, 1e9, 1e10])
    assert design_of(ScalingPoints.of(n, n, np.full(4, 3.0))).num_parameters == 3


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"law": "chinchilla"}, "law = 'chinchilla'"), ({"delta": 0.0}, "delta"), ({"bootstraps": 5}, "bootstraps = 5"),
        ({"starts": np.zeros((2, 4))}, "starts has shape"), ({"level": 1.0}, "level"),
    ],
)  # fmt: skip
def test_errors_at_the_door(told, words):
    with pytest.raises(ValueError, match=words):
        fit_scaling_law(drawn(), **told)
