"""Figures of the paper's experiments: what is drawn is what the table says, and all that a reader must know is on the page."""

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from math import tanh
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from empirical.cells import Cell, CellResult
from empirical.experiments import EXPERIMENTS, Tier, results, slope_exponent, slopes
from empirical.training import Variant
from headcount.figures._experiment_data import spread
from headcount.figures.experiments import FIGURES, REANALYSES, draw, draw_reanalysis, figure, reanalysis
from headcount.figures.style import PAGE_WIDTH
from theory.memorization import accuracy_from_memory, memory_from_accuracy

VARIANTS: tuple[Variant, ...] = ("notebook", "paper")
POOLED = ("exp_1", "exp_2", "exp_3")


def heads_parameters(cell: Cell) -> int:
    """Effective parameters of the heads, and the weights of networks, of all layers."""
    shape = cell.shape
    inner = shape.rank if cell.variant == "notebook" else 2 * shape.embed_dim - shape.rank
    return shape.num_layers * (2 * shape.num_heads * shape.rank * inner + 2 * shape.embed_dim * shape.mlp_width)


class MadeUp:
    """A store whose models all remember what their parameters suggest, give or take."""

    def __init__(self, models: int = 5, noise: float = 0.01, law: tuple[float, float] | None = None) -> None:
        self.models, self.noise, self.law = models, noise, law

    def results(self, cells: Sequence[Cell]) -> list[CellResult]:
        return [self.result(cell) for cell in cells if cell.repetition < self.models]

    def result(self, cell: Cell) -> CellResult:
        vocab, total = cell.vocab_size, cell.vocab_size**2
        if self.law is None:
            load = (0.45 * heads_parameters(cell) + 20 * cell.shape.embed_dim) / total
            accuracy = 1 / vocab + (1 - 1 / vocab) * tanh(load**1.3) ** (1 / 1.3)
        else:
            accuracy = accuracy_from_memory(min(total, self.law[0] + self.law[1] * heads_parameters(cell)), vocab, total)
        if self.noise:
            shape = cell.shape
            drawn_by = (vocab, shape.embed_dim, shape.head_dim, shape.num_heads, shape.mlp_width, cell.repetition)
            accuracy += self.noise * float(np.random.default_rng(drawn_by).standard_normal())
        accuracy = min(1.0, max(0.0, accuracy))
        uniform = accuracy if self.law else accuracy - 0.28 * accuracy * (1 - accuracy)
        return CellResult(cell, "done", draw_accuracy=accuracy, accuracy=uniform, held=round(uniform * total),
                          memory=memory_from_accuracy(uniform, vocab, total), nominal_parameters=9_999, seconds=1.0)


@cache
def kept(name: str, tier: Tier, variant: Variant, **made_up: Any) -> pd.DataFrame:
    return results(EXPERIMENTS[name], MadeUp(**made_up), tier, variant)


def table_of(name: str, tier: Tier = "paper", variant: Variant = "notebook", **made_up: Any) -> pd.DataFrame:
    """What `results` makes of a made-up store."""
    return kept(name, tier, variant, **made_up).copy()


@cache
def of(name: str, tier: Tier = "paper") -> Figure:
    """The figure of `table_of(name, tier)`; to be looked at only."""
    return figure(name, table_of(name, tier))


def both(tier: Tier = "paper", **made_up: Any) -> dict[str, pd.DataFrame]:
    return {f"exp_2 {variant}": table_of("exp_2", tier, variant, **made_up) for variant in ("notebook", "paper")}


def drawn(made: Figure, gid: str) -> Line2D:
    found = [one for axes in made.axes for one in axes.get_lines() if one.get_gid() == gid]
    assert len(found) == 1, gid
    return found[0]


def gids(made: Figure) -> set[str]:
    artists = [one for axes in made.axes for one in [*axes.get_lines(), *axes.collections, *axes.texts]]
    assert all(one.get_gid() for one in artists)
    return {str(one.get_gid()) for one in artists}


def data(line: Line2D) -> list[tuple[float, float]]:
    return list(zip(map(float, np.asarray(line.get_xdata())), map(float, np.asarray(line.get_ydata())), strict=True))


def rows(table: pd.DataFrame, kind: str, series: str, name: str | None = None) -> pd.DataFrame:
    chosen = table[(table["kind"] == kind) & (table["series"] == series)]
    x = "plotted_parameters" if table["axis"].iloc[0] == "nominal_parameters" else "axis_value"
    return (chosen if name is None else chosen[chosen["name"] == name]).assign(x=lambda part: part[x]).sort_values("x")


def values(found: pd.DataFrame, column: str) -> list[tuple[float, float]]:
    return list(zip(found["x"].astype(float).tolist(), found[column].astype(float).tolist(), strict=True))


def legend(made: Figure) -> Legend:
    found = [*made.legends, *(axes.get_legend() for axes in made.axes if axes.get_legend())]
    assert len(found) == 1
    return found[0]


def heading(made: Figure) -> str:
    return legend(made).get_title().get_text()


def test_all_twelve_and_the_two_of_ours_are_there() -> None:
    assert set(FIGURES) == set(EXPERIMENTS) and len(FIGURES) == 12
    assert REANALYSES == ("effective_parameters", "variants")


@pytest.mark.parametrize("name", ["exp_1", "exp_3", "exp_4", "exp_5", "exp_2_deep"])
def test_a_store_without_results_gives_a_figure_without_curves(name: str) -> None:
    made = figure(name, table_of(name, "smoke", models=0))
    assert "smoke tier: no models" in heading(made)
    assert not any(gid.startswith(("draws: ", "table: ", "trained")) for gid in gids(made))


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "exp_4"])
def test_points_bands_and_bounds_are_the_tables(name: str) -> None:
    table, made = table_of(name), of(name)
    for series in table["series"].unique():
        trained = rows(table, "trained", series)
        for panel, accuracy in (("draws", "draw_accuracy"), ("table", "accuracy")):
            assert data(drawn(made, f"{panel}: {series}")) == values(trained, accuracy)
            (band,) = [one for axes in made.axes for one in axes.collections if one.get_gid() == f"{panel} interval: {series}"]
            corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
            assert set(values(trained, f"{accuracy}_low")) | set(values(trained, f"{accuracy}_high")) <= corners
        published = rows(table, "published", series)
        if len(published):
            assert data(drawn(made, f"published: {series}")) == values(published, "draw_accuracy")
        for bound in ("previous", "corollary_1"):
            if name.endswith("_deep") or series.startswith("MLP"):
                assert f"{bound}: {series}" not in gids(made)
            else:
                assert data(drawn(made, f"{bound}: {series}")) == values(rows(table, "bound", series, bound), "accuracy")
    assert {y for _, y in data(drawn(made, "chance"))} == {1 / table["vocab_size"].iloc[0]}


@pytest.mark.parametrize("name", FIGURES)
def test_a_changed_number_moves_what_is_drawn_and_nothing_else(name: str) -> None:
    """Nothing but the table is drawn: one mean less .01, and just its own curve and what is fitted to it change."""
    table = table_of(name)
    at = table.index[table["kind"] == "trained"][1]
    series = table.loc[at, "series"]
    other = table.copy()
    other.loc[at, "accuracy"] -= 0.01
    figures = (of(name), figure(name, other))
    one, two = ({line.get_gid(): data(line) for axes in made.axes for line in axes.get_lines()} for made in figures)
    moved = {gid for gid in one if one[gid] != two[gid]}
    if name == "exp_4":
        assert {"trained: accuracy", "power law trained: accuracy"} <= moved
        assert all(gid.endswith("trained: accuracy") for gid in moved)
    else:
        assert f"table: {series}" in moved
        assert all(gid.startswith(("table", "enlarged")) and gid.endswith(series) for gid in moved)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "exp_4"])
def test_axes_say_what_they_are_and_hold_everything(name: str) -> None:
    table, made = table_of(name), of(name)
    draws, uniform = made.axes[:2]
    quantity = {"num_heads": "heads $H$", "head_dim": "$d_h$", "embed_dim": "$d$", "nominal_parameters": "parameters"}
    for axes in (draws, uniform):
        assert quantity[table["axis"].iloc[0]] in axes.get_xlabel()
        least, most = axes.get_xlim()
        x = rows(table, "trained", table["series"].iloc[0])["x"].astype(float)
        assert least < x.min() and x.max() < most
        assert axes.get_ylim()[0] == 0 and 1 < axes.get_ylim()[1] < 1.1
    assert "fraction of draws" in draws.get_ylabel() and "fraction of associations" in uniform.get_ylabel()
    assert "draws" in draws.get_title() and "table" in uniform.get_title()
    labels = [text.get_text() for text in legend(made).get_texts()]
    assert len(set(labels)) == len(labels)
    published = bool((table["kind"] == "published").any())
    assert any("published" in text for text in labels) == published
    assert sum(text.startswith("bound") for text in labels) == (1 if name.endswith("_deep") else 3)
    for part in (f"$N={table['vocab_size'].iloc[0]}$", f"{table['vocab_size'].iloc[0] ** 2:,} associations"):
        assert part in heading(made)


@pytest.mark.parametrize(
    ("name", "tier"), [*((name, "paper") for name in (*FIGURES, *REANALYSES)), ("exp_1", "quick"), ("variants", "quick")]
)
def test_nothing_is_cut_off_or_covered(name: str, tier: Tier) -> None:
    made = reanalysis(name, both(tier)) if name in REANALYSES else of(name, tier)
    assert made.get_figwidth() == PAGE_WIDTH
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    edges = made.bbox
    box = legend(made).get_window_extent(renderer)
    bodies = [axes.get_tightbbox(renderer) for axes in made.axes if axes.axison]
    for one in (box, *bodies):
        assert one is not None
        assert edges.x0 - 1 <= one.x0 and one.x1 <= edges.x1 + 1 and edges.y0 - 1 <= one.y0 and one.y1 <= edges.y1 + 1
    assert not any(box.overlaps(body) for body in bodies if body is not None)
    for axes in made.axes:
        texts = [text.get_window_extent(renderer) for text in axes.texts]
        assert not any(one.overlaps(two) for one, two in itertools.combinations(texts, 2))
        if axes.axison:
            assert axes.get_window_extent(renderer).height > 0.25 * edges.height


def test_many_curves_differ_without_colour_and_their_colours_have_an_order() -> None:
    made = of("exp_1")
    lines = [drawn(made, f"draws: d = {d}") for d in range(3, 14)]
    assert len({str(line.get_marker()) for line in lines}) == 11
    lightness = [sum(w * c for w, c in zip((0.299, 0.587, 0.114), to_rgb(str(line.get_color())), strict=True)) for line in lines]
    assert all(later < earlier - 0.02 for earlier, later in itertools.pairwise(lightness))
    assert lightness[0] < 0.85  # on white paper
    labels = {text.get_text() for text in made.axes[0].texts}
    assert labels == {"$d$", *map(str, range(3, 14))}


def test_attention_and_mlp_of_one_width_share_colour_and_differ_without_it() -> None:
    made = of("exp_5")
    for d in (7, 10, 13):
        attention, mlp = drawn(made, f"table: attention, d = {d}"), drawn(made, f"table: MLP, d = {d}")
        assert attention.get_color() == mlp.get_color() and attention.get_marker() == mlp.get_marker()
        assert attention.get_fillstyle() == "full" and mlp.get_fillstyle() == "none"


def test_lines_are_least_squares_up_to_the_first_point_above_95() -> None:
    table = table_of("exp_1")
    made = figure("exp_1", table)
    for series in ("d = 3", "d = 13"):
        points = values(rows(table, "trained", series), "draw_accuracy")
        count = next((place + 1 for place, (_, y) in enumerate(points) if y > 0.95), len(points))
        assert (count < len(points)) == (series == "d = 13")
        x, y = map(np.array, zip(*points[:count], strict=True))
        slope, offset = np.polyfit(x, y, 1)
        ends = np.array([1, min(x[-1], (1 - offset) / slope)])  # drawn no further than accuracy 1
        line = np.array(data(drawn(made, f"draws least squares: {series}")))
        assert line == pytest.approx(np.column_stack([ends, offset + slope * ends]))


def test_experiment_2_has_the_papers_parabola_and_a_line() -> None:
    table = table_of("exp_2")
    made = figure("exp_2", table)
    (series,) = table["series"].unique()
    widths, accuracy = map(np.array, zip(*values(rows(table, "trained", series), "draw_accuracy"), strict=True))
    assert accuracy.max() < 0.95
    for gid, power in (("draws least squares", 2), ("draws second least squares", 1)):
        slope, offset = np.polyfit(widths**power, accuracy, 1)
        x, y = map(np.array, zip(*data(drawn(made, f"{gid}: {series}")), strict=True))
        assert y == pytest.approx(offset + slope * x**power)
        assert len(x) > 100
    (note,) = [text.get_text() for text in made.axes[0].texts]
    assert note.count("$R^2$") == 2 and "d_h^2" in note


def test_experiment_3_has_a_line_on_each_side_of_the_knee() -> None:
    table = table_of("exp_3")
    made = figure("exp_3", table)
    (series,) = table["series"].unique()
    dims, accuracy = map(np.array, zip(*values(rows(table, "trained", series), "draw_accuracy"), strict=True))
    for gid, side in (("draws least squares", dims <= 10), ("draws second least squares", dims >= 10)):
        slope, offset = np.polyfit(dims[side], accuracy[side], 1)
        line = [y for _, y in data(drawn(made, f"{gid}: {series}"))]
        assert line == pytest.approx([offset + slope * at for at in dims[side][[0, -1]]])
    assert {x for x, _ in data(drawn(made, "draws knee"))} == {10}
    labels = [text.get_text() for text in legend(made).get_texts()]
    assert any("min(d,d_h)" in text for text in labels)  # Corollary 1 where d_h exceeds d


def test_experiment_6_says_how_steep_it_is_beside_corollary_1() -> None:
    """1.51 times: the published points in the place of ours."""
    table = table_of("exp_6")
    trained, paper = table["kind"] == "trained", table["kind"] == "published"
    table.loc[trained, "draw_accuracy"] = table.loc[paper, "draw_accuracy"].to_numpy()
    (note,) = [text.get_text() for text in figure("exp_6", table).axes[0].texts]
    assert "1.51 times Corollary 1's" in note


def test_experiment_4_draws_slopes_and_both_bounds() -> None:
    table = table_of("exp_1", noise=0)
    made = figure("exp_4", table)
    for axes in made.axes:
        lines = {line.get_gid(): data(line) for line in axes.get_lines()}
        for accuracy in ("draw_accuracy", "accuracy"):
            expected = slopes(table, accuracy=accuracy)
            for kind in ("trained", "published") if accuracy == "draw_accuracy" else ("trained",):
                chosen = expected[expected["kind"] == kind].sort_values("embed_dim")
                found = list(zip(chosen["embed_dim"].astype(float), chosen["slope"], strict=True))
                assert lines[f"{kind}: {accuracy}"] == found
        assert lines["corollary_1"] == [(d, d) for d in range(3, 14)]
        assert lines["previous"] == [(d, d - 1) for d in range(3, 14)]
        assert "associations" in axes.get_ylabel() and "d=d_h" in axes.get_xlabel()
    falling = table.copy()  # memory that shrinks with H at d = 3, as untrained models may have it: drawn where it has a place
    at = (falling["kind"] == "trained") & (falling["embed_dim"] == 3)
    falling.loc[at, "draw_accuracy"] = np.linspace(0.05, 0.03, at.sum())
    low = figure("exp_4", falling).axes[0]
    (points,) = [data(line) for line in low.get_lines() if line.get_gid() == "trained: draw_accuracy"]
    assert low.get_ylim()[0] < points[0][1] < 0
    assert made.axes[0].get_xscale() == "linear" and made.axes[1].get_xscale() == made.axes[1].get_yscale() == "log"
    exponent = slope_exponent(slopes(table), kind="published")
    labels = [text.get_text() for text in legend(made).get_texts()]
    assert f"published, on draws: log-log slope {exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]" in labels


def test_memory_against_effective_parameters_finds_the_law_that_made_the_points() -> None:
    law = (20, 0.5)
    tables = {f"{name} {kind}": table_of(name, "paper", kind, noise=0, law=law) for name in POOLED for kind in VARIANTS}
    made = reanalysis("effective_parameters", tables)
    for variant in VARIANTS:
        (x0, y0), (x1, y1) = data(drawn(made, f"line {variant}"))
        assert (y1 - y0) / (x1 - x0) == pytest.approx(0.5) and y0 - 0.5 * x0 == pytest.approx(20)
        for name in POOLED:
            points = data(drawn(made, f"{name} {variant}"))
            assert points and all(y == pytest.approx(0.5 * x + 20) and y < 0.7 * 2500 for x, y in points)
    assert "0.50 [0.50, 0.50] $P$: 2.82 [2.82, 2.82] bits per parameter" in heading(made)  # log2(50) / 2
    assert "associations" in made.axes[0].get_ylabel() and "parameters" in made.axes[0].get_xlabel()


def test_experiments_that_share_a_point_count_it_once() -> None:
    """d = d_h = 10, H = 20 is in experiments 2 and 3: a line through both has as many points as shapes."""
    tables = {name: table_of(name, "paper", "paper", law=(20, 0.2)) for name in ("exp_2", "exp_3")}
    made = reanalysis("effective_parameters", tables)
    points = [data(drawn(made, f"{name} paper")) for name in tables]
    (shared,) = set(points[0]) & set(points[1])
    assert shared[0] == 2 * 20 * 10 * 10
    x, y = map(np.array, zip(*(set(points[0]) | set(points[1])), strict=True))
    slope, offset = np.polyfit(x, y, 1)
    ends = np.array([x.min(), x.max()])
    assert np.array(data(drawn(made, "line paper"))) == pytest.approx(np.column_stack([ends, offset + slope * ends]))


def test_variants_are_told_apart_by_the_law_that_fits() -> None:
    made = reanalysis("variants", both(noise=0.001))
    for axes, right, wrong in zip(made.axes, ("d_h^2$", "(2d-d_h)$"), ("(2d-d_h)$", "d_h^2$"), strict=True):
        (notes,) = [text.get_text() for text in axes.texts]
        squared = {line.split("$:")[0] + "$": float(line.rpartition("= ")[2]) for line in notes.splitlines()[1:]}
        by_law = {end: value for law, value in squared.items() for end in (right, wrong) if law.endswith(end)}
        assert by_law[right] > 0.99 > 0.95 > by_law[wrong]
    memory = data(drawn(made, "memory notebook"))
    table = rows(both(noise=0.001)["exp_2 notebook"], "trained", "d = 10, H = 20")
    assert [y for _, y in memory] == pytest.approx([2500 * (value - 0.02) / 0.98 for _, value in values(table, "accuracy")])


@pytest.mark.parametrize("name", FIGURES)
def test_smoke_runs_say_that_they_are_not_converged(name: str) -> None:
    title = heading(of(name, "smoke"))
    assert "smoke tier: 2 models per point, not converged; notebook variant" in title
    assert f"cut: {EXPERIMENTS[name].smoke.note}" in title
    assert "not converged" not in heading(of(name))


@pytest.mark.parametrize("name", ["exp_1", "exp_4", "exp_6", "exp_5_deep"])
def test_one_model_has_no_band(name: str) -> None:
    made = figure(name, table_of(name, models=1))
    assert not any(" interval" in gid for gid in gids(made) if not gid.startswith("interval trained"))  # those of slopes stay
    assert "1 model per point" in heading(made) and "95% interval of their mean" not in heading(made)
    reanalysed = reanalysis("variants", both(models=1))
    assert not any("interval" in gid for gid in gids(reanalysed))


def test_missing_points_are_left_out_and_counted() -> None:
    table = table_of("exp_1")
    at = table.index[(table["kind"] == "trained") & (table["series"] == "d = 5")][2:4]
    for column in ("accuracy", "draw_accuracy"):
        table.loc[at, [column, f"{column}_low", f"{column}_high"]] = np.nan
    table.loc[at, "num_models"] = 0
    table.loc[at, "num_missing"] = [5, 4]
    table.loc[at[1], "num_failed"] = 1
    for whole in (table, table.drop(index=at[0])):
        made = figure("exp_1", whole)
        assert [x for x, _ in data(drawn(made, "draws: d = 5"))] == [1, 6, 21, 26, 31]
        assert "2 of 77 points left out" in heading(made)
        assert "1 model failed" in heading(made) and "paper tier: 5 models per point" in heading(made)
    assert "9 models missing" in heading(figure("exp_1", table))
    gone = table.index[(table["kind"] == "trained") & (table["series"] == "d = 4")]
    table.loc[gone, ["accuracy", "draw_accuracy"]] = np.nan
    slopes_drawn = figure("exp_4", table)
    (plain,) = [line for line in slopes_drawn.axes[0].get_lines() if line.get_gid() == "trained: draw_accuracy"]
    assert [x for x, _ in data(plain)] == [3, *range(5, 14)]
    assert "1 of 11 widths have none" in heading(slopes_drawn)


def test_tables_that_make_no_figure_are_refused_in_one_line() -> None:
    table = table_of("exp_6")
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: figure("exp_7", table), "name = 'exp_7'"),
        (lambda: figure("exp_6", table.drop(columns=["series", "accuracy_low"])), "lacks the columns series, accuracy_low"),
        (lambda: figure("exp_6", table.iloc[:0]), "no rows"),
        (lambda: figure("exp_2", table), "axis 'num_heads': must be made for 'head_dim'"),
        (lambda: figure("exp_6", pd.concat([table, table_of("exp_1")])), "2 settings"),
        (lambda: figure("exp_6", pd.concat([table, table_of("exp_6", "quick")])), "tiers 'paper', 'quick'"),
        (lambda: figure("exp_6", pd.concat([table, table_of("exp_6", variant="paper")])), "variants 'notebook', 'paper'"),
        (lambda: figure("exp_6", pd.concat([table, table])), "two bound rows of 'd = 2' at num_heads = 1"),
        (lambda: reanalysis("bits", {}), "name = 'bits'"),
        (lambda: reanalysis("effective_parameters", {}), "tables is empty"),
        (lambda: reanalysis("effective_parameters", {"exp_6": table}), "key 'exp_6'"),
        (lambda: reanalysis("effective_parameters", {"exp_1 mine": table}), "key 'exp_1 mine'"),
        (lambda: reanalysis("effective_parameters", {"exp_1 paper": table_of("exp_1")}), "notebook variant under 'exp_1 paper'"),
        (lambda: reanalysis("effective_parameters", {"exp_1": table_of("exp_1_deep")}), "several layers"),
        (lambda: reanalysis("effective_parameters", {"exp_1": table, "exp_2": table_of("exp_2")}), "vocabularies 10, 50"),
        (lambda: reanalysis("variants", {"exp_2": table_of("exp_2")}), "variants 'notebook'"),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(ValueError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["exp_6"])
def test_a_table_read_from_its_csv_draws_the_same_files(name: str, tmp_path: Path) -> None:
    """Same bytes from the same data, whatever the user's own settings, which stay as they are; fonts are embedded whole."""
    table = table_of(name, "quick")
    draw(name, table, tmp_path / "one.png", tmp_path / "one.pdf")
    table.to_csv(tmp_path / "table.csv", index=False)
    with matplotlib.rc_context({"font.size": 30, "pdf.fonttype": 3, "savefig.dpi": 20}):
        draw(name, pd.read_csv(tmp_path / "table.csv"), tmp_path / "two.png", tmp_path / "two.pdf")
        assert matplotlib.rcParams["font.size"] == 30
    for kind, start in (("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-")):
        one, two = ((tmp_path / f"{file}.{kind}").read_bytes() for file in ("one", "two"))
        assert one == two and one.startswith(start)
    pdf = (tmp_path / "one.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf


def test_reanalyses_are_the_same_files_from_the_same_tables(tmp_path: Path) -> None:
    for place in ("one", "two"):
        draw_reanalysis("variants", both(), tmp_path / f"{place}.png", tmp_path / f"{place}.pdf")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


@given(places=st.lists(st.floats(0, 1), max_size=12))
def test_labels_keep_their_distance_and_their_order(places: list[float]) -> None:
    found = spread(places, 0.05, 0.0, 1.0)
    order = sorted(range(len(places)), key=lambda index: places[index])
    gaps = [found[two] - found[one] for one, two in itertools.pairwise(order)]
    assert all(gap >= 0.05 - 1e-12 for gap in gaps)
    assert all(-1e-12 <= place <= 1 + 1e-12 for place in found)  # twelve labels have room
    if all(places[two] - places[one] >= 0.05 for one, two in itertools.pairwise(order)):
        assert found == pytest.approx(places)
