"""The threshold law: closed forms, what it must not depend on, and projections checked by their defining conditions."""

from math import pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from constructions.readout import max_margin
from theory import thresholds
from theory.ceilings import readout_ceiling, trained_readout_ceiling
from theory.encoders import circle_code, low_coherence_code
from theory.memorization import corollary_1_associations
from theory.thresholds import (
    Estimate,
    Law,
    codim,
    heads_for_threshold,
    num_features,
    spanned,
    threshold_associations,
    threshold_ratio,
)


def simplex(vocab_size: int) -> np.ndarray:
    return low_coherence_code(vocab_size, vocab_size - 1, 0)


@pytest.mark.parametrize("vocab_size", [3, 4, 5, 10, 50, 200])
def test_the_circle_costs_three_halves_less_two_over_n(vocab_size: int) -> None:
    found = codim(circle_code(vocab_size))
    assert found.value == pytest.approx(1.5 - 2 / vocab_size, abs=1e-9)
    assert (found.standard_error, found.code_dim) == (0.0, 2)
    assert threshold_ratio(circle_code(vocab_size)).value == pytest.approx(4 * vocab_size / (3 * vocab_size - 4), abs=1e-9)


def test_two_tokens_are_covers_count() -> None:
    for code in (np.array([[1.0], [-1.0]]), np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 5.0]])):
        assert codim(code).value == 0.5
        assert threshold_associations(40, code).value == 80


INSIDE = {
    "on a line": (np.array([[0.0], [1.0], [2.0]]), 1),
    "centre of a circle": (np.concatenate([circle_code(9), np.zeros((1, 2))]), 9),
    "on an edge": (np.array([[0.1, 0.3], [0.7, -0.2], [0.1 * 0.3 + 0.7 * 0.7, 0.3 * 0.3 - 0.2 * 0.7], [3.0, 2.0]]), 2),
    "met twice": (np.array([[1.0, 0.2], [0.0, 1.0], [-1.0, -1.0], [0.0, 1.0]]), 1),
    "centre of a simplex": (np.concatenate([simplex(5), np.zeros((1, 4))]), 5),
}


@pytest.mark.parametrize("law", ["saddle", "isotropic"])
@pytest.mark.parametrize("name", INSIDE)
def test_a_row_that_is_never_the_strict_argmax_leaves_no_threshold(name: str, law: Law) -> None:
    code, row = INSIDE[name]
    found = threshold_ratio(code, law=law)
    assert (found.value, found.standard_error) == (0.0, 0.0)
    assert found.source.startswith(f"row {row} of the code is no vertex")
    assert threshold_associations(40, code, law=law).value == 0
    with pytest.raises(ValueError, match=f"ratio = 0.0 .row {row} of the code"):
        heads_for_threshold(10, 8, 8, found)


@pytest.mark.parametrize("name", ["on a line", "centre of a circle", "on an edge"])
def test_such_a_row_only_counts_if_it_is_a_label(name: str) -> None:
    code, row = INSIDE[name]
    weights = np.ones(len(code))
    weights[row] = 0.0
    with_row = threshold_ratio(code, label_weights=weights)
    alone = threshold_ratio(np.delete(code, row, axis=0))
    # Two searches for a saddle, each with noise of about one per cent.
    assert abs(with_row.value - alone.value) < 4.5 * (with_row.standard_error + alone.standard_error) + 0.02 * alone.value


def test_no_map_finds_a_strict_argmax_in_the_hull_whatever_the_number_of_features() -> None:
    code, row = INSIDE["centre of a circle"]
    features, labels = np.random.default_rng(0).standard_normal((40, 4)), np.array([0, 4, 7, 2])
    assert max_margin(features, labels, code, solver="lp", decide_only=True).decision == "feasible"
    labels[2] = row
    assert max_margin(features, labels, code, solver="lp", decide_only=True).decision != "feasible"


@given(seed=st.integers(0, 10**6), vocab_size=st.integers(6, 24), dim=st.integers(2, 4), spread=st.floats(0, 5))
@settings(max_examples=60)
def test_vertices_are_those_of_the_hull(seed: int, vocab_size: int, dim: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    code = rng.standard_normal((vocab_size, dim))
    vertices = ConvexHull(code).vertices.tolist()
    rows = spanned(code * np.exp(rng.uniform(-spread, spread, dim)))  # which leaves the vertices what they are
    strict = [row for row in range(vocab_size) if thresholds._never_strict(rows, np.eye(vocab_size)[row]) is None]
    assert strict == sorted(vertices)


@pytest.mark.parametrize("vocab_size", [9, 200, 1500])
def test_every_token_of_a_circle_is_a_vertex(vocab_size: int) -> None:
    stretched = circle_code(vocab_size) @ np.array([[100.0, 30.0], [0.0, 0.1]])
    for code in (circle_code(vocab_size), stretched):
        assert thresholds._never_strict(spanned(code), np.ones(vocab_size)) is None


def test_rows_inside_the_hull_cost_all_dimensions_on_average_but_that_is_no_threshold() -> None:
    assert codim(np.array([[0.0], [1.0], [2.0]])).value == pytest.approx((0.5 + 1 + 0.5) / 3)
    code = np.concatenate([circle_code(4), np.zeros((1, 2))])
    assert codim(code).value == pytest.approx((4 * 1.0 + 2.0) / 5)


@pytest.mark.parametrize("dim", [3, 4])
def test_orthants_cost_half_their_dimensions(dim: int) -> None:
    code = np.array(np.meshgrid(*[[-1.0, 1.0]] * dim)).reshape(dim, -1).T
    found = codim(code, samples=4000)
    assert abs(found.value - dim / 2) < 4.5 * found.standard_error
    assert 0 < found.standard_error < 0.05


@pytest.mark.parametrize("vocab_size", [4, 6, 10])
def test_water_filling_and_least_squares_agree(vocab_size: int) -> None:
    filled = codim(simplex(vocab_size), seed=1)
    assert "water filling" in filled.source
    cones = thresholds._Cones(spanned(simplex(vocab_size)), np.eye(vocab_size - 1))
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((3000, vocab_size - 1))
    costs = (cones.project(rng.integers(vocab_size, size=3000), drawn)[0] ** 2).sum(axis=1)
    assert abs(costs.mean() - filled.value) < 4.5 * sqrt(costs.var() / 3000 + filled.standard_error**2)


@given(seed=st.integers(0, 10**6), vocab_size=st.integers(4, 9), dim=st.integers(3, 5))
@settings(max_examples=25)
def test_projections_satisfy_moreaus_conditions(seed: int, vocab_size: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    rows = spanned(rng.standard_normal((vocab_size, dim)))
    cones = thresholds._Cones(rows, np.eye(rows.shape[1]))
    labels, drawn = rng.integers(vocab_size, size=8), rng.standard_normal((8, rows.shape[1]))
    residuals, kept = cones.project(labels, drawn)
    bound = 1e-10 * np.abs(rows).max() * (1 + np.abs(drawn).max()) * vocab_size
    for label, residual, inside in zip(labels, residuals, kept, strict=True):
        logits = rows @ inside
        assert logits[label] >= logits.max() - bound  # in the cone
        assert abs(residual @ inside) <= bound * 10
    # No random point of the cone lies nearer.
    for label, residual, sample in zip(labels, residuals, drawn, strict=True):
        points = rng.standard_normal((500, rows.shape[1])) * 2
        points = points[(points @ rows.T).argmax(axis=1) == label]
        assert (np.linalg.norm(points - sample, axis=1) >= np.linalg.norm(residual) - 1e-9).all()


@given(seed=st.integers(0, 10**6), vocab_size=st.integers(3, 8), scale=st.floats(0.01, 100))
@settings(max_examples=25)
def test_scale_shift_and_idle_dimensions_change_nothing(seed: int, vocab_size: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    code = rng.standard_normal((vocab_size, 2))
    moved = np.concatenate([scale * code + rng.standard_normal(2), np.full((vocab_size, 2), 3.0)], axis=1)
    assert codim(moved).value == pytest.approx(codim(code).value, abs=1e-6)
    assert codim(moved).code_dim == codim(code).code_dim == 2


def test_the_saddle_does_not_depend_on_the_basis_and_the_plain_formula_does() -> None:
    stretched = simplex(6)
    stretched[:, :2] *= 100
    regular, saddle = threshold_ratio(simplex(6)), threshold_ratio(stretched)
    assert abs(saddle.value - regular.value) < 4.5 * (saddle.standard_error + regular.standard_error)
    plain = threshold_ratio(stretched, law="isotropic")
    assert plain.value < 0.9 * regular.value


def test_the_saddle_of_a_random_code_in_two_bases() -> None:
    code = low_coherence_code(8, 3, 0, steps=0)
    turned = code @ np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.3]])
    first, second = (threshold_ratio(rows, samples=3000, seed=seed) for seed, rows in enumerate((code, turned)))
    # Each search for the saddle has noise of second order besides the sampling error: two per cent covers it.
    assert abs(first.value - second.value) < 3 * (first.standard_error + second.standard_error) + 0.02 * first.value


def test_more_likely_labels_count_more() -> None:
    code = np.concatenate([circle_code(4), np.zeros((1, 2))])
    assert codim(code, label_weights=np.array([1.0, 1, 1, 1, 0])).value == pytest.approx(1.0)
    assert codim(code, label_weights=np.array([0.0, 0, 0, 0, 1])).value == pytest.approx(2.0)


def test_sheets_of_numbers() -> None:
    """Values known to three digits from quadrature or elsewhere: 5/6, 1.31, 2.01, 2.78 for simplices of 3, 5, 10, 20."""
    for vocab_size, value in ((3, 5 / 6), (5, 1.31), (10, 2.01), (20, 2.78)):
        found = codim(simplex(vocab_size), seed=2)
        assert abs(found.value - value) < 4.5 * found.standard_error + 0.005


@given(vocab_size=st.integers(3, 40), dim=st.integers(2, 8), narrow=st.integers(0, 6), heads=st.integers(0, 12))
@settings(max_examples=60)
def test_the_chain_of_bounds(vocab_size: int, dim: int, narrow: int, heads: int) -> None:
    """H r + d <= d (H + 1) <= threshold <= ceiling of a readout <= ceiling with trained values: N >= 3, d_h >= 2, m >= 2."""
    head_dim = max(2, dim - narrow)
    features = num_features(dim, head_dim, heads, "solved")
    threshold = threshold_associations(features, circle_code(vocab_size)).value
    assert corollary_1_associations(heads, head_dim, dim) <= features == dim * (heads + 1) < threshold
    widest = readout_ceiling(vocab_size, min(head_dim, vocab_size - 1), features)
    assert threshold <= readout_ceiling(vocab_size, 2, features) <= widest
    assert widest <= trained_readout_ceiling(vocab_size, dim, head_dim, heads, True)


def test_the_chain_breaks_for_one_feature_and_three_tokens_only() -> None:
    for vocab_size in (3, 4, 5, 8, 11):
        for code in (circle_code(vocab_size), simplex(vocab_size)):
            found = threshold_ratio(code)
            below = found.value <= readout_ceiling(vocab_size, found.code_dim, 1)
            assert below == (vocab_size > 3)
            assert 2 * found.value <= readout_ceiling(vocab_size, found.code_dim, 2)


def test_the_chain_breaks_for_two_tokens() -> None:
    # All tables of m sequences are realizable, of m + 1 not all: but half of all tables of 2 m (Cover 1965).
    for features in (2, 7, 40):
        assert readout_ceiling(2, 1, features) == features
        assert threshold_associations(features, np.array([[1.0], [-1.0]])).value == 2 * features


@pytest.mark.parametrize("values", ["solved", "frozen"])
@pytest.mark.parametrize(("total", "dim", "head_dim"), [(100, 2, 2), (1, 2, 2), (2500, 10, 10), (333, 7, 3)])
def test_heads_for_a_threshold_are_the_fewest(values: str, total: int, dim: int, head_dim: int) -> None:
    ratio = threshold_ratio(circle_code(10))
    heads = heads_for_threshold(total, dim, head_dim, ratio, values)
    assert num_features(dim, head_dim, heads, values) * ratio.value >= total * (1 - 1e-9)
    assert heads == 0 or num_features(dim, head_dim, heads - 1, values) * ratio.value < total


def test_the_published_planar_case() -> None:
    assert heads_for_threshold(100, 2, 2, threshold_ratio(circle_code(10))) == 32  # 65 features, of which 2 are the skip's


def test_the_same_seed_gives_the_same_estimate_and_intervals_cover() -> None:
    code = low_coherence_code(9, 4, 0, steps=0)
    first, again, other = (codim(code, samples=500, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    low, high = first.interval
    assert low < codim(code, samples=8000, seed=5).value < high + 0.1
    assert Estimate(1.0, 0.1, 2, "").interval == pytest.approx((0.804, 1.196))


def test_a_polar_cone_of_a_right_angle() -> None:
    # Label 0 at a right angle: cone and polar cone are quadrants, a half of the plane's two dimensions.
    code = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    assert codim(code, label_weights=np.array([1.0, 0, 0])).value == pytest.approx(0.5 + (pi / 2) / pi)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: codim(np.ones((1, 2))), "at least two rows"),
        (lambda: codim(np.ones((4, 2))), "equal rows only"),
        (lambda: codim(np.array([[np.nan, 1.0], [0.0, 1.0]])), "finite numbers are legal"),
        (lambda: codim(circle_code(4), label_weights=np.ones(3)), "label_weights: 4 numbers"),
        (lambda: codim(circle_code(4), samples=1), "samples = 1"),
        (lambda: threshold_ratio(circle_code(4), law="gardner"), "law = 'gardner'"),
        (lambda: threshold_associations(0, circle_code(4)), "num_features = 0"),
        (lambda: num_features(2, 2, 3, "trained"), "values = 'trained'"),
        (lambda: heads_for_threshold(10, 2, 1, threshold_ratio(circle_code(4))), "code of 2 dimensions"),
    ],
)
def test_bad_input_is_refused_in_one_line(work, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        work()
    assert "\n" not in str(caught.value)
