"""Figures on manifolds and dimensions: what is drawn is what the tables say, nothing overlaps, wrong tables are refused."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from constructions.manifolds import build
from empirical.manifold_reach import reach_slopes, reach_table
from empirical.manifold_runs import EXPONENT_COLUMNS, TRAINED_COLUMNS
from headcount import _manifold_figures
from headcount.figures import manifolds as drawings
from headcount.figures import style
from headcount.figures._manifold_circle import thinned
from headcount.figures._manifold_looks import manifold_words, target_words
from headcount.figures._manifold_sphere import sphere_table, view
from headcount.figures.manifolds import (
    DRAWINGS,
    bias_figure,
    circle_figure,
    data_exponent_figure,
    exponents_figure,
    model_exponent_figure,
    reach_figure,
    scales_figure,
    sphere_figure,
    text_figure,
)
from theory.manifolds import Target, manifold_named, target_named


@dataclass
class Off:
    """In place of a built network: off by a known wave whose size falls as grid^-2."""

    target: Target
    grid: int
    degree: int = 1
    num_tokens: int = 10
    num_blocks: int = 5

    @property
    def manifold(self) -> Any:
        return self.target.manifold

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(self.target(points) + self.grid**-2.0 * np.sin(40 * points[:, 0]))


def on(name: str, kind: str = "smooth", ambient: int | None = None) -> Target:
    return target_named(manifold_named(name, ambient), "smooth" if kind == "smooth" else "weierstrass", 0.5)


@cache
def reach() -> pd.DataFrame:
    circle = manifold_named("circle", 8)
    parts = [reach_table(circle, target_named(circle, kind, 0.5), (8, 16, 32), degree, num_points=60)
             for kind, degree in (("smooth", 1), ("weierstrass", 0))]
    return pd.concat(parts, ignore_index=True)


@cache
def curve() -> pd.DataFrame:
    rows = [(family, d, method, k, 900, d ** (0.9 - 0.1 * (family == "ball") + 0.05 * (k == 2)))
            for family in ("ball", "gaussian", "sphere")
            for method, k in (("levina_bickel", 20), ("two_nn", 2)) for d in (1, 3, 10, 30)]
    table = pd.DataFrame(rows, columns=["family", "dimension", "method", "neighbours", "num_points", "estimate"])
    return table.assign(ambient_dim=50, low=0.95 * table["estimate"], high=1.05 * table["estimate"])


@cache
def scales() -> pd.DataFrame:
    rows = [(name, truth, method, k, 0.1 * k, truth + 10 / k) for name, truth in (("circle", 1), ("2-sphere", 2))
            for method in ("levina_bickel", "gride") for k in (2, 8, 32)]
    table = pd.DataFrame(rows, columns=["name", "true_dimension", "method", "neighbours", "scale", "dimension"])
    return table.assign(low=table["dimension"] - 0.2, high=table["dimension"] + 0.2)


@cache
def trained() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors that fall with the exponents that theory promises, three seeds a factor 1.2 apart."""
    runs, exponents = [], []
    for manifold, d, ambient in (("circle", 1, 2), ("sphere", 2, 3)):
        for target, beta in (("smooth", math.inf), ("weierstrass", 0.5)):
            for experiment, kinds in (("data", ("trained",)), ("model", ("trained", "built"))):
                order = 1.0 if experiment == "data" else 2.0
                promised = order if math.isinf(beta) else 2 * beta / (2 * beta + d) if experiment == "data" else 2 * beta / d
                for kind in kinds:
                    degree = 1.0 if kind == "built" else math.nan
                    about = {"kind": kind, "experiment": experiment, "manifold": manifold, "dimension": d,
                             "ambient_dim": ambient, "target": target, "beta": beta, "attention": "relu", "degree": degree}
                    infinite = math.isinf(beta) and experiment == "model" and kind == "trained"
                    limited = (manifold, target, experiment) == ("sphere", "smooth", "data")
                    exponents.append(about | {"exponent": promised, "low": promised - 0.1, "high": promised + 0.1,
                                              "reason": "a plateau" if limited else "",
                                              "predicted": math.inf if infinite else promised, "num_sizes": 3, "num_seeds": 3})
                    for size in (100, 1000, 10000):
                        for seed in range(3 if kind == "trained" else 1):
                            runs.append(about | {"parameters": size, "samples": size, "seed": seed, "target_variance": 2.0,
                                                 "mse": 2.0 * 1.2**seed * size**-promised, "check": "", "failure": ""})
    columns = list(TRAINED_COLUMNS), list(EXPONENT_COLUMNS)
    return pd.DataFrame(runs).reindex(columns=columns[0]), pd.DataFrame(exponents).reindex(columns=columns[1])


@cache
def text() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, observed = [], []
    for width in (8, 32):
        for kind, d in (("trained", 4.0), ("untrained", 6.0), ("gaussian", width - 1.0)):
            high = math.inf if kind == "gaussian" else 1.2 * d
            rows.append({"kind": kind, "name": f"w{width}", "embed_dim": width, "num_layers": 2, "total_parameters": 100 * width,
                         "tokens": 1 << 20, "seed": 0, "loss": 2.0, "metric": "euclidean", "method": "levina_bickel",
                         "level": 0.95, "neighbours": 20, "num_points": 600, "num_dropped": 0, "dimension": d,
                         "low": 0.9 * d, "high": 1.1 * d,
                         "corrected": math.nan if (kind, width) == ("gaussian", 32) else d, "corrected_low": 0.8 * d,
                         "corrected_high": high, "saturated": kind == "gaussian",
                         "beta": 1.0, "predicted": 2 / (2 + d), "predicted_low": 2 / (2 + high),
                         "predicted_high": 2 / (2 + 0.8 * d), "reason": ""})
        for source, high, floor, reason in (("slope", 0.12, 0.0, ""), ("offset", 1.7, 0.3, "") if width == 8 else
                                            ("offset", 0.5, 0.0, "no floor above 0 fits better than none")):
            observed.append({"quantity": "data", "source": source, "count": "", "embed_dim": width, "floor": floor,
                             "total_parameters": 100 * width, "tokens": 1 << 20, "exponent": 0.1, "low": 0.08, "high": high,
                             "reason": reason})
    observed.append({"quantity": "data", "source": "joint", "count": "total", "embed_dim": 0, "total_parameters": 0, "floor": 1.0,
                     "tokens": 0, "exponent": 0.2, "low": 0.1, "high": 0.3, "reason": ""})
    observed.append({"quantity": "difference", "source": "joint", "count": "total", "embed_dim": 0, "total_parameters": 0,
                     "tokens": 0, "exponent": 3.0, "low": -1.0, "high": math.inf, "floor": 1.0, "reason": ""})
    return pd.DataFrame(rows), pd.DataFrame(observed)


FIGURES: dict[str, Callable[[], drawings.Made]] = {
    "reach": lambda: reach_figure(reach()),
    "circle": lambda: circle_figure([(on("circle", kind, 8), [Off(on("circle", kind, 8), n) for n in (4, 16)])  # type: ignore[misc]
                                     for kind in ("smooth", "rough")]),
    "sphere": lambda: sphere_figure([Off(on("sphere"), n) for n in (2, 4, 8)], on("sphere")),  # type: ignore[misc]
    "bias": lambda: bias_figure(curve()),
    "scales": lambda: scales_figure(scales()),
    "data": lambda: data_exponent_figure(*trained()),
    "model": lambda: model_exponent_figure(*trained()),
    "text": lambda: text_figure(*text()),
    "identity": lambda: exponents_figure(trained()[1], text()[1]),
}  # fmt: skip


@cache
def table(name: str) -> pd.DataFrame:
    return FIGURES[name]()[0]


@cache
def drawn(name: str) -> Figure:
    """To be looked at only."""
    return DRAWINGS[name](table(name))


def lines(made: Figure) -> dict[str, Any]:
    return {str(one.get_gid()): one for axes in made.axes for one in axes.get_lines() if one.get_gid()}


def shades(made: Figure) -> dict[str, Any]:
    return {str(one.get_gid()): one for axes in made.axes for one in (*axes.collections, *axes.patches) if one.get_gid()}


def xy(line: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def slope(line: Any) -> float:
    x, y = xy(line)
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def test_circle_shows_the_error_it_says() -> None:
    rows, made = table("circle"), drawn("circle")
    errors = rows[rows["row"] == "error"]
    # A wave of amplitude N^-2 has a root mean square of about N^-2 / sqrt(2), and no more than N^-2 anywhere.
    np.testing.assert_allclose(errors["rms"] * errors["grid"] ** 2.0, 1 / math.sqrt(2), rtol=0.1)
    np.testing.assert_allclose(errors["sup"] * errors["grid"] ** 2.0, 1, rtol=0.02)
    for grid in (4, 16):
        own = rows[(rows["row"] == "point") & (rows["target"] == "smooth") & (rows["grid"] == grid)]
        angle, drawn_values = xy(lines(made)[f"residual: smooth {grid}"])
        kept = np.searchsorted(own["angle"].to_numpy(), angle)
        np.testing.assert_allclose(drawn_values, (own["approximant"] - own["value"]).to_numpy()[kept])
        assert np.abs(drawn_values).max() == own["residual"].abs().max()
    strips = [axes for axes in made.axes if any("residual: smooth" in str(one.get_gid()) for one in axes.get_lines())]
    # Each strip has its own scale, written at its ends, so that the finest is seen.
    tops = [axes.get_ylim()[1] for axes in strips]
    assert tops[0] / tops[1] == pytest.approx(16, rel=0.1)
    for axes, sup in zip(strips, errors[errors["target"] == "smooth"]["sup"], strict=True):
        assert float(axes.get_yticklabels()[-1].get_text()) == pytest.approx(sup, rel=0.06)
        assert axes.get_ylim()[1] == pytest.approx(1.08 * sup)


def test_thinned_curves_keep_their_outline() -> None:
    rough = np.random.default_rng(0).standard_normal(36000)
    kept = thinned(rough, 100)
    assert len(kept) <= 301 and (kept[0], kept[-1]) == (0, 35999) and (np.diff(kept) > 0).all()
    for column in range(100):
        own = slice(360 * column, 360 * (column + 1))
        inside = rough[kept[(kept >= own.start) & (kept < own.stop)]]
        assert (inside.min(), inside.max()) == (rough[own].min(), rough[own].max())
    assert (thinned(rough[:400], 100) == np.arange(400)).all()
    assert max(len(xy(line)[0]) for line in lines(drawn("circle")).values()) <= 1300  # of 3600, or the PDF would be slow to show


def test_crown_is_the_target_over_the_circle() -> None:
    made, rows = drawn("circle"), table("circle")
    value = rows[(rows["target"] == "smooth") & (rows["grid"] == 4)]["value"].dropna().to_numpy()
    value = value[thinned(value)]
    halves = [xy(lines(made)[f"target around: smooth {layer}"]) for layer in (1, 5)]
    feet = [xy(lines(made)[f"circle around: smooth {layer}"])[1] for layer in (1, 5)]
    for (across, height), foot in zip(halves, feet, strict=True):
        seen = ~np.isnan(height[:-1])
        ratio = (height - foot)[:-1][seen] / value[seen]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
        assert np.abs(across).max() <= 1
    behind, front = (~np.isnan(height) for _, height in halves)
    assert (behind ^ front).all()  # every point is on one half, not on both


def test_sphere_is_seen_from_the_eye() -> None:
    rows = table("sphere")
    pixels, errors = rows[rows["row"] == "pixel"], rows[rows["row"] == "error"]
    points = pixels[["x", "y", "z"]].to_numpy(dtype=float)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
    frame = view()
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1) and frame[1, 2] > 0  # no mirror image, north is up
    inside = np.hypot(pixels["across"], pixels["up"]) <= 1
    seen = points @ frame.T
    np.testing.assert_allclose(seen[inside][:, :2], pixels.loc[inside, ["across", "up"]], atol=1e-12)
    assert seen[:, 2].min() > -1e-6
    np.testing.assert_allclose(pixels["value"], on("sphere")(points), atol=1e-12)
    np.testing.assert_allclose(errors["rms"] * errors["grid"] ** 2.0, 1 / math.sqrt(2), rtol=0.1)
    # Residuals of all grids have one scale, darker the larger.
    images = {str(one.get_gid()): one for axes in drawn("sphere").axes for one in axes.images}
    norms = {(images[f"residual {n}"].norm.vmin, images[f"residual {n}"].norm.vmax) for n in (2, 4, 8)}
    assert norms == {(0.0, float(pixels["residual"].abs().max()))}
    shades_of = [float(np.dot(images["residual 8"].cmap(place)[:3], (0.3, 0.59, 0.11))) for place in np.linspace(0, 1, 9)]
    assert (np.diff(shades_of) < 0).all()


def test_an_embedded_sphere_gives_the_same_picture() -> None:
    plain, far = on("sphere"), on("sphere", ambient=7)
    one, two = (sphere_table([build(target.manifold, target, 3)], target, resolution=15, num_points=20)
                for target in (plain, far))  # fmt: skip
    # The same points of the sphere and the same function; charts may be turned about their centres, so networks differ a little.
    np.testing.assert_allclose(one[["x", "y", "z", "value"]].dropna(), two[["x", "y", "z", "value"]].dropna(), atol=1e-9)
    first, second = (rows["residual"].pow(2).mean() for rows in (one, two))
    assert 0.8 < first / second < 1.25


def test_reach_slopes_are_the_tables() -> None:
    made, slopes = drawn("reach"), reach_slopes(reach())
    for row in slopes[slopes["error"] == "rms"].to_dict("records"):
        (name,) = [gid for gid in lines(made) if gid.startswith(f"slope against {row['against']}:") and "goes on" not in gid
                   and ("smooth" in gid) == (row["target"] == "smooth")]
        assert xy(lines(made)[name])[0][0] == row["slope"]
        np.testing.assert_allclose(shades(made)[f"{name} interval"].get_segments()[0][:, 0], [row["low"], row["high"]])
        promised = lines(made)[name.replace("slope against ", "promised against ")]
        assert slope(promised) == pytest.approx(row["predicted"])
        error = lines(made)[name.replace("slope against ", "")]
        assert slope(error) == pytest.approx(row["slope"]) and xy(promised)[1][-1] == xy(error)[1][-1]
        left, right = made.axes[3].get_xlim()
        cut = {side for side, is_cut in (("left", row["low"] < left), ("right", row["high"] > right)) if is_cut}
        assert {gid.rsplit(" ", 1)[1] for gid in lines(made) if gid.startswith(f"{name} goes on")} == cut


def test_bias_of_an_exponent() -> None:
    made, rows = drawn("bias"), bias_figure(curve(), beta=0.5)[0]
    first = rows.iloc[-1]
    assert first["data_exponent"] == pytest.approx(1 / 31)
    assert first["implied_exponent"] == pytest.approx(1 / (1 + first["estimate"]))
    assert (rows["implied_low"] < rows["implied_exponent"]).all() and (rows["implied_exponent"] < rows["implied_high"]).all()
    own = curve()[lambda part: (part["family"] == "ball") & (part["method"] == "two_nn")]
    np.testing.assert_allclose(xy(lines(made)["estimate: two_nn, ball"])[1], own["estimate"])
    wanted = 2 / (2 + own["estimate"]) - 2 / (2 + own["dimension"])
    np.testing.assert_allclose(xy(lines(made)["exponent: two_nn, ball"])[1], wanted)


@pytest.mark.parametrize("experiment", ["data", "model"])
def test_trained_errors_and_exponents(experiment: str) -> None:
    made = drawn(experiment)
    own = {gid: line for gid, line in lines(made).items() if gid.startswith("error: sphere 3 trained")}
    assert own
    for gid, line in own.items():
        x, y = xy(line)
        bars = np.array([bar[:, 1] for bar in shades(made)[gid.replace("error", "seeds")].get_segments()])
        np.testing.assert_allclose(bars[:, 1] / bars[:, 0], 1.2**2)
        np.testing.assert_allclose(bars[:, 0] * 1.2, y)  # the middle seed
        assert len(x) == 3
    dots = {gid: xy(line)[0][0] for gid, line in lines(made).items() if gid.startswith("exponent ")}
    wanted = trained()[1][lambda part: part["experiment"] == experiment]["exponent"].to_numpy()
    np.testing.assert_allclose([dots[f"exponent {place}"] for place in range(len(wanted))], wanted)
    # Hollow where something else limits the exponent, in both panels, and only there.
    limited = (trained()[1][lambda part: part["experiment"] == experiment]["reason"] != "").tolist()
    hollow = [lines(made)[f"exponent {place}"].get_fillstyle() == "none" for place in range(len(wanted))]
    assert hollow == limited and any(limited) == (experiment == "data")
    errors = [one for axes in made.axes[:-1] for one in axes.get_lines() if str(one.get_gid()).startswith("error")]
    assert sum(one.get_fillstyle() == "none" for one in errors) == sum(limited)
    said = [word.get_text() for word in made.legends[0].get_texts()]
    assert any("something else limits it" in words for words in said) == any(limited)
    # No line is promised where any exponent is.
    infinite = np.isinf(trained()[1][lambda part: part["experiment"] == experiment]["predicted"])
    assert sum(gid.startswith("promised ") for gid in shades(made)) == int((~infinite).sum())


def test_what_is_not_learnt_or_cut_or_freed_of_its_floor() -> None:
    """No line of the theory beside a series that leaves all its variance; arrows at cut intervals; a second marker."""
    runs, exponents = (part[part["experiment"] == "data"].reset_index(drop=True) for part in trained())
    smooth = (runs["manifold"] == "circle") & (runs["target"] == "smooth")
    runs.loc[smooth, "mse"] = 1.9
    relu = runs[smooth].assign(attention="softmax", mse=0.1)
    exponents = exponents.assign(floor_off=np.nan, floor_off_low=np.nan, floor_off_high=np.nan)
    exponents.loc[1, ["high", "floor_off", "floor_off_low", "floor_off_high"]] = [50.0, 0.7, 0.6, 0.8]
    made = DRAWINGS["data"](data_exponent_figure(pd.concat([runs, relu]), exponents)[0])
    theory = [str(one.get_gid()) for one in made.axes[0].get_lines() if str(one.get_gid()).startswith("theory")]
    assert theory == ["theory: sphere 3 trained relu"]
    assert made.axes[0].get_ylim()[1] < 2  # the line of what isn't learnt would have stretched it
    assert [gid for gid in lines(made) if "goes on" in gid] == ["exponent 1 goes on right"]
    assert xy(lines(made)["floor taken off 1"])[0] == [0.7] and "floor taken off 0" not in lines(made)
    markers = {gid: line.get_marker() for gid, line in lines(made).items() if gid.startswith("error: ")}
    assert markers["error: circle 2 trained relu"] != markers["error: circle 2 trained softmax"]
    words = [text.get_text() for axes in made.axes for text in axes.texts]
    assert words.count("limit") == 2 and not any("no finite exponent" in word for word in words)
    words = [text.get_text() for axes in drawn("model").axes for text in axes.texts]
    assert words.count("smooth: no finite exponent is promised") == 2 and "limit" not in words


def test_text_shows_open_ends_and_the_band() -> None:
    made, rows = drawn("text"), table("text")
    assert set(rows["row"]) == {"exponent", "dimension"}
    assert xy(lines(made)["slope width 8"])[0] == [0.1]
    for name, wanted in (("predicted", (2 / (2 + 4.8), 2 / (2 + 3.2))), ("tolerance", (2 / 6 - 0.02, 2 / 6 + 0.02))):
        across = shades(made)[f"{name}: width 8"].get_paths()[0].vertices
        np.testing.assert_allclose((across[:, 0].min(), across[:, 0].max()), wanted)
        place = xy(lines(made)["slope width 8"])[1][0]
        assert across[:, 1].min() < place < across[:, 1].max()
    assert "bias taken off" in made.axes[1].get_ylabel() and made.axes[0].get_xscale() == "linear"
    # With a floor: hollow where none was found, an arrow where the interval goes on beyond the axis; the joint fit is there once.
    fills = {gid: lines(made)[gid].get_fillstyle() for gid in ("offset width 8", "offset width 32", "joint total all sizes")}
    assert fills == {"offset width 8": "full", "offset width 32": "none", "joint total all sizes": "full"}
    assert [gid for gid in lines(made) if "goes on" in gid] == ["offset width 8 goes on right"]
    assert made.axes[0].get_xlim()[1] == 1
    assert xy(lines(made)["gaussian at least"])[1].tolist() == [0.8 * 31] and len(xy(lines(made)["gaussian dimension"])[0]) == 2
    assert len(xy(lines(made)["gaussian open"])[0]) == 2
    right = made.axes[1]
    assert max(bar[:, 1].max() for bar in shades(made)["gaussian interval"].get_segments()) > right.get_ylim()[1]
    assert max(bar[:, 1].max() for bar in shades(made)["trained interval"].get_segments()) == pytest.approx(4.8)
    with pytest.raises(ValueError, match="no row of these"):
        text_figure(*text(), method="gride")


def test_identity_holds_for_what_follows_the_theory_and_not_for_published_fits() -> None:
    rows = table("identity").set_index("name")
    trained_rows = rows[rows["row"] == "trained"]
    rough = trained_rows[["Weierstrass" in str(name) for name in trained_rows.index]]
    np.testing.assert_allclose(rough["difference"], 1)
    assert (rough["low"] < 1).all() and (rough["high"] > 1).all()
    published = rows[rows["row"] == "published"]["difference"]
    assert published["Kaplan et al. 2020, joint"] == pytest.approx(1 / 0.103 - 1 / 0.076)
    besiroglu = rows.loc["Besiroglu et al. 2024"]
    assert (besiroglu["low"], besiroglu["high"]) == (pytest.approx(1 / 0.415 - 1 / 0.317), pytest.approx(1 / 0.331 - 1 / 0.373))
    assert not published.between(0.95, 1.05).any()
    made = drawn("identity")
    places = {name: place for place, name in enumerate(rows.index)}
    left, right = made.axes[0].get_xlim()
    assert left > published.min() - 1.5 and right < 3  # the published fits fill the axis ..
    (far,) = (place for name, place in places.items() if str(name).startswith("text models"))
    assert {gid for gid in lines(made) if "goes on" in gid} >= {f"difference {far} goes on right"}
    assert "3.0" in {text.get_text() for text in made.axes[0].texts}  # .. and what is beyond it has its number at the edge
    hollow = [name for name, place in places.items() if lines(made)[f"difference {place}"].get_fillstyle() == "none"]
    assert hollow == ["sphere, smooth (relu)"]
    lost = "samples 10: more than 50% of the target's variance is left"
    other = exponents_figure(trained()[1].assign(reason=lost))[0]
    assert other[other["row"] == "trained"]["difference"].isna().all()
    assert other["reason"].eq(lost).sum() == 4


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "data"])  # drawn like "model", which has more in it
def test_nothing_is_cut_off_or_covered(name: str) -> None:
    made = drawn(name)
    made.set_dpi(72)
    renderer = FigureCanvasAgg(made).get_renderer()  # type: ignore[no-untyped-call]
    engine = made.get_layout_engine()
    assert engine is not None
    engine.execute(made)  # what is drawn need not be painted
    edges = made.bbox
    bodies = [axes.get_tightbbox(renderer) for axes in made.axes if axes.axison]
    boxes = [legend.get_window_extent(renderer) for legend in made.legends]
    for one in (*boxes, *bodies):
        assert one is not None
        assert edges.x0 - 1 <= one.x0 and one.x1 <= edges.x1 + 1 and edges.y0 - 1 <= one.y0 and one.y1 <= edges.y1 + 1
    assert not any(box.overlaps(body) for box in boxes for body in bodies if body is not None)
    assert made.get_figwidth() in (style.COLUMN_WIDTH, style.PAGE_WIDTH)
    assert all(axes.get_window_extent(renderer).width > 30 for axes in made.axes if axes.get_label() != "<colorbar>")


@pytest.mark.parametrize("name", FIGURES)
def test_a_table_without_a_column_or_rows_is_refused(name: str) -> None:
    for wrong, says in ((table(name).iloc[:, 1:], f"lacks the columns {table(name).columns[0]}"), (table(name)[:0], "no rows")):
        with pytest.raises(ValueError, match=says) as caught:
            DRAWINGS[name](wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: circle_figure([]), "networks is empty"),
        (lambda: circle_figure([(on("circle"), [])]), "has none for the target smooth"),
        (lambda: circle_figure([(on("sphere"), [Off(on("sphere"), 2)])]), "must be on a circle"),  # type: ignore[list-item]
        (lambda: sphere_figure([], on("sphere")), "networks is empty"),
        (lambda: sphere_figure([Off(on("torus"), 2)], on("torus")), "must be on sphere-2"),  # type: ignore[list-item]
        (lambda: bias_figure(curve(), 0.0), "beta = 0"),
        (lambda: scales_figure(scales().assign(dimension=np.nan)), "no finite estimate"),
        (lambda: data_exponent_figure(trained()[0].assign(mse=np.nan), trained()[1]), "no run of the experiment data"),
        (lambda: reach_figure(reach().drop(columns="rms")), "lacks the columns rms"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_plain_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_same_table_same_bytes_also_when_read_back(tmp_path: Path) -> None:
    rows = table("bias")
    rows.to_csv(tmp_path / "x.csv", index=False, float_format="%.17g")
    written = []
    for one in (rows, pd.read_csv(tmp_path / "x.csv")):
        made = DRAWINGS["bias"](one)
        made.set_layout_engine("none")
        with io.BytesIO() as file:
            made.savefig(file, format="png", dpi=30, metadata={"Software": None})
            written.append(file.getvalue())
    assert written[0] == written[1]


def test_command_draws_what_is_there_and_says_what_makes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(style, "save", lambda made, *places: [place.write_text(type(made).__name__) for place in places])
    out = tmp_path / "out"
    for name in ("data", "text"):
        with pytest.raises(ValueError, match=rf"figure {name}: .*headcount manifold train --tier smoke"):
            _manifold_figures.figures(names=[name], tier="smoke", seed=0, out=out)
    with pytest.raises(ValueError, match="NAME sphaere: reach, circle"):
        _manifold_figures.figures(names=["sphaere"], tier="smoke", seed=0, out=out)
    assert not out.exists()
    (out / "smoke").mkdir(parents=True)
    runs, exponents = trained()
    runs.to_csv(out / "smoke" / "manifold.csv", index=False)
    exponents.to_csv(out / "smoke" / "exponents.csv", index=False)
    _manifold_figures.figures(names=["identity"], tier="smoke", seed=0, out=out)
    assert {place.name for place in out.glob("*.png")} == {"identity-smoke.png"}
    assert (pd.read_csv(out / "identity-smoke.csv")["row"] == "trained").sum() == 4
    exponents.drop(columns="exponent").to_csv(out / "smoke" / "exponents.csv", index=False)
    with pytest.raises(ValueError, match=r"exponents\.csv: lacks the columns exponent"):
        _manifold_figures.figures(names=["model"], tier="smoke", seed=0, out=out)
    empty = pd.DataFrame({"x": [1]}), lambda png, pdf: (png.write_bytes(b""), pdf.write_bytes(b""))
    monkeypatch.setattr(_manifold_figures, "_MAKERS", dict.fromkeys(_manifold_figures.FIGURES, lambda *_: empty))
    monkeypatch.setattr(_manifold_figures, "_places", lambda folder, tier, name: [folder / "nothing"])
    capsys.readouterr()
    _manifold_figures.figures(names=["all"], tier="smoke", seed=0, out=out)
    told = capsys.readouterr()
    said = " ".join((told.out + told.err).split())
    assert "left out: data, model, text" in said and "headcount manifold train --tier smoke" in said


def test_words() -> None:
    assert manifold_words("circle in R^8") == "circle in $\\mathbb{R}^{8}$"
    assert manifold_words("circle x sphere-2") == "circle × 2-sphere"
    assert target_words("weierstrass 0.5", 0.5) == "Weierstrass, β = 0.5"
    assert target_words("weierstrass", 0.75) == "Weierstrass, β = 0.75"
    assert target_words("smooth", math.inf) == "smooth"
