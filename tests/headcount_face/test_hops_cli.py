"""`headcount hops build`, `train`, `probe` and `figure`: what they write and say, and what they refuse."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from constructions.hops import HopCertificate, HopConstruction, recheck
from empirical.hop_errors import HOP_COLUMNS, measure_hops
from empirical.hop_training import TIERS, HopRun, read_run
from headcount._run_processes import run_side_by_side
from headcount.cli import app


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["hops", *arguments], prog_name="headcount")


def built_file(folder: Path, *arguments: str) -> Path:
    place = folder / "model.safetensors"
    result = call("build", *arguments, "-o", str(place))
    assert result.exit_code == 0, result.output
    return place


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke tier, trained for real, in one process."""
    out = tmp_path_factory.mktemp("hops")
    result = call("train", "--tier", "smoke", "--jobs", "1", "--strings", "20", "--out", str(out))
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize(
    ("arguments", "layers", "statement"),
    [
        (("--hops", "5", "--length", "20"), 5, "recipe A"),
        (("--max-hops", "7", "--length", "20", "--recipe", "B", "--dtype", "float32"), 4, "k = 0..7, recipe B"),
        (("--hops", "3", "--length", "12", "--recipe", "C"), 4, "recipe C"),
        (("--max-hops", "4", "--length", "12", "--looped"), 4, "recipe A"),
    ],
)
def test_a_built_model_is_proved_written_and_right(
    tmp_path: Path, arguments: tuple[str, ...], layers: int, statement: str
) -> None:
    place, proof = tmp_path / "model.safetensors", tmp_path / "proof.json"
    result = call("build", *arguments, "-o", str(place), "--certificate", str(proof), "--strings", "5")
    assert result.exit_code == 0, result.output
    assert statement in result.output and re.search(r"trial +0 wrong of [\d,]+ answers", result.output)
    assert "for all strings: proved" in result.output
    back = HopConstruction.load(place)
    assert back.num_layers == layers
    assert recheck(HopCertificate.load(proof), back) == ()
    assert measure_hops(back.model, back.task, num_strings=3, seed=9).wrong.sum() == 0


def test_rechecking_names_what_disagrees(tmp_path: Path) -> None:
    place, proof = tmp_path / "model.safetensors", tmp_path / "proof.json"
    assert call("build", "--hops", "3", "--length", "9", "-o", str(place), "--certificate", str(proof)).exit_code == 0
    good = call("recheck", str(proof), str(place))
    assert good.exit_code == 0 and "0 disagree" in good.output
    assert call("build", "--hops", "3", "--length", "9", "--scale", "512", "-o", str(place)).exit_code == 0
    other = call("recheck", str(proof), str(place))
    assert other.exit_code == 1 and "DISAGREES weights" in other.output


def test_strings_of_one_symbol_can_be_tried_and_probed(tmp_path: Path) -> None:
    place = built_file(tmp_path, "--hops", "2", "--length", "6", "--vocab", "1")
    assert call("probe", str(place)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--hops, --max-hops"),
        (("--hops", "2", "--max-hops", "2"), "--hops, --max-hops"),
        (("--hops", "0"), "'0' is not a whole number of at least 1"),
        (("--hops", "2", "--scale", "3"), "scale = 3.0"),
        (("--hops", "2", "--length", "60", "--scale", "1"), "scale"),
        (("--hops", "10" * 12), "below 2^62 is legal"),
        (("--max-hops", "100000", "--length", "5"), "max_hops = 100000: at most 65536 is legal"),
        (("--hops", "2", "--length", "1000000"), "seq_len = 1000000: at most 131072 is legal"),
        (("--hops", "2", "--recipe", "C", "--encoding", "circle"), "recipe"),
        (("--hops", "2", "--looped"), "looped = True"),
        (("--hops", "2", "--length", "5000", "--dtype", "float32"), "float32"),
        (("--hops", "2", "--length", "20", "--certificate", "model.safetensors"), "is the file of the model itself"),
    ],
)
def test_bad_builds_are_refused_in_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("build", *arguments, "-o", "model.safetensors")
    assert done.exit_code == 2 and named in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_probing_a_built_model_finds_every_head_at_its_place(tmp_path: Path) -> None:
    place = built_file(tmp_path, "--hops", "5", "--length", "30")
    csv = tmp_path / "probe.csv"
    result = call("probe", str(place), "--csv", str(csv))
    assert result.exit_code == 0, result.output
    target = r"(previous token|find\^\d)"
    rows = re.findall(rf"^ +(\d) +0 +{target} +{target} +1\.000 +1\.000", result.output, re.MULTILINE)
    assert all(meant == seen for _layer, meant, seen in rows)
    found = [(layer, seen) for layer, _meant, seen in rows]
    assert found == [("1", "previous token"), ("2", "find^1"), ("3", "find^1"), ("4", "find^1"), ("5", "find^2")]
    table = pd.read_csv(csv)
    assert set(table["layer"]) == {1, 2, 3, 4, 5} and table["cosine"].between(0, 1 + 1e-12).all()


def test_probing_says_what_is_wrong_with_a_place(tmp_path: Path, smoke: Path) -> None:
    (tmp_path / "text").write_text("no model", encoding="utf-8")
    run = smoke / "smoke" / TIERS["smoke"][0].name
    for arguments, named in (
        ((str(tmp_path / "none"),), "none"),
        ((str(tmp_path / "text"),), "text"),
        ((str(tmp_path),), "run.json"),
        ((str(run), "--hops", "3"), "--hops 3: 0 to 2 are legal for this model"),
    ):
        done = call("probe", *arguments)
        assert done.exit_code == 2 and named in done.stderr and done.stderr.count("\n") == 1, done.output
    assert call("probe", str(run), "--hops", "2", "--strings", "3").exit_code == 0


def test_training_leaves_models_and_errors_and_does_nothing_twice(smoke: Path) -> None:
    for run in TIERS["smoke"]:
        folder = smoke / "smoke" / run.name
        assert read_run(folder).finished
        table = pd.read_csv(folder / "errors.csv")
        assert tuple(table.columns) == HOP_COLUMNS and list(table["num_hops"]) == [0, 1, 2]
        assert set(table["kind"]) == {"trained"} and set(table["tier"]) == {"smoke"}
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*")}
    again = call("train", "--tier", "smoke", "--jobs", "1", "--strings", "20", "--out", str(smoke))
    assert again.exit_code == 0 and {path: path.stat().st_mtime_ns for path in smoke.rglob("*")}.keys() == before.keys()
    assert all(path.stat().st_mtime_ns == when for path, when in before.items() if path.is_file())


def test_runs_side_by_side_give_the_same_models(smoke: Path, tmp_path: Path) -> None:
    result = call("train", "--tier", "smoke", "--jobs", "2", "--strings", "20", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    for run in TIERS["smoke"]:
        one, other = (place / "smoke" / run.name for place in (smoke, tmp_path / "out"))
        assert (one / "errors.csv").read_bytes() == (other / "errors.csv").read_bytes()
        weights = [read_run(place).model.state_dict() for place in (one, other)]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_ctrl_c_keeps_checkpoints_says_how_to_go_on_and_leaves_no_process(tmp_path: Path) -> None:
    out, names = tmp_path / "out folder", ("heads4-depth2", "heads4-depth2-seed1")
    command = [sys.executable, "-m", "headcount", "hops", "train", *names, "--jobs", "2", "--seed", "5", "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(), start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )  # fmt: skip
    try:
        ends = time.monotonic() + 120
        while len(list(out.rglob("run.json"))) < 2 and time.monotonic() < ends:
            time.sleep(0.2)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _stdout, stderr = process.communicate(timeout=60)
        with pytest.raises(ProcessLookupError):  # what keeps track of the processes' resources ends a little later
            for _ in range(100):
                os.killpg(process.pid, 0)
                time.sleep(0.2)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, stderr
    again = f"headcount hops train {' '.join(names)} --tier quick --jobs 2 --seed 5 --out '{out}'"
    assert again in stderr and "Traceback" not in stderr
    assert len(list(out.rglob("checkpoint.safetensors"))) == 2 and not list(out.rglob("*partial*"))
    assert all(0 < read_run(place.parent).steps_done < 5000 for place in out.rglob("run.json"))


def _fails(run: HopRun, tell: object) -> None:
    raise ValueError(f"on purpose, {run.num_layers}")


def _dies(run: HopRun, tell: object) -> None:
    os._exit(7)


@pytest.mark.parametrize(("work", "said"), [(_fails, "on purpose, 3"), (_dies, "its process ended with code 7")])
def test_a_run_that_fails_in_its_process_is_named(work: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        list(run_side_by_side(TIERS["smoke"][1:], work, 1))
    assert f"run {TIERS['smoke'][1].name}: " in str(caught.value) and said in str(caught.value)


def test_listing_trains_nothing(tmp_path: Path) -> None:
    result = call("train", "--tier", "paper", "--list", "--out", str(tmp_path / "none"))
    assert result.exit_code == 0 and not list(tmp_path.iterdir())
    for run in TIERS["paper"]:
        assert run.name in result.output
    assert call("train", "nothing", "--tier", "smoke", "--out", str(tmp_path / "none")).exit_code != 0


@pytest.mark.parametrize("name", ["errors", "thresholds", "maps"])
def test_figures_come_with_their_data(smoke: Path, name: str) -> None:
    result = call("figure", name, "--tier", "smoke", "--strings", "20", "--out", str(smoke))
    assert result.exit_code == 0, result.output
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("csv", b"")):
        assert (smoke / f"{name}-smoke.{suffix}").read_bytes().startswith(start)
    table = pd.read_csv(smoke / f"{name}-smoke.csv")
    assert len(table) and {"built", "trained"} <= set(table["kind"])


def test_errors_that_are_not_those_of_the_run_are_measured_again_and_never_drawn(smoke: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(smoke, copy)
    place = copy / "smoke" / TIERS["smoke"][0].name / "errors.csv"
    right = place.read_bytes()
    for wrong in (b"nonsense", right.replace(b"trained", b"published"), right.replace(b"\n", b"\n\n")[:200]):
        place.write_bytes(wrong)
        drawn = call("figure", "errors", "--tier", "smoke", "--out", str(copy))
        assert drawn.exit_code == 2 and str(place) in drawn.stderr and drawn.stderr.count("\n") == 1
    again = call("train", "--tier", "smoke", "--jobs", "1", "--strings", "20", "--out", str(copy))
    assert again.exit_code == 0 and place.read_bytes() == right


def test_figures_without_results_say_what_makes_them(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["hops", "figure", "errors", "--tier", "quick", "--out", str(tmp_path / "none")])
    assert result.exit_code == 2 and not list(tmp_path.iterdir())
    assert "headcount hops train --tier quick" in result.output


def _environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
