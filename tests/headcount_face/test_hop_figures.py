"""Figures on hops: what is drawn is what the tables say, kinds are told apart, and wrong tables are refused."""

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from constructions.hops import build
from empirical.hop_errors import hop_table
from empirical.hop_thresholds import thresholds
from empirical.hop_training import TIERS, TrainedHops
from empirical.published_hops import DROPOUT_OFF, DROPOUT_ON
from headcount.figures import style
from headcount.figures.hops import (
    draw_errors,
    draw_maps,
    draw_slots,
    draw_thresholds,
    errors_figure,
    maps_figure,
    slots_figure,
    thresholds_figure,
)
from headcount.figures.hops import maps as maps_of_models
from headcount.figures.style import COLUMN_WIDTH, PAGE_WIDTH

OWN = {"seq_len": 48, "vocab_size": 4, "num_heads": 4, "embed_dim": 64}
READINGS = {"on": DROPOUT_ON, "off": DROPOUT_OFF}
PAPER = {"seq_len": 98, "vocab_size": 4, "num_heads": 4, "embed_dim": 128, "tier": "paper", "num_strings": 300}


def errors(depth: int, k: int) -> float:
    """Zero up to 2^(L-2), then rising."""
    return 0.0 if k <= 2 ** (depth - 2) else 0.7 * (1 - 2 ** (depth - 2) / k)


@cache
def kept() -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for depth, k in itertools.product((2, 3, 4), range(1, 9)):
        error = errors(depth, k)
        rows.append({"kind": "trained", "name": "adamw", "tier": "quick", "num_layers": depth, "seed": 0, "num_hops": k,
                     "num_strings": 200, "error": error, "error_low": 0.8 * error, "error_high": error + 0.018, **OWN})
    for depth, k, reading in itertools.product((2, 3, 4, 5), range(1, 17), ("on", "off")):
        error = min(1.0, errors(depth, k) + (0.004 if reading == "on" else 0.0))
        rows.append({"kind": "published", "name": READINGS[reading], "num_layers": depth, "num_hops": k,
                     "error": error, **PAPER})
    for recipe, k in itertools.product("AB", range(1, 5)):
        rows.append({"kind": "built", "name": f"recipe {recipe}", "recipe": recipe, "num_layers": 4, "num_hops": k, "error": 0.0,
                     "error_low": 0.0, "error_high": 0.036, "num_strings": 100, "num_heads": 2, "seq_len": 48, "vocab_size": 4})
    for size, k in itertools.product((48, 98), range(1, 9)):
        rows.append({"kind": "bound", "name": "chance", "seq_len": size, "vocab_size": 4, "num_hops": k, "error": 0.6 + k / 100})
    return hop_table(rows)


def table() -> pd.DataFrame:
    return kept().copy()


def reached() -> pd.DataFrame:
    return thresholds(table())


def maps(kind: str, layers: int = 3, heads: int = 1, size: int = 9, **columns: Any) -> pd.DataFrame:
    """Heads that attend one to the left."""
    rows = []
    for layer, head, row, column in itertools.product(range(1, layers + 1), range(heads), range(size), range(size)):
        rows.append({"kind": kind, "name": "x", "tier": "smoke" if kind == "trained" else "", "num_hops": 2,
                     "string": " ".join(str(i % 3) for i in range(size - 1)), "layer": layer, "head": head, "row": row,
                     "column": column, "weight": float(column == max(row - 1, 0)), "target": "find^1",
                     "target_column": row - 1 if row > 2 else -1, "cosine": 0.875} | columns)
    return pd.DataFrame(rows)


def slots() -> pd.DataFrame:
    rows = []
    for (machines, messages), bound in {(16, 1): 67, (32, 2): 1331, (32, 3): 6738}.items():
        for count in (4, 16, 64, 256):
            exact = 20 if count >= 16 * messages**2 else 20 * (count > 4) // 2
            rows.append({"num_machines": machines, "messages": messages, "slots": count, "exact": exact, "trials": 20,
                         "proof_bound": bound})
    return pd.DataFrame(rows)


FIGURES: dict[str, Callable[[], Figure]] = {
    "errors": lambda: errors_figure(table()),
    "thresholds": lambda: thresholds_figure(reached()),
    "maps": lambda: maps_figure(maps("built"), maps("trained", layers=4, heads=2)),
    "slots": lambda: slots_figure(slots()),
}


@cache
def of(name: str) -> Figure:
    """To be looked at only."""
    return FIGURES[name]()


def lines(made: Figure) -> dict[str, Line2D]:
    found = [one for axes in made.axes for one in axes.get_lines()]
    assert all(one.get_gid() for one in found)
    return {str(one.get_gid()): one for one in found}


def data(line: Line2D) -> list[tuple[float, float]]:
    return list(zip(map(float, np.asarray(line.get_xdata())), map(float, np.asarray(line.get_ydata())), strict=True))


def labels(made: Figure) -> list[str]:
    (legend,) = made.legends
    return [text.get_text() for text in legend.get_texts()]


def title(made: Figure) -> str:
    return str(made.legends[0].get_title().get_text())


def test_error_curves_and_bands_are_the_tables() -> None:
    made = of("errors")
    drawn = lines(made)
    bands = {str(one.get_gid()): one for axes in made.axes for one in axes.collections}
    for depth in (2, 3, 4):
        gid = f"trained: 4 heads, adamw, L = {depth}, seed 0"
        assert data(drawn[gid]) == [(k, 100 * errors(depth, k)) for k in range(1, 9)]
        corners = {(float(x), float(y)) for x, y in bands[f"{gid} interval"].get_paths()[0].vertices}
        assert {(k, 100 * (errors(depth, k) + 0.018)) for k in range(1, 9)} <= corners
    for depth, reading in itertools.product((2, 3, 4, 5), ("on", "off")):
        line = drawn[f"published: 4 heads, {READINGS[reading]}, L = {depth}, seed <NA>"]
        assert len(data(line)) == 16 and line.get_fillstyle() == ("none" if reading == "on" else "full")
    for recipe in "AB":
        assert data(drawn[f"built: recipe {recipe}"]) == [(k, 0.0) for k in range(1, 5)]
        assert drawn[f"built: recipe {recipe}"].get_linestyle() == "None"
    assert data(drawn["chance: 48"]) == [(k, 100 * (0.6 + k / 100)) for k in range(1, 9)]


def test_zero_errors_have_a_place_of_their_own() -> None:
    axes = of("errors").axes[0]
    zero, tenth, one, whole = (axes.transData.transform((1, y))[1] for y in (0, 0.1, 1, 100))
    assert axes.get_ylim()[0] == 0
    assert zero < tenth < one < whole and tenth - zero > 0.05 * (whole - zero)
    assert "0" in [text.get_text() for text in axes.get_yticklabels()]


def test_panels_say_whose_and_which_tier() -> None:
    made = of("errors")
    headings = [axes.get_title() for axes in made.axes]
    assert len(made.axes) == 2 and made.get_figwidth() == PAGE_WIDTH
    assert "trained here, quick tier, 4 heads, width 64" in headings[0] and "$N=48$" in headings[0]
    assert headings[1].startswith("published, 4 heads, width 128") and "$N=98$" in headings[1]
    assert "quick tier, 200 strings" in title(made) and "published" in title(made) and "built: 100 strings" in title(made)
    assert "hops" in made.axes[0].get_xlabel() and "%" in made.axes[0].get_ylabel()
    said = {"published, dropout on", "published, dropout off", "built: recipe A", "built: recipe B", "trained: 95% interval"}
    assert said <= set(labels(made))
    assert any(text.startswith("bound") for text in labels(made))
    assert errors_figure(table()[lambda rows: rows["kind"] != "published"]).get_figwidth() == COLUMN_WIDTH


def test_depths_differ_without_colour_and_colours_have_an_order() -> None:
    drawn = [lines(of("errors"))[f"trained: 4 heads, adamw, L = {depth}, seed 0"] for depth in (2, 3, 4)]
    assert len({str(line.get_marker()) for line in drawn}) == 3
    light = [sum(w * c for w, c in zip((0.299, 0.587, 0.114), to_rgb(str(line.get_color())), strict=True)) for line in drawn]
    assert light[0] > light[1] > light[2]


def test_thresholds_bars_and_laws_are_the_tables() -> None:
    found, made = reached(), of("thresholds")
    drawn = lines(made)
    assert [axes.get_title() for axes in made.axes] == [f"error below {level}%" for level in (1, 5, 10)]
    for level in (0.01, 0.05, 0.1):
        assert data(drawn[f"law 2^(L-2): {level}"]) == [(2, 1), (3, 2), (4, 4), (5, 8)]
        assert data(drawn[f"law 2^(L-1)-1: {level}"]) == [(2, 1), (3, 3), (4, 7), (5, 15)]
        for kind, start in (("trained", "trained, quick tier"), ("published", "published, dropout off")):
            (line,) = [one for gid, one in drawn.items() if gid.startswith(start) and gid.endswith(f": {level}")]
            rows = found[(found["kind"] == kind) & (found["level"] == level) & (found["name"] != DROPOUT_ON)]
            assert [y for _, y in data(line)] == rows["threshold"].tolist()
            assert np.abs(np.asarray(line.get_xdata(), dtype=float) - rows["num_layers"].to_numpy(dtype=float)).max() < 0.4
    bars = [one for one in made.axes[1].collections if str(one.get_gid()).startswith("trained")]
    ends = sorted((float(a[1]), float(b[1])) for a, b in bars[0].get_segments())
    rows = found[(found["kind"] == "trained") & (found["level"] == 0.05)]
    assert ends == sorted(zip(rows["low"].astype(float), rows["high"].astype(float), strict=True))
    assert not any(str(one.get_gid()).startswith("published") for one in made.axes[1].collections)  # they have no intervals
    assert "trained: quick tier, $N=48$" in title(made) and "published: paper tier, $N=98$" in title(made)
    assert sum(text.startswith("bound") for text in labels(made)) == 2


def test_censored_thresholds_are_marked_and_zero_is_seen() -> None:
    made = of("thresholds")
    marked = {gid for gid in lines(made) if gid.endswith("censored")}
    assert marked == {f"built, recipe {recipe}: {level} censored" for recipe in "AB" for level in (0.01, 0.05, 0.1)}
    assert any("all $k$ measured pass" in text for text in labels(made))
    free = thresholds_figure(reached()[lambda rows: rows["kind"] == "trained"])
    assert not any("measured pass" in text for text in labels(free))
    assert made.axes[0].get_ylim()[0] < 0


def test_maps_are_the_tables_side_by_side() -> None:
    made = of("maps")
    images = {str(one.get_gid()): one for axes in made.axes for one in axes.get_images()}
    wanted = {f"built: layer {layer}, head 0" for layer in (1, 2, 3)}
    wanted |= {f"trained: layer {layer}, head {head}" for layer in (1, 2, 3, 4) for head in (0, 1)}
    assert set(images) == wanted
    array = np.asarray(images["built: layer 2, head 0"].get_array())
    assert (array == np.eye(9, k=-1) + np.outer(np.arange(9) == 0, np.arange(9) == 0)).all()
    assert data(lines(made)["trained: layer 4, head 1 target"]) == [(row - 1, row) for row in range(3, 9)]
    places = {str(one.get_gid()): axes.get_position().x0 for axes in made.axes for one in axes.get_images()}
    left, right = ([x for gid, x in places.items() if gid.startswith(kind)] for kind in ("built", "trained"))
    assert max(left) < min(right)
    headings = [axes.get_title() for axes in made.axes if axes.axison]
    assert headings[0].startswith("built: x\nlayer 1") and any("trained: x, smoke tier" in text for text in headings)
    assert all("cosine 0.88" in text or "cosine 0.87" in text for text in headings)
    assert "$k=2$" in title(made) and "abcabcab" in title(made)


def test_slots_are_the_tables() -> None:
    found, made = slots(), of("slots")
    drawn = lines(made)
    for machines, messages, bound, enough in ((16, 1, 67, 16), (32, 2, 1331, 64), (32, 3, 6738, 256)):
        size = f"{machines} machines, {messages} messages"
        rows = found[(found["num_machines"] == machines) & (found["messages"] == messages)]
        assert data(drawn[f"share: {size}"]) == [(x, 5 * y) for x, y in zip(rows["slots"], rows["exact"], strict=True)]
        assert data(drawn[f"bound end: {size}"]) == [(bound, 100)]
        assert data(drawn[f"least: {size}"]) == [(bound, enough)]
    never = slots_figure(found.assign(exact=0))
    assert not any(gid.startswith("least") for gid in lines(never)) and "more than: 16 machines, 1 messages" in lines(never)
    # A failure with more slots counts: the least number is beyond it.
    odd = found.copy()
    odd.loc[(odd["num_machines"] == 16) & (odd["slots"] == 64), "exact"] = 19
    assert data(lines(slots_figure(odd))["least: 16 machines, 1 messages"]) == [(67, 256)]


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered(name: str) -> None:
    made = of(name)
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    edges, box = made.bbox, made.legends[0].get_window_extent(renderer)
    bodies = [axes.get_tightbbox(renderer) for axes in made.axes if axes.axison]
    for one in (box, *bodies):
        assert one is not None
        assert edges.x0 - 1 <= one.x0 and one.x1 <= edges.x1 + 1 and edges.y0 - 1 <= one.y0 and one.y1 <= edges.y1 + 1
    assert not any(box.overlaps(body) for body in bodies if body is not None)
    assert not any(one.overlaps(two) for one, two in itertools.combinations(filter(None, bodies), 2)) or name == "maps"


def write(name: str, folder: Path) -> list[bytes]:
    folder.mkdir()
    png, pdf = folder / "x.png", folder / "x.pdf"
    own, small = table()[lambda rows: rows["seq_len"] == 48], {"layers": 1, "size": 5}
    {"errors": lambda: draw_errors(own, png, pdf),
     "thresholds": lambda: draw_thresholds(thresholds(own, levels=(0.05,)), png, pdf),
     "maps": lambda: draw_maps(maps("built", **small), maps("trained", **small), png, pdf),
     "slots": lambda: draw_slots(slots(), png, pdf)}[name]()
    return [png.read_bytes(), pdf.read_bytes()]


@pytest.mark.parametrize("name", FIGURES)
def test_same_table_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 60)
    first, second = write(name, tmp_path / "1"), write(name, tmp_path / "2")
    assert first == second and first[0].startswith(b"\x89PNG") and first[1].startswith(b"%PDF")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: errors_figure(table().drop(columns="error")), "lacks the columns error"),
        (lambda: errors_figure(table()[:0]), "no rows"),
        (lambda: errors_figure(table().assign(kind="guess")), "kind = 'guess'"),
        (lambda: errors_figure(table().assign(error=1.5)), "is no share"),
        (lambda: errors_figure(table().assign(num_layers=None)), "without num_layers"),
        (lambda: errors_figure(pd.concat([table(), table()])), "two rows"),
        (lambda: errors_figure(table()[lambda rows: rows["kind"] == "bound"]), "no models"),
        (lambda: errors_figure(table().replace({"name": {DROPOUT_ON: "someone's"}})), "published row has name = "),
        (lambda: thresholds_figure(table()), "lacks the columns level"),
        (lambda: thresholds_figure(reached().replace({"name": {DROPOUT_ON: "someone's"}})), "published row has name = "),
        (lambda: thresholds_figure(reached()[:0]), "no rows"),
        (lambda: thresholds_figure(pd.concat([reached(), reached()])), "two rows"),
        (lambda: maps_figure(maps("trained"), maps("trained")), "built has rows of kind trained"),
        (lambda: maps_figure(maps("built"), maps("built")), "trained has rows of kind built"),
        (lambda: maps_figure(maps("built"), maps("trained", num_hops=3)), "differ in num_hops"),
        (lambda: maps_figure(maps("built"), maps("trained", string="0 1")), "differ in string"),
        (lambda: maps_figure(maps("built")[1:], maps("trained")), "must be a square"),
        (lambda: maps_figure(maps("built").drop(columns="weight"), maps("trained")), "lacks the columns weight"),
        (lambda: slots_figure(slots().drop(columns="trials")), "lacks the columns trials"),
        (lambda: slots_figure(slots()[:0]), "no rows"),
        (lambda: slots_figure(slots().assign(exact=21)), "exact outside"),
        (lambda: slots_figure(slots().assign(slots=0)), "not above 0"),
        (lambda: slots_figure(slots().assign(trials="many")), "no number"),
        (lambda: slots_figure(pd.concat([slots(), slots()])), "twice"),
    ],
)
def test_a_wrong_table_is_refused_in_one_plain_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_maps_of_a_built_and_a_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 60)
    run = TIERS["smoke"][0]
    trained = TrainedHops(run, run.model().eval(), finished=False, steps_done=0, failure="", seconds=0.0, curve=())
    task = run.task
    built = build(max_hops=2, vocab_size=task.vocab_size, seq_len=task.seq_len, recipe="B")
    found, drawing = maps_of_models(built, trained, 0, tier="smoke")
    assert set(found["kind"]) == {"built", "trained"} and set(found["num_hops"]) == {min(2, task.max_hops)}
    drawing(tmp_path / "x.png", tmp_path / "x.pdf")
    assert (tmp_path / "x.png").stat().st_size > 1000
    other = build(max_hops=2, vocab_size=task.vocab_size + 1, seq_len=task.seq_len, recipe="B")
    with pytest.raises(ValueError, match="built reads strings of"):
        maps_of_models(other, trained)
