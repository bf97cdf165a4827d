"""Figures on scaling laws: what is drawn is what the results say, series are told apart, wrong tables are refused."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from empirical._scaling_engine import minimise
from empirical._scaling_forms import FORMS
from empirical.scaling_approaches import Approach, envelope, iso_flop
from empirical.scaling_bootstrap import bootstrap_fit
from empirical.scaling_fits import Refusal, ScalingFit, fit_scaling_law
from empirical.scaling_identifiability import identifiability
from empirical.scaling_points import ScalingPoints
from empirical.scaling_profiles import profile_likelihood
from headcount.figures import scaling, style
from headcount.figures._scaling_looks import groups, interval_words, number
from headcount.figures.scaling import (
    DRAWINGS,
    allocation_figure,
    counting_figure,
    fit_figure,
    isoflop_figure,
    positions_figure,
    profiles_figure,
    ranks_figure,
    runs_figure,
    spectra_figure,
    tail_figure,
)
from headcount.figures.style import COLUMN_WIDTH, PAGE_WIDTH
from theory.allocation import optimal_allocation
from theory.power_laws import PowerLawFit, RankFrequency, fit_power_law, split_half
from theory.scaling import HoffmannLaw
from theory.spectra import SpectrumVerdict, judge_spectrum

TRUTH = HoffmannLaw(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
BUDGET = 1e23


def points_of(parameters: np.ndarray, tokens: np.ndarray, noise: float = 0.004, seed: int = 0) -> ScalingPoints:
    scatter = np.exp(noise * np.random.default_rng(seed).standard_normal(parameters.size))
    loss = np.asarray(TRUTH.loss(parameters, tokens)) * scatter
    return ScalingPoints.of(parameters, tokens, loss, parameter_count="total")


def grid(sizes: int = 6, settings: int = 5) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(list(itertools.product(np.geomspace(5e7, 1.6e10, sizes), np.geomspace(1e9, 3e11, settings))))
    return pairs[:, 0], pairs[:, 1]


def fitted(points: ScalingPoints, name: str = "hoffmann", resamples: int = 0, symbols: tuple[str, ...] = ()) -> ScalingFit:
    """A fit as `fit_scaling_law` makes it, from few starts and without what no figure shows."""
    form = FORMS[name]
    truth = np.array([[np.log(TRUTH.A), np.log(TRUTH.B), np.log(TRUTH.E), TRUTH.alpha, TRUTH.beta]])
    starts = truth if name == "hoffmann" else form.starts()[::7]
    found = minimise(form, points.log_parameters, points.log_tokens, points.log_loss, starts)
    theta = found.theta[found.best]
    cloud = bootstrap_fit(form, points, theta, resamples=resamples) if resamples else None
    profiles = {symbol: profile_likelihood(form, points, theta, symbol) for symbol in symbols}
    return ScalingFit(form, points, 1e-3, theta, float(found.objective[found.best]), form.law(theta), (), (), None,
                      identifiability(form, points, theta), bootstrap_pairs=cloud, profiles=profiles)


@cache
def fit() -> ScalingFit:
    return fitted(points_of(*grid()), resamples=60, symbols=("E", "a"))


@cache
def approach() -> Approach:
    """Five budgets, the least of which has only models that are too large."""
    sizes, tokens = [], []
    for place, budget in enumerate(np.geomspace(1e19, 1e21, 5)):
        best = float(optimal_allocation(TRUTH, budget).parameters)
        sizes.append(np.geomspace(best * (3 if place == 0 else 0.2), best * (30 if place == 0 else 5), 7))
        tokens.append(budget / 6 / sizes[-1] * np.array([1.03, 0.97, 1.01, 0.98, 1.02, 0.99, 1.0]))  # never quite the budget
    return iso_flop(points_of(np.concatenate(sizes), np.concatenate(tokens), 0.002), bootstraps=99)


@cache
def tail() -> PowerLawFit:
    return fit_power_law(np.random.default_rng(0).zipf(2.2, 600), bootstraps=50, max_candidates=20)


@cache
def ranked() -> RankFrequency:
    rng, shares = np.random.default_rng(0), 1 / np.arange(1, 2001.0)
    first, second = (rng.multinomial(40_000, shares / shares.sum()) for _ in range(2))
    return split_half(first, second)


@cache
def spectra() -> dict[str, SpectrumVerdict]:
    noise = np.random.default_rng(0).standard_normal((90, 60))
    left, _, right = np.linalg.svd(noise, full_matrices=False)
    planted = left @ np.diag(60 * np.arange(1, 61) ** -0.8) @ right
    matrices = {"noise": noise, "planted": planted}
    return {name: judge_spectrum(matrix, permutations=19, bootstraps=20) for name, matrix in matrices.items()}


@cache
def runs() -> pd.DataFrame:
    sizes, tokens = grid(4, 4)
    points = points_of(sizes, tokens)
    rows = pd.DataFrame({"kind": "trained", "architecture": "transformer", "total_parameters": sizes,
                         "non_embedding_parameters": sizes / 2, "tokens": tokens, "loss": points.loss,
                         "loss_low": 0.99 * points.loss, "loss_high": 1.01 * points.loss, "seed": 0, "tier": "quick"})
    recurrent = rows[rows["tokens"] == rows["tokens"].max()].assign(architecture="lstm", loss=lambda part: 1.1 * part["loss"],
                                                                    loss_high=lambda part: 1.2 * part["loss"])
    return pd.concat([rows, recurrent], ignore_index=True)


@cache
def positions() -> pd.DataFrame:
    place = np.arange(1, 65)
    parts = []
    kinds = [("transformer", 10**5, 10**6, 0), ("transformer", 10**5, 10**6, 1), ("transformer", 10**4, 10**6, 0),
             ("transformer", 10**4, 10**7, 0), ("lstm", 10**5, 10**6, 0)]
    for name, size, tokens, seed in kinds:
        loss = 2 + seed + (place if name == "transformer" else np.minimum(place, 16)) ** -0.5
        parts.append(pd.DataFrame({"name": f"{name} {size} {tokens} {seed}", "architecture": name, "total_parameters": size,
                                   "non_embedding_parameters": size // 2, "tokens": tokens, "seed": seed, "tier": "quick",
                                   "position": place, "loss": loss, "loss_low": loss - 0.1, "loss_high": loss + 0.1}))
    return pd.concat(parts, ignore_index=True)


FIGURES: dict[str, Callable[[], scaling.Made]] = {
    "fit": lambda: fit_figure(fit()),
    "isoflop": lambda: isoflop_figure(approach()),
    "profiles": lambda: profiles_figure(fit()),
    "allocation": lambda: allocation_figure(fit(), BUDGET),
    "counting": counting_figure,
    "tail": lambda: tail_figure(tail()),
    "ranks": lambda: ranks_figure(ranked()),
    "spectra": lambda: spectra_figure(spectra()),
    "runs": lambda: runs_figure(runs(), fit()),
    "positions": lambda: positions_figure(positions()),
}


@cache
def table(name: str) -> pd.DataFrame:
    return FIGURES[name]()[0]


@cache
def drawn(name: str) -> Figure:
    """To be looked at only."""
    return DRAWINGS[name](table(name))


def lines(made: Figure) -> dict[str, Line2D]:
    found = [one for axes in made.axes for one in axes.get_lines()]
    assert all(one.get_gid() for one in found)
    return {str(one.get_gid()): one for one in found}


def shades(made: Figure) -> dict[str, Any]:
    return {str(one.get_gid()): one for axes in made.axes for one in (*axes.collections, *axes.patches) if one.get_gid()}


def ys(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def labels(made: Figure) -> list[str]:
    return [text.get_text() for text in made.legends[0].get_texts()]


def test_every_figure_has_its_drawing() -> None:
    assert set(FIGURES) == set(DRAWINGS) == {name.removesuffix("_figure") for name in scaling.__all__ if name.endswith("_figure")}


def test_fit_curves_and_residuals_are_the_laws() -> None:
    found, made = fit(), drawn("fit")
    assert found.law is not None
    predicted = np.asarray(found.law(N=found.points.parameters, D=found.points.tokens), dtype=float)
    rows = table("fit")[lambda part: part["row"] == "point"].sort_values(["parameters", "tokens"])
    np.testing.assert_allclose(rows["predicted"], predicted, rtol=1e-9)
    np.testing.assert_allclose(rows["residual"], np.log(found.points.loss / predicted), atol=1e-9)
    curve = lines(made)["curve: 3e+11"]
    at = np.asarray(curve.get_xdata(), dtype=float)
    np.testing.assert_allclose(ys(curve), found.law(N=at, D=np.full_like(at, 3e11)), rtol=1e-9)
    np.testing.assert_allclose(ys(lines(made)["residuals: 3e+11"]), 100 * rows["residual"][rows["tokens"].round() == 3e11])
    assert not any(gid.startswith("band") for gid in shades(made))  # one number of tokens in each group
    # Scattered designs are gathered, and the curve is a band over the tokens of its group.
    rng = np.random.default_rng(1)
    scattered = fitted(points_of(*np.exp(rng.uniform(np.log(1e8), np.log(1e10), (2, 40)))))
    rows = fit_figure(scattered)[0]
    assert rows["group"].nunique() == 6 and (rows["row"] == "point").sum() == 40
    band = rows[(rows["row"] == "curve") & (rows["group"] == rows["group"].min())]
    assert scattered.law is not None
    part = rows[(rows["row"] == "point") & (rows["group"] == rows["group"].min())]
    edge = scattered.law(N=band["parameters"].to_numpy(), D=np.full(len(band), part["tokens"].min()))
    np.testing.assert_allclose(band["predicted_high"], edge, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "against"), [("kaplan-parameters", "parameters"), ("kaplan-data", "tokens"), ("kaplan-compute", "compute")]
)
def test_laws_of_one_quantity_are_one_curve_over_it(name: str, against: str) -> None:
    found = fitted(points_of(*grid(4, 3)), name)
    rows, _ = fit_figure(found)
    curve = rows[rows["row"] == "curve"].sort_values(against)
    assert set(rows["against"]) == {against} and rows["group"].nunique() == 1
    slope = np.diff(np.log(curve["predicted"])) / np.diff(np.log(curve[against]))
    np.testing.assert_allclose(slope, -found.theta[1], rtol=1e-6)  # a straight line with the law's exponent
    ends = found.points.table()[against]
    np.testing.assert_allclose([curve[against].min(), curve[against].max()], [ends.min(), ends.max()])


def test_a_refused_fit_has_points_and_no_curve() -> None:
    sizes = np.geomspace(1e8, 1e10, 12)
    refused = fit_scaling_law(points_of(sizes, 20 * sizes))
    assert refused.law is None and refused.refusals
    rows, _ = fit_figure(refused)
    assert set(rows["row"]) == {"point"} and rows["residual"].isna().all()
    assert refused.refusals[0].reason in rows["refused"].iloc[0]
    assert any("refused" in text.get_text() for axes in DRAWINGS["fit"](rows).axes for text in axes.texts)
    with pytest.raises(ValueError):
        allocation_figure(refused, BUDGET)


def test_isoflop_minima_fit_and_refusals_are_the_approachs() -> None:
    found, made = approach(), drawn("isoflop")
    assert len(found.refusals) == 1 and len(found.optima) == 4
    np.testing.assert_allclose(ys(lines(made)["minima"]), found.optima.sort_values("compute")["loss"])
    line = lines(made)["fit"]
    at = np.asarray(line.get_xdata(), dtype=float)
    np.testing.assert_allclose(ys(line), found.parameters_prefactor.value * at**found.parameters_exponent.value, rtol=1e-9)
    assert sum(gid.startswith("members: refused") for gid in lines(made)) == 1
    members = table("isoflop")[lambda rows: rows["row"] == "member"]
    np.testing.assert_allclose(members["loss"], found.members["adjusted_loss"])  # carried to the budget, as the curves are
    assert not np.allclose(members["loss"], found.members["loss"], rtol=1e-4)
    assert table("isoflop")["reason"].dropna().tolist() == [found.refusals[0].reason]
    words = interval_words(*(getattr(found.parameters_exponent, end) for end in ("value", "low", "high")))
    assert any(words in text for text in labels(made)) and "refused: 1" in labels(made)


def test_an_approach_without_optimum_is_drawn_with_its_refusals() -> None:
    rng = np.random.default_rng(0)
    nothing = envelope(points_of(*np.exp(rng.uniform(np.log(1e8), np.log(1e10), (2, 20)))), bootstraps=99)
    assert nothing.reason
    rows, _ = isoflop_figure(nothing)
    made = DRAWINGS["isoflop"](rows)
    assert len(rows[rows["row"] == "refused"]) == len(nothing.refusals) and not any(gid == "fit" for gid in lines(made))


def test_profiles_are_in_units_of_their_threshold() -> None:
    found, made = fit(), drawn("profiles")
    for symbol in ("E", "a"):
        profile, line = found.profiles[symbol], lines(made)[f"profile: {symbol}"]
        rise = (profile.objective - profile.objective.min()) / (profile.threshold - profile.objective.min())
        np.testing.assert_allclose(ys(line), rise, atol=1e-12)
        at = np.asarray(line.get_xdata(), dtype=float)
        # Between the interval's ends the curve is below 1, outside above; both ends are between neighbours on the grid.
        inside = (at > profile.low) & (at < profile.high)
        assert (ys(line)[inside] < 1 + 1e-3).all() and (ys(line)[~inside] > 1 - 1e-3).all()
        box = shades(made)[f"interval: {symbol}"].get_window_extent().transformed(made.axes[0].transData.inverted())
        assert symbol != "E" or np.allclose([box.x0, box.x1], [profile.low, profile.high], rtol=1e-6)
        assert found.bootstrap_pairs is not None
        bar = lines(made)[f"bootstrap by points: {symbol}"]
        wanted = found.bootstrap_pairs.interval(symbol)
        np.testing.assert_allclose(np.asarray(bar.get_xdata(), dtype=float), [wanted.low, wanted.high])


def test_open_intervals_run_to_the_edge() -> None:
    open_end = replace(fit().profiles["E"], low=0.0, reason="not excluded")
    made = DRAWINGS["profiles"](profiles_figure(replace(fit(), profiles={"E": open_end}))[0])
    low = made.axes[0].get_xlim()[0]
    assert 1.5 < low < open_end.estimate  # the panel isn't stretched to zero
    assert "[0," in made.axes[0].get_title()


def test_allocation_cloud_lies_on_the_budget() -> None:
    found, rows, made = fit(), table("allocation"), drawn("allocation")
    cloud = rows[rows["row"] == "resample"]
    np.testing.assert_allclose(6 * cloud["parameters"] * cloud["tokens"], BUDGET, rtol=1e-9)
    assert len(cloud) == 60 and len(ys(lines(made)["cloud"])) == 60
    wanted = found.allocation(BUDGET)
    (best,) = rows[rows["row"] == "estimate"].to_dict("records")
    assert (best["parameters"], best["parameters_low"], best["tokens_high"]) == (
        wanted.parameters.value, wanted.parameters.low, wanted.tokens.high)  # fmt: skip
    above = next(one for one in made.axes[0].child_axes)
    np.testing.assert_allclose(np.sort(np.array(above.get_xlim()) * np.array(made.axes[0].get_xlim()) * 6), [BUDGET, BUDGET])
    assert "times the largest" not in made.legends[0].get_title().get_text()
    far = DRAWINGS["allocation"](allocation_figure(fitted(found.points), 1e25)[0])
    assert "times the largest" in far.legends[0].get_title().get_text() and len(ys(lines(far)["cloud"])) == 0


def test_counting_shows_the_published_exponents() -> None:
    made, rows = drawn("counting"), table("counting")
    slope = lines(made)["local slope"]
    assert ys(slope).max() == pytest.approx(0.98, abs=0.005)
    assert ys(slope)[0] == pytest.approx(0.759, abs=0.001) and ys(slope)[-1] == pytest.approx(0.513, abs=0.001)
    assert ys(lines(made)["exponent: global"])[0] == pytest.approx(0.79, abs=0.005)
    assert ys(lines(made)["exponent: kaplan"])[0] == 0.73
    inside = rows[rows["parameters"].between(767, 1.501e9)]
    assert len(ys(lines(made)["non-embedding optimum"])) == len(inside) and inside["parameters"].min() == pytest.approx(768)
    np.testing.assert_allclose(inside["total_compute"] / inside["compute"], inside["total_parameters"] / inside["parameters"])


def test_tail_values_and_laws_are_the_fits() -> None:
    found, made = tail(), drawn("tail")
    values = lines(made)["values"]
    at = np.asarray(values.get_xdata(), dtype=float)
    np.testing.assert_allclose(ys(values), [(found.tail >= x).mean() for x in at])
    law = lines(made)["law: power law"]
    np.testing.assert_allclose(ys(law), found.survival(np.asarray(law.get_xdata(), dtype=float)))
    drawn_rivals = {gid for gid in lines(made) if gid.startswith("law: ")} - {"law: power law"}
    assert drawn_rivals == {f"law: {one.rival}" for one in found.comparisons if np.isfinite(one.ratio)}
    assert str(found.verdict) in made.legends[0].get_title().get_text()
    by_name = {one.rival: one for one in found.comparisons}
    (said,) = [text for text in labels(made) if text.startswith("exponential")]
    assert ("less likely" in said) == (by_name["exponential"].favours == "power law")


def test_slopes_are_drawn_as_fitted_and_unknown_intervals_not_invented() -> None:
    found, made = ranked(), drawn("ranks")
    for one in found.segments:
        line = lines(made)[f"segment: {one.first_rank:g} to {one.last_rank:g}"]
        at = np.asarray(line.get_xdata(), dtype=float)
        assert np.diff(np.log(ys(line)))[0] / np.diff(np.log(at))[0] == pytest.approx(one.slope)
        (said,) = [text for text in labels(made) if text.startswith(f"ranks {one.first_rank:,} to {one.last_rank:,}:")]
        assert ("[" in said) == np.isfinite(one.low)
        # As many counts under the line as there are.
        inside = (found.ranks >= one.first_rank) & (found.ranks <= one.last_rank)
        level = ys(line)[0] * (found.ranks[inside] / at[0]) ** one.slope
        assert level.sum() == pytest.approx(found.frequencies[inside].sum())
    assert any(np.isfinite(one.low) for one in found.segments) and any(np.isnan(one.low) for one in found.segments)
    assert np.asarray(lines(made)["well ranked"].get_xdata(), dtype=float)[0] == found.well_ranked


def test_spectra_are_beside_both_nulls() -> None:
    made = drawn("spectra")
    for axes, (name, found) in zip(made.axes, spectra().items(), strict=True):
        np.testing.assert_allclose(ys(lines(made)[f"{name}: data"]), found.singular_values)
        np.testing.assert_allclose(ys(lines(made)[f"{name}: expected"]), found.expected)
        assert f"verdict: {found.verdict}" in axes.get_title()
        for place, null in enumerate(("gaussian", "permuted")):
            corners = shades(made)[f"{name}: {null}"].get_paths()[0].vertices
            assert corners[:, 1].max() == pytest.approx(found.nulls[place].high.max())
    assert "noise: fitted" not in lines(made)  # nothing is fitted to what is noise
    planted = spectra()["planted"].fit
    assert planted is not None
    line = lines(made)["planted: fitted"]
    assert ys(line)[-1] == pytest.approx(planted.x_min)
    slope = np.polyfit(np.log(np.asarray(line.get_xdata(), dtype=float)), np.log(ys(line)), 1)[0]
    assert slope == pytest.approx(-planted.rank_exponent)


def test_runs_are_in_both_panels_with_the_law() -> None:
    made, rows = drawn("runs"), table("runs")
    for against, held in (("parameters", "tokens"), ("tokens", "parameters")):
        own = rows[(rows["row"] == "run") & (rows["against"] == against)]
        assert len(own) == len(runs())
        np.testing.assert_allclose(own["group"], own[held])
    law = fit().law
    assert law is not None
    curve = lines(made)["curve: tokens at 1.6e+10"]
    at = np.asarray(curve.get_xdata(), dtype=float)
    np.testing.assert_allclose(ys(curve), law(N=np.full_like(at, 1.6e10), D=at), rtol=1e-9)
    assert lines(made)["runs: transformer, tokens at 1.6e+10"].get_fillstyle() == "full"
    assert lines(made)["runs: lstm, tokens at 1.6e+10"].get_fillstyle() == "none"
    bars = shades(made)["runs: lstm, tokens at 1.6e+10 bars"].get_segments()
    own = runs()[(runs()["architecture"] == "lstm") & (runs()["total_parameters"] > 1.5e10)]
    np.testing.assert_allclose([bar[:, 1] for bar in bars], own[["loss_low", "loss_high"]])
    assert "total" in made.axes[0].get_xlabel()
    # Counted without the embedding where the fit is.
    other = replace(fit(), points=replace(fit().points, parameter_count="non-embedding"))
    counted = runs_figure(runs(), other)[0]
    assert counted.loc[counted["row"] == "run", "parameters"].max() == runs()["non_embedding_parameters"].max()
    assert "curve" not in set(runs_figure(runs())[0]["row"])


def test_positions_are_binned_at_shared_tokens() -> None:
    rows, made = table("positions"), drawn("positions")
    assert set(rows["tokens"]) == {10**6}  # the LSTM has no run of 10^7
    whole = rows[(rows["architecture"] == "transformer") & (rows["parameters"] == 10**5)].sort_values("position")
    assert set(whole["num_runs"]) == {2} and whole["first_position"].iloc[0] == 1 and whole["last_position"].iloc[-1] == 64
    assert (whole["first_position"].iloc[1:].to_numpy() == whole["last_position"].iloc[:-1].to_numpy() + 1).all()
    sizes = (whole["last_position"] - whole["first_position"] + 1).tolist()
    assert 2 * sizes[-1] >= sizes[-2]  # no bin of one position at the end
    source = positions()[lambda part: part["name"].isin(["transformer 100000 1000000 0", "transformer 100000 1000000 1"])]
    for row in whole.to_dict("records"):
        part = source[source["position"].between(row["first_position"], row["last_position"])]
        assert row["loss"] == pytest.approx(part["loss"].mean()) and row["loss_high"] == pytest.approx(part["loss_high"].mean())
    recurrent = rows[(rows["architecture"] == "lstm") & (rows["first_position"] >= 16)]["loss"]
    assert np.ptp(recurrent) < 1e-12 < np.ptp(whole["loss"])
    assert made.axes[0].get_title().startswith("transformer") and made.axes[1].get_title().startswith("lstm")


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered_and_axes_are_named(name: str) -> None:
    made = drawn(name)
    canvas = FigureCanvasAgg(made)
    made.set_dpi(72)
    canvas.draw()
    renderer = canvas.get_renderer()
    edges, box = made.bbox, made.legends[0].get_window_extent(renderer)
    bodies = [axes.get_tightbbox(renderer) for axes in made.axes if axes.axison]
    for one in (box, *bodies):
        assert one is not None
        assert edges.x0 - 1 <= one.x0 and one.x1 <= edges.x1 + 1 and edges.y0 - 1 <= one.y0 and one.y1 <= edges.y1 + 1
    assert not any(box.overlaps(body) for body in bodies if body is not None)
    assert not any(one.overlaps(two) for one, two in itertools.combinations(filter(None, bodies), 2))
    assert made.get_figwidth() in (COLUMN_WIDTH, PAGE_WIDTH)
    for axes in made.axes:
        assert axes.get_xlabel() and (axes.get_ylabel() or axes is not made.axes[0])
        ticks = [text.get_window_extent(renderer) for text in axes.get_xticklabels() if text.get_text() and text.get_visible()]
        shown = [one for one in ticks if axes.bbox.x0 - 1 <= (one.x0 + one.x1) / 2 <= axes.bbox.x1 + 1]
        assert len(shown) >= 2 and not any(one.overlaps(two) for one, two in itertools.pairwise(shown))
        own = axes.get_legend()
        assert own is None or not own.get_window_extent(renderer).overlaps(axes.bbox)


@pytest.mark.parametrize("name", ["fit", "runs", "isoflop", "tail", "ranks", "counting"])
def test_series_differ_without_colour(name: str) -> None:
    made = drawn(name)
    legends = (*made.legends, *(axes.get_legend() for axes in made.axes))
    handles = [one for legend in legends if legend for one in legend.get_lines()]
    looks = [(str(one.get_marker()), str(one.get_linestyle()), str(getattr(one, "_dash_pattern", "")), one.get_fillstyle())
             for one in handles if one.get_color() != style.GREY]
    by_legend = len(looks) if name != "runs" else len(looks) // 2
    assert len(set(looks)) >= by_legend


def test_same_table_same_bytes_also_when_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 50)
    rows, draw = FIGURES["tail"]()
    rows.to_csv(tmp_path / "x.csv", index=False)
    draw(tmp_path / "1.png", tmp_path / "1.pdf")
    with style.styled():
        again = DRAWINGS["tail"](pd.read_csv(tmp_path / "x.csv"))
        again.savefig(tmp_path / "2.png", metadata={"Software": None})
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    assert (tmp_path / "1.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "1.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", FIGURES)
def test_a_table_without_a_column_or_rows_is_refused(name: str) -> None:
    for wrong, says in ((table(name).iloc[:, 1:], f"lacks the columns {table(name).columns[0]}"), (table(name)[:0], "no rows")):
        with pytest.raises(ValueError, match=says) as caught:
            DRAWINGS[name](wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: profiles_figure(replace(fit(), profiles={})), "no profiles"),
        (lambda: allocation_figure(fit(), -1.0), "compute = -1"),
        (lambda: allocation_figure(replace(fit(), law=None, refusals=(Refusal("x", "y"),)), BUDGET), "law"),
        (lambda: counting_figure("kaplan2020_data"), "must be one of hoffmann2022"),
        (lambda: tail_figure(replace(tail(), num_tail=0)), "no tail"),
        (lambda: spectra_figure({}), "at least one spectrum"),
        (lambda: runs_figure(runs().drop(columns="tokens")), "lacks the columns tokens"),
        (lambda: runs_figure(runs().assign(loss=np.nan)), "no run with a finite loss"),
        (lambda: positions_figure(positions().assign(position=0)), "position below 1"),
        (lambda: positions_figure(positions()[:0]), "no rows"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_plain_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_groups_and_words() -> None:
    centres = [float(centre) for centre, _ in groups(np.array([1e6, 1e6 * (1 + 1e-6), 1e8, 1e7]))]
    np.testing.assert_allclose(centres, [1e6, 1e7, 1e8], rtol=1e-5)
    binned = groups(np.geomspace(1, 100, 30), most=6)
    assert [int(mask.sum()) for _, mask in binned] == [5] * 6
    assert (number(0.5139), number(63096.0)) == ("0.514", "63,096")
    assert (number(1e21), number(6.5e10)) == ("$10^{21}$", "$6.5\\times10^{10}$")
    assert number(9.996e22) == "$10^{23}$" and number(float("inf")) == "unbounded"
    assert interval_words(0.5, float("nan"), float("nan")) == "0.5" and interval_words(0.5, 0.4, float("inf")) == "0.5 [0.4, ?]"
