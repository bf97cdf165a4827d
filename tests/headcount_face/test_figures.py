"""The comparison's figure: what is drawn is what the table says, told apart without colour, whole within its edges."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from empirical.comparison import compare, tidy
from headcount.figures.compare import COLUMNS, draw, figure
from headcount.figures.style import COLUMN_WIDTH
from theory.memorization import corollary_2_accuracy
from theory.tasks import AssociationTask

ROOT = Path(__file__).parents[2]
HEADS = (1, 5, 9, 13, 17, 21)
SETTING = {"vocab_size": 10, "seq_len": 2, "embed_dim": 2, "head_dim": 2, "num_associations": 100}


def trained_rows(heads: tuple[int, ...] = HEADS, **changes: Any) -> pd.DataFrame:
    """Rows as training would give them, made up."""
    rows = []
    for place, count in enumerate(heads):
        mean = 0.3 + 0.12 * place
        rows.append({"kind": "trained", "name": "adam", "num_heads": count, "accuracy": mean, "accuracy_low": mean - 0.04,
                     "accuracy_high": mean + 0.03, "draw_accuracy": mean + 0.01, "num_models": 20, "num_diverged": 0,
                     "variant": "notebook", **SETTING, **changes})
    return tidy(rows)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Experiment 6: bounds, built and published rows as they are, trained rows made up."""
    task = AssociationTask.complete(10, 2, seed=0)
    real = compare(task=task, embed_dim=2, head_dim=2, heads=HEADS, kinds=("bound", "built", "published"), table_seed=0)
    return tidy([*real.to_dict("records"), *trained_rows().to_dict("records")])


def line(made: Figure, gid: str) -> Line2D:
    found = [drawn for drawn in made.axes[0].get_lines() if drawn.get_gid() == gid]
    assert len(found) == 1, gid
    return found[0]


def drawn_kinds(made: Figure) -> set[str]:
    return {str(drawn.get_gid()) for drawn in made.axes[0].get_lines()}


def values(table: pd.DataFrame, kind: str, column: str, name: str | None = None) -> list[float]:
    rows = table[(table["kind"] == kind) & (True if name is None else table["name"] == name)]
    return [float(value) for value in rows.sort_values("num_heads")[column]]


def data(drawn: Line2D) -> tuple[list[float], list[float]]:
    return list(map(float, np.asarray(drawn.get_xdata()))), list(map(float, np.asarray(drawn.get_ydata())))


@pytest.mark.parametrize(
    ("kind", "column"), [("trained", "accuracy"), ("built", "accuracy"), ("published", "draw_accuracy")]
)
def test_points_are_the_tables(table: pd.DataFrame, kind: str, column: str) -> None:
    assert data(line(figure(table), kind)) == (list(HEADS), values(table, kind, column))


def test_the_band_is_the_tables_interval(table: pd.DataFrame) -> None:
    (band,) = [drawn for drawn in figure(table).axes[0].collections if isinstance(drawn, PolyCollection)]
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    for column in ("accuracy_low", "accuracy_high"):
        assert set(zip(map(float, HEADS), values(table, "trained", column), strict=True)) <= corners


@pytest.mark.parametrize("name", ["chance", "previous", "corollary_1"])
def test_bounds_have_a_value_for_every_whole_number_of_heads(table: pd.DataFrame, name: str) -> None:
    heads, accuracy = data(line(figure(table), name))
    assert heads == list(range(1, 22))
    assert [accuracy[int(at) - 1] for at in HEADS] == pytest.approx(values(table, "bound", "accuracy", name), abs=1e-12)


def test_corollary_1s_curve_is_theorys(table: pd.DataFrame) -> None:
    heads, accuracy = data(line(figure(table), "corollary_1"))
    assert accuracy == pytest.approx([float(corollary_2_accuracy(int(at), 2, 2, 10, 100)) for at in heads])


def test_a_bound_that_is_not_the_formulas_is_drawn_as_the_table_has_it(table: pd.DataFrame) -> None:
    other = table.copy()
    other.loc[other["name"] == "corollary_1", "accuracy"] += 0.05
    assert data(line(figure(other), "corollary_1")) == (list(HEADS), values(other, "bound", "accuracy", "corollary_1"))


def test_the_repaired_bound_is_drawn_only_where_it_differs(table: pd.DataFrame) -> None:
    assert "corollary_1_repaired" not in drawn_kinds(figure(table))
    task = AssociationTask([[first, 0] for first in range(8)], list(range(8)), 8)  # one last token
    one_last = compare(task=task, embed_dim=2, head_dim=1, heads=(0, 2, 4), kinds=("bound",))
    made = figure(one_last)
    assert data(line(made, "corollary_1_repaired"))[1] == values(one_last, "bound", "accuracy", "corollary_1_repaired")


def test_axes_and_legend_say_what_is_drawn(table: pd.DataFrame) -> None:
    made = figure(table)
    axes = made.axes[0]
    assert axes.get_xlabel() == "attention heads $H$"
    assert axes.get_ylabel() == "accuracy (fraction of associations right)"
    assert axes.get_ylim()[0] == 0 and 1 <= axes.get_ylim()[1] < 1.1
    assert [int(at) for at in axes.get_xticks()] == list(HEADS)
    (legend,) = made.legends
    texts = [text.get_text() for text in legend.get_texts()]
    kinds = [text.partition(":")[0] for text in texts]
    assert sorted(kinds) == ["bound", "bound", "bound", "built", "published", "trained"]
    assert any("20 models" in text and "95%" in text for text in texts)
    assert any(text.startswith("published") and "training draws" in text for text in texts)
    title = legend.get_title().get_text()
    for part in ("$N=10$", "$S=2$", "$d=2$", "$d_h=2$", "100 associations"):
        assert part in title


def test_series_differ_without_colour(table: pd.DataFrame) -> None:
    looks = [(str(drawn.get_linestyle()), str(drawn.get_marker())) for drawn in figure(table).axes[0].get_lines()]
    assert len(set(looks)) == len(looks) == 6
    published = line(figure(table), "published")
    assert published.get_fillstyle() == "none" and published.get_linestyle() == "None"
    assert line(figure(table), "built").get_drawstyle() == "steps-post"


@pytest.mark.parametrize("changes", [{}, {"vocab_size": 12345, "num_associations": 123456, "embed_dim": 128, "head_dim": 128}])
def test_nothing_is_cut_off_or_covered(table: pd.DataFrame, changes: dict[str, int]) -> None:
    made = figure(table.assign(**changes))
    assert made.get_figwidth() == COLUMN_WIDTH
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    edges = made.bbox
    legend = made.legends[0].get_window_extent(renderer)
    body = made.axes[0].get_tightbbox(renderer)
    assert body is not None
    for box in (legend, body):
        assert edges.x0 <= box.x0 and box.x1 <= edges.x1 and edges.y0 <= box.y0 and box.y1 <= edges.y1
    assert not legend.overlaps(body)
    assert body.height > 0.5 * edges.height


def test_models_that_all_diverged_and_missing_kinds_leave_their_series_out(table: pd.DataFrame) -> None:
    nothing = {name: np.nan for name in ("accuracy", "accuracy_low", "accuracy_high", "draw_accuracy")}
    assert drawn_kinds(figure(trained_rows(**nothing))) == set()
    assert drawn_kinds(figure(table[table["kind"] == "built"])) == {"built"}


def test_one_model_has_no_band_and_one_number_of_heads_is_enough() -> None:
    made = figure(trained_rows((7,), accuracy_low=np.nan, accuracy_high=np.nan, num_models=1))
    assert data(line(made, "trained"))[0] == [7]
    label = made.legends[0].get_texts()[0].get_text()
    assert "1 model" in label and "band" not in label


def test_tables_that_make_no_figure_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"lacks the columns accuracy_low, vocab_size"):
        figure(table.drop(columns=["vocab_size", "accuracy_low"]))
    with pytest.raises(ValueError, match="no rows"):
        figure(table.iloc[:0])
    with pytest.raises(ValueError, match="2 settings"):
        figure(pd.concat([table, trained_rows(embed_dim=3)]))
    assert set(COLUMNS) <= set(table.columns)


def test_a_table_read_from_its_csv_draws_the_same_files(table: pd.DataFrame, tmp_path: Path) -> None:
    """Same bytes from the same data, whatever the user's own settings, which stay as they are; fonts are embedded whole."""
    draw(table, tmp_path / "one.png", tmp_path / "one.pdf")
    table.to_csv(tmp_path / "table.csv", index=False)
    with matplotlib.rc_context({"font.size": 30, "pdf.fonttype": 3, "savefig.dpi": 20}):
        draw(pd.read_csv(tmp_path / "table.csv"), tmp_path / "two.png", tmp_path / "two.pdf")
        assert matplotlib.rcParams["font.size"] == 30
    for kind, start in (("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-")):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two and one.startswith(start)
    pdf = (tmp_path / "one.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf


def test_figures_do_without_pyplot_and_torch() -> None:
    code = "import sys; import headcount.figures.compare; print(sorted({'matplotlib.pyplot', 'torch'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
