"""Optima read off data: known laws, known biases, and every budget accounted for."""

from math import exp, isnan, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from empirical._scaling_groups import densest_budgets, size_groups, size_labels
from empirical.scaling_approaches import Approach, envelope, iso_flop, parabola_shift
from empirical.scaling_points import ScalingPoints

BESIROGLU = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # Besiroglu et al. 2024, table 1
ROUNDED = (1.69, 406.4, 410.7, 0.34, 0.28)  # Hoffmann et al. 2022, equation 10
STEEP_IN_TOKENS = (1.7, 300.0, 3000.0, 0.3, 0.5)
BUDGETS = np.geomspace(6e18, 3e21, 9)


def exponent(law: tuple[float, ...]) -> float:
    return law[4] / (law[3] + law[4])


def best_size(law: tuple[float, ...], compute: np.ndarray) -> np.ndarray:
    """N_opt in closed form (Hoffmann et al. 2022, equation 4)."""
    _, a, b, alpha, beta = law
    return (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (compute / 6) ** exponent(law)


def measured(law: tuple[float, ...], sizes: np.ndarray, compute: np.ndarray, noise: float = 0.0, seed: int = 0) -> ScalingPoints:
    sizes, compute = np.broadcast_arrays(sizes, compute)
    tokens = compute / (6 * sizes)
    loss = law[0] + law[1] / sizes ** law[3] + law[2] / tokens ** law[4]
    loss = loss * np.exp(noise * np.random.default_rng(seed).normal(size=loss.shape))
    return ScalingPoints.of(sizes.ravel(), tokens.ravel(), loss.ravel())


def iso_table(
    law: tuple[float, ...], *, num_sizes: int = 9, decades: float = 1.0, centre: float | np.ndarray = 0.0, noise: float = 0.0,
    seed: int = 0, budgets: np.ndarray = BUDGETS,
) -> ScalingPoints:  # fmt: skip
    """At each budget sizes log-spaced over +-`decades` about `centre` decades from the optimum."""
    middle = best_size(law, budgets) * 10 ** np.asarray(centre)
    sizes = middle[:, None] * 10 ** np.linspace(-decades, decades, num_sizes)
    return measured(law, sizes, budgets[:, None], noise, seed)


@pytest.mark.parametrize(
    ("law", "missed"), [(BESIROGLU, 0.988), (ROUNDED, 1.04), (STEEP_IN_TOKENS, 0.88)], ids=["besiroglu", "rounded", "steep"]
)
def test_sizes_centred_alike_give_the_exact_exponent_and_a_wrong_prefactor(law: tuple[float, ...], missed: float) -> None:
    found = iso_flop(iso_table(law), bootstraps=99)
    assert len(found.optima) == 9 and not found.refusals and not found.notes
    assert found.parameters_exponent.value == pytest.approx(exponent(law), abs=1e-9)
    assert found.tokens_exponent.value == pytest.approx(1 - exponent(law), abs=1e-9)
    ratio = found.optima["parameters"].to_numpy() / best_size(law, BUDGETS)
    assert ratio == pytest.approx(np.full(9, ratio[0]), rel=1e-8)
    assert ratio[0] == pytest.approx(missed, abs=0.005)
    assert log(ratio[0]) == pytest.approx(parabola_shift(law[3], law[4], log(10) * np.linspace(-1, 1, 9)), abs=1e-8)


@pytest.mark.parametrize(("num_sizes", "expected"), [(9, 0.4563), (21, 0.4572), (201, 0.4577)])
def test_sizes_that_drift_against_the_optimum_bias_the_exponent(num_sizes: int, expected: float) -> None:
    centre = np.linspace(-0.5, 0.5, 9)
    found = iso_flop(iso_table(ROUNDED, num_sizes=num_sizes, centre=centre), bootstraps=99)
    offsets = np.linspace(-1, 1, num_sizes)
    shifts = [parabola_shift(ROUNDED[3], ROUNDED[4], log(10) * (offsets + middle)) for middle in centre]
    bias = stats.linregress(np.log(BUDGETS), shifts).slope
    assert exponent(ROUNDED) == pytest.approx(0.4516, abs=5e-5)
    assert found.parameters_exponent.value == pytest.approx(exponent(ROUNDED) + bias, abs=1e-8)
    assert found.parameters_exponent.value == pytest.approx(expected, abs=5e-5)
    assert any("decades against the optimum" in note for note in found.notes)


@given(alpha=st.floats(0.05, 1.5), half_width=st.floats(0.1, 3), count=st.integers(3, 12))
def test_with_equal_exponents_a_centred_parabola_is_not_shifted(alpha: float, half_width: float, count: int) -> None:
    assert parabola_shift(alpha, alpha, np.linspace(-half_width, half_width, count)) == pytest.approx(0, abs=1e-7)


def test_intervals_cover_and_the_line_agrees_with_scipy() -> None:
    """30 tables of 5 budgets with 7 sizes."""
    covered = {"bootstrap": 0, "scatter": 0}
    for seed in range(30):
        found = iso_flop(iso_table(BESIROGLU, num_sizes=7, noise=0.003, seed=seed, budgets=BUDGETS[::2]), bootstraps=99)
        covered["bootstrap"] += found.parameters_exponent.holds(exponent(BESIROGLU))
        covered["scatter"] += found.scatter_exponent.holds(exponent(BESIROGLU))
    least = stats.binom.ppf(1e-5, 30, 0.92)  # 99 draws end their percentiles early: 92% is what they promise
    assert min(covered.values()) >= least and max(covered.values()) <= 30
    told = stats.linregress(np.log(found.optima["compute"]), np.log(found.optima["parameters"]))
    assert [found.parameters_exponent.value, found.scatter_exponent.value] == pytest.approx([told.slope] * 2)


def test_losses_are_carried_to_the_budget() -> None:
    """Compute that is off by up to 9% moves the optima far less than losses that were taken as they are."""
    sizes = best_size(BESIROGLU, BUDGETS)[:, None] * 10 ** np.linspace(-1, 1, 9)
    compute = BUDGETS[:, None] * np.exp(np.random.default_rng(3).uniform(-0.09, 0.09, sizes.shape))
    table = measured(BESIROGLU, sizes, compute)
    found = iso_flop(table, budgets=BUDGETS, bootstraps=99)
    optima = np.log(found.optima["parameters"].to_numpy())
    exact = np.log(iso_flop(iso_table(BESIROGLU), bootstraps=99).optima["parameters"].to_numpy())
    raw = [np.polyfit(np.log(row), loss, 2) for row, loss in zip(sizes, table.loss.reshape(9, 9), strict=True)]
    untouched = np.array([-fit[1] / (2 * fit[0]) for fit in raw])
    assert np.abs(optima - exact).mean() < np.abs(untouched - exact).mean() / 4


@pytest.mark.parametrize(
    ("centre", "words"), [(1.5, "below the smallest"), (-1.5, "above the largest")], ids=["too large", "too small"]
)
def test_a_budget_whose_sizes_miss_the_optimum_is_refused(centre: float, words: str) -> None:
    middles = np.zeros(9)
    middles[4] = centre
    found = iso_flop(iso_table(BESIROGLU, centre=middles), bootstraps=99)
    (refused,) = found.refusals
    assert "no interior minimum" in refused.reason and words in refused.reason
    assert refused.group == pytest.approx(BUDGETS[4]) and len(found.optima) == 8
    assert not found.members.loc[np.isclose(found.members["group"], BUDGETS[4]), "kept"].any()
    assert found.parameters_exponent.value == pytest.approx(exponent(BESIROGLU), abs=1e-8)


@pytest.mark.parametrize(("kind", "words"), [("flat", "not curved"), ("upside down", "opens downward"), ("noise", "minimum")])
def test_losses_without_a_minimum_are_no_optimum(kind: str, words: str) -> None:
    offsets = np.linspace(-1, 1, 6)
    rows = {"flat": 0 * offsets, "upside down": -(offsets**2), "noise": np.array([0.3, -0.4, 0.2, -0.3, 0.4, -0.2])}
    loss = np.tile(3 + 0.1 * rows[kind], 2)
    compute = np.repeat([1e19, 1e20], 6)
    sizes = 1e9 * np.tile(10**offsets, 2)
    found = iso_flop(ScalingPoints.of(sizes, compute / (6 * sizes), loss), bootstraps=99)
    assert len(found.refusals) == 2 and all(words in refused.reason for refused in found.refusals)
    assert isnan(found.parameters_exponent.value) and "needs two" in found.reason
    assert isnan(found.predict(1e21)[0].value) and found.optima.empty


@given(seed=st.integers(0, 10**6), centre=st.floats(-1.2, 1.2), noise=st.sampled_from([0.0, 0.003, 0.05]))
@settings(max_examples=10)
def test_every_told_budget_is_either_an_optimum_or_a_refusal(seed: int, centre: float, noise: float) -> None:
    table = iso_table(BESIROGLU, num_sizes=5, centre=centre, noise=noise, seed=seed)
    told = [*BUDGETS.tolist(), 1e25]
    found = iso_flop(table, budgets=told, bootstraps=99, seed=seed)
    named = sorted([*found.optima["compute"], *(refused.group for refused in found.refusals)])
    assert named == pytest.approx(sorted(told)) and all(refused.reason for refused in found.refusals)
    assert any(refused.group == 1e25 and "0 sizes" in refused.reason for refused in found.refusals)
    inside = found.members.groupby("group")["parameters"].agg(["min", "max"])
    for _, row in found.optima.iterrows():
        limits = inside.iloc[np.argmin(np.abs(np.log(inside.index / row["compute"])))]
        assert limits["min"] < row["parameters"] < limits["max"]
        assert row["parameters"] * row["tokens"] * 6 == pytest.approx(row["compute"])


def test_the_order_of_the_points_does_not_matter() -> None:
    table = iso_table(BESIROGLU, noise=0.004, seed=5)
    order = np.random.default_rng(0).permutation(table.num_points)
    other = ScalingPoints.of(table.parameters[order], table.tokens[order], table.loss[order])
    for approach in (iso_flop, envelope):
        one, two = approach(table, bootstraps=99), approach(other, bootstraps=99)
        assert len(one.optima) == len(two.optima) and one.reason == two.reason
        assert one.parameters_exponent.value == pytest.approx(two.parameters_exponent.value, rel=1e-9, nan_ok=True)


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    table = iso_table(BESIROGLU, noise=0.004, seed=5)
    first, again, other = (iso_flop(table, bootstraps=99, seed=seed).parameters_exponent for seed in (1, 1, 2))
    assert first == again and first.value == other.value and first.low != other.low


def test_checkpoints_of_one_run_are_not_taken_as_independent() -> None:
    """Four points that share a run and its error are worth one, not four: the interval is twice as wide."""
    table = iso_table(BESIROGLU, noise=0.004, seed=2)
    many = [np.repeat(row, 4) for row in (table.parameters, table.tokens, table.loss)]
    names = [str(place) for place in np.repeat(np.arange(table.num_points), 4)]
    widths = []
    for runs in (None, names):
        interval = iso_flop(ScalingPoints.of(*many, runs=runs), bootstraps=999).parameters_exponent
        widths.append(interval.high - interval.low)
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.15)


def test_a_prediction_lies_on_the_line_and_spends_the_budget() -> None:
    found = iso_flop(iso_table(BESIROGLU, noise=0.003), bootstraps=199)
    sizes, tokens = found.predict(5.76e23)
    assert sizes.value == pytest.approx(found.parameters_prefactor.value * 5.76e23**found.parameters_exponent.value)
    assert tokens.value == pytest.approx(found.tokens_prefactor.value * 5.76e23**found.tokens_exponent.value)
    assert 6 * sizes.value * tokens.value == pytest.approx(5.76e23)
    assert 6 * sizes.low * tokens.high == pytest.approx(5.76e23) and sizes.low < sizes.value < sizes.high
    near = found.predict(1e20)[0]
    assert log(sizes.high / sizes.low) > 2 * log(near.high / near.low)  # extrapolation costs


def dense(noise: float = 0.0, num_sizes: int = 40) -> ScalingPoints:
    """Four horizons over a factor 16 for each size, as in Hoffmann et al. 2022, section 3.1."""
    sizes = np.geomspace(7e7, 1.6e10, num_sizes)[:, None]
    return measured(BESIROGLU, sizes, 6 * 20 * sizes**2 * np.geomspace(0.25, 4, 4), noise)


def test_the_envelope_finds_the_exponent_within_what_its_steps_allow() -> None:
    found = envelope(dense(), bootstraps=99, num_budgets=500)
    assert found.parameters_exponent.holds(exponent(BESIROGLU)) and not found.reason
    assert found.steps > 0.002 and found.parameters_exponent.value == pytest.approx(exponent(BESIROGLU), abs=found.steps)
    assert isnan(found.scatter_exponent.low)
    curves = found.curves.set_index("group")
    for _, row in found.optima.iloc[::50].iterrows():  # nobody is lower at the same compute
        for _, curve in curves.groupby(level=0):
            if curve["compute"].iloc[0] <= row["compute"] <= curve["compute"].iloc[-1]:
                height = np.interp(log(row["compute"]), np.log(curve["compute"]), np.log(curve["loss"]))
                assert exp(height) >= row["loss"] * (1 - 1e-4)


def test_the_envelope_accounts_for_all_compute() -> None:
    found = envelope(dense(noise=0.003), bootstraps=99, num_budgets=300)
    grid = np.geomspace(found.curves["compute"].min(), found.curves["compute"].max(), 300)
    kept = np.isclose(grid[:, None], found.optima["compute"].to_numpy()).any(axis=1)
    refused = np.zeros(300, dtype=bool)
    for group in found.refusals:
        low, high = (float(word) for word in group.what.split()[1:4:2])
        refused |= (grid >= low * 0.99) & (grid <= high * 1.01)  # three digits
    assert (kept | refused).all() and not kept[0] and not kept[-1]
    assert {"smallest" in group.reason for group in found.refusals} == {True, False}


@pytest.mark.parametrize(("num_sizes", "words"), [(1, "1 sizes have a curve"), (2, "2 sizes have a curve")])
def test_an_envelope_needs_three_sizes(num_sizes: int, words: str) -> None:
    found = envelope(dense(num_sizes=num_sizes), bootstraps=99)
    assert words in found.reason and isnan(found.parameters_exponent.value) and found.optima.empty


def test_sizes_with_too_few_budgets_are_refused_by_name() -> None:
    table = dense(num_sizes=10)
    keep = np.ones(table.num_points, dtype=bool)
    keep[1:4] = False
    found = envelope(table.select(keep), bootstraps=99, num_budgets=50)
    assert found.refusals[0].what == "size 7e+07" and "1 different C" in found.refusals[0].reason


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=30))
def test_sizes_are_as_narrow_as_they_say(logs: list[float]) -> None:
    """No chains: neighbours that are close do not join what is far apart."""
    values = 20 + np.array(logs)
    labels = size_labels(values)
    assert all(np.ptp(values[labels == label]) <= 0.002 + 1e-12 for label in np.unique(labels))
    firsts = np.sort([values[labels == label].min() for label in np.unique(labels)])
    assert (np.diff(firsts) > 0.002).all() and (np.diff(labels[np.argsort(values, kind="stable")]) >= 0).all()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_found_budgets_share_no_point_and_are_narrow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = measured(BESIROGLU, 10 ** rng.uniform(8, 9, 60), 10 ** rng.uniform(19, 19.5, 60))
    found = densest_budgets(table, 0.1, 4)
    places = np.concatenate([*found, np.empty(0, dtype=int)])
    assert np.unique(places).size == places.size
    logs = np.log(table.compute)
    labels = size_labels(table.log_parameters)
    assert all(np.ptp(logs[part]) <= 0.1 + 1e-9 and np.unique(labels[part]).size >= 4 for part in found)
    rest = np.sort(logs[~np.isin(np.arange(60), places)])
    taken = [(logs[part].min(), logs[part].max()) for part in found]
    for first in range(rest.size - 8):  # nothing dense is left that no found budget interrupts
        if rest[first + 8] - rest[first] < 0.1:
            assert any(rest[first] < high and low < rest[first + 8] for low, high in taken)
    assert [logs[part].mean() for part in found] == sorted(logs[part].mean() for part in found)


def test_sizes_keep_all_points() -> None:
    groups = size_groups(dense(num_sizes=7))
    assert sorted(np.concatenate([part for _, part in groups])) == list(range(28)) and len(groups) == 7


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tolerance": 1.0}, "tolerance = 1.0"), ({"tolerance": float("nan")}, "tolerance = nan"), ({"budgets": []}, "budgets"),
        ({"budgets": [0.0, 1e19]}, "budgets"), ({"least_sizes": 3}, "least_sizes = 3"), ({"bootstraps": 5}, "bootstraps = 5"),
        ({"level": 1.0}, "level = 1.0"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        iso_flop(iso_table(BESIROGLU), **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compute", [0.0, -1.0, float("inf"), float("nan")])
def test_only_finite_budgets_are_predicted(compute: float) -> None:
    found: Approach = iso_flop(iso_table(BESIROGLU), bootstraps=99)
    with pytest.raises(ValueError, match="compute ="):
        found.predict(compute)


@pytest.mark.parametrize(
    ("alpha", "beta", "offsets"), [(0.0, 0.3, [0, 1, 2]), (0.3, float("inf"), [0, 1, 2]), (0.3, 0.3, [0, 1, 1])]
)
def test_a_shift_needs_exponents_and_three_places(alpha: float, beta: float, offsets: list[float]) -> None:
    with pytest.raises(ValueError, match="legal"):
        parabola_shift(alpha, beta, offsets)
