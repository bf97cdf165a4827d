"""Training on k hops: the same bits however often it is interrupted, damaged files refused, settings that do what they say."""

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from constructions import _token_model
from empirical import _run_files, _run_training, hop_training
from empirical._hop_batches import FixedBatches, FreshBatches
from empirical._run_files import RunFiles
from empirical._run_training import Descent, no_trace
from empirical.hop_training import TIERS, HopFileError, HopRun, read_run, train_hops
from theory._whole_files import partial_name
from theory.hops import MISSING, PAPER_TASK, HopTask, find_by_definition

TASK = HopTask(vocab_size=3, seq_len=8, min_hops=0, max_hops=2)
RUN = HopRun(TASK, 16, 2, 2, steps=14, batch_size=4, learning_rate=1e-3, warmup=3)
CHECKPOINT, MODEL, SETTINGS = "checkpoint.safetensors", "model.safetensors", "run.json"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    """Looks at the loss and the clock every 4 steps, so that runs can be short."""
    monkeypatch.setattr(_run_training, "LOOK_EVERY", 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """RUN without an interruption; how often it looks changes no weight."""
    return train_hops(RUN, tmp_path_factory.mktemp("whole"))


def interrupted_at(*steps):
    """A progress callback that presses Ctrl-C at these steps, each once."""
    left = set(steps)

    def progress(step, _steps, _loss):
        if step in left:
            left.remove(step)
            raise KeyboardInterrupt

    return progress


def stopped(run, folder, step=8):
    """A run that was interrupted behind a step, its checkpoint written there."""
    with pytest.raises(KeyboardInterrupt):
        train_hops(run, folder, progress=interrupted_at(step), checkpoint_seconds=0)
    return folder


def same_weights(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


RUNS = {
    "dropout": RUN,
    "fixed samples": dataclasses.replace(RUN, dropout=0.0, train_samples=13),
    "looped": dataclasses.replace(RUN, num_layers=4, looped=True, steps=13),
    "unused rows": dataclasses.replace(RUN, embed_tokens=12, embed_positions=11, weight_decay=0.5),
}


@pytest.mark.parametrize("name", RUNS)
def test_interrupted_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path, name):
    run = RUNS[name]
    whole = train_hops(run, tmp_path / "whole")
    progress = interrupted_at(4, 12)
    for step in (4, 12):
        with pytest.raises(KeyboardInterrupt):
            train_hops(run, tmp_path / "parts", progress=progress, checkpoint_seconds=0)
        assert read_run(tmp_path / "parts").steps_done == step
        torch.manual_seed(step)  # what torch's generator is at has no say
    parts = train_hops(run, tmp_path / "parts", progress=progress)
    assert parts.steps_done == whole.steps_done == run.steps and parts.finished and not parts.failure
    assert same_weights(parts.model, whole.model)
    assert parts.curve == whole.curve


def test_an_interrupted_run_is_read_as_far_as_it_got(tmp_path):
    told = []
    with pytest.raises(KeyboardInterrupt):
        train_hops(RUN, tmp_path, progress=lambda *now: told.append(now) or interrupted_at(8)(*now), checkpoint_seconds=0)
    trained = read_run(tmp_path)
    assert (trained.finished, trained.steps_done, trained.failure, trained.run) == (False, 8, "", RUN)
    assert not trained.model.training
    # The weights are those behind step 8: a run of just so many steps, at the rates of this one, has the same.
    state = Descent(RUN, torch.device("cpu"), None, betas=hop_training.BETAS)
    with no_trace(RUN, torch.device("cpu")):
        for step in range(8):
            state.step(*FreshBatches(TASK, 4, 0).at(step))
    assert same_weights(trained.model, state.model)
    assert [now[:2] for now in told] == [(4, 14), (8, 14)]
    np.testing.assert_allclose([now[2] for now in told], state.losses[:8].reshape(2, 4).mean(1), rtol=1e-6)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("step", [4, 14])
def test_what_progress_raises_loses_nothing(tmp_path, whole, step, kind):
    """However seldom checkpoints are written: none was yet."""

    def progress(now, _steps, _loss):
        if now == step:
            raise kind("enough")

    with pytest.raises(kind, match="enough"):
        train_hops(RUN, tmp_path, progress=progress, checkpoint_seconds=1e9)
    stopped_there = read_run(tmp_path)
    assert (stopped_there.finished, stopped_there.steps_done) == (False, step)
    told = []
    parts = train_hops(RUN, tmp_path, progress=lambda *now: told.append(now[0]))
    assert told == [now for now in (4, 8, 12, 14) if now > step]
    assert same_weights(parts.model, whole.model) and parts.curve == whole.curve


def test_a_diverged_run_leaves_no_checkpoint_of_its_ruins(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_hops(dataclasses.replace(RUN, learning_rate=1e30, warmup=0), tmp_path, progress=interrupted_at(4))
    assert [path.name for path in tmp_path.iterdir()] == [SETTINGS]


def interrupted_in_a_step(_batches, step):
    assert step == 0
    raise KeyboardInterrupt


def test_a_run_without_a_checkpoint_is_read_untrained_and_begun_anew(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FreshBatches, "at", interrupted_in_a_step)
        train_hops(RUN, tmp_path / "a", checkpoint_seconds=1e9)
    trained = read_run(tmp_path / "a")
    assert (trained.finished, trained.steps_done) == (False, 0)
    assert same_weights(trained.model, RUN.model())
    assert same_weights(train_hops(RUN, tmp_path / "a").model, whole.model)


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    first = train_hops(RUN, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL, SETTINGS]
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    again = train_hops(RUN, tmp_path, progress=interrupted_at(*range(15)))
    assert same_weights(first.model, again.model) and again.finished
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    read = read_run(tmp_path)
    assert (read.curve, read.seconds, read.steps_done) == (again.curve, again.seconds, 14)
    content = json.loads((tmp_path / SETTINGS).read_text())
    assert content["name"] == RUN.name and {"torch", "numpy"} <= set(content["versions"])


def test_killed_between_the_model_and_run_json_it_ends_with_the_same_model(tmp_path, whole, monkeypatch):
    write_run = RunFiles.write_run

    def killed(files, folder, run, outcome, *more):
        if outcome.finished:
            raise KeyboardInterrupt
        write_run(files, folder, run, outcome, *more)

    monkeypatch.setattr(RunFiles, "write_run", killed)
    with pytest.raises(KeyboardInterrupt):
        train_hops(RUN, tmp_path / "killed", checkpoint_seconds=0)
    monkeypatch.undo()
    assert not read_run(tmp_path / "killed").finished
    assert same_weights(train_hops(RUN, tmp_path / "killed").model, whole.model)
    assert not (tmp_path / "killed" / CHECKPOINT).exists()


def test_a_checkpoint_that_can_t_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    kept = stopped(RUN, tmp_path, 4) / CHECKPOINT
    before = kept.read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_run_files, "save_file", full)
    with pytest.raises(HopFileError, match=r"checkpoint\.safetensors: can't be written"):
        train_hops(RUN, tmp_path, checkpoint_seconds=0)
    assert kept.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, SETTINGS]


def test_a_model_that_can_t_be_written_is_one_plain_line_and_the_run_ends_later(tmp_path, whole, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_token_model, "save_file", full)
        with pytest.raises(HopFileError, match=r"model\.safetensors: can't be written[^\n]*No space left") as caught:
            train_hops(RUN, tmp_path, checkpoint_seconds=0)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, SETTINGS]
    assert same_weights(train_hops(RUN, tmp_path).model, whole.model)


def test_what_a_kill_left_half_written_is_cleared_away_and_nothing_else(tmp_path):
    left = [partial_name(tmp_path / name) for name in (CHECKPOINT, MODEL, SETTINGS)]
    kept = [partial_name(tmp_path / "notes.txt")]
    kept += [tmp_path / f".{CHECKPOINT}.partial", tmp_path / f"{CHECKPOINT}.00000000.partial"]
    folder = tmp_path / f".{MODEL}.00000000.partial"
    for place in (*left, *kept):
        place.write_bytes(b"half of it")
    folder.mkdir()
    stopped(RUN, tmp_path)
    assert set(tmp_path.iterdir()) == {*kept, folder, tmp_path / CHECKPOINT, tmp_path / SETTINGS}


def flipped(place):
    data = bytearray(place.read_bytes())
    data[-5] ^= 1  # one bit of a tensor
    place.write_bytes(bytes(data))


def of_another_run(place):
    place.write_bytes((stopped(dataclasses.replace(RUN, seed=1), place.parent / "other") / CHECKPOINT).read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: place.write_bytes(place.read_bytes()[:-7]), "is damaged or no checkpoint"),
        (lambda place: place.write_bytes(b""), "is damaged or no checkpoint"),
        (lambda place: place.write_text("not a checkpoint"), "is damaged or no checkpoint"),
        (flipped, "its tensors are not those that were written"),
        (of_another_run, "is the checkpoint of a run with other settings"),
        (lambda place: RUN.model().save(place), "is no checkpoint of hop training"),
        (lambda place: (place.unlink(), place.mkdir()), "is no ordinary file"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_one_plain_line(tmp_path, damage, message):
    damage(stopped(RUN, tmp_path) / CHECKPOINT)
    for use in (lambda: train_hops(RUN, tmp_path), lambda: read_run(tmp_path)):
        with pytest.raises(HopFileError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value) and str(tmp_path / CHECKPOINT) in str(caught.value)


def changed(**fields):
    def damage(place):
        place.write_text(json.dumps(json.loads(place.read_text()) | fields))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: place.write_text(place.read_text()[:-20]), "can't be read"),
        (lambda place: place.write_bytes(b"\xff\xfe"), "can't be read"),
        (lambda place: place.write_text("[" * 100_000), "can't be read"),
        (lambda place: place.write_text("[]"), "is not the file of a run"),
        (changed(format="something else"), "is not the file of a run"),
        (changed(run={"steps": 3}), "does not describe a run"),
        (changed(run=RUN.as_plain() | {"num_heads": 3}), "does not describe a run"),
        (changed(steps_done=15), "does not describe a run"),
        (changed(finished=True), "does not describe a run"),
        (changed(finished=1), "does not describe a run"),
        (changed(curve=7), "does not describe a run"),
        (changed(run=RUN.as_plain() | {"seed": 9}), "holds a run with other settings|is the checkpoint of a run with other"),
    ],
)
def test_a_damaged_run_json_is_one_plain_line(tmp_path, damage, message):
    damage(stopped(RUN, tmp_path) / SETTINGS)
    for use in (lambda: train_hops(RUN, tmp_path), lambda: read_run(tmp_path)):
        with pytest.raises(HopFileError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_model_that_is_not_the_run_s_is_refused(tmp_path):
    train_hops(RUN, tmp_path / "a")
    train_hops(dataclasses.replace(RUN, seed=1), tmp_path / "b")
    (tmp_path / "a" / MODEL).write_bytes((tmp_path / "b" / MODEL).read_bytes())
    with pytest.raises(HopFileError, match="is the model of another run"):
        read_run(tmp_path / "a")
    (tmp_path / "a" / MODEL).unlink()
    with pytest.raises(HopFileError, match="no such file"):
        train_hops(RUN, tmp_path / "a")


def test_folders_of_other_runs_and_places_that_are_no_folders_are_refused(tmp_path):
    stopped(RUN, tmp_path / "a")
    with pytest.raises(HopFileError, match=r"other settings \(steps = 14, asked for 15\); give another folder"):
        train_hops(dataclasses.replace(RUN, steps=15), tmp_path / "a")
    (tmp_path / "a" / SETTINGS).unlink()
    with pytest.raises(HopFileError, match=r"holds weights but no run\.json"):
        train_hops(RUN, tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(HopFileError, match="is no folder"):
        train_hops(RUN, tmp_path / "file")
    with pytest.raises(HopFileError, match="no such file"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_torch_s_generator_is_left_as_it_was(tmp_path, dropout):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    train_hops(dataclasses.replace(RUN, dropout=dropout), tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_divergence_is_a_result_with_a_reason(tmp_path):
    run = dataclasses.replace(RUN, learning_rate=1e30, warmup=0)
    trained = train_hops(run, tmp_path)
    assert trained.finished and trained.steps_done < run.steps
    assert trained.failure.startswith("the loss was not finite in step ")
    step = int(trained.failure.split()[-1])
    assert trained.steps_done - 4 < step <= trained.steps_done
    again = read_run(tmp_path)
    assert (again.failure, again.steps_done, again.finished) == (trained.failure, trained.steps_done, True)
    assert train_hops(run, tmp_path, progress=interrupted_at(*range(15))).failure == trained.failure
    assert json.loads((tmp_path / SETTINGS).read_text())["failure"] == trained.failure


def test_a_weight_that_overflows_in_the_last_step_is_seen_too(tmp_path):
    trained = train_hops(dataclasses.replace(RUN, steps=1, warmup=0, learning_rate=1e38, weight_decay=1e10), tmp_path)
    assert trained.finished and trained.steps_done == 1
    assert trained.failure == "a weight was not finite behind the last step, 1"


@pytest.mark.parametrize(("steps", "warmup"), [(10, 4), (10, 0), (10, 10), (2000, 100)])
def test_the_rate_rises_to_its_largest_and_falls_to_zero_on_straight_lines(steps, warmup):
    run = dataclasses.replace(RUN, steps=steps, warmup=warmup)
    rates = np.array([run.rate(step) for step in range(steps)])
    expected = np.interp(np.arange(steps), [-1, warmup - 1], [0, 1]) if warmup else np.ones(steps)
    expected[warmup:] = np.interp(np.arange(warmup, steps), [warmup, steps], [1, 0])
    np.testing.assert_allclose(rates, 1e-3 * expected, rtol=0, atol=1e-3 * 2**-50)  # a few roundings of numbers up to 1
    assert rates.max() == 1e-3 and rates.min() > 0


def test_three_steps_are_those_of_adamw_written_out_on_all_positions(tmp_path):
    run = dataclasses.replace(RUN, steps=3, warmup=2, weight_decay=0.1, dropout=0.0)
    trained = train_hops(run, tmp_path)
    model = run.model().double()
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    losses = []
    for step, rate in enumerate((0.5e-3, 1e-3, 1e-3)):
        tokens, targets = FreshBatches(TASK, 4, 0).at(step)
        logits = model(tokens).log_softmax(-1)
        assert targets.shape == (4, 9) and bool((targets[:, 0] == TASK.blank_token).all())
        loss = -logits.gather(-1, targets[..., None]).sum() / 36
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient**2)
                scaled = (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
                parameter.mul_(1 - rate * 0.1).sub_(rate * scaled)
    assert [loss for _, loss in trained.curve] == pytest.approx(losses, rel=1e-5)
    own_weights = [parameter.detach() for parameter in trained.model.parameters()]
    for (name, parameter), own in zip(model.state_dict().items(), own_weights, strict=True):
        # Adam divides by the gradient's size: where that is rounding noise the sign is chance, and a step is at most the rate's
        # size. Elsewhere float32 keeps some six digits.
        off = (parameter - own).abs()
        assert float(off.max()) <= 2 * 2.5e-3, name
        assert float((off > 1e-5).double().mean()) < 0.01, name


def test_a_batch_is_a_function_of_seed_and_step_alone():
    ordered, jumping = FreshBatches(TASK, 5, 7), FreshBatches(TASK, 5, 7)
    expected = {step: ordered.at(step) for step in range(100)}
    for step in (99, 0, 64, 31, 32, 99, 5):
        tokens, targets = jumping.at(step)
        assert torch.equal(tokens, expected[step][0]) and torch.equal(targets, expected[step][1])
    different = {tuple(tokens.flatten().tolist()) for tokens, _ in expected.values()}
    assert len(different) == 100
    assert not torch.equal(FreshBatches(TASK, 5, 8).at(0)[0], expected[0][0])


def test_targets_are_hops_by_definition_and_strings_have_no_repeats():
    task = HopTask(vocab_size=4, seq_len=20, min_hops=1, max_hops=5)
    batches = FreshBatches(task, 16, 3)
    tokens, targets = (torch.cat(parts).numpy() for parts in zip(*map(batches.at, range(8)), strict=True))
    symbols = task.symbols_of(tokens)[:, 1:]
    assert symbols.min() == 0 and symbols.max() == 3
    assert (symbols[:, 1:] != symbols[:, :-1]).all()
    for string, first, wanted in zip(symbols, tokens[:, 0], targets, strict=True):
        places = find_by_definition(string, int(first) + task.min_hops)
        expected = np.where(places > 0, string[np.maximum(places - 1, 0)], MISSING)
        assert (task.symbols_of(wanted[1:]) == expected).all() and wanted[0] == task.blank_token


def test_every_k_is_equally_likely_and_so_is_every_string():
    task = HopTask(vocab_size=3, seq_len=3, min_hops=0, max_hops=4)
    batches = FreshBatches(task, 30, 0)
    tokens = torch.cat([batches.at(step)[0] for step in range(320)])
    for counts, cells in ((Counter(tokens[:, 0].tolist()), 5), (Counter(map(tuple, tokens[:, 1:].tolist())), 12)):
        expected = 9600 / cells
        assert len(counts) == cells
        # Pearson's statistic: mean cells - 1, variance twice that; five deviations.
        statistic = sum((count - expected) ** 2 / expected for count in counts.values())
        assert statistic < cells - 1 + 5 * math.sqrt(2 * (cells - 1))


def test_a_fixed_set_is_read_in_whole_batches_again_and_again():
    batches = FixedBatches(PAPER_TASK, 32, 0, 1000)
    for step in range(31):
        assert torch.equal(batches.at(step)[0], batches.at(step + 31)[0])
        assert torch.equal(batches.at(step)[1], batches.at(step + 62)[1])
    seen = {tuple(row) for step in range(500) for row in batches.at(step)[0][:, :40].tolist()}
    assert len(seen) == 992
    assert not torch.equal(batches.at(0)[0], FixedBatches(PAPER_TASK, 32, 1, 1000).at(0)[0])


def test_a_small_model_learns_one_hop(tmp_path):
    """Two layers learn hop_0 and hop_1 of short strings: the loss falls far below that of answering from X_i alone."""
    task = HopTask(vocab_size=3, seq_len=7, min_hops=0, max_hops=1)
    run = HopRun(task, 32, 2, 2, steps=200, batch_size=16, learning_rate=5e-3, warmup=20, dropout=0.0)
    trained = train_hops(run, tmp_path)
    tokens, targets = FreshBatches(task, 200, 99).at(0)
    logits = trained.model.logits_at_every_position(tokens)
    answered = targets < task.missing_token
    wrong = (logits.argmax(-1) != targets)[answered].double().mean()
    # From X_i alone hop_1 is a guess between the other two symbols: a quarter of all answers wrong.
    assert float(wrong) < 0.1
    assert functional.cross_entropy(logits.flatten(0, 1), targets.flatten()) < trained.curve[0][1] / 10


def test_tiers_are_what_they_are_said_to_be():
    assert set(TIERS) == {"smoke", "quick", "paper"}
    for runs in TIERS.values():
        assert len({run.name for run in runs}) == len(runs)
        for run in runs:
            task = run.task
            assert task.max_hops < (task.seq_len - 1) / (task.vocab_size - 1)  # else nearly every answer is missing
            assert HopRun.from_plain(json.loads(json.dumps(run.as_plain()))) == run
    assert [(run.num_layers, run.seed) for run in TIERS["quick"]] == [(2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1)]
    assert len({dataclasses.replace(run, num_layers=2, seed=0) for run in TIERS["quick"]}) == 1  # they differ in nothing else
    paper = TIERS["paper"]
    for run in paper:
        rates = (run.learning_rate, run.warmup, run.weight_decay, run.dropout)
        assert (run.task, run.steps, run.batch_size, *rates) == (PAPER_TASK, 100_000, 32, 1e-4, 1000, 0.01, 0.1)
    plan = Counter((run.num_heads, run.embed_dim, run.train_samples) for run in paper)
    assert plan == {(4, 128, None): 5, (8, 256, None): 5, (4, 128, 1000): 5, (4, 128, 3000): 5}
    counts = {(run.num_heads, run.num_layers): run.model("meta").num_parameters for run in paper}
    assert (counts[4, 2], counts[4, 6], counts[8, 2], counts[8, 6]) == (413_440, 1_206_528, 1_613_312, 4_772_352)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps = 0: must be an integer >= 1"),
        ({"batch_size": 0}, "batch_size = 0: must be an integer >= 1"),
        ({"warmup": 15}, "warmup = 15: must be at most steps = 14"),
        ({"warmup": -1}, "warmup = -1: must be an integer >= 0"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be a finite number > 0"),
        ({"learning_rate": math.nan}, "learning_rate = nan: must be a finite number > 0"),
        ({"learning_rate": math.inf}, "learning_rate = inf: must be a finite number > 0"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1: must be a finite number >= 0"),
        ({"dropout": 1.0}, r"dropout = 1.0: must be a number in \[0, 1\)"),
        ({"train_samples": 3}, "train_samples = 3: must be an integer >= 4"),
        ({"seed": -1}, "seed = -1: must be an integer >= 0"),
        ({"embed_dim": 7}, "embed_dim = 7: must be an integer >= 8"),
        ({"embed_dim": 17}, "embed_dim = 17: must be a multiple of num_heads = 2"),
        ({"embed_positions": 8}, "embed_positions = 8: must be an integer >= 9"),
        ({"task": HopTask(1, 4, 0, 1)}, "task has vocab_size = 1: must be at least 2, for strings without adjacent repeats"),
    ],
)
def test_settings_that_are_none_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        dataclasses.replace(RUN, **changes)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "changes",
    [{"task": "hop"}, {"learning_rate": "1e-3"}, {"learning_rate": True}, {"steps": 10.0}, {"looped": 1}, {"seed": None}],
)
def test_settings_of_wrong_types_are_refused_in_one_line(changes):
    with pytest.raises(ValueError, match=f"^{next(iter(changes))} = [^\n]*$"):
        dataclasses.replace(RUN, **changes)


@pytest.mark.parametrize("changes", [{"embed_dim": 2**40}, {"embed_dim": 2**62}, {"num_layers": 10**9}])
def test_models_too_large_for_any_machine_are_refused_before_memory_is_asked_for(changes):
    with pytest.raises(ValueError, match=r"^num_layers = [^\n]*: at most 1,073,741,824 weights are legal$"):
        dataclasses.replace(RUN, **changes)


def test_equal_settings_have_one_text():
    whole, decimal = ({"dropout": kind(0), "weight_decay": kind(1), "learning_rate": kind(2)} for kind in (int, float))
    assert dataclasses.replace(RUN, **whole).as_text() == dataclasses.replace(RUN, **decimal).as_text()


@pytest.mark.bad_input
def test_numpy_s_integers_are_integers():
    assert dataclasses.replace(RUN, seed=np.int64(0), embed_dim=np.int64(16), num_heads=np.int64(2)).as_text() == RUN.as_text()


@pytest.mark.bad_input
@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99", 3.5])
def test_devices_that_are_not_there_are_refused(tmp_path, device):
    with pytest.raises(ValueError, match=r"^device = [^\n]*$"):
        train_hops(RUN, tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize("seconds", [-1, math.nan, "20", None, True])
def test_seconds_between_checkpoints_that_are_none_are_refused(tmp_path, seconds):
    with pytest.raises(ValueError, match=r"^checkpoint_seconds = [^\n]*: must be a number >= 0$"):
        train_hops(RUN, tmp_path / "run", checkpoint_seconds=seconds)
