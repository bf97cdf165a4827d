"""The paper's experiments as cells: grids counted by hand, and every smoke tier end to end."""

from collections import Counter

import numpy as np
import pytest

from empirical.cells import Cell, CellResult
from empirical.experiments import EXPERIMENTS, GROUPS, TIERS, Experiment, named, plotted_parameters, results
from empirical.sweep import compute
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape

NAMES = (
    "exp_1", "exp_2", "exp_3", "exp_4", "exp_5", "exp_6", "exp_1_large", "exp_2_large", "exp_5_large", "exp_1_deep",
    "exp_2_deep", "exp_5_deep",
)  # fmt: skip
# Models of the full grid: points times repetitions. In exp_5_deep heads and MLP have the schedule in common, so that the network
# of width 0 is the model with one head: 3 x 6 + 3 x 5 points.
COUNTS = dict(
    exp_1=11 * 7 * 5, exp_2=10 * 5, exp_3=11 * 5, exp_4=11 * 7 * 5, exp_5=3 * 7 * 5 + 3 * 7 * 5, exp_6=6 * 20,
    exp_1_large=3 * 6 * 5, exp_2_large=11 * 5, exp_5_large=3 * 6 * 5 + 3 * 6 * 5,
    exp_1_deep=3 * 6 * 5, exp_2_deep=10 * 5, exp_5_deep=(18 + 15) * 5,
)  # fmt: skip


def shapes(name: str) -> set[TransformerShape]:
    return {cell.shape for cell in EXPERIMENTS[name].cells("paper")}


def test_all_of_the_paper_s_experiments_are_there() -> None:
    assert tuple(EXPERIMENTS) == NAMES and all(experiment.name == name for name, experiment in EXPERIMENTS.items())
    assert [one.name for one in named("all")] == list(NAMES) and named("exp_2") == (EXPERIMENTS["exp_2"],)
    for group in ("large", "deep"):
        assert [one.name for one in named(group)] == [name for name in NAMES if name.endswith(group)] == list(GROUPS[group])
    for experiment in EXPERIMENTS.values():
        assert experiment.title and experiment.question.endswith((".", "?", ")")) and "Dana, Pydi" in experiment.source
        assert experiment.paper_says.rstrip(")").endswith(".") and experiment.quick.note and experiment.smoke.note


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["notebook", "paper"])
def test_the_grid_is_that_of_the_paper(name: str, variant: str) -> None:
    cells = EXPERIMENTS[name].cells("paper", variant)  # type: ignore[arg-type]
    assert len(cells) == COUNTS[name] == len({cell.key for cell in cells})
    assert {cell.variant for cell in cells} == {variant}
    assert {cell.seq_len for cell in cells} == {2} and {cell.device for cell in cells} == {"cpu"}
    assert {cell.vocab_size for cell in cells} == {
        200 if name.endswith("large") else 70 if name.endswith("deep") or name == "exp_5" else 10 if name == "exp_6" else 50
    }
    per_point = Counter((cell.shape, cell.settings) for cell in cells)
    assert set(per_point.values()) == {20 if name == "exp_6" else 5}
    assert {cell.repetition for cell in cells} == set(range(20 if name == "exp_6" else 5))


def test_shapes_are_those_of_the_paper() -> None:
    heads = (1, 6, 11, 16, 21, 26, 31)
    assert shapes("exp_1") == {TransformerShape(d, h, d) for d in range(3, 14) for h in heads}
    assert shapes("exp_2") == {TransformerShape(10, 20, width) for width in range(1, 11)}
    assert shapes("exp_3") == {TransformerShape(d, 20, 10) for d in range(5, 16)}
    assert shapes("exp_5") == {TransformerShape(d, h, d) for d in (7, 10, 13) for h in heads} | {
        TransformerShape(d, 1, d, mlp_width=2 * d * (h - 1)) for d in (7, 10, 13) for h in heads
    }
    assert shapes("exp_6") == {TransformerShape(2, h, 2) for h in (1, 5, 9, 13, 17, 21)}
    assert shapes("exp_1_large") == {TransformerShape(d, h, d) for d in (40, 50, 60) for h in (1, 3, 5, 7, 9, 11)}
    assert shapes("exp_2_large") == {TransformerShape(50, 11, w) for w in (1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50)}
    assert shapes("exp_5_large") - shapes("exp_1_large") == {
        TransformerShape(d, 1, d, mlp_width=d * times) for d in (40, 50, 60) for times in (4, 8, 12, 16, 20)
    }
    assert shapes("exp_1_deep") == {TransformerShape(d, h, d, 3) for d in (7, 10, 13) for h in (1, 5, 9, 13, 17, 21)}
    assert shapes("exp_2_deep") == {TransformerShape(10, 21, width, 3) for width in range(1, 11)}
    assert shapes("exp_5_deep") - shapes("exp_1_deep") == {
        TransformerShape(d, 1, d, 3, d * times) for d in (7, 10, 13) for times in (8, 16, 24, 32, 40)
    }


def test_schedules_are_those_of_the_notebook() -> None:
    """(batch size, batches, first rate, last rate) of heads and of models with an MLP; 64 epochs throughout."""
    common, large, deep = (256, 64, 0.01, 0.0005), (1024, 64, 0.01, 0.0005), (512, 128, 0.0025, 0.0025)
    heads, mlp, large_mlp = (1024, 256, 0.01, 0.0005), (1024, 256, 0.01, 0.0001), (1024, 64, 0.01, 0.0001)
    expected = {name: {common} for name in ("exp_1", "exp_2", "exp_3", "exp_4", "exp_6")}
    expected |= {"exp_1_large": {large}, "exp_2_large": {large}, "exp_1_deep": {deep}, "exp_2_deep": {deep}, "exp_5_deep": {deep}}
    expected |= {"exp_5": {heads, mlp}, "exp_5_large": {large, large_mlp}}
    for name, experiment in EXPERIMENTS.items():
        found = {cell.settings for cell in experiment.cells("paper")}
        assert {(s.batch_size, s.num_batches, s.learning_rate, s.final_learning_rate) for s in found} == expected[name], name
        assert {s.epochs for s in found} == {64} and {s.accuracy_window for s in found} == {100}
        for cell in experiment.cells("paper"):
            if name in ("exp_5", "exp_5_large") and cell.shape.mlp_width:
                assert cell.settings.final_learning_rate == 0.0001
            if name in ("exp_5", "exp_5_large") and cell.shape.num_heads > 1:
                assert cell.settings.final_learning_rate == 0.0005


def test_experiments_share_the_cells_that_they_have_in_common() -> None:
    for tier in TIERS:
        assert EXPERIMENTS["exp_4"].cells(tier) == EXPERIMENTS["exp_1"].cells(tier)
    for group in ("large", "deep"):
        assert set(EXPERIMENTS[f"exp_1_{group}"].cells("paper")) < set(EXPERIMENTS[f"exp_5_{group}"].cells("paper"))


@pytest.mark.parametrize("name", NAMES)
def test_tiers_are_parts_of_the_paper_s_grid(name: str) -> None:
    experiment = EXPERIMENTS[name]
    full = {(curve.label, shape) for curve in experiment.paper.curves for shape in curve.shapes}
    sizes = []
    for tier in TIERS:
        grid = experiment.grid(tier)
        some = {(curve.label, shape) for curve in grid.curves for shape in curve.shapes}
        assert some <= full and all(len(curve.shapes) > 1 for curve in grid.curves)
        sizes.append(sum(cell.settings.num_steps for cell in experiment.cells(tier)))
        rates = {(cell.settings.learning_rate, cell.settings.final_learning_rate) for cell in experiment.cells(tier)}
        assert rates <= {(c.settings.learning_rate, c.settings.final_learning_rate) for c in experiment.cells("paper")}
    assert sizes[0] <= 64 and sizes[0] < sizes[1] < sizes[2] / 2


def test_another_seed_is_another_table_and_another_device_other_cells() -> None:
    one, other = (EXPERIMENTS["exp_6"].cells("smoke", seed=seed) for seed in (0, 1))
    assert {(cell.table_seed, cell.seed) for cell in other} == {(1, 1)} and not set(one) & set(other)
    assert {cell.device for cell in EXPERIMENTS["exp_6"].cells("smoke", device="cuda")} == {"cuda"}


def test_a_shape_has_its_curve_and_its_place() -> None:
    five, shape = EXPERIMENTS["exp_5"], TransformerShape(7, 6, 7)
    assert EXPERIMENTS["exp_1"].series(TransformerShape(10, 6, 10)) == "d = 10"
    assert five.series(shape) == "attention, d = 7"
    assert five.series(TransformerShape(7, 1, 7, mlp_width=70)) == "MLP, d = 7"
    # 4 d^2 a head and d (2N + 1): equal for H heads and for one head with a network of width 2d (H - 1).
    assert five.axis_value(shape) == 6 * 4 * 49 + 7 * 141 == five.axis_value(TransformerShape(7, 1, 7, mlp_width=70))
    assert plotted_parameters(70, TransformerShape(7, 6, 7, 3)) == 3 * 6 * 4 * 49 + 7 * 141
    assert plotted_parameters(50, TransformerShape(10, 20, 3)) == 20 * 4 * 30 + 10 * 101
    axes = {"exp_1": 6, "exp_2": 7, "exp_3": 7}
    assert {name: EXPERIMENTS[name].axis_value(TransformerShape(7, 6, 7)) for name in axes} == axes
    with pytest.raises(ValueError, match=r"is no point of exp_5"):
        five.series(TransformerShape(7, 2, 7))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: named("exp_7"), "name = 'exp_7': must be one of exp_1, "),
        (lambda: EXPERIMENTS["exp_1"].cells("full"), "tier = 'full': must be one of 'smoke', 'quick', 'paper'"),
        (lambda: EXPERIMENTS["exp_1"].cells("smoke", "keras"), "variant = 'keras'"),
        (lambda: EXPERIMENTS["exp_1"].cells("smoke", device="tpu"), "device = 'tpu'"),
        (lambda: EXPERIMENTS["exp_1"].cells("smoke", seed=-1), "seed = -1"),
    ],
)
def test_bad_arguments_are_named(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


class Kept:
    """The results of a store."""

    def __init__(self, found: list[CellResult]) -> None:
        self.found = {result.cell: result for result in found}

    def results(self, cells: list[Cell] | tuple[Cell, ...]) -> list[CellResult]:
        return [self.found[cell] for cell in cells if cell in self.found]


COMPUTED: dict[Cell, CellResult] = {}
"""Experiments share cells, and 40,000 pairs take a while to measure."""


# Measuring is the same for both variants, so that the large ones need no second time.
BOTH = [(one, variant) for one in EXPERIMENTS.values() for variant in ("notebook", "paper")
        if variant == "notebook" or not one.name.endswith("large")]  # fmt: skip


@pytest.mark.parametrize(("experiment", "variant"), BOTH, ids=lambda one: getattr(one, "name", one))
def test_the_smoke_tier_goes_end_to_end(experiment: Experiment, variant: str) -> None:
    cells = experiment.cells("smoke", variant)  # type: ignore[arg-type]
    new = [cell for cell in cells if cell not in COMPUTED]
    COMPUTED.update((result.cell, result) for some in compute(new) for result in some)
    found = [COMPUTED[cell] for cell in cells]
    assert [result.reason for result in found if result.state == "failed"] == []
    table = results(experiment, Kept(found), "smoke", variant)  # type: ignore[arg-type]
    trained = table[table["kind"] == "trained"]
    assert len(trained) == sum(len(curve.shapes) for curve in experiment.smoke.curves)
    assert (trained["num_models"] == 2).all() and not trained[["num_missing", "num_failed", "num_diverged"]].to_numpy().any()
    measured = ["accuracy", "draw_accuracy", "held", "memory", "margin_min", "nominal_parameters"]
    assert np.isfinite(trained[measured].to_numpy(float)).all()
    assert trained["accuracy"].between(0, 0.5).all() and trained["draw_accuracy"].between(0, 0.5).all()
    assert set(trained["series"]) <= {curve.label for curve in experiment.paper.curves}
    assert (trained["axis"] == experiment.axis).all()


def test_a_cut_schedule_is_not_the_paper_s() -> None:
    assert TrainingSettings.notebook() not in {cell.settings for cell in EXPERIMENTS["exp_1"].cells("smoke")}
    assert {cell.settings for cell in EXPERIMENTS["exp_1"].cells("quick")} == {TrainingSettings.notebook()}
