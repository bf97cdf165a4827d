"""`headcount scaling train`: runs side by side, gone on with, never mixed with another text; their law, or why none."""

import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from empirical.data import Corpus, stdlib_corpus
from empirical.scaling_runs import TIERS, ScalingRun, read_run, read_runs
from headcount import _run_processes, _scaling_training
from headcount._run_bundles import Bundle, bundles
from headcount._run_processes import Message
from headcount._scaling_training import BUNDLE_SECONDS, _Work, expected_seconds, points_of, train

NAMES = tuple(run.name for run in TIERS["smoke"] if run.architecture == "transformer" and run.tokens == 4096)


def train_smoke(out: Path, **others: object) -> None:
    train(**{"names": NAMES, "tier": "smoke", "jobs": 1, "list_only": False, "out": out, **others})  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [2, 5])
def test_bundles_hold_every_run_once_the_longest_first_and_keep_all_jobs_busy(jobs: int) -> None:
    runs = TIERS["quick"]
    found = bundles(runs, jobs, expected_seconds, BUNDLE_SECONDS)
    assert sorted(run.name for bundle in found for run in bundle.runs) == sorted(run.name for run in runs)
    costs = [sum(map(expected_seconds, bundle.runs)) for bundle in found]
    share = sum(costs) / jobs
    assert all(len(bundle.runs) == 1 or cost <= min(30, share) for bundle, cost in zip(found, costs, strict=True))
    # Longest first, the last place to get free does so at most one bundle behind the fair share (Graham 1969).
    assert expected_seconds(found[0].runs[0]) == max(map(expected_seconds, runs)) and len(found) >= jobs
    assert len({bundle.name for bundle in found}) == len(found)


def test_the_quick_tier_takes_less_than_twenty_minutes_on_two_cores() -> None:
    """By the costs that were measured on one core; a smaller tier would not do, see the tests of the runs."""
    assert 60 * 5 < sum(map(expected_seconds, TIERS["quick"])) / 2 < 60 * 20


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """A small one in place of the standard library."""
    folder = tmp_path_factory.mktemp("text")
    for number in range(60):
        (folder / f"file{number}.py").write_text("".join(f"value_{number}_{line} = {line}\n" for line in range(60)))
    found = stdlib_corpus(folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scaling_training, "stdlib_corpus", lambda: found)
        yield found


@pytest.fixture(scope="module")
def smoke(text: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scaling") / "out"
    train_smoke(out)
    return out


def test_training_says_what_came_out_and_why_there_is_no_law(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = read_runs(smoke, "smoke")
    assert set(table["name"]) == set(NAMES)
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}
    train_smoke(smoke)  # everything is there
    said = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()} == before
    assert all(f"{loss:.4f}" in said for loss in table["loss"]) and "refused" in said.lower()
    assert points_of(table, "non-embedding").parameter_count == "non-embedding"


def test_a_process_trains_all_runs_of_its_bundle_as_one_job_does(smoke: Path, text: Corpus, tmp_path: Path) -> None:
    runs, told = tuple(run for run in TIERS["smoke"] if run.name in NAMES), dict[str, Message]()
    _Work(tmp_path, text.digest)(Bundle(runs), lambda message: told.update({message.name: message}))
    for run in runs:
        alone, bundled = (read_run(place / run.name) for place in (smoke / "smoke", tmp_path))
        assert bundled.finished and bundled.loss == alone.loss
        assert all(map(torch.equal, alone.model.parameters(), bundled.model.parameters()))
        assert told[run.name].step == told[run.name].steps == run.steps  # so the bar fills
    assert len(runs) > 1


def test_a_process_that_reads_another_text_trains_nothing(text: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the text changed while it was read"):
        _Work(tmp_path, "0" * 64)(Bundle(TIERS["smoke"][:1]), lambda _message: None)
    assert not list(tmp_path.iterdir())


def test_the_last_step_is_told_however_soon_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other messages of the same moment are left out: the bar moves on, and fills."""
    heard: queue.Queue[Message] = queue.Queue()
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def work(run: ScalingRun, tell: Callable[[Message], None]) -> None:
        for step in range(1, run.steps + 1):
            tell(Message(run.name, step, 1.0, run.steps))

    run = TIERS["smoke"][0]
    monkeypatch.setattr(_run_processes, "TELL_EVERY", 1e9)
    _run_processes._in_a_process(run, work, heard)
    assert [message.step for message in heard.queue if not message.finished] == [run.steps]


def test_listing_trains_nothing_and_names_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_smoke(tmp_path / "out", list_only=True)
    assert all(name in capsys.readouterr().out.replace("\n", "") for name in NAMES[:1]) and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="is no run of tier smoke"):
        train_smoke(tmp_path / "out", names=["nothing"])


def test_results_on_another_text_are_not_gone_on_with(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").mkdir()
    for number in range(30):
        (tmp_path / "text" / f"file{number}.py").write_text(f"value_{number} = {number}\n" * 60)

    def other(_runs: object) -> Corpus:
        return stdlib_corpus(folder=tmp_path / "text")

    monkeypatch.setattr(_scaling_training, "corpus_of", other)
    with pytest.raises(ValueError, match="was trained on another text"):
        train_smoke(smoke)


def test_ctrl_c_says_how_to_go_on(
    text: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(run: ScalingRun, corpus: Corpus, place: Path, tell: Callable[[Message], None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_scaling_training, "_train_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_smoke(tmp_path / "out")
    said = " ".join(capsys.readouterr().err.split())
    assert "headcount scaling train" in said and "--tier smoke --jobs 1" in said
