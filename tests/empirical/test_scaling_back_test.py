"""Predictions above a compute cut: an exact law predicts exactly, wrong ones are found out, the arithmetic is done again."""

from dataclasses import replace
from math import isnan, log, sqrt

import numpy as np
import pytest
from scipy import stats

from empirical._scaling_forms import FORMS
from empirical._scaling_noise import noise_scale
from empirical.scaling_back_test import BackTest, back_test
from empirical.scaling_points import ScalingPoints

BESIROGLU = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)


def table(noise: float = 0.0, count: int = 120, seed: int = 0) -> ScalingPoints:
    rng = np.random.default_rng(seed)
    sizes, tokens = 10 ** rng.uniform(7.5, 9.5, count), 10 ** rng.uniform(9, 11, count)
    loss = BESIROGLU[0] + BESIROGLU[1] / sizes ** BESIROGLU[3] + BESIROGLU[2] / tokens ** BESIROGLU[4]
    return ScalingPoints.of(sizes, tokens, loss * np.exp(noise * rng.normal(size=count)))


def test_the_true_law_predicts_and_its_rivals_do_not() -> None:
    found = back_test(table())
    rows = found.table.set_index("form")
    assert found.best == "hoffmann" and found.reason == ""
    assert rows.loc["hoffmann", "log_rmse_out"] < 1e-6 and rows.loc["hoffmann", "beta"] == pytest.approx(0.3658, rel=1e-3)
    assert rows.loc[["tied", "no-floor", "kaplan"], "log_rmse_out"].min() > 1e-5
    assert rows.loc["no-floor", "bias_out"] < -0.005  # without a floor losses fall too far
    assert (rows["num_in"] + rows["num_out"] == 120).all() and rows["num_in"].iloc[0] == 72
    assert len(found.sentences) == 4 and sum("(best)" in sentence for sentence in found.sentences) == 1


@pytest.mark.parametrize("with_runs", [False, True], ids=["points", "runs"])
def test_numbers_are_those_of_the_definition(with_runs: bool) -> None:
    """Every number again, from the constants of the row, with weights and widths written out."""
    points = table(noise=0.004, seed=3)
    if with_runs:
        points = replace(points, runs=tuple(f"run {place % 30}" for place in range(points.num_points)))
    cut = float(np.median(points.compute))
    found = back_test(points, cut=cut, forms=("hoffmann",), level=0.8)
    row = found.table.iloc[0]
    theta = np.array([log(row["A"]), log(row["B"]), log(row["E"]), row["alpha"], row["beta"]])
    predicted = np.log(row["E"] + row["A"] / points.parameters ** row["alpha"] + row["B"] / points.tokens ** row["beta"])
    missed, below = predicted - np.log(points.loss), points.compute < cut
    assert row["log_rmse_in"] == pytest.approx(sqrt(np.mean(missed[below] ** 2)), rel=1e-9)
    assert row["log_rmse_out"] == pytest.approx(sqrt(np.mean(missed[~below] ** 2)), rel=1e-9)
    assert row["bias_out"] == pytest.approx(np.mean(missed[~below]), abs=1e-12)
    slopes = FORMS["hoffmann"].with_jacobian(theta[None], points.log_parameters, points.log_tokens)[1][0]
    inside = slopes[below]
    spread = sqrt(missed[below] @ missed[below] / (below.sum() - 5))
    numbers = np.flatnonzero(below) % 30 if with_runs else None
    covariance = noise_scale(missed[below], inside, 1e-3, numbers).covariance
    open_constants = np.einsum("ip,pq,iq->i", slopes[~below], covariance, slopes[~below])
    freedom = 29 if with_runs else below.sum() - 5
    widths = stats.t.ppf(0.9, freedom) * np.sqrt(spread**2 + open_constants)
    assert row["coverage"] == pytest.approx((np.abs(missed[~below]) <= widths).mean()) and 0.5 < row["coverage"] < 1
    assert found.cut == cut and found.level == 0.8


def test_prediction_intervals_cover_where_the_law_and_its_noise_are_right() -> None:
    shares = [back_test(table(0.005, seed=seed), forms=("hoffmann",)).table["coverage"].iloc[0] for seed in range(3)]
    assert 0.85 < np.mean(shares) <= 1


def test_a_jump_above_the_cut_is_the_bias() -> None:
    points = table()
    cut = float(np.quantile(points.compute, 0.5))
    jumped = ScalingPoints.of(points.parameters, points.tokens, points.loss * np.where(points.compute < cut, 1.0, 1.02))
    row = back_test(jumped, cut=cut, forms=("hoffmann",)).table.iloc[0]
    assert row["bias_out"] == pytest.approx(-log(1.02), abs=1e-5) and row["log_rmse_out"] == pytest.approx(log(1.02), abs=1e-5)
    assert row["log_rmse_in"] < 1e-6 and row["coverage"] == 0


def nothing_judged(found: BackTest) -> bool:
    return found.best is None and found.table["log_rmse_out"].isna().all() and (found.table["reason"] == found.reason).all()


def test_no_split_is_told() -> None:
    points = table(count=30)
    order = np.sort(points.compute)
    for cut, words in ((1e10, "less than 1e+10"), (1e30, "at least 1e+30"), (order[3], "3 of 30 points have less than")):
        found = back_test(points, cut=cut)
        assert words in found.reason and nothing_judged(found) and "no back-test" in found.sentences[0]
    sizes = np.geomspace(1e8, 1e9, 10)
    alike = back_test(ScalingPoints.of(sizes, 1e18 / sizes, np.linspace(3, 2, 10)))
    assert isnan(alike.cut) and "same compute" in alike.reason and nothing_judged(alike)


def test_forms_with_too_few_points_below_have_a_reason_and_others_numbers() -> None:
    found = back_test(table(count=9, noise=0.001), cut=None, forms=("hoffmann", "kaplan-compute"))
    rows = found.table.set_index("form")
    assert rows.loc["hoffmann", "reason"] == "5 points below the cut for 5 free constants"
    assert isnan(rows.loc["hoffmann", "coverage"])
    assert rows.loc["kaplan-compute", "reason"] == "" and found.best == "kaplan-compute"
    assert "not judged" in found.sentences[0] and isnan(rows.loc["hoffmann", "E"])


def test_points_of_one_size_do_not_decide_the_law() -> None:
    tokens = np.geomspace(1e9, 1e12, 20)
    found = back_test(ScalingPoints.of(np.full(20, 1e9), tokens, 2 + 300 / tokens**0.3), forms=("hoffmann",))
    assert found.table["reason"].iloc[0] == "these points do not decide all constants" and found.best is None


def test_the_cut_lies_in_a_gap_of_compute() -> None:
    sizes = np.repeat([1e8, 1e9], 10)
    tokens = np.tile(np.geomspace(1e9, 1e11, 10), 2)
    points = ScalingPoints.of(sizes, tokens, 2 + 400 / sizes**0.3 + 400 / tokens**0.3)
    cut = back_test(points, forms=("kaplan-compute",)).cut
    assert cut not in points.compute and (points.compute < cut).mean() == pytest.approx(0.6, abs=0.1)
    repeated = np.repeat([1e18, 1e20], [4, 16])  # no gap is near three fifths: the only one is taken
    few = ScalingPoints.of(np.full(20, 1e8), repeated / 6e8, np.linspace(3, 2, 20))
    assert back_test(few, forms=("kaplan-compute",)).cut == pytest.approx(1e19)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forms": ("hofmann",)}, "hofmann"), ({"forms": ()}, "forms = "), ({"forms": ("tied", "tied")}, "different names"),
        ({"cut": -1.0}, "cut = -1.0"), ({"cut": float("inf")}, "cut = inf"), ({"delta": 0.0}, "delta = 0.0"),
        ({"level": 0.0}, "level = 0.0"), ({"forms": "tied"}, "forms = 'tied'"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        back_test(table(count=20), **changes)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
