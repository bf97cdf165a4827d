"""The text part of `headcount manifold train`: takes runs that are there, trains those that are not, says what it found."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from empirical import text_dimension
from empirical.data import Corpus, stdlib_corpus
from empirical.scaling_runs import TIERS, read_runs
from headcount import _manifold_figures, _scaling_training, _text_dimension
from headcount._scaling_training import expected_seconds
from headcount._text_dimension import FILES, MOST_TOKENS, QUESTION, text_experiment, text_runs, text_seconds


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """A small one in place of the standard library, and as few vectors and clouds as will do."""
    folder = tmp_path_factory.mktemp("text")
    for number in range(180):
        (folder / f"file{number}.py").write_text("".join(f"value_{number}_{line} = {line}\n" for line in range(60)))
    found = stdlib_corpus(folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scaling_training, "stdlib_corpus", lambda: found)
        patch.setattr(_text_dimension, "MOST_TOKENS", 4096)
        patch.setattr(_text_dimension, "SIZES", {"smoke": (200, 4, 2)})
        patch.setattr(text_dimension, "KNOWN_DIMENSIONS", (1, 4, 12))
        yield found


def test_runs_are_trained_once_measured_and_judged(
    text: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, results = tmp_path / "out", tmp_path / "scaling"
    verdict = text_experiment(tier="smoke", jobs=1, out=out, corpus_results=results)
    said = capsys.readouterr().out
    assert verdict.answer == "can't be decided" and f"{QUESTION} Can't be decided, because" in said
    assert all(reason in said for reason in verdict.because) and "2 language models to train" in said
    assert [path.name for path in out.iterdir()] == ["smoke"]  # tiers do not overwrite one another
    place = out / "smoke"
    assert {path.name for path in place.iterdir()} == {*FILES, "text-cells"}
    assert [place / name for name in FILES[:2]] == _manifold_figures._places(out, "smoke", "text")
    with pytest.raises(ValueError, match=r"^figure text: [^\n]*quick[^\n]*; headcount manifold train --tier quick makes it$"):
        _manifold_figures.figures(names=["text"], tier="quick", seed=0, out=out)
    assert set(read_runs(results, "smoke")["name"]) == {run.name for run in text_runs("smoke")}
    table = pd.read_csv(place / "text.csv")
    assert set(table["kind"]) == {"trained", "untrained", "gaussian", "shuffled"} and set(table["embed_dim"]) == {8, 16}
    assert (place / "text_verdict.txt").read_text().splitlines()[0] in said
    kept = [path for path in [*results.rglob("*"), *(place / "text-cells").iterdir()] if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in kept}
    tables = [(place / name).read_bytes() for name in FILES]
    assert text_experiment(tier="smoke", jobs=1, out=out, corpus_results=results) == verdict
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tables == [(place / name).read_bytes() for name in FILES]
    assert "to train" not in capsys.readouterr().out


def test_runs_on_another_text_are_left_alone(text: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = list[Path]()
    monkeypatch.setattr(_scaling_training, "train_all", lambda runs, corpus, place, jobs: trained.append(place))

    def elsewhere(folder: Path, *_others: object) -> bool:
        if tmp_path / "theirs" in folder.parents:
            raise ValueError("was trained on another text")
        return False

    monkeypatch.setattr(_scaling_training, "finished", elsewhere)
    with pytest.raises(ValueError, match="holds no finished scaling run"):
        text_experiment(tier="smoke", jobs=1, out=tmp_path / "out", corpus_results=tmp_path / "theirs")
    assert trained == [tmp_path / "out" / "scaling" / "smoke"]


def test_the_quick_runs_take_less_than_eleven_minutes_of_one_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the costs that were measured on one core; all sizes and five numbers of tokens, so that a curve can show its bend."""
    monkeypatch.setattr(_text_dimension, "MOST_TOKENS", MOST_TOKENS)
    runs = text_runs("quick")
    assert sum(map(expected_seconds, runs)) < 11 * 60 and set(runs) <= set(TIERS["quick"])
    assert 11 * 60 < text_seconds("quick", tmp_path) < 14 * 60
    for run in runs[:-1]:
        (tmp_path / "quick" / run.name).mkdir(parents=True)
        (tmp_path / "quick" / run.name / "run.json").touch()
    assert text_seconds("quick", tmp_path) == pytest.approx(180 + expected_seconds(runs[-1]))
    first = [run for run in runs if not run.seed]
    assert len(first) == 25 and len({run.embed_dim for run in first}) == 5 and len(runs) > len(first)
    with pytest.raises(ValueError, match="tier = 'slow': must be one of smoke, quick, paper"):
        text_runs("slow")
