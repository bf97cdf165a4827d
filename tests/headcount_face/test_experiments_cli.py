"""`headcount run`, `status`, `figure`, `table` and `export`: what they write and say, and what they refuse."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from empirical import read_published, sweep
from empirical.cells import Cell, CellResult
from empirical.experiments import EXPERIMENTS, results
from empirical.store import Store
from headcount.cli import app


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="headcount")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the smoke tier of all experiments, trained for real."""
    store = tmp_path_factory.mktemp("smoke") / "all.sqlite"
    result = call("run", "all", "--tier", "smoke", "--store", str(store))
    assert result.exit_code == 0, result.output
    for name in EXPERIMENTS:
        total = len(EXPERIMENTS[name].cells("smoke"))
        assert f"{name}: {total} of {total} cells done, 0 failed" in result.output
    assert f"results {store}" in result.output
    return store


def test_running_again_computes_nothing(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "compute_into", None)
    again = call("run", "all", "--tier", "smoke", "--store", str(smoke))
    assert again.exit_code == 0, again.output
    plan = call("run", "all", "--tier", "smoke", "--store", str(smoke), "--dry-run")
    assert len(re.findall(r": 0 of \d+ cells to do, 0 optimiser steps", plan.output)) == len(EXPERIMENTS)


def test_a_plan_computes_and_writes_nothing(tmp_path: Path) -> None:
    plan = call("run", "exp_1", "--tier", "paper", "--store", str(tmp_path / "no.sqlite"), "--dry-run")
    assert plan.exit_code == 0 and plan.output == "exp_1: 385 of 385 cells to do, 1,576,960 optimiser steps\n"
    assert not list(tmp_path.iterdir())


def test_status_counts_the_cells_of_every_experiment(smoke: Path) -> None:
    result = call("status", "--store", str(smoke))
    assert result.exit_code == 0, result.output
    for name, experiment in EXPERIMENTS.items():
        (line,) = [line for line in result.output.splitlines() if re.match(rf" *{name} ", line)]
        assert line.split()[1:9] == ["smoke", "notebook", "cpu", "0", str(len(experiment.cells("smoke"))), "0", "0", "0"]
    assert "failed:" not in result.output


def test_every_figure_comes_with_its_data(smoke: Path, tmp_path: Path) -> None:
    result = call("figure", "all", "--tier", "smoke", "--store", str(smoke), "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    for name, experiment in EXPERIMENTS.items():
        data = pd.read_csv(tmp_path / f"{name}-smoke-notebook.csv")
        assert (data["kind"] == "trained").sum() == sum(len(curve.shapes) for curve in experiment.smoke.curves)
        assert (tmp_path / f"{name}-smoke-notebook.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"{name}-smoke-notebook.pdf").read_bytes().startswith(b"%PDF")


def test_figures_without_results_are_named(smoke: Path, tmp_path: Path) -> None:
    alone = call("figure", "exp_2", "--tier", "paper", "--store", str(smoke), "--out", str(tmp_path / "one"))
    assert alone.exit_code == 2 and "has no results of tier paper" in alone.stderr and "headcount run exp_2" in alone.stderr
    together = call("figure", "all", "--tier", "paper", "--store", str(smoke), "--out", str(tmp_path / "all"))
    assert together.exit_code == 0 and "left out, without results of tier paper: exp_1, exp_2" in together.stderr
    assert not (tmp_path / "one").exists() and not (tmp_path / "all").exists()


def test_tables_for_people_and_for_papers(smoke: Path) -> None:
    plain = call("table", "exp_6", "--tier", "smoke", "--store", str(smoke))
    assert plain.exit_code == 0 and "smoke tier, not converged, notebook variant" in plain.output, plain.output
    shapes = [shape for curve in EXPERIMENTS["exp_6"].smoke.curves for shape in curve.shapes]
    for shape in shapes:
        assert re.search(rf"^ +{shape.embed_dim} +{shape.head_dim} +{shape.num_heads} ", plain.output, re.MULTILINE)
    latex = call("table", "exp_5", "--tier", "smoke", "--store", str(smoke), "--latex")
    assert latex.exit_code == 0 and r"\toprule" in latex.output and r"\bottomrule" in latex.output


def test_other_published_values_are_compared(smoke: Path, tmp_path: Path) -> None:
    with Store(smoke) as store:
        mine = results(EXPERIMENTS["exp_1"], store, "smoke")
    point = mine[mine["kind"] == "trained"].iloc[0]
    values = read_published()
    same = values["experiment"].eq("exp_1")
    for name in ("embed_dim", "num_heads"):
        same &= values[name].eq(point[name])
    for shift, words in ((0.02, "0 of"), (0.04, "1 of")):
        others = values[same].assign(draw_accuracy=point["draw_accuracy"] + shift)
        others.to_csv(tmp_path / "other.csv", index=False)
        shown = call("table", "exp_1", "--tier", "smoke", "--store", str(smoke), "--published", str(tmp_path / "other.csv"))
        assert shown.exit_code == 0 and f"exp_1 beside what was published: {words} 1 points outside" in shown.output, shown.output
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    wrong = call("table", "exp_1", "--tier", "smoke", "--store", str(smoke), "--published", str(tmp_path / "wrong.csv"))
    assert wrong.exit_code == 2 and "has no column 'experiment'" in wrong.stderr


def test_export_has_a_row_per_cell(smoke: Path, tmp_path: Path) -> None:
    cells = {cell.key for experiment in EXPERIMENTS.values() for cell in experiment.cells("smoke")}
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        result = call("export", str(tmp_path / f"all{suffix}"), "--store", str(smoke))
        assert result.exit_code == 0, result.output
        assert set(read(tmp_path / f"all{suffix}")["key"]) == cells


def test_failed_cells_are_told_kept_and_tried_again_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = str(tmp_path / "some.sqlite")
    real = sweep.compute_into

    def broken(cells: Iterable[Cell], deliver: sweep.compute_into.__class__, report: object = None) -> None:
        good, bad = [], []
        for cell in cells:
            (bad if cell.shape.num_heads == 1 else good).append(cell)
        deliver([CellResult(cell, "failed", reason="RuntimeError: planted") for cell in bad])
        real(good, deliver)

    monkeypatch.setattr(sweep, "compute_into", broken)
    first = call("run", "exp_6", "--tier", "smoke", "--store", store)
    assert first.exit_code == 1 and "RuntimeError: planted" in first.stderr
    assert "4 of 6 cells done, 2 failed" in first.output
    monkeypatch.undo()
    assert call("run", "exp_6", "--tier", "smoke", "--store", store).exit_code == 1
    assert call("status", "--store", store).output.count("RuntimeError: planted") == 2
    assert call("run", "exp_6", "--tier", "smoke", "--store", store, "--retry-failed").exit_code == 0
    assert "RuntimeError" not in call("status", "--store", store).output


def test_sweeps_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nvocab_size = 6\nrepetitions = 2\n'
        "[settings]\nbatch_size = 16\nnum_batches = 4\nepochs = 2\naccuracy_window = 4\n"
        '[[grid]]\nembed_dim = [2, 3]\nnum_heads = "1:3:2"\nhead_dim = "embed_dim"\n',
        encoding="utf-8",
    )
    store = tmp_path / "mine.sqlite"
    result = call("run", str(tmp_path / "mine.toml"), "--store", str(store))
    assert result.exit_code == 0 and "mine: 8 of 8 cells done, 0 failed" in result.output, result.output
    assert "sweeps of your own" in call("status", "--store", str(store)).output
    with Store(store) as opened:
        assert set(opened.table()["num_heads"]) == {1, 3}
    refused = call("run", str(tmp_path / "mine.toml"), "--variant", "paper", "--store", str(store))
    assert refused.exit_code == 2 and "--variant: not legal with" in refused.stderr
    (tmp_path / "gpu.toml").write_text('device = "cuda"\n' + (tmp_path / "mine.toml").read_text(), encoding="utf-8")
    if not torch.cuda.is_available():
        without = call("run", str(tmp_path / "gpu.toml"), "--store", str(tmp_path / "gpu.sqlite"))
        assert without.exit_code == 2 and "torch finds no CUDA device" in without.stderr
        assert not (tmp_path / "gpu.sqlite").exists()
    (tmp_path / "wrong.toml").write_text((tmp_path / "mine.toml").read_text().replace("num_heads", "num_head"), encoding="utf-8")
    wrong = call("run", str(tmp_path / "wrong.toml"), "--store", str(store))
    assert wrong.exit_code == 2 and "num_head" in wrong.stderr and len(wrong.stderr.splitlines()) == 1


def test_another_seed_is_another_experiment(tmp_path: Path) -> None:
    store = str(tmp_path / "some store.sqlite")
    made = call("run", "exp_6", "--tier", "smoke", "--seed", "5", "--store", store)
    assert made.exit_code == 0 and f"headcount figure exp_6 --tier smoke --store '{store}' --seed 5" in made.output
    assert re.search(r"exp_6 +smoke +notebook +cpu +5 +6 ", call("status", "--store", store).output)
    missing = call("table", "exp_6", "--tier", "smoke", "--seed", "4", "--store", store)
    assert missing.exit_code == 2 and "--seed 4" in missing.stderr and "some store.sqlite" in missing.stderr
    drawn = call("figure", "exp_6", "--tier", "smoke", "--seed", "5", "--store", store, "--out", str(tmp_path / "out"))
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "out" / "exp_6-smoke-notebook-seed-5.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "exp_7"], "exp_7"),
        (["run", "missing.toml"], "missing.toml"),
        (["run", "exp_6", "--tier", "huge"], "huge"),
        (["run", "exp_6", "--scheduler", "tcp://nowhere:1"], "--engine dask only"),
        (["run", "exp_6", "--threads", "0"], "at least 1"),
        (["run", "exp_6", "--store", "no/such/folder/x.sqlite"], "no/such"),
        (["status", "--store", "missing.sqlite"], "is not there"),
        (["figure", "exp_1", "--store", "missing.sqlite"], "is not there"),
        (["figure", "nothing", "--store", "missing.sqlite"], "effective_parameters"),
        (["table", "large", "--store", "missing.sqlite"], "exp_1"),
        (["export", "out.xlsx"], ".csv or .parquet"),
    ],
)
def test_bad_arguments_are_one_plain_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.sqlite"))


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    path.write_text("not a store at all, but long enough to look at", encoding="utf-8")
    before = path.read_bytes()
    for command in (["run", "exp_6", "--tier", "smoke"], ["status"], ["export", str(tmp_path / "x.csv")]):
        result = call(*command, "--store", str(path))
        assert result.exit_code == 2 and str(path) in result.stderr and len(result.stderr.splitlines()) == 1
    assert path.read_bytes() == before


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A paper-tier run in a process of its own, some way into its cells."""
    command = [sys.executable, "-m", "headcount", "run", "exp_6", "--tier", "paper", "--threads", "1", "--store"]
    process = subprocess.Popen([*command, str(tmp_path / "killed.sqlite")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (tmp_path / "killed.sqlite").exists():
            with Store(tmp_path / "killed.sqlite") as store:
                if store.running():
                    break
        time.sleep(0.1)
    yield process
    process.kill()
    process.communicate()


def process_seconds(pid: int) -> float:
    """Processor time that a living process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Processor time of all processes of this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads processor times from /proc")
def test_ctrl_c_ends_in_two_seconds_and_says_how_to_go_on(running: subprocess.Popen[str], tmp_path: Path) -> None:
    """Two seconds of the processor's time: what else the machine does is not the command's fault."""
    time.sleep(0.5)
    ended_before, at_signal = children_seconds(), process_seconds(running.pid)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert children_seconds() - ended_before - at_signal < 2
    assert running.returncode == 130
    assert f"finished cells are kept in {tmp_path / 'killed.sqlite'}: the same command goes on from there" in errors
    assert "Traceback" not in errors
    with Store(tmp_path / "killed.sqlite") as store:
        assert not store.running()
