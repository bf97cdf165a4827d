"""Scaling runs: every token once, the same bits however often interrupted, losses and intervals that are what they say."""

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from empirical import _run_training
from empirical._scaling_tiers import WARMUP_SHARE, learning_rate
from empirical._scaling_windows import VALIDATION_SHARE, TrainingWindows, clustered_mean, held_out_loss
from empirical.data import stdlib_corpus
from empirical.scaling_runs import (
    POSITION_COLUMNS,
    SCALING_COLUMNS,
    TIERS,
    RunFileError,
    ScalingRun,
    read_positions,
    read_run,
    read_runs,
    train_run,
)

CHECKPOINT, MODEL, SETTINGS, POSITIONS = "checkpoint.safetensors", "model.safetensors", "run.json", "positions.csv"
RUN = ScalingRun("transformer", 8, 1, 2, 12 * 2 * 16, 1e-2, context=16, batch_size=2, warmup=3, validation_windows=9)
LSTM = dataclasses.replace(RUN, architecture="lstm", num_heads=0, seed=1)
RUNS = {"transformer": RUN, "lstm": LSTM, "dropout": dataclasses.replace(RUN, dropout=0.3)}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """Looks at the loss and the clock every 4 steps, so that runs can be short."""
    monkeypatch.setattr(_run_training, "LOOK_EVERY", 4)


def text_folder(place, word="value"):
    """Forty small files, different enough that no window is in two of them."""
    place.mkdir()
    for number in range(40):
        lines = [f"{word}_{number}_{line} = {number * line} + {line}  # {'x' * (line % 7)}\n" for line in range(12)]
        (place / f"file{number}.py").write_text("".join(lines))
    return place


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return stdlib_corpus(folder=text_folder(tmp_path_factory.mktemp("text") / "here"))


@pytest.fixture(scope="module")
def other_corpus(tmp_path_factory):
    return stdlib_corpus(folder=text_folder(tmp_path_factory.mktemp("text") / "there", "other"))


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """RUN without an interruption, in a folder of results."""
    folder = tmp_path_factory.mktemp("results")
    return train_run(RUN, corpus, folder / "smoke" / RUN.name), folder


def interrupted_at(step, time=1):
    """A progress callback that presses Ctrl-C when it is told of a step for so many times."""
    told = 0

    def progress(now, _steps, _loss):
        nonlocal told
        told += now == step
        if told == time:
            raise KeyboardInterrupt

    return progress


def same_weights(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_interrupted_and_resumed_is_bit_for_bit_the_uninterrupted_run(name, corpus, whole, tmp_path):
    run = RUNS[name]
    plain, whole = whole[0], train_run(run, corpus, tmp_path / "whole")
    if name != "lstm":  # twice the same is the same, and dropout changes what is learned from one beginning
        assert same_weights(whole.model, plain.model) == (name == "transformer")
    for step in (4, 8, 12):  # all of them in training: the next test stops the measuring
        with pytest.raises(KeyboardInterrupt):
            train_run(run, corpus, tmp_path / "parts", progress=interrupted_at(step), checkpoint_seconds=1e9)
        partly = read_run(tmp_path / "parts")
        assert (partly.steps_done, partly.finished) == (step, False) and math.isnan(partly.loss)
        torch.manual_seed(step)  # what torch's generator is at has no say
    parts = train_run(run, corpus, tmp_path / "parts")
    assert parts.finished and same_weights(parts.model, whole.model) and parts.curve == whole.curve
    assert (parts.loss, parts.loss_low, parts.loss_high) == (whole.loss, whole.loss_low, whole.loss_high)
    files = [(tmp_path / place / POSITIONS).read_bytes() for place in ("parts", "whole")]
    assert files[0] == files[1] and sorted(path.name for path in (tmp_path / "parts").iterdir()) == [MODEL, POSITIONS, SETTINGS]


def test_what_stops_the_measuring_does_not_cost_the_training(corpus, whole, tmp_path):
    """The last step is told twice: when it is done, and when windows are measured; there is no checkpoint by the clock."""
    with pytest.raises(KeyboardInterrupt):
        train_run(RUN, corpus, tmp_path, progress=interrupted_at(RUN.steps, time=2), checkpoint_seconds=1e9)
    partly = read_run(tmp_path)
    assert (partly.steps_done, partly.finished) == (RUN.steps, False) and same_weights(partly.model, whole[0].model)
    assert train_run(RUN, corpus, tmp_path).loss == whole[0].loss


@pytest.fixture(scope="module")
def two_checkpoints(corpus, tmp_path_factory):
    """A run of each of two seeds that was interrupted: tensors of the same names and shapes."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for run in (RUN, dataclasses.replace(RUN, seed=1)):
        with pytest.raises(KeyboardInterrupt):
            train_run(run, corpus, folder / str(run.seed), progress=interrupted_at(RUN.steps))
    return folder


def flipped(content):
    """Another last bit: of the tensors, which have the end of the file."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [("1", bytes, "is the checkpoint of a run with other settings"), ("0", flipped, "are not those that were written")],
)
def test_a_checkpoint_of_another_run_or_with_another_bit_is_refused(two_checkpoints, corpus, tmp_path, source, change, message):
    (tmp_path / SETTINGS).write_bytes((two_checkpoints / "0" / SETTINGS).read_bytes())
    (tmp_path / CHECKPOINT).write_bytes(change((two_checkpoints / source / CHECKPOINT).read_bytes()))
    for use in (lambda: train_run(RUN, corpus, tmp_path), lambda: read_run(tmp_path)):
        with pytest.raises(RunFileError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    (tmp_path / CHECKPOINT).write_bytes((two_checkpoints / "0" / CHECKPOINT).read_bytes())
    assert read_run(tmp_path).steps_done == RUN.steps


@pytest.mark.parametrize("run", [RUN, LSTM], ids=["transformer", "lstm"])
def test_a_run_s_seed_is_that_of_its_first_weights(run):
    first, again, other = (dataclasses.replace(run, seed=seed).model() for seed in (0, 0, 1))
    assert same_weights(first, again) and not same_weights(first, other)


def test_every_token_is_seen_at_most_once_and_none_of_the_held_out_files(corpus):
    """Windows of one run do not overlap, and a run on fewer tokens sees the first of those that a longer one sees."""
    there = (len(corpus.split(VALIDATION_SHARE).training.tokens) - 1) // 16 // 2 * 2
    run = dataclasses.replace(RUN, tokens=there * 16)
    batches, text = TrainingWindows(run, corpus), corpus.split(VALIDATION_SHARE).training.tokens
    rows = []
    for step in range(run.steps):
        tokens, targets = batches.at(step)
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
        rows += [tuple(row) for row in tokens.tolist()]
    cut = Counter(tuple(text[start : start + 16].tolist()) for start in range(0, len(text) - 16, 16))
    assert len(rows) == there and not Counter(rows) - cut  # as often as the text has it, never more
    assert [tuple(row) for step in range(RUN.steps) for row in TrainingWindows(RUN, corpus).at(step)[0].tolist()] == rows[:24]
    assert not torch.equal(TrainingWindows(dataclasses.replace(RUN, seed=1), corpus).at(0)[0], batches.at(0)[0])


def test_the_held_out_loss_is_the_mean_over_held_out_windows(corpus, whole):
    """Against the definition: token by token, from float64 logits, on windows that lie in the validation files."""
    trained, folder = whole
    text = corpus.split(VALIDATION_SHARE).validation.tokens.astype(np.int64)
    there = (len(text) - 1) // 16
    starts = [number * there // 9 * 16 for number in range(9)]
    model = trained.model.to_dtype(torch.float64)
    rows = []
    for start in starts:
        chances = functional.log_softmax(model.logits_at_every_position(torch.tensor(text[start : start + 16])[None]), -1)[0]
        rows.append([-chances[place, text[start + place + 1]].item() for place in range(16)])
    assert trained.loss == pytest.approx(np.mean(rows), rel=1e-5)
    table = read_positions(folder, "smoke")
    np.testing.assert_allclose(table["loss"], np.mean(rows, axis=0), rtol=1e-4)
    assert list(table.columns) == list(POSITION_COLUMNS) and list(table["position"]) == list(range(1, 17))
    assert trained.loss_low < trained.loss < trained.loss_high


def test_the_interval_covers_and_knows_that_windows_of_a_file_are_alike():
    """Means of 20 files with 5 windows each; counted as 100 independent windows they would cover in far fewer cases."""
    generator = np.random.default_rng(0)
    repeats, files = 400, np.repeat(np.arange(20), 5)
    draws = generator.normal(size=(20, repeats))[files] + 0.3 * generator.normal(size=(100, repeats))
    found = clustered_mean(draws, files)
    naive = clustered_mean(draws, np.arange(100))
    covered = ((found[:, 1] <= 0) & (found[:, 2] >= 0)).mean()
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats) < covered  # four standard deviations of a share of so many
    assert ((naive[:, 1] <= 0) & (naive[:, 2] >= 0)).mean() < 0.75
    np.testing.assert_allclose(found[:, 0], draws.mean(0), atol=1e-12)


def test_with_one_window_a_file_the_interval_is_student_s():
    values = np.array([[1.0], [2.0], [4.0], [7.0]])
    mean, low, high = clustered_mean(values, np.arange(4))[0]
    assert mean == 3.5 and high - mean == pytest.approx(3.182446305 * np.std(values, ddof=1) / 2) and mean - low == high - mean


def test_training_learns_and_the_loss_by_position_shows_it(corpus, tmp_path):
    run = dataclasses.replace(RUN, tokens=2 * 16 * 80, warmup=8)
    trained = train_run(run, corpus, tmp_path)
    unseen = held_out_loss(run.model(), run, corpus, torch.device("cpu"))
    assert unseen.loss == pytest.approx(math.log(256), rel=0.02) and trained.loss < 0.75 * unseen.loss
    assert trained.curve[0][1] > trained.curve[-1][1]
    assert trained.content["result"]["files"] == unseen.num_files >= 2


def test_the_table_has_a_row_per_finished_run_and_names_the_others(corpus, whole, tmp_path):
    place = tmp_path / "smoke"
    train_run(RUN, corpus, place / RUN.name)
    train_run(LSTM, corpus, place / LSTM.name)
    unfinished = dataclasses.replace(RUN, seed=3)
    with pytest.raises(KeyboardInterrupt):
        train_run(unfinished, corpus, place / unfinished.name, progress=interrupted_at(4))
    table = read_runs(tmp_path, "smoke")
    assert list(table.columns) == list(SCALING_COLUMNS) and list(table["name"]) == [LSTM.name, RUN.name]
    assert table.attrs["unfinished"] == [unfinished.name]
    row = table.iloc[1]
    model = RUN.model()
    assert (row["total_parameters"], row["non_embedding_parameters"]) == (model.total_parameters, model.non_embedding_parameters)
    assert row["flops"] == 3 * model.forward_flops_per_token * RUN.tokens and row["loss"] == whole[0].loss
    assert row["corpus"] == corpus.digest and row["python_version"] == corpus.python_version and row["tier"] == "smoke"
    assert pd.api.types.is_integer_dtype(table["tokens"]) and not table.drop(columns="failure").isna().any().any()


def test_runs_on_different_texts_are_never_mixed(corpus, other_corpus, tmp_path):
    first = train_run(RUN, corpus, tmp_path / "smoke" / RUN.name)
    train_run(LSTM, other_corpus, tmp_path / "smoke" / LSTM.name)
    with pytest.raises(ValueError, match="measurements on them do not compare"):
        read_runs(tmp_path, "smoke")
    with pytest.raises(ValueError, match="the run is on corpus"):
        train_run(first.run, other_corpus, tmp_path / "elsewhere")
    with pytest.raises(RunFileError, match="holds a run with other settings"):
        train_run(RUN, other_corpus, tmp_path / "smoke" / RUN.name)
    assert not (tmp_path / "elsewhere").exists()


def test_divergence_is_a_row_with_a_reason_and_no_loss(corpus, tmp_path):
    run = dataclasses.replace(RUN, learning_rate=1e30, warmup=0)
    place = tmp_path / "smoke" / run.name
    trained = train_run(run, corpus, place)
    assert trained.finished and trained.failure.startswith("the loss was not finite") and math.isnan(trained.loss)
    assert not (place / POSITIONS).exists() and not (place / CHECKPOINT).exists()
    row = read_runs(tmp_path, "smoke").iloc[0]
    assert row["failure"] == trained.failure and math.isnan(row["loss"])
    with pytest.raises(ValueError, match="all runs diverged"):
        read_positions(tmp_path, "smoke")


def changed(place, **fields):
    place.write_text(json.dumps(json.loads(place.read_text()) | fields))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: (place / SETTINGS).write_text("[]"), "is not the file of a run"),
        (lambda place: changed(place / SETTINGS, result={"loss": 2.0}), "has no held-out loss"),
        (lambda place: changed(place / SETTINGS, result={"loss": 2.0, "loss_low": 3.0, "loss_high": 1}), "has no held-out loss"),
        (lambda place: changed(place / SETTINGS, corpus=None), "does not say what corpus"),
        (lambda place: changed(place / SETTINGS, run={"tokens": 3}), "does not describe a run"),
        (lambda place: (place / POSITIONS).write_text("position,loss\n1,2\n"), "is no table of losses by position"),
        (lambda place: (place / POSITIONS).unlink(), "is no table of losses by position"),
        (lambda place: changed(place / SETTINGS, result={"loss": 2.0, "loss_low": 1.0, "loss_high": 3.0}), "has not the losses"),
    ],
)
def test_damaged_results_are_one_plain_line(whole, tmp_path, damage, message):
    source = whole[1] / "smoke" / RUN.name
    place = tmp_path / "smoke" / RUN.name
    place.mkdir(parents=True)
    for path in source.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    damage(place)
    with pytest.raises(RunFileError, match=message) as caught:
        read_positions(tmp_path, "smoke")
    assert "\n" not in str(caught.value) and str(place) in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "mamba"}, "architecture = 'mamba': 'transformer' and 'lstm' are legal"),
        ({"tokens": 100}, r"tokens = 100: must be a multiple of batch_size \* context = 32"),
        ({"tokens": 0}, "tokens = 0"),
        ({"warmup": 13}, "warmup = 13: must be at most steps = 12"),
        ({"learning_rate": math.inf}, "learning_rate = inf"),
        ({"num_heads": 0}, "num_heads = 0"),
        ({"num_heads": 3}, "must be a multiple of num_heads"),
        ({"validation_windows": 1}, "validation_windows = 1"),
        ({"tokenizer": "words"}, "tokenizer = 'words'"),
        ({"architecture": "lstm"}, "num_heads = 2: an LSTM has 0"),
        ({"architecture": "lstm", "num_heads": 0, "dropout": 0.1}, "an LSTM has none"),
        ({"embed_dim": 1 << 40}, "at most 1,073,741,824 weights are legal"),
    ],
)
def test_settings_that_are_none_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RUN, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": 32 * 10**6}, "each is seen once"),
        ({"validation_windows": 10**6}, "validation_windows = 1000000: the held-out files have"),
        ({"vocab_size": 300}, "the corpus has 256 bytes tokens: must be the run's 300 bytes"),
    ],
)
def test_a_corpus_that_does_not_do_is_refused_before_a_folder_is_made(corpus, tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        train_run(dataclasses.replace(RUN, **fields), corpus, tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_settings_survive_json_and_their_digest_tells_them_apart():
    run = RUN.on("a" * 64)
    assert ScalingRun.from_plain(json.loads(run.as_text())) == run
    assert len({run.digest, RUN.digest, LSTM.digest}) == 3 and run.on("a" * 64) == run


def test_the_quick_tier_spans_what_a_fit_needs():
    """A decade and a half of both counts of N and of D, all pairs of at least 5 x 5, part of it twice, LSTMs; unique names."""
    runs = TIERS["quick"]
    grid = [run for run in runs if run.architecture == "transformer" and run.seed == 0]
    models = {run: run.model(device="meta") for run in grid}
    sizes, tokens = {models[run].total_parameters for run in grid}, {run.tokens for run in grid}
    inner = {model.non_embedding_parameters for model in models.values()}
    assert len(sizes) >= 5 and len(tokens) >= 5 and len(grid) == len(sizes) * len(tokens)
    for values in (sizes, inner, tokens):
        assert math.log10(max(values) / min(values)) >= 1.5
    assert min(run.context for run in runs) >= 256
    twice = {(run.embed_dim, run.tokens) for run in runs if run.seed} & {(run.embed_dim, run.tokens) for run in grid}
    assert len(twice) >= 6 and len({run.embed_dim for run in runs if run.architecture == "lstm"}) >= 2
    for tier in TIERS.values():
        assert len({run.name for run in tier}) == len(tier) > 0


@pytest.mark.parametrize("tier", TIERS)
def test_runs_differ_in_rate_only_by_the_rule(tier):
    for run in TIERS[tier]:
        assert run.learning_rate == learning_rate(run.architecture, run.embed_dim)
        assert abs(run.warmup - WARMUP_SHARE * run.steps) <= 1


def test_each_run_s_rate_falls_to_zero_at_its_own_end():
    for run in (RUN, dataclasses.replace(RUN, tokens=10 * RUN.tokens)):
        rates = [run.rate(step) for step in range(run.steps)]
        expected = run.learning_rate * np.interp(np.arange(run.steps), [-1, 2, 3, run.steps], [0, 1, 1, 0])
        np.testing.assert_allclose(rates, expected, rtol=1e-12)
