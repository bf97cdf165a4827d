"""What is read from results: means over what was computed, slopes, and deviations from published values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from empirical import ROW_COLUMNS, read_published
from empirical.cells import Cell, CellResult
from empirical.experiments import (
    DEVIATION_COLUMNS,
    EXPERIMENT_COLUMNS,
    EXPERIMENTS,
    Experiment,
    bootstrap_slope_exponent,
    deviations,
    results,
    slope_exponent,
    slopes,
)
from theory.memorization import accuracy_from_memory, memory_from_accuracy
from theory.shapes import TransformerShape

Law = Callable[[Cell], float]


class Kept:
    """The results of a store."""

    def __init__(self, found: Sequence[CellResult]) -> None:
        self.found = {result.cell: result for result in found}

    def results(self, cells: Sequence[Cell]) -> list[CellResult]:
        return [self.found[cell] for cell in cells if cell in self.found]


def done(cell: Cell, draw_accuracy: float, accuracy: float | None = None) -> CellResult:
    uniform = draw_accuracy if accuracy is None else accuracy
    total = cell.vocab_size**2
    return CellResult(
        cell, "done", draw_accuracy, uniform, round(uniform * total), memory_from_accuracy(uniform, cell.vocab_size, total),
        margin_min=-1.0 - cell.repetition, final_loss=1.0, nominal_parameters=1000, effective_parameters=500, seconds=2.0,
    )  # fmt: skip


def law(memory: Callable[[TransformerShape], float], noise: float = 0.0) -> Law:
    """Accuracy of a memory by shape, saturated at the whole table, with an error that depends on the cell alone."""

    def accuracy(cell: Cell) -> float:
        rng = np.random.default_rng([cell.repetition, cell.seed, cell.shape.embed_dim, cell.shape.num_heads])
        total = cell.vocab_size**2
        return accuracy_from_memory(float(min(memory(cell.shape) + noise * rng.normal(), total)), cell.vocab_size, total)

    return accuracy


def filled(experiment: Experiment, accuracy: Law, variant: str = "notebook", seed: int = 0) -> Kept:
    cells = experiment.cells("paper", variant, seed=seed)  # type: ignore[arg-type]
    return Kept([done(cell, accuracy(cell)) for cell in cells])


def rows(table: pd.DataFrame, kind: str, name: str | None = None) -> pd.DataFrame:
    some = table[table["kind"] == kind]
    return some if name is None else some[some["name"] == name]


SIX = EXPERIMENTS["exp_6"]


def test_the_schema_is_that_of_all_rows_and_what_experiments_add() -> None:
    table = results(SIX, filled(SIX, lambda cell: 0.5), "paper")
    assert tuple(table.columns) == EXPERIMENT_COLUMNS == (
        *ROW_COLUMNS, "mlp_width", "tier", "series", "axis", "axis_value", "plotted_parameters", "num_missing", "num_failed",
    )  # fmt: skip
    assert table.groupby("kind").size().to_dict() == {"bound": 18, "trained": 6, "published": 6}
    assert set(table["experiment"]) == {"exp_6"} and set(table["tier"]) == {"paper"} and set(table["series"]) == {"d = 2"}
    assert rows(table, "trained")["axis_value"].tolist() == [1, 5, 9, 13, 17, 21]
    assert rows(table, "trained")["plotted_parameters"].tolist() == [16 * h + 2 * 21 for h in (1, 5, 9, 13, 17, 21)]
    assert table.dtypes.equals(results(SIX, Kept([]), "smoke").dtypes)


def test_means_have_student_intervals_over_repetitions() -> None:
    first = SIX.cells("paper")[:20]
    draws = np.linspace(0.3, 0.5, 20)
    table = results(SIX, Kept([done(cell, draw, draw - 0.1) for cell, draw in zip(first, draws, strict=True)]), "paper")
    row = rows(table, "trained").iloc[0]
    half = stats.t.ppf(0.975, 19) * np.std(draws, ddof=1) / math.sqrt(20)
    assert (row["draw_accuracy"], row["draw_accuracy_low"]) == pytest.approx((0.4, 0.4 - half))
    assert (row["accuracy"], row["accuracy_high"]) == pytest.approx((0.3, 0.3 + half))
    assert row["memory"] == pytest.approx(100 * (0.3 - 0.1) / 0.9)
    held = np.mean([round(100 * (draw - 0.1)) for draw in draws])
    assert row["held"] == pytest.approx(held) and row["bits_per_parameter"] == pytest.approx(held * math.log2(10) / 1000)
    assert row["bits_per_effective_parameter"] == pytest.approx(2 * row["bits_per_parameter"])
    assert row["margin_min"] == -20 and row["seconds"] == 40
    assert (row["num_models"], row["num_missing"], row["nominal_parameters"]) == (20, 0, 1000)


def test_missing_failed_and_diverged_cells_are_counted_and_left_out() -> None:
    cells = SIX.cells("paper")[:20]
    found = [done(cell, 0.4) for cell in cells[:15]]
    found += [CellResult(cells[15], "failed", reason="no memory")]
    # Numbers that would show in a mean.
    found += [replace(done(cell, 0.9), diverged=True, reason="step 3") for cell in cells[16:18]]
    table = results(SIX, Kept(found), "paper")
    row, empty = rows(table, "trained").iloc[0], rows(table, "trained").iloc[1]
    counts = ["num_models", "num_diverged", "num_failed", "num_missing"]
    assert row[counts].tolist() == [17, 2, 1, 2]
    assert row["draw_accuracy"] == pytest.approx(0.4) and row["accuracy"] == pytest.approx(0.4) and row["held"] == 40
    assert empty[counts].tolist() == [0, 0, 0, 20]
    assert math.isnan(empty["draw_accuracy"]) and math.isnan(empty["accuracy"]) and math.isnan(empty["seconds"])
    assert len(rows(table, "bound")) == 18  # whatever was computed


def test_only_diverged_models_make_no_mean() -> None:
    cells = SIX.cells("paper")[:20]
    wild = [CellResult(cell, "done", diverged=True, reason="step 3", seconds=1.0) for cell in cells]
    row = rows(results(SIX, Kept(wild), "paper"), "trained").iloc[0]
    assert row["num_diverged"] == 20 and row["num_missing"] == 0 and math.isnan(row["draw_accuracy"]) and row["seconds"] == 20


def test_bounds_are_those_of_one_layer_of_heads() -> None:
    one = results(EXPERIMENTS["exp_2"], Kept([]), "paper")
    point = one[one["head_dim"] == 3].set_index("name")["memory"]
    assert (point["chance"], point["previous"], point["corollary_1"]) == (0, 20 * 2 + 1, 20 * 3 + 10)
    point = one[one["head_dim"] == 3].set_index("name")["accuracy"]
    assert point["chance"] == pytest.approx(1 / 50) and point["corollary_1"] == pytest.approx(1 / 50 + 49 / 50 * 70 / 2500)
    five = results(EXPERIMENTS["exp_5"], Kept([]), "paper")
    bounds = rows(five, "bound", "corollary_1")
    assert (bounds["mlp_width"] == 0).all() and len(bounds) == 3 * 7 + 3  # the network of width 0 is a layer of one head
    deep = results(EXPERIMENTS["exp_1_deep"], Kept([]), "paper")
    assert set(rows(deep, "bound")["name"]) == {"chance"}
    capped = rows(results(EXPERIMENTS["exp_6"], Kept([]), "paper"), "bound")
    assert capped["accuracy"].between(0.1, 1).all()


def test_published_values_stand_beside_the_notebook_s_model_only() -> None:
    one = EXPERIMENTS["exp_4"]
    table = results(one, Kept([]), "paper")
    published = rows(table, "published")
    assert len(published) == 77 and published["draw_accuracy"].notna().all() and published["accuracy"].isna().all()
    assert published[(published["embed_dim"] == 10) & (published["num_heads"] == 11)]["draw_accuracy"].tolist() == [0.5063]
    assert rows(results(one, Kept([]), "paper", "paper"), "published").empty
    assert len(rows(results(EXPERIMENTS["exp_2"], Kept([]), "smoke"), "published")) == 3
    assert rows(results(EXPERIMENTS["exp_1_large"], Kept([]), "paper"), "published").empty


def test_another_table_of_published_values_can_be_given() -> None:
    common = dict(experiment="exp_5", vocab_size=70, seq_len=2, embed_dim=7, head_dim=7, num_heads=1, num_layers=1, repetitions=5)
    given = pd.DataFrame([
        dict(common, draw_accuracy=0.1), dict(common, draw_accuracy=0.2, mlp_width=140),
        dict(common, draw_accuracy=0.15, mlp_width=0, series="MLP, d = 7"), dict(common, draw_accuracy=0.9, num_heads=2),
    ])  # fmt: skip
    table = rows(results(EXPERIMENTS["exp_5"], Kept([]), "paper", published=given), "published")
    found = {(row["series"], row["mlp_width"]): row["draw_accuracy"] for row in table.to_dict("records")}
    assert found == {("attention, d = 7", 0): 0.1, ("MLP, d = 7", 140): 0.2, ("MLP, d = 7", 0): 0.15}
    for change, words in (
        (given.drop(columns="repetitions"), "no column 'repetitions'"),
        (pd.concat([given, given.iloc[:1]]), "two rows of exp_5"),
        (given.assign(series="MLP, d = 8"), "series 'MLP, d = 8' for exp_5"),
    ):
        with pytest.raises(ValueError, match=words):
            results(EXPERIMENTS["exp_5"], Kept([]), "paper", published=change)


# Slopes of known laws.

ONE = EXPERIMENTS["exp_1"]


def cubic(shape: TransformerShape) -> float:
    return 50 + 0.1 * shape.num_heads * shape.embed_dim**3


@pytest.mark.parametrize("accuracy", ["draw_accuracy", "accuracy"])
def test_slopes_of_a_straight_law_are_its_own(accuracy: str) -> None:
    table = results(ONE, filled(ONE, law(lambda s: 50 + 1.5 * s.num_heads * s.head_dim)), "paper")
    for rule in ("paper", "segmented"):
        found = slopes(table, rule=rule, accuracy=accuracy)  # type: ignore[arg-type]
        trained = found[found["kind"] == "trained"]
        assert trained["embed_dim"].tolist() == list(range(3, 14)) and (trained["num_used"] == 7).all()
        assert trained["slope"].to_numpy() == pytest.approx(1.5 * np.arange(3, 14), rel=1e-9)
        assert trained["ratio"].to_numpy() == pytest.approx(1.5, rel=1e-9)
        assert slope_exponent(found).value == pytest.approx(1, abs=1e-9)
        assert (len(found) == 22) == (accuracy == "draw_accuracy")  # published values are accuracies on draws


def test_a_law_that_saturates_has_the_slope_before_by_segments_and_less_by_the_paper_s_rule() -> None:
    table = results(ONE, filled(ONE, law(cubic, noise=3.0)), "paper")
    by = {rule: slopes(table, rule=rule).query("kind == 'trained'").set_index("embed_dim") for rule in ("paper", "segmented")}
    for dim in range(3, 14):
        truth = 0.1 * dim**3
        ours, paper = by["segmented"].loc[dim], by["paper"].loc[dim]
        assert ours["slope"] == pytest.approx(truth, rel=0.03)
        assert math.isnan(ours["breakpoint"]) == (dim < 10)  # 2500 are reached at H = 24.5 for d = 10, at 33.6 for d = 9
        if dim >= 10:
            assert ours["breakpoint"] == pytest.approx(2450 / truth, rel=0.02)
        if dim in (10, 11, 12):
            assert paper["num_used"] == ours["num_used"] + 1 and paper["slope"] < 0.97 * truth  # a point that has bent
    assert slope_exponent(slopes(table, rule="segmented")).value == pytest.approx(3, abs=0.02)


def test_published_slopes_are_those_of_the_published_figure() -> None:
    found = slopes(results(ONE, Kept([]), "paper"))
    published = found[found["kind"] == "published"]
    expected = [3.4, 8.9, 18.3, 28.4, 41.7, 56.5]  # up to d = 8 nothing saturates and all cut-offs agree
    assert published["slope"].to_numpy()[:6] == pytest.approx(expected, abs=0.06)
    assert (found[found["kind"] == "trained"]["reason"] == "fewer than two points have results").all()
    assert slope_exponent(found, kind="published").value == pytest.approx(2.5, abs=0.05)
    six = slopes(results(SIX, Kept([]), "paper")).query("kind == 'published'")
    assert six["ratio"].iloc[0] == pytest.approx(1.51, abs=0.005)


def test_a_bend_far_from_saturation_is_none() -> None:
    table = results(ONE, filled(ONE, law(lambda s: 60 + 20 * min(s.num_heads, 11) + 5 * max(s.num_heads - 11, 0))), "paper")
    found = slopes(table, rule="segmented").query("kind == 'trained'")
    assert found["breakpoint"].isna().all() and found["reason"].str.contains("no saturation").all()
    assert (found["num_used"] == 7).all()


def test_points_without_results_are_left_out_and_counted() -> None:
    store = filled(ONE, law(cubic))
    gone = [cell for cell in store.found if cell.shape in (TransformerShape(5, 16, 5), TransformerShape(5, 1, 5))]
    for cell in gone:
        del store.found[cell]
    found = slopes(results(ONE, store, "paper")).query("kind == 'trained'").set_index("embed_dim")
    assert found.loc[5, "num_missing"] == 10 and found.loc[5, "num_used"] == 5 and found.loc[6, "num_missing"] == 0
    assert found.loc[5, "slope"] == pytest.approx(0.1 * 125, rel=1e-9)


def test_deep_and_wide_curves_have_slopes_where_they_run_along_heads() -> None:
    five = EXPERIMENTS["exp_5_deep"]
    found = slopes(results(five, filled(five, law(lambda s: 50 + 3 * s.num_heads + s.mlp_width)), "paper"))
    assert found["series"].tolist() == [f"attention, d = {d}" for d in (7, 10, 13)]
    assert found["slope"].to_numpy() == pytest.approx(3) and found["ratio"].isna().all()  # no bound for three layers
    with pytest.raises(ValueError, match="no curve along num_heads"):
        slopes(results(EXPERIMENTS["exp_2"], Kept([]), "paper"))


def test_the_exponent_has_an_interval_over_repetitions() -> None:
    store = filled(ONE, law(lambda s: 50 + 0.5 * s.num_heads * s.embed_dim**1.5, noise=10.0))
    found = bootstrap_slope_exponent(ONE, store, "paper")
    assert found.value == pytest.approx(slope_exponent(slopes(results(ONE, store, "paper"))).value, abs=1e-9)
    assert found.low < 1.5 < found.high and found.high - found.low < 0.3
    del store.found[ONE.cells("paper")[3]]
    with pytest.raises(ValueError, match="store lacks models of exp_1, d = 3"):
        bootstrap_slope_exponent(ONE, store, "paper")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "words"), [({"rule": "best"}, "rule = 'best'"), ({"accuracy": "memory"}, "accuracy = 'memory'")]
)
def test_unknown_rules_are_named(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        slopes(results(SIX, Kept([]), "paper"), **arguments)  # type: ignore[arg-type]


# Deviations.


def published_of(name: str) -> dict[TransformerShape, float]:
    some = read_published().query(f"experiment == '{name}'").to_dict("records")
    return {TransformerShape(r["embed_dim"], r["num_heads"], r["head_dim"]): float(r["draw_accuracy"]) for r in some}


@pytest.mark.parametrize("name", ["exp_1", "exp_2", "exp_3"])
def test_a_deviation_beyond_what_is_allowed_is_flagged(name: str) -> None:
    experiment, values = EXPERIMENTS[name], published_of(name)
    planted = {shape: shift for shape, shift in zip(list(values)[:4], (0.031, 0.029, -0.031, -0.029), strict=True)}
    store = Kept([
        done(cell, values[cell.shape] + planted.get(cell.shape, 0.0) + 0.01 * (cell.repetition - 2), 0.25)
        for cell in experiment.cells("paper")
    ])  # fmt: skip
    found = deviations(results(experiment, store, "paper"))
    assert tuple(found.columns) == DEVIATION_COLUMNS and len(found) == len(values)
    assert found["inside"].tolist() == [False, True, False, True] + [True] * (len(values) - 4)
    assert found["difference"].tolist()[:4] == pytest.approx(list(planted.values()))
    assert (found["uniform"] == 0.25).all() and (found["allowed"] == 0.03).all() and (found["num_models"] == 5).all()
    assert set(found["basis"]) == {"fixed"} and (found["num_missing"] == 0).all()


def test_experiment_6_is_compared_by_an_interval() -> None:
    values = published_of("exp_6")
    spread = np.linspace(-0.1, 0.1, 20)
    repetitions = stats.t.ppf(0.975, 19) * math.sqrt(np.var(spread, ddof=1) * (1 / 20 + 1 / 20))
    half = math.hypot(repetitions, stats.norm.ppf(0.975) * math.sqrt(2) * 0.013)
    for shift, inside in ((0.99 * half, True), (-0.99 * half, True), (1.01 * half, False), (-1.01 * half, False)):
        store = Kept([done(cell, values[cell.shape] + shift + spread[cell.repetition], 0.5) for cell in SIX.cells("paper")])
        found = deviations(results(SIX, store, "paper"))
        assert (found["inside"] == inside).all() and set(found["basis"]) == {"one table"}
        assert found["allowed"].to_numpy() == pytest.approx(half)
    few = Kept([done(cell, values[cell.shape] + spread[cell.repetition], 0.5) for cell in SIX.cells("paper")[:-1]])
    last = deviations(results(SIX, few, "paper")).iloc[-1]
    assert last["basis"] == "incomplete" and math.isnan(last["allowed"]) and not last["inside"]


def test_several_tables_bring_the_spread_between_tables_in() -> None:
    values, shifts = published_of("exp_6"), (-0.03, 0.0, 0.06)
    tables = []
    for seed, shift in enumerate(shifts):
        cells = SIX.cells("paper", seed=seed)
        tables.append(results(SIX, Kept([done(cell, values[cell.shape] + shift) for cell in cells]), "paper", seed=seed))
    found = deviations(pd.concat(tables))
    assert len(found) == 6 and set(found["basis"]) == {"tables"} and (found["num_tables"] == 3).all()
    assert found["difference"].to_numpy() == pytest.approx(0.01) and (found["num_models"] == 60).all()
    assert found["allowed"].to_numpy() == pytest.approx(stats.t.ppf(0.975, 2) * np.std(shifts, ddof=1) * math.sqrt(4 / 3))
    one = deviations(tables[2])  # repetitions that agree leave room for other tables only
    assert not one["inside"].any() and one["allowed"].to_numpy() == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(2) * 0.013)


def test_intervals_between_tables_are_missed_as_often_as_they_say() -> None:
    """Both means scatter alike: 100 replications of a published value, on 4 tables each."""
    rng = np.random.default_rng(7)
    repeats = 100
    template = results(SIX, filled(SIX, lambda cell: 0.5), "paper").query("kind == 'trained' and num_heads == 5")
    missed = 0
    for _ in range(repeats):
        ours = pd.concat([template.assign(table_seed=t, draw_accuracy=0.5 + 0.02 * rng.normal()) for t in range(4)])
        given = read_published().query("experiment == 'exp_6' and num_heads == 5").assign(draw_accuracy=0.5 + 0.02 * rng.normal())
        missed += int(not deviations(ours, published=given)["inside"].iloc[0])
    assert 0 < missed <= 0.05 * repeats + 4.5 * math.sqrt(repeats * 0.05 * 0.95)


def test_another_published_table_is_compared_with() -> None:
    experiment = EXPERIMENTS["exp_5_deep"]
    store = filled(experiment, lambda cell: 0.4)
    common = dict(experiment="exp_5_deep", vocab_size=70, seq_len=2, head_dim=7, embed_dim=7, num_layers=3, repetitions=5)
    given = pd.DataFrame([
        dict(common, num_heads=5, draw_accuracy=0.41), dict(common, num_heads=1, mlp_width=56, draw_accuracy=0.5, source="mine"),
    ])  # fmt: skip
    table = results(experiment, store, "paper")
    assert deviations(table).empty and tuple(deviations(table).columns) == DEVIATION_COLUMNS
    found = deviations(table, published=given)
    assert found["inside"].tolist() == [True, False] and found["mlp_width"].tolist() == [0, 56]
    assert found["series"].tolist() == ["attention, d = 7", "MLP, d = 7"] and found["source"].tolist()[1] == "mine"
    with pytest.raises(ValueError, match="experiment 'exp_9'"):
        deviations(table.assign(experiment="exp_9"), published=given)


def test_what_was_not_computed_has_no_deviation_and_what_lacks_models_says_so() -> None:
    cells = [cell for cell in EXPERIMENTS["exp_2"].cells("paper") if cell.shape.head_dim == 4][:3]
    found = deviations(results(EXPERIMENTS["exp_2"], Kept([done(cell, 0.21) for cell in cells]), "paper"))
    assert len(found) == 1 and found["num_missing"].tolist() == [2] and found["num_models"].tolist() == [3]
    assert deviations(results(EXPERIMENTS["exp_2"], filled(EXPERIMENTS["exp_2"], lambda c: 0.2, "paper"), "paper", "paper")).empty
