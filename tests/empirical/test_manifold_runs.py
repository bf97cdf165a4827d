"""The experiment on manifolds: who sees which samples, what is chosen on what, and exponents that say what limits them."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from empirical import _manifold_cell
from empirical import _manifold_descent as descent
from empirical import manifold_runs as runs
from empirical.manifold_runs import TIERS, CellSamples, ManifoldCell, expected_seconds, measured_exponents, told_apart, train_cell


@pytest.fixture(autouse=True)
def few_test_points(monkeypatch):
    """Fresh points cost more than the few steps here: an error of 400 of them is known to 10%."""
    monkeypatch.setattr(_manifold_cell, "TEST_POINTS", 400)
    monkeypatch.setattr(_manifold_cell, "MOST_HELD_OUT", 800)


def cell(**changes: object) -> ManifoldCell:
    usual = {
        "experiment": "data", "manifold": "circle", "ambient_dim": 4, "target": "smooth", "beta": None, "samples": 40,
        "noise": 0.5, "width": 6, "layers": 1, "heads": 2, "attention": "softmax", "steps": 20, "batch": 16, "rate": 0.02,
        "seeds": (0, 1),
    }  # fmt: skip
    return ManifoldCell(**(usual | changes))


def test_held_out_samples_are_as_noisy_as_the_others_and_none_of_them():
    samples = CellSamples(cell(samples=4000, seeds=(3,)))
    assert samples.held_out[0].shape == (1, 800, 4) and samples.training[0].shape == (1, 3200, 4)
    for points, labels, noise in ((*samples.held_out, 0.5), (*samples.training, 0.5), (*samples.test(), 0.0)):
        true = samples.functions[0](samples.functions[0].manifold.points(samples.functions[0].manifold.parameters(
            points[0].double().numpy())))  # fmt: skip
        spread = float(np.std(labels[0].numpy() - true))
        # A standard deviation estimated from 800 draws is off by 1/sqrt(1600) of it, here within five times that.
        assert abs(spread - noise) < 5 * noise / 40 + 1e-5
    rows = [set(map(tuple, part[0].numpy())) for part in (samples.held_out[0], samples.training[0], samples.test()[0])]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]
    drawn = torch.cat([points for points, _ in samples.batches(30)], 1)[0].numpy()
    assert set(map(tuple, drawn)) <= rows[1] and len(drawn) == 30 * 16


def test_fresh_samples_never_come_twice_and_seeds_share_nothing():
    samples = CellSamples(cell(experiment="model", samples=0, noise=0.0, seeds=(0, 1)))
    points = torch.cat([points for points, _ in samples.batches(5) + samples.batches(5)], 1)
    assert points.shape == (2, 160, 4) and len(np.unique(points[0].numpy(), axis=0)) == 160
    assert not torch.allclose(points[0], points[1])
    one, other = samples.functions
    angle = np.array([[0.3], [2.0]])
    assert np.allclose(one(one.manifold.points(angle)), other(other.manifold.points(angle)))  # but the function
    assert not np.allclose(one.manifold.points(angle), other.manifold.points(angle))


def test_weights_of_the_least_held_out_loss_count_and_nothing_else_chooses():
    seen = []
    chosen = cell(samples=20, noise=1.0, steps=24, rate=0.05, width=8, seeds=(4,))
    (row,) = train_cell(chosen, lambda *told: seen.append(told))
    least = min(seen, key=lambda told: told[2])
    assert (row["stopped_at"], row["held_out_loss"]) == (least[0], least[2]) and row["stopped_at"] < 24
    assert row["mse"] != row["final_mse"]
    # Stopped there, with the rates of the whole run, the same model has the same error on other fresh points.
    (again,) = train_cell(chosen)
    assert {k: v for k, v in row.items() if k != "seconds"} == {k: v for k, v in again.items() if k != "seconds"}


def test_a_member_does_not_depend_on_who_is_trained_beside_it():
    together, alone = train_cell(cell(seeds=(0, 1), steps=5))[1], train_cell(cell(seeds=(1,), steps=5))[0]
    # Float32 products in another order: 5 steps of relative errors of 1e-6 or less.
    assert alone["mse"] == pytest.approx(together["mse"], rel=1e-4) and alone["stopped_at"] == together["stopped_at"]


def test_it_learns_and_noise_costs():
    settings = {"samples": 200, "width": 12, "steps": 60, "rate": 0.03, "layers": 1, "seeds": (0, 1), "batch": 64}
    clean, noisy = (np.mean([row["mse"] for row in train_cell(cell(noise=noise, **settings))]) for noise in (0.0, 2.0))
    assert clean < 0.2 < 0.3 < noisy  # the target's variance is 0.625


def test_a_model_that_diverges_has_a_failure_and_no_error():
    rows = train_cell(cell(rate=1e20, seeds=(0, 1), steps=4))
    assert all("not finite" in row["failure"] and math.isnan(row["mse"]) for row in rows)
    table = pd.DataFrame(rows).assign(beta=math.inf)
    (found,) = measured_exponents(table).to_dict("records")
    assert math.isnan(found["exponent"]) and "2 models failed" in found["reason"]


def series(alpha: float, sizes: tuple[int, ...] = (100, 1000, 10_000), **changes: object) -> pd.DataFrame:
    """A table of models whose error is size^-alpha times a factor of the seed's own."""
    usual = {
        "kind": "trained", "experiment": "data", "manifold": "circle", "dimension": 1, "ambient_dim": 6, "target": "weierstrass",
        "beta": 0.5, "attention": "softmax", "width": 16.0, "parameters": 4304, "target_variance": 1.0, "steps": 100, "check": "",
    } | changes  # fmt: skip
    size = "samples" if usual["experiment"] == "data" else "parameters"
    rows = [
        {"samples": 0, "mse": (1 + seed / 10) * float(n) ** -(alpha + seed / 100)} | usual | {size: n, "seed": seed}
        for n in sizes for seed in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)




def only(table: pd.DataFrame) -> dict[str, object]:
    (row,) = measured_exponents(table).to_dict("records")
    return row


def test_exponents_are_means_over_seeds_with_their_interval():
    row = only(series(0.5))
    half = 4.302653 * 0.01 / math.sqrt(3)  # Student's 97.5% quantile with 2 degrees of freedom; slopes .50, .51, .52
    assert row["exponent"] == pytest.approx(0.51) and row["high"] - row["exponent"] == pytest.approx(half, rel=1e-6)
    assert (row["predicted"], row["num_sizes"], row["num_seeds"], row["reason"]) == (0.5, 3, 3, "")
    assert row["low"] < row["bootstrap_low"] <= row["bootstrap_high"] < row["high"]
    model = only(series(0.8, experiment="model"))
    assert model["exponent"] == pytest.approx(0.81) and model["predicted"] == 1.0


@pytest.mark.parametrize(
    ("experiment", "dimension", "beta", "predicted"),
    [("data", 2, 0.5, 1 / 3), ("model", 3, 0.75, 0.5), ("data", 3, math.inf, 1.0), ("model", 3, math.inf, math.inf)],
)
def test_predictions_are_the_theorys(experiment, dimension, beta, predicted):
    row = only(series(0.4, experiment=experiment, dimension=dimension, beta=beta))
    assert row["predicted"] == pytest.approx(predicted)


def test_limits_are_said_and_left_in():
    usual = series(0.4, experiment="model")
    longer = series(0.4, sizes=(10_000,), experiment="model", check="longer", steps=200)
    row = only(pd.concat([usual, longer.assign(mse=longer["mse"] / 2)]))
    assert "2 times the steps lower the error at the largest size by 50%: optimisation limits it" in row["reason"]
    assert row["exponent"] == pytest.approx(0.41)
    assert only(pd.concat([usual, longer]))["reason"] == ""

    assert "samples 100: more than 50% of the target's variance is left" in only(series(0.4, target_variance=0.2))["reason"]
    flat = series(0.02)
    flat["mse"] = flat["mse"].where(flat["samples"] < 1000, 1.0)
    assert "samples 1,000, 10,000: a plateau" in only(flat)["reason"]


def above(floor, exponent, sizes=(100, 300, 1000, 3000, 10_000), **changes):
    """A data series whose error is a power of n on a floor, and models of the same shape that show this floor."""
    data = series(exponent, sizes, target_variance=9.0, **changes)
    fresh = series(0.0, (4304,), experiment="model", mse=floor, **changes)
    return pd.concat([data.assign(mse=data["mse"] + floor), fresh])


@pytest.mark.parametrize(("exponent", "floor"), [(0.4, 0.01), (0.6, 0.003)])
def test_an_error_on_a_floor_has_its_exponent_when_the_floor_is_off(exponent, floor):
    """At k times the floor a local slope is 1 - 1/k of the exponent; what looks like one exponent hides another."""
    table = above(floor, exponent)
    row = measured_exponents(table).iloc[0]
    assert row["floor"] == pytest.approx(floor) and row["floor_off"] == pytest.approx(exponent + 0.01)
    assert row["floor_off_low"] <= exponent <= row["floor_off_high"] and row["exponent"] < 0.9 * exponent
    assert row["late"] < row["early"] < exponent + 0.01 and "the curve bends" in row["reason"]
    errors = table[table["experiment"] == "data"].groupby("samples")["mse"].mean()
    times = (errors / floor).to_numpy()
    near = [f"{size:,}" for size, k in zip(errors.index, times, strict=True) if k < 10]
    said = f"samples {', '.join(near)}: within a factor of 10 of the model's error on fresh samples"
    assert 0 < len(near) < 5 and f"{said} (at the least {times[-1]:.1f} times it, where 1/{times[-1]:.1f} of" in row["reason"]
    assert row["free_sizes"] == 5 - len(near)
    # The derivation of the constant: a slope over a short step, against the share that it gives.
    n = np.array([1000.0, 1010.0])
    error = n**-exponent + 0.1 * 1000**-exponent
    assert -np.diff(np.log(error))[0] / np.log(1.01) == pytest.approx(exponent * (1 - 1 / 11), rel=1e-3)


def test_a_floor_that_is_not_known_or_not_below_is_not_taken_off():
    data, fresh = (part for _, part in above(0.01, 0.4).groupby("experiment"))
    other = measured_exponents(pd.concat([data, fresh.assign(attention="relu")])).iloc[0]
    assert math.isnan(other["floor_off"]) and math.isnan(other["floor"])  # the floor of another kind of model says nothing
    high = measured_exponents(pd.concat([data, fresh.assign(mse=float(data["mse"].min()))])).iloc[0]
    assert math.isnan(high["floor_off"]) and "samples 10,000: an error is not above the floor" in high["reason"]


def test_a_seed_that_has_not_learnt_is_named():
    table = series(0.4, experiment="model", target_variance=0.5)
    table.loc[(table["seed"] == 1) & (table["parameters"] == 1000), "mse"] = 0.47
    row = only(table)
    assert "parameters 1,000: not learnt by seed 1 (94% of the variance left)" in row["reason"]
    assert row["learnt_sizes"] == 2


def test_straight_curves_do_not_bend_and_bent_ones_do():
    straight = only(series(0.4, (100, 1000, 10_000, 100_000), experiment="model"))
    assert (straight["early"], straight["late"], straight["reason"]) == (pytest.approx(0.41), pytest.approx(0.41), "")
    bent = series(0.0, (100, 1000, 10_000), experiment="model")
    logs = np.log(bent["parameters"] / 100)
    row = only(bent.assign(mse=bent["mse"] * np.exp(-0.2 * logs - 0.05 * logs**2)))
    assert row["early"] == pytest.approx(0.21 + 0.05 * math.log(10)) and row["late"] == pytest.approx(0.21 + 0.15 * math.log(10))
    assert f"the curve bends: {row['early']:.2f} in the lower half of the sizes, {row['late']:.2f} in the upper" in row["reason"]


def test_dimensions_are_told_apart_by_their_intervals_only():
    def lines(*exponents):
        parts = [series(value, experiment="model", dimension=d) for d, value in enumerate(exponents, 1)]
        return told_apart(measured_exponents(pd.concat(parts)))

    # Intervals are the exponent +- 0.0248 about its mean over seeds, 0.01 more.
    assert lines(0.40, 0.39) == ["model, weierstrass 0.5 (trained, softmax): d = 1, 2 have 0.41, 0.40: can't be told apart, "
                                 "one exponent of 0.39 to 0.42 fits all of them"]  # fmt: skip
    (said,) = lines(0.40, 0.37, 0.30)
    assert said.endswith("d = 1, 2, 3 have 0.41, 0.38, 0.31: intervals tell apart 1 from 3, 2 from 3, no others")
    assert lines(0.30, 0.40)[0].endswith("intervals tell apart 1 from 2 (the wrong way round)")
    assert lines(0.4) == []
    unlearnt = series(0.01, experiment="model", dimension=3, target_variance=0.1)
    (said,) = told_apart(measured_exponents(pd.concat([series(0.4, experiment="model"), unlearnt])))
    assert said.endswith("d = 3 left out: nothing learnt, or no interval") and "nothing to tell apart" in said


def test_series_that_the_floor_orders_are_alike_without_it():
    """One exponent and three floors: slopes fall with d, and say nothing of it."""
    tables = [above(floor, 0.6, dimension=d) for d, floor in ((1, 0.0005), (2, 0.01), (3, 0.1))]
    found = measured_exponents(pd.concat(tables))
    data = found[found["experiment"] == "data"]
    assert data["exponent"].is_monotonic_decreasing and data["floor_off"].to_list() == pytest.approx([0.61] * 3)
    (line,) = told_apart(data)
    assert "intervals tell apart" in line
    assert "with the floor off, d = 1, 2, 3 have 0.61, 0.61, 0.61: can't be told apart, one exponent of" in line


def test_built_networks_are_rows_of_the_same_table():
    built = runs.built_rows("circle", 4, "smooth", 0.5, (8, 16, 32), 1)
    assert tuple(built.columns) == runs.TRAINED_COLUMNS
    row = only(built)
    assert (row["kind"], row["predicted"], row["num_seeds"]) == ("built", 4.0, 1)
    assert 3 < row["exponent"] < 6 and row["low"] <= row["exponent"] <= row["high"]
    steep = built.assign(mse=built["parameters"] ** -5.0 * (1 + 1e-4 * np.arange(3)))
    flat = built.assign(mse=built["parameters"] ** -1.0 * (1 + 1e-4 * np.arange(3)))
    assert [only(table)["reason"] for table in (steep, flat)] == [f"{how} than the limit 4 on these grids"
                                                                  for how in ("steeper", "flatter")]  # fmt: skip
    both = measured_exponents(pd.concat([built, series(0.8, experiment="model")]))
    assert list(both["kind"]) == ["built", "trained"]


@pytest.mark.bad_input
def test_tables_and_cells_that_are_none_are_refused():
    with pytest.raises(ValueError, match="no column mse"):
        measured_exponents(series(0.5).drop(columns="mse"))
    with pytest.raises(ValueError, match="tier = 'fast'"):
        runs.read_cells(".", "fast")
    for changes in (
        {"samples": 9}, {"samples": 0}, {"experiment": "model"}, {"noise": -1.0}, {"rate": 0.0}, {"rate": math.nan},
        {"seeds": ()}, {"seeds": (1, 1)}, {"heads": 4}, {"beta": 0.5}, {"target": "weierstrass"}, {"manifold": "klein bottle"},
        {"check": "x"}, {"steps": 0}, {"experiment": "both"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            cell(**changes)


def test_cells_are_kept_and_read_again(tmp_path, monkeypatch):
    kept = cell(steps=4)
    monkeypatch.setitem(TIERS, "smoke", (kept, cell(steps=5)))
    first = runs.run_cell(kept, tmp_path / "out" / "smoke")
    monkeypatch.setattr(runs, "train_cell", lambda *_: pytest.fail("trained again"))
    assert runs.run_cell(kept, tmp_path / "out" / "smoke") == first
    table = runs.read_cells(tmp_path / "out", "smoke")
    assert tuple(table.columns) == runs.TRAINED_COLUMNS and list(table["seed"]) == [0, 1] and set(table["tier"]) == {"smoke"}
    assert set(table["beta"]) == {math.inf} and np.array_equal(table["mse"], [row["mse"] for row in first])
    (file,) = (tmp_path / "out" / "smoke").iterdir()
    file.write_text(file.read_text().replace('"mse": ', '"mse": 1'))
    assert runs.read_cells(tmp_path / "out", "smoke").empty  # an edited file is no result
    assert ManifoldCell.from_spec(json.loads(json.dumps(kept.spec))) == kept


def test_the_quick_tier_is_what_it_promises():
    quick = TIERS["quick"]
    assert sum(map(expected_seconds, quick)) < 40 * 60  # on one core; with the part on text, half an hour on two
    for cells in TIERS.values():
        assert len({each.name for each in cells}) == len(cells)
    found = {each.function(0).manifold.dimension for each in quick}
    assert found == {1, 2, 3} and {each.target for each in quick} == {"smooth", "weierstrass"}
    assert min(len(each.seeds) for each in quick) >= 3
    groups: dict[tuple[object, ...], list[ManifoldCell]] = {}
    for each in quick:
        groups.setdefault((each.experiment, each.manifold, each.target, each.attention), []).append(each)
    for (experiment, *_), cells in groups.items():
        usual, longer = [each for each in cells if not each.check], [each for each in cells if each.check]
        sizes = [each.samples if experiment == "data" else each.model(0).num_parameters for each in usual]
        assert max(sizes) / min(sizes) >= (100 if experiment == "data" else 10**1.5) and len(sizes) >= 3
        assert [dataclasses.replace(each, check="", steps=each.steps // 2) for each in longer] == [usual[-1]]
        # Only the size differs within a series, and the rate, by one rule.
        assert [each.rate * each.width for each in cells] == pytest.approx([0.16] * len(cells))
    assert descent.rate_share(0, 100) == pytest.approx(0.2) and descent.rate_share(5, 100) == 1
    assert descent.rate_share(99, 100) < 0.001
