"""Dimension of hidden states against exponents of losses: the right vectors, exponents known beforehand, a verdict that falls."""

import dataclasses
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from empirical import _text_exponents, text_dimension
from empirical._text_exponents import NO_FLOOR, _curve, _floor, _seed_noise
from empirical.data import stdlib_corpus
from empirical.dimension import levina_bickel
from empirical.language_models import LanguageTransformer
from empirical.scaling_runs import ScalingRun, read_run, train_run
from empirical.text_dimension import (
    AGREEMENT_COLUMNS,
    DIMENSION_COLUMNS,
    OBSERVED_COLUMNS,
    agreement,
    embedding_places,
    gaussian_like,
    last_layer_embeddings,
    observed_exponents,
    shuffled,
    text_dimensions,
    text_verdict,
)
from theory.manifold_rates import data_exponent

TOKENS = tuple((1 << 14) << power for power in range(6))


# The vectors


@pytest.fixture(scope="module")
def model():
    return LanguageTransformer(50, 12, 8, 2, 2, dropout=0.5, seed=3)


@pytest.fixture(scope="module")
def text():
    return np.random.default_rng(0).integers(0, 50, 1207).astype(np.uint16)


def test_the_unembedding_reads_these_vectors(model, text):
    found = last_layer_embeddings(model, text, num_vectors=90, first_position=3, per_window=2, seed=5)
    places = embedding_places(len(text), 12, num_vectors=90, first_position=3, per_window=2, seed=5).reshape(-1)
    assert found.shape == (90, 8) and len(set(places)) == len(places) == 90 and min(places % 12) >= 3
    assert max(np.bincount(places // 12)) == 2  # no window gives more
    windows = torch.from_numpy(text[: 100 * 12].astype(np.int64).reshape(100, 12))
    logits = model.eval().logits_at_every_position(windows).reshape(1200, 50)[places]
    assert torch.allclose(torch.from_numpy(found).float() @ model.unembedding.T, logits, atol=1e-5)


def test_a_layer_norm_leaves_a_sphere_of_two_dimensions_less(model, text):
    with torch.no_grad():
        for parameter in (model.final_scale, model.final_shift):
            parameter.add_(torch.linspace(0.1, 0.9, 8))
    found = last_layer_embeddings(model, text, num_vectors=200, first_position=0)
    plain = (found - model.final_shift.detach().double().numpy()) / model.final_scale.detach().double().numpy()
    assert np.abs(plain.sum(1)).max() < 1e-5 and ((plain**2).sum(1) <= 8 + 1e-4).all()
    assert np.linalg.matrix_rank(found - found.mean(0), tol=1e-4) == 7


def test_more_vectors_than_windows_of_a_few_take_more_from_each(text):
    places = embedding_places(len(text), 12, num_vectors=700, first_position=4, per_window=2)
    assert places.shape == (100, 7) and len(np.unique(places)) == 700
    with pytest.raises(ValueError, match=r"num_vectors = 801: the text has 100 windows with 8 positions each, 800 in all"):
        embedding_places(len(text), 12, num_vectors=801, first_position=4)


@pytest.mark.parametrize(("given", "said"), [({"context": 13}, "context = 13: the model reads at most 12"),
                                             ({"first_position": 12}, "first_position = 12: must be below context = 12"),
                                             ({"num_vectors": 1}, "num_vectors = 1")])  # fmt: skip
def test_vectors_that_are_not_there_are_refused(model, text, given, said):
    with pytest.raises(ValueError, match=said):
        last_layer_embeddings(model, text, **{"num_vectors": 20, **given})


def test_controls_keep_what_they_promise_and_lose_the_curve():
    """A circle's covariance is a plane's: what is normal like it, or permuted, fills two dimensions."""
    angles = np.random.default_rng(1).uniform(0, 2 * np.pi, 1500)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1) @ np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]) + 5.0
    normal, permuted = gaussian_like(circle, 7), shuffled(circle, 7)
    covariance = np.cov(circle.T)
    spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / len(circle))
    assert (np.abs(np.cov(normal.T) - covariance) < 5 * spread).all()
    assert (np.abs(normal.mean(0) - circle.mean(0)) < 5 * np.sqrt(np.diag(covariance) / len(circle))).all()
    assert (np.sort(permuted, 0) == np.sort(circle, 0)).all()
    flat = levina_bickel(normal, resamples=0).dimension
    assert levina_bickel(circle, resamples=0).dimension == pytest.approx(1, abs=0.1) and flat == pytest.approx(2, abs=0.15)
    assert levina_bickel(permuted, resamples=0).dimension > 2


# Exponents


def runs_table(loss, sizes=((8, 5_000), (16, 15_000), (32, 50_000), (64, 150_000)), tokens=TOKENS, seeds=1, noise=0.0):
    """What read_runs would give, loss(N, D) with relative noise."""
    generator = np.random.default_rng(0)
    rows = [
        {"architecture": "transformer", "failure": "", "name": f"{width}-{count}-{seed}", "embed_dim": width, "tokens": count,
         "loss": float(loss(total, count) * np.exp(noise * generator.standard_normal())), "seed": seed,
         "total_parameters": total, "non_embedding_parameters": total // 2}
        for width, total in sizes for count in tokens for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def of(table, quantity, source, count=None):
    rows = table[(table["quantity"] == quantity) & (table["source"] == source)]
    return rows if count is None else rows[rows["count"] == count].iloc[0]


def test_a_known_law_comes_back(monkeypatch):
    """A law with a floor whose exponents are those of one d and beta, 1/4 and 1/3: the difference of inverses is 1."""
    monkeypatch.setattr(_text_exponents, "STARTS_EVERY", 450)
    theory = observed_exponents(
        runs_table(lambda n, d: 0.8 + 30 * n ** (-1 / 3) + 8 * d**-0.25, noise=3e-4, seeds=2), bootstraps=40
    )
    assert tuple(theory.columns) == OBSERVED_COLUMNS
    assert not theory.duplicated(["quantity", "source", "count", "embed_dim", "tokens"]).any()
    for count in ("total", "non-embedding"):
        for quantity, truth in (("data", 0.25), ("model", 1 / 3), ("difference", 1.0)):
            row = of(theory, quantity, "joint", count)
            assert abs(row["exponent"] - truth) < 4 * (row["high"] - row["low"]) / 4 < 0.2 * truth, (count, quantity)
    for quantity, truth in (("data", 0.25), ("model", 1 / 3)):
        rows = of(theory, quantity, "offset")
        assert len(rows) == {"data": 4, "model": 12}[quantity] and ((rows["low"] < truth) & (truth < rows["high"])).mean() >= 0.75
        assert (of(theory, quantity, "slope")["high"] < truth).all()  # a floor that is not taken off lowers it
    lines = of(theory, "data", "slope")
    assert (lines["curvature_high"] < 0).all() and (lines["exponent_first"] > lines["exponent_last"]).all()


def test_without_a_floor_the_slope_is_the_exponent_and_does_not_bend():
    table = observed_exponents(runs_table(lambda n, d: 9 * d**-0.2, sizes=((8, 5_000),), noise=1e-3, seeds=2), bootstraps=20)
    slope = of(table, "data", "slope").iloc[0]
    assert slope["low"] < 0.2 < slope["high"] and slope["curvature_low"] < 0 < slope["curvature_high"]
    assert of(table, "model", "slope").empty and of(table, "difference", "slope").empty
    joint = of(table, "data", "joint", "total")
    assert np.isnan(joint["exponent"]) and "refused" in joint["reason"]
    early, late = of(table, "data", "early").iloc[0], of(table, "data", "late").iloc[0]
    assert {early["interval"], late["interval"]} == {"seeds"} and early["low"] < 0.2 < early["high"]


def test_a_bent_curve_has_its_tangents():
    x = np.array(TOKENS, dtype=float)
    logs = np.log(x / x[0])
    rows = {row["source"]: row for row in _curve(x, np.exp(1 - 0.05 * logs - 0.02 * logs**2), (float("nan"), 0), True)}
    assert rows["slope"]["curvature"] == pytest.approx(0.04) and rows["slope"]["exponent_first"] == pytest.approx(0.05)
    assert rows["slope"]["exponent_last"] == pytest.approx(0.05 + 0.04 * logs[-1])
    assert rows["offset"]["floor"] == 0 and "no floor" in rows["offset"]["reason"]  # it falls ever faster
    assert rows["early"]["exponent"] == pytest.approx(0.05 + 0.02 * logs[2]) and rows["late"]["exponent"] > 0.15


def test_seeds_of_one_cell_give_the_noise():
    table = runs_table(lambda n, d: 2.0, sizes=((8, 5_000),), tokens=TOKENS[:2], seeds=2)
    table["loss"] = np.exp([0.0, 0.2, 1.0, 1.1])
    deviation, freedom = _seed_noise(table)
    assert freedom == 2 and deviation == pytest.approx(np.sqrt((0.2**2 / 2 + 0.1**2 / 2) / 2))
    assert _seed_noise(table[table["seed"] == 0])[1] == 0


def test_the_interval_of_a_curve_with_a_floor_covers():
    """At least 90 of 100: a floor of nothing is at the border of what is allowed, where F limits are not exact."""
    generator, x, missed = np.random.default_rng(4), np.array(TOKENS, dtype=float), 0
    for _ in range(300):
        truth, floor = generator.uniform(0.1, 0.6), generator.choice([0.0, 0.5, 1.5])
        loss = (floor + 3 * (x / x[0]) ** -truth) * np.exp(0.005 * generator.standard_normal(6))
        row = _floor(x, loss)
        missed += not row["low"] <= truth <= row["high"]
    assert missed <= stats.binom.ppf(0.9999, 300, 0.1)


@pytest.mark.parametrize("loss", [np.full(6, 2.0), 2 + 0.01 * np.arange(6)])
def test_a_loss_that_does_not_fall_has_no_exponent(loss):
    row = _floor(np.array(TOKENS, dtype=float), loss)
    assert np.isnan(row["exponent"]) and row["reason"] and (row["low"], row["high"]) == (0, np.inf)


@pytest.mark.bad_input
def test_a_table_without_runs_is_refused():
    table = runs_table(lambda n, d: 2.0, tokens=TOKENS[:1])
    with pytest.raises(ValueError, match="no column loss"):
        observed_exponents(table.drop(columns="loss"))
    with pytest.raises(ValueError, match="no transformer"):
        observed_exponents(table.assign(failure="diverged"))


# Agreement and verdict


def dimension_row(kind="trained", width=32, d=(8.0, 7.0, 9.0), method="levina_bickel", tokens=100, saturated=False, **others):
    low, high = d[1], np.inf if saturated else d[2]
    values = {
        "kind": kind, "name": f"run-{width}-{tokens}", "embed_dim": width, "num_layers": 2, "total_parameters": width * 100,
        "tokens": tokens, "seed": 0, "loss": 2.0, "metric": "euclidean", "method": method, "neighbours": 20, "num_points": 900,
        "num_dropped": 0, "dimension": d[0], "low": d[1], "high": d[2], "level": 0.95, "corrected": d[0], "corrected_low": low,
        "corrected_high": high, "saturated": saturated, "beta": 1.0, "predicted": 2 / (2 + d[0]),
        "predicted_low": 2 / (2 + high), "predicted_high": 2 / (2 + low), "reason": "",
    }  # fmt: skip
    return {**values, **others}


def observed_row(quantity="data", source="slope", width=32, value=(0.2, 0.19, 0.21), curvature=(0.0, -0.1, 0.1), count=""):
    values = dict.fromkeys(OBSERVED_COLUMNS, 0.0) | {
        "quantity": quantity, "source": source, "count": count, "embed_dim": width, "total_parameters": width * 100,
        "tokens": 100, "exponent": value[0], "low": value[1], "high": value[2], "reason": "",
    }  # fmt: skip
    return values | dict(zip(("curvature", "curvature_low", "curvature_high"), curvature, strict=True))


def tables(widths=(32, 64), **changes):
    """Everything as the theory has it, d = 8 and exponents of 0.2, but for one change."""
    rows = [dimension_row(width=width) for width in widths]
    rows += [dimension_row(width=width, d=(7.0, 5.0, 9.0), method="two_nn") for width in widths]
    rows += [dimension_row("untrained", width, (30.0, 28.0, 32.0)) for width in widths]
    seen = [observed_row(source=source, width=width) for width in widths for source in ("slope", "early", "late", "offset")]
    seen += [observed_row("data", "joint", 0, count="total"),
             observed_row("difference", "joint", 0, (1.2, 0.5, 3.0), count="total")]  # fmt: skip
    dimensions, observed = pd.DataFrame(rows), pd.DataFrame(seen)
    for column, (kind, values) in changes.items():
        table = dimensions if column in dimensions.columns and kind in set(dimensions["kind"]) | {"two_nn"} else observed
        chosen = (table["kind"] == kind) | (table["method"] == kind) if table is dimensions else table["source"] == kind
        table.loc[chosen, column] = values
    return dimensions, observed


def judged(dimensions, observed):
    return text_verdict(dimensions, observed, agreement(dimensions, observed))


def test_what_agrees_in_all_survives():
    verdict = judged(*tables())
    assert verdict.answer == "survives" and verdict.because == ()
    assert set(verdict.by_source.values()) == {"survives"} and "joint, N total" in verdict.by_source


CHANGES = {
    "bend": ({"curvature_low": ("slope", 0.01)}, "curves bend"),
    "one size misses": ({"low": ("late", 0.19), "high": ("joint", 0.05), "exponent": ("joint", 0.05)}, "misses"),
    "untrained": ({"predicted_low": ("untrained", 0.1), "predicted_high": ("untrained", 0.3)},
                  "no difference shown between trained and untrained models: 5 and 5 of 5 intervals meet"),
    "saturated": ({"predicted_low": ("trained", 0.0)}, "saturated at width 32, 64"),
    "scales": ({"corrected_low": ("two_nn", 11.0), "corrected_high": ("two_nn", 12.0)}, "no one dimension"),
    "no curvature": ({"curvature_low": ("slope", np.nan)}, "enough different numbers of tokens"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_doubt_alone_leaves_it_undecided(name):
    changes, said = CHANGES[name]
    dimensions, observed = tables(**changes)
    if name == "one size misses":
        observed.loc[observed["source"] == "joint", "low"] = 0.04
        observed.loc[observed["quantity"] == "difference", ["low", "high"]] = 0.5, 3.0
    verdict = judged(dimensions, observed)
    assert verdict.answer == "can't be decided" and said in " ".join(verdict.because)


def test_floors_of_nothing_are_said():
    dimensions, observed = tables()
    assert not any("best floor" in line for line in judged(dimensions, observed).lines)
    observed.loc[observed["source"].isin(["offset", "joint"]) & (observed["embed_dim"] != 64), "reason"] = NO_FLOOR
    assert judged(dimensions, observed).lines.count(
        "best floor is 0 at width 32 (offset) and in the joint fit (N total): these are exponents of L, not of L - E"
    ) == 1  # fmt: skip


def test_the_joint_law_counts_once_however_n_is_counted():
    """It has one exponent for all sizes: a prediction that meets it in one size and misses it in the other does not meet."""
    dimensions, observed = tables()
    again = observed[(observed["source"] == "joint") & (observed["quantity"] == "data")].assign(count="non-embedding")
    twice = pd.concat([observed, again], ignore_index=True)
    assert any("that meet, of 5 (slope and offset by size, joint once): trained 5 " in line
               for line in judged(dimensions, twice).lines)  # fmt: skip
    trained = (dimensions["kind"] == "trained") & (dimensions["embed_dim"] == 32)
    dimensions.loc[trained, ["predicted", "predicted_low", "predicted_high"]] = 0.5, 0.4, 0.6
    assert any("joint once): trained 2 " in line for line in judged(dimensions, twice).lines)


def test_a_difference_of_inverses_that_excludes_one_leaves_it_undecided():
    dimensions, observed = tables()
    observed.loc[observed["quantity"] == "difference", ["exponent", "low", "high"]] = 5.0, 2.0, 9.0
    assert judged(dimensions, observed).because == ("1/alpha_D - 1/alpha_N, 1 in theory, is 5.0 [2.0, 9.0] (joint, N total)",)
    without = dimensions[dimensions["kind"] == "trained"]
    assert "untrained models were not measured" in judged(without, tables()[1]).because


@pytest.mark.parametrize(("slopes", "doubts"), [((0.2, 0.204, 0.208, 0.212, 0.216), 0), ((0.216, 0.212, 0.208, 0.204, 0.2), 1)])
def test_sizes_in_the_wrong_order_leave_it_undecided(slopes, doubts):
    """Exact p of five sizes in a row is 2/120."""
    widths = (8, 16, 32, 64, 128)
    dimensions, observed = tables(widths)
    for width, slope, predicted in zip(widths, slopes, (0.2, 0.204, 0.208, 0.212, 0.216), strict=True):
        observed.loc[(observed["source"] == "slope") & (observed["embed_dim"] == width), "exponent"] = slope
        dimensions.loc[(dimensions["kind"] == "trained") & (dimensions["embed_dim"] == width), "predicted"] = predicted
    verdict = judged(dimensions, observed)
    assert len(verdict.because) == doubts and all("tau -1.00 over 5 sizes, p = 0.017" in reason for reason in verdict.because)
    assert any(f"tau {'-' if doubts else '+'}1.00" in line for line in verdict.lines)


def test_what_meets_nothing_fails_however_the_curve_bends():
    dimensions, observed = tables(curvature_low=("slope", 0.01))
    away = observed["quantity"] == "data"
    observed.loc[away, ["exponent", "low", "high"]] = 0.05, 0.04, 0.06
    verdict = judged(dimensions, observed)
    assert verdict.answer == "fails" and set(verdict.by_source.values()) == {"fails"}
    observed.loc[observed["source"] == "late", "high"] = 0.19  # the half with the most tokens is enough for a doubt
    assert judged(dimensions, observed).answer == "can't be decided"


def test_nothing_observed_decides_nothing():
    dimensions, observed = tables()
    observed.loc[observed["quantity"] == "data", ["exponent", "low", "high"]] = np.nan
    verdict = judged(dimensions, observed)
    assert verdict.answer == "can't be decided" and "no size has both" in verdict.because[0]


def test_rows_compare_the_run_on_the_most_tokens_and_say_what_else_would_agree():
    dimensions, observed = tables()
    other = dimension_row(tokens=50, d=(3.0, 2.0, 4.0))
    rows = agreement(pd.concat([dimensions, pd.DataFrame([other])], ignore_index=True), observed)
    assert tuple(rows.columns) == AGREEMENT_COLUMNS and "run-32-50" not in set(rows["name"])
    assert len(rows) == 2 * 3 * 5  # widths; methods and a control; ways to read the exponent
    row = rows[(rows["kind"] == "untrained") & (rows["source"] == "slope")].iloc[0]
    assert not row["overlap"] and not row["within"] and row["difference"] == pytest.approx(2 / 32 - 0.2)
    assert data_exponent(row["dimension"], row["beta_needed"]) == pytest.approx(0.2)
    ends = [data_exponent(row[name], 1.0) for name in ("dimension_low", "dimension_high")]
    assert ends == pytest.approx([0.22, 0.18])
    full = agreement(*tables(predicted_low=("untrained", 0.0), predicted_high=("untrained", 1.0)))
    assert not full.loc[full["kind"] == "untrained", "overlap"].any()  # what allows everything agrees with nothing
    with pytest.raises(ValueError, match="tolerance = 0"):
        agreement(dimensions, observed, tolerance=float(Fraction(0)))


# Real runs


RUN = ScalingRun("transformer", 8, 1, 2, 12 * 2 * 32, 1e-2, context=32, batch_size=2, validation_windows=20)
SIZES = {"num_vectors": 300, "resamples": 6}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "here"
    folder.mkdir()
    for number in range(240):
        lines = [f"value_{number}_{line} = {number * line} + {line}  # {'x' * (line % 7)}\n" for line in range(6)]
        (folder / f"file{number}.py").write_text("".join(lines))
    return stdlib_corpus(folder=folder)


@pytest.fixture(scope="module")
def results(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for run in (RUN, dataclasses.replace(RUN, tokens=RUN.tokens * 2)):
        train_run(run, corpus, folder / "smoke" / run.name)
    return folder


@pytest.fixture(scope="module")
def curve():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_dimension, "KNOWN_DIMENSIONS", (1, 3, 5))
        return text_dimension.text_bias_curve([8], num_points=300)


def test_runs_are_measured_on_held_out_files_once(results, corpus, curve, tmp_path, monkeypatch):
    seen, real = [], text_dimension.last_layer_embeddings

    def recorded(model, tokens, **others):
        seen.append((tokens, real(model, tokens, **others)))
        return seen[-1][1]

    monkeypatch.setattr(text_dimension, "last_layer_embeddings", recorded)
    table = text_dimensions(results, "smoke", corpus, curve=curve, store=tmp_path / "cells", **SIZES)
    assert tuple(table.columns) == DIMENSION_COLUMNS and len(seen) == 3  # two trained ones, the larger one's beginning
    assert all(np.array_equal(tokens, corpus.split(0.05).validation.tokens) for tokens, _ in seen)
    large = table[table["tokens"] == RUN.tokens * 2]
    assert list(large["kind"]) == ["trained"] * 4 + ["untrained"] * 2 + ["gaussian"] * 2 + ["shuffled"] * 2
    assert list(table[table["tokens"] == RUN.tokens]["kind"]) == ["trained"] * 4
    untrained = read_run(results / "smoke" / dataclasses.replace(RUN, tokens=RUN.tokens * 2).name).run.model()
    assert np.array_equal(seen[-1][1], real(untrained, seen[0][0], num_vectors=300))
    row = large[(large["kind"] == "trained") & (large["metric"] == "euclidean")].iloc[0]
    assert row["dimension"] == pytest.approx(levina_bickel(seen[1][1], resamples=0).dimension)
    known = table[~table["saturated"]]
    assert len(known) and (known["predicted_low"] == 2 / (2 + known["corrected_high"])).all()
    assert (table.loc[table["saturated"], "predicted_low"] == 0).all() and (known["corrected_high"] < 6).all()
    assert table.loc[table["kind"] == "shuffled", "saturated"].all()  # eight coordinates that nothing ties together
    again = text_dimensions(results, "smoke", corpus, curve=curve, store=tmp_path / "cells", **SIZES)
    assert len(seen) == 3
    pd.testing.assert_frame_equal(again, table)


def test_another_text_or_a_run_that_is_not_there_is_refused(results, corpus, curve, tmp_path):
    (tmp_path / "one.py").write_text("a = 1\n" * 400)
    (tmp_path / "two.py").write_text("b = 2\n" * 400)
    with pytest.raises(ValueError, match="do not compare"):
        text_dimensions(results, "smoke", stdlib_corpus(folder=tmp_path), curve=curve, **SIZES)
    with pytest.raises(ValueError, match="'nobody' is no finished transformer run"):
        text_dimensions(results, "smoke", corpus, names=["nobody"], curve=curve, **SIZES)
    for given in ({"methods": ("danco",)}, {"metrics": ()}, {"controls": ("noise",)}):
        with pytest.raises(ValueError, match=f"{next(iter(given))} = .*legal"):
            text_dimensions(results, "smoke", corpus, curve=curve, **given)


def test_text_keeps_the_families_its_results_were_made_with(monkeypatch):
    asked = {}
    monkeypatch.setattr(text_dimension, "bias_curve", lambda **given: asked.update(given) or pd.DataFrame())
    text_dimension.text_bias_curve([8, 16])
    assert asked["families"] == ("ball", "gaussian")
