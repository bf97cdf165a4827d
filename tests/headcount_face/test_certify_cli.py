"""`headcount certify` and `headcount recheck`: tables, files, exit codes, and one plain line for every mistake."""

import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from constructions import AttentionOnlyTransformer, memorize
from constructions.certificate import Certificate, certify
from headcount.cli import app
from theory.tasks import AssociationTask

TABLE = "token_1,token_2,target\n0,0,1\n0,1,2\n1,0,0\n1,1,2\n2,0,1\n2,2,0\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="headcount")


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("headcount: "), result.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "good.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE.replace("2,2,0", "2,2,1"))
    (tmp_path / "long.csv").write_text("token_1,token_2,token_3,target\n0,0,0,1\n")
    (tmp_path / "more.csv").write_text("token_1,token_2,target\n0,9,1\n")
    task = AssociationTask.from_csv(tmp_path / "good.csv")
    memorize(task, embed_dim=2, head_dim=2).model.save(tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_certify_then_recheck(folder: Path) -> None:
    done = run("certify", "model.safetensors", "good.csv", "-o", "c.json", "--rank")
    assert done.exit_code == 0, done.output
    assert "exact arithmetic       6       0           0" in done.stdout and "run in float32" in done.stdout
    assert "rank of the features: at least 6" in done.stdout and "seconds" in done.stdout
    assert "certificate c.json" in done.stdout and "arrays c.json.safetensors" in done.stdout
    assert Certificate.load("c.json").statements["exact"].num_right == 6
    again = run("recheck", "c.json", "model.safetensors", "good.csv")
    assert again.exit_code == 0
    assert again.stdout == "agreed: 6 associations, statements exact, float64, float32, rank at least 6\n"


def test_wrong_associations_are_no_failure_of_the_command(folder: Path) -> None:
    done = run("certify", "model.safetensors", "other.csv", "-o", "c.json", "--dtype", "float32")
    assert done.exit_code == 0
    assert "exact arithmetic       5       1           0" in done.stdout and "float64" not in done.stdout
    assert run("recheck", "c.json", "model.safetensors", "other.csv").exit_code == 0


def test_recheck_finds_another_task_or_model(folder: Path) -> None:
    assert run("certify", "model.safetensors", "good.csv", "-o", "c.json").exit_code == 0
    other = run("recheck", "c.json", "model.safetensors", "other.csv")
    assert other.exit_code == 1 and "disagrees: the task is not the one" in other.stdout
    model = AttentionOnlyTransformer.load("model.safetensors")
    with torch.no_grad():
        model.value[0, 0, 0] = torch.nextafter(model.value[0, 0, 0], torch.tensor(9.0, dtype=torch.float64))
    model.save("model.safetensors")
    changed = run("recheck", "c.json", "model.safetensors", "good.csv")
    assert changed.exit_code == 1 and "disagrees: the model's weights are not those" in changed.stdout


def test_many_disagreements_are_cut_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from constructions.certificate import Recheck
    from headcount import _certify

    assert run("certify", "model.safetensors", "good.csv", "-o", "c.json").exit_code == 0
    monkeypatch.setattr(_certify, "recheck_model", lambda *_, **__: Recheck(tuple(f"number {k}" for k in range(1010)), 5))
    result = run("recheck", "c.json", "model.safetensors", "good.csv")
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 11 and "and 1,000 more" in result.stdout


def test_mistakes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused(run("certify", "model.safetensors", "good.csv"), "--output")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "model.safetensors"), "is the model itself")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "model"), "is the model itself")  # its arrays would be
    refused(run("certify", "model.safetensors", "good.csv", "-o", "good.csv"), "is the task file itself")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "none/c.json"), "no folder")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "."), "folder")
    refused(run("certify", "model.safetensors", "none.csv", "-o", "c.json"), "none.csv")
    refused(run("certify", "good.csv", "good.csv", "-o", "c.json"), "good.csv")
    refused(run("certify", "model.safetensors", "long.csv", "-o", "c.json"), "3 tokens")
    refused(run("certify", "model.safetensors", "more.csv", "-o", "c.json"), "token 9")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "c.json", "--dtype", "float8"), "float8")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "c.json", *["--dtype", "float32"] * 2), "twice")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "c.json", "--max-precision", "8"), "53")
    refused(run("certify", "model.safetensors", "good.csv", "-o", "c.json", "--max-precision", "99999999"), "65536")
    refused(run("recheck", "none.json", "model.safetensors", "good.csv"), "no such file")
    refused(run("recheck", "good.csv", "model.safetensors", "good.csv"), "not a certificate")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert run("certify", "model.safetensors", "good.csv", "-o", "c.json").exit_code == 0
    refused(run("recheck", "c.json", "none.safetensors", "good.csv"), "none.safetensors")
    refused(run("recheck", "c.json", "model.safetensors", "more.csv"), "token 9")
    (folder / "c.json").write_text((folder / "c.json").read_text().replace('"right": 6', '"right": 5', 1))
    refused(run("recheck", "c.json", "model.safetensors", "good.csv"), "damaged")


def test_weights_that_are_no_numbers(folder: Path) -> None:
    model = AttentionOnlyTransformer.load("model.safetensors")
    with torch.no_grad():
        model.key[0, 0, 0] = torch.nan
    model.save("nan.safetensors")
    refused(run("certify", "nan.safetensors", "good.csv", "-o", "c.json"), "key", "finite")


def test_files_that_are_no_certificate_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AttentionOnlyTransformer.load("model.safetensors").save("second.safetensors")
    (folder / "notes.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr("headcount._certify.certify_model", None)  # refused before the work, not after
        refused(run("certify", "model.safetensors", "good.csv", "-o", "second"), "second.safetensors", "not replaced")
        refused(run("certify", "model.safetensors", "good.csv", "-o", "notes.json"), "notes.json", "not replaced")
        refused(run("certify", "model.safetensors", "good.csv", "-o", "second.safetensors"), "not replaced")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for _ in range(2):
        assert run("certify", "model.safetensors", "good.csv", "-o", "c.json").exit_code == 0


def test_behind_a_link_the_arrays_are_where_it_points_to(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "link.json").symlink_to(folder / "real" / "c.json")
    done = run("certify", "model.safetensors", "good.csv", "-o", "link.json")
    assert done.exit_code == 0 and (folder / "real" / "c.json.safetensors").is_file()
    assert "real/c.json.safetensors" in done.stdout.replace("\n", "")
    (folder / "bad.json").symlink_to(folder / "model")  # its arrays would be the model
    refused(run("certify", "model.safetensors", "good.csv", "-o", "bad.json"), "is the model itself")


def test_pipes_are_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo("pipe")
    refused(run("certify", "pipe", "good.csv", "-o", "c.json"), "pipe: is no ordinary file")
    refused(run("certify", "model.safetensors", "pipe", "-o", "c.json"), "pipe: is no ordinary file")


def test_a_recheck_says_how_many_of_the_associations_it_is_about(folder: Path) -> None:
    (folder / "one.csv").write_text("token_1,token_2,target\n0,0,1\n")
    model = AttentionOnlyTransformer.load("model.safetensors")
    for table, indices, words in (
        ("good.csv", [2], "1 of 6 associations"),
        ("good.csv", None, "6 associations"),
        ("one.csv", None, "1 association"),
    ):
        rows = AssociationTask.from_csv(table)
        task = AssociationTask(rows.sequences, rows.targets, model.vocab_size)
        certify(model, task, indices=indices, dtypes=()).save("c.json")
        done = run("recheck", "c.json", "model.safetensors", table)
        assert (done.exit_code, done.stdout) == (0, f"agreed: {words}, statements exact\n")
