"""The command line: what it prints and writes, and one plain line with exit code 2 for everything a user can get wrong."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import headcount
from constructions import AttentionOnlyTransformer, load_with_provenance, memorize
from empirical.comparison import ROW_COLUMNS
from empirical.training import TrainingSettings
from headcount import _commands
from headcount._arguments import head_counts
from headcount.cli import app
from theory.tasks import AssociationTask

ROOT = Path(__file__).parents[2]
TINY = ["--epochs", "1", "--num-batches", "3", "--batch-size", "16", "--num-models", "2", "--vocab-size", "4", "--heads", "0,3"]
GOOD_TABLE = "token_1,token_2,target\n0,0,1\n0,1,2\n1,0,0\n1,1,2\n2,0,1\n2,2,0\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="headcount")


def run_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("headcount: "), result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good and bad inputs, one of each kind."""
    files = {
        "good.csv": GOOD_TABLE,
        "empty.csv": "",
        "header_only.csv": "token_1,token_2,target\n",
        "no_header.csv": "0,0,1\n0,1,2\n",
        "ragged.csv": "token_1,token_2,target\n0,0,1\n0,1\n",
        "twice.csv": "token_1,token_2,target\n0,0,1\n0,1,1\n0,0,2\n",
        "negative.csv": "token_1,token_2,target\n0,0,1\n0,-1,1\n",
        "nan.csv": "token_1,token_2,target\n0,0,1\n0,NaN,1\n",
        "fraction.csv": "token_1,token_2,target\n0,0.5,1\n",
        "enormous.csv": "token_1,token_2,target\n0,99999999999999999999999,1\n",
        "huge_vocabulary.csv": "token_1,token_2,target\n0,1,2000000000\n",
        "three.csv": "token_1,token_2,token_3,target\n0,0,0,1\n0,0,1,0\n",
        "other_tokens.csv": "token_1,token_2,target\n0,7,1\n",
        "text.safetensors": "these are words, not weights\n",
        "a_file": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "a_folder").mkdir()
    task = AssociationTask.from_csv(tmp_path / "good.csv")
    memorize(task, embed_dim=2, head_dim=2).model.save(tmp_path / "good.safetensors")
    whole = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "truncated.safetensors").write_bytes(whole[:-9])
    (tmp_path / "beheaded.safetensors").write_bytes(whole[:50])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    if os.geteuid() == 0:
        if not Path("/proc/self").exists():
            pytest.skip("the superuser may write everywhere here")
        return Path("/proc")
    place = tmp_path / "unwritable"
    place.mkdir()
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    return place


BUILD = "build {} --embed-dim 2 --head-dim 2 -o new.safetensors"
BAD_TABLES = {
    "empty.csv": "empty",
    "header_only.csv": "at least one row",
    "no_header.csv": "line 1",
    "ragged.csv": "line 3",
    "twice.csv": "line 4",
    "negative.csv": "'-1'",
    "nan.csv": "'NaN'",
    "fraction.csv": "'0.5'",
    "enormous.csv": "99999",
    "binary.csv": "UTF-8",
    "a_folder": "directory",
    "missing.csv": "No such file",
}
BAD_LINES = [
    ("nonsense", "nonsense"),
    ("--nonsense", "--nonsense"),
    ("build", "TASK.csv"),
    ("build good.csv --head-dim 2 -o new.safetensors", "--embed-dim"),
    ("build good.csv --embed-dim 2 --head-dim 2", "--output"),
    ("build good.csv --embed-dim 1 --head-dim 1 -o new.safetensors", "--embed-dim"),
    ("build good.csv --embed-dim x --head-dim 1 -o new.safetensors", "'x'"),
    ("build good.csv --embed-dim 2 --head-dim 3 -o new.safetensors", "3"),
    ("build good.csv --embed-dim 2 --head-dim 0 -o new.safetensors", "'0'"),
    ("build good.csv --embed-dim 2 --head-dim 2 --num-heads -1 -o new.safetensors", "'-1'"),
    ("build good.csv --embed-dim 2 --head-dim 2 --method magic -o new.safetensors", "'magic'"),
    ("build good.csv --embed-dim 2 --head-dim 2 --seed -1 -o new.safetensors", "'-1'"),
    ("build good.csv --embed-dim 2 --head-dim 2 --vocab-size 2 -o new.safetensors", "at most 1"),
    ("build good.csv --embed-dim 2 --head-dim 2 --vocab-size 99999999999 -o new.safetensors", "99999999999"),
    ("build huge_vocabulary.csv --embed-dim 2 --head-dim 2 -o new.safetensors", "GiB"),
    ("build good.csv --embed-dim 2 --head-dim 2 -o no_folder/new.safetensors", "no_folder"),
    ("build good.csv --embed-dim 2 --head-dim 2 -o a_folder", "a_folder"),
    ("build good.csv --embed-dim 2 --head-dim 2 -o good.csv", "task file"),
    ("measure text.safetensors good.csv", "text.safetensors"),
    ("measure truncated.safetensors good.csv", "truncated.safetensors"),
    ("measure beheaded.safetensors good.csv", "beheaded.safetensors"),
    ("measure empty.csv good.csv", "empty.csv"),
    ("measure a_folder good.csv", "a_folder"),
    ("measure missing.safetensors good.csv", "missing.safetensors"),
    ("measure good.safetensors missing.csv", "missing.csv"),
    ("measure good.safetensors nan.csv", "nan.csv"),
    ("measure good.safetensors three.csv", "3 tokens"),
    ("measure good.safetensors other_tokens.csv", "token 7"),
    ("measure good.safetensors good.csv --json no_folder/new.json", "no_folder"),
    ("measure good.safetensors good.csv --json good.safetensors", "model"),
    ("compare --num-models 0", "'0'"),
    ("compare --num-models many", "'many'"),
    ("compare --embed-dim 1 --head-dim 1", "'1'"),
    ("compare --embed-dim 2 --head-dim 3", "--head-dim 3"),
    ("compare --heads 1,x", "'x'"),
    ("compare --heads -1", "'-1'"),
    ("compare --heads 1,,5", "''"),
    ("compare --heads 5:1", "'5:1'"),
    ("compare --heads 1:9:0", "'1:9:0'"),
    ("compare --heads 1:2:3:4", "'1:2:3:4'"),
    ("compare --heads 1,5,1", "twice"),
    ("compare --heads 0:999999999", "1000"),
    ("compare --heads 99999999999", "99999999999"),
    ("compare --vocab-size 1", "'1'"),
    ("compare --vocab-size 100000000", "100000000"),
    ("compare --variant nonsense", "'nonsense'"),
    ("compare --epochs 1 --num-batches 1", "--epochs 1"),
    ("compare --batch-size 0", "'0'"),
    ("compare --seed 0.5", "'0.5'"),
    ("compare --task missing.csv", "missing.csv"),
    ("compare --task three.csv", "3 tokens"),
    ("compare --task good.csv --vocab-size 2", "good.csv"),
    ("compare --task good.csv --table-seed 1", "--table-seed 1"),
    ("compare --out a_file", "a_file"),
    ("compare --out no_folder/results", "no_folder"),
]


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_task_files_are_refused_in_one_line(folder: Path, name: str) -> None:
    refused(run(*BUILD.format(name).split()), BAD_TABLES[name], name)
    refused(run("compare", "--task", name), name, BAD_TABLES[name])
    assert not (folder / "new.safetensors").exists() and not (folder / "results").exists()


@pytest.mark.parametrize(("line", "word"), BAD_LINES)
def test_bad_arguments_are_refused_in_one_line(folder: Path, line: str, word: str) -> None:
    before = sorted(folder.iterdir())
    refused(run(*line.split()), word)
    assert sorted(folder.iterdir()) == before


def test_unwritable_places_are_refused_in_one_line(folder: Path, unwritable: Path) -> None:
    for out in (unwritable, unwritable / "results"):
        refused(run("compare", *TINY, "--out", str(out)), str(out))
    target = str(unwritable / "new.safetensors")
    refused(run("build", "good.csv", "--embed-dim", "2", "--head-dim", "2", "-o", target), target)
    refused(run("measure", "good.safetensors", "good.csv", "--json", str(unwritable / "new.json")), "new.json")


@pytest.mark.parametrize("line", ["build missing.csv --embed-dim 2 --head-dim 2 -o new.safetensors", "compare --heads 1,x"])
def test_the_program_itself_refuses_in_one_line(folder: Path, line: str) -> None:
    done = run_process("-m", "headcount", *line.split(), cwd=folder)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def fail_with(error: BaseException) -> Callable[..., None]:
    def fail(*_arguments: object, **_named: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [TypeError("a bug"), AssertionError("a bug"), KeyError("a bug")])
def test_our_own_bugs_keep_their_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(_commands, "compare_models", fail_with(error))
    assert run("compare", *TINY).exception is error


def test_a_value_error_out_of_a_library_is_a_bug_and_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_commands, "compare_models", lambda **_named: pd.Timestamp("no such day"))
    result = run("compare", *TINY)
    assert result.exit_code == 1 and isinstance(result.exception, ValueError)


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 9 TiB"), OSError(28, "No space left", "compare.csv")])
def test_a_full_machine_is_told_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(_commands, "draw", fail_with(error))
    refused(run("compare", *TINY))
    assert not (folder / "results").exists()


def test_an_interruption_leaves_older_results_as_they_were(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "compare.csv").write_text("older")
    monkeypatch.setattr(_commands, "draw", fail_with(KeyboardInterrupt()))
    result = run("compare", *TINY)
    assert result.exit_code == 130
    assert len(result.stderr.splitlines()) == 1 and result.stdout == ""
    assert [path.name for path in (folder / "results").iterdir()] == ["compare.csv"]
    assert (folder / "results" / "compare.csv").read_text() == "older"


def test_ctrl_c_ends_in_one_line_and_130(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time, types\n"
        "def training(**_):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.modules['headcount._commands'] = types.SimpleNamespace(compare=training)\n"  # torch would take seconds
        "from headcount import cli\n"
        "sys.argv = ['headcount', 'compare']\n"
        "cli.main()\n"
    )
    done = run_process("-c", code, cwd=tmp_path)
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_build_then_measure_comes_back_with_accuracy_one(folder: Path) -> None:
    built = run("build", "good.csv", "--embed-dim", "2", "--head-dim", "2", "-o", "new.safetensors")
    assert built.exit_code == 0, built.output
    assert re.search(r"vocabulary size N +3 \(inferred", built.stdout)
    assert re.search(r"heads H +2\b", built.stdout) and "6 of 6" in built.stdout
    assert "run in float64" in built.stdout and "run in float32" in built.stdout
    assert built.stdout.splitlines()[-1] == "model new.safetensors"
    measured = run("measure", "new.safetensors", "good.csv", "--json", "numbers.json")
    assert measured.exit_code == 0, measured.output
    assert re.search(r"accuracy +1\.0000", measured.stdout) and "another table" not in measured.stdout
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["accuracy"] == 1.0 and numbers["held"] == numbers["num_associations"] == 6
    assert numbers["margin_min"] > 0


def test_a_built_model_says_where_it_comes_from(folder: Path) -> None:
    run("build", "good.csv", "--embed-dim", "3", "--head-dim", "2", "--vocab-size", "5", "--seed", "4", "-o", "new.safetensors")
    model, provenance = load_with_provenance(folder / "new.safetensors")
    assert model.vocab_size == 5 and model.embed_dim == 3
    assert provenance["task fingerprint"] == AssociationTask.from_csv(folder / "good.csv", 5).fingerprint()
    assert provenance["method"] == "staircase" and headcount.__version__ in provenance["made by"]
    arguments = {"embed_dim": 3, "head_dim": 2, "num_heads": None, "vocab_size": 5, "method": "auto", "seed": 4}
    assert json.loads(provenance["arguments"]) == arguments


def test_too_few_heads_is_a_result_not_an_error(folder: Path) -> None:
    result = run("build", "good.csv", "--embed-dim", "2", "--head-dim", "2", "--num-heads", "1", "-o", "new.safetensors")
    assert result.exit_code == 0, result.output
    assert "4 of 6" in result.stdout and "not all fit" in result.stdout
    found = re.search(r"not promised +2: rows (\d), (\d) below the header", result.stdout)
    assert found is not None
    task = AssociationTask.from_csv(folder / "good.csv")
    built = memorize(task, embed_dim=2, head_dim=2, num_heads=1)
    assert {int(row) - 1 for row in found.groups()} == set(range(6)) - set(built.held.tolist())
    assert "0.6667" in run("measure", "new.safetensors", "good.csv").stdout


def test_measure_counts_answers_by_the_models_vocabulary(folder: Path) -> None:
    """A table that happens not to use the last token is no smaller task; and another table than the model's is named as such."""
    run("build", "good.csv", "--embed-dim", "2", "--head-dim", "2", "--vocab-size", "8", "-o", "new.safetensors")
    result = run("measure", "new.safetensors", "good.csv", "--json", "numbers.json")
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["bits_per_parameter"] == pytest.approx(6 * 3 / numbers["nominal_parameters"])
    assert "another table" not in result.stdout
    (folder / "part.csv").write_text("".join(GOOD_TABLE.splitlines(keepends=True)[:4]))
    assert "another table" in run("measure", "new.safetensors", "part.csv").stdout


def test_numbers_that_json_does_not_know_are_null(folder: Path) -> None:
    broken = AttentionOnlyTransformer(3, 2, 2, 1, 2)
    broken.token_embedding.data.fill_(np.nan)
    broken.save(folder / "broken.safetensors")
    assert run("measure", "broken.safetensors", "good.csv", "--json", "numbers.json").exit_code == 0
    numbers = json.loads((folder / "numbers.json").read_text(), parse_constant=pytest.fail)
    assert numbers["held"] == 0 and numbers["margin_min"] is None


def test_compare_writes_three_files_and_a_table(folder: Path) -> None:
    before = set(folder.iterdir())
    result = run("compare", *TINY, "--out", "mine", "--table-seed", "3")
    assert result.exit_code == 0, (result.output, result.exception)
    assert set(folder.iterdir()) - before == {folder / "mine"}
    assert sorted(path.name for path in (folder / "mine").iterdir()) == ["compare.csv", "compare.pdf", "compare.png"]
    table = pd.read_csv(folder / "mine" / "compare.csv")
    assert tuple(table.columns) == ROW_COLUMNS
    assert set(table["kind"]) == {"bound", "built", "trained"} and set(table["num_heads"]) == {0, 3}
    assert set(table.loc[table["kind"] == "trained", "num_models"]) == {2} and set(table["table_seed"].dropna()) == {3}
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in lines[-3:]] == [f"{kind.upper()} mine/compare.{kind}" for kind in ("csv", "png", "pdf")]
    row = next(line.split() for line in lines if line.split()[:1] == ["3"])
    built = table[(table["kind"] == "built") & (table["num_heads"] == 3)].iloc[0]
    trained = table[(table["kind"] == "trained") & (table["num_heads"] == 3)].iloc[0]
    assert row[3] == f"{built['accuracy']:.3f}" and row[4:6] == ["8", f"{built['held']:.0f}"]
    assert row[6:9] == [f"{trained['accuracy']:.3f}", f"[{trained['accuracy_low']:.3f},", f"{trained['accuracy_high']:.3f}]"]


def test_compare_takes_a_users_table(folder: Path) -> None:
    result = run("compare", *TINY[:8], "--task", "good.csv", "--heads", "0:2", "--variant", "paper")
    assert result.exit_code == 0, (result.output, result.exception)
    table = pd.read_csv(folder / "results" / "compare.csv")
    assert set(table["num_associations"]) == {6} and set(table["vocab_size"]) == {3} and set(table["num_heads"]) == {0, 1, 2}
    assert set(table["variant"].dropna()) == {"paper"} and table["table_seed"].isna().all()
    assert table.loc[(table["kind"] == "built") & (table["num_heads"] == 2), "accuracy"].item() == 1.0


def test_compare_does_not_overwrite_the_task_it_reads(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "compare.csv").write_text(GOOD_TABLE)
    refused(run("compare", *TINY[:8], "--task", "mine/compare.csv", "--out", "mine"), "task file")
    assert (folder / "mine" / "compare.csv").read_text() == GOOD_TABLE


def test_numbers_of_heads() -> None:
    assert head_counts("5") == [5]
    assert head_counts("9,1") == [1, 9]
    assert head_counts("1:21:4") == [1, 5, 9, 13, 17, 21]
    assert head_counts("1:6:4, 0") == [0, 1, 5]
    assert head_counts("0:2,49") == [0, 1, 2, 49]


@pytest.mark.parametrize("command", [[], ["compare"], ["build"], ["measure"]])
def test_every_help_has_an_example_that_names_the_command(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0 and result.stderr == ""
    example = result.stdout.partition("Example:")[2]
    assert " ".join(["headcount", *command]) in example
    assert run(*command, "-h").stdout == result.stdout


def test_version_and_bare_call() -> None:
    assert run("--version").stdout.strip() == f"headcount {headcount.__version__}"
    assert run().exit_code == 0 and "compare" in run().stdout


def test_help_starts_without_the_slow_libraries(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from headcount import cli\n"
        "sys.argv = ['headcount', '--help']\n"
        "try:\n"
        "    cli.main()\n"
        "finally:\n"
        "    slow = {'torch', 'pandas', 'matplotlib', 'numpy', 'scipy', 'empirical', 'constructions'} & set(sys.modules)\n"
        "    print(sorted(slow), file=sys.stderr)\n"
    )
    done = run_process("-c", code, cwd=tmp_path)
    assert done.returncode == 0 and "Usage: headcount" in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_readmes_python_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    code = [block for block in code if "num_models=20" in block]
    assert len(code) == 1 and len(code[0].splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    tiny = TrainingSettings(epochs=1, num_batches=3, batch_size=16, accuracy_window=1)
    exec(compile(code[0].replace("num_models=20", "num_models=2, settings=tiny"), "README.md", "exec"), {"tiny": tiny})
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["compare.csv", "compare.pdf", "compare.png"]
    table = pd.read_csv(tmp_path / "results" / "compare.csv")
    assert set(table["num_heads"]) == {1, 5, 9, 13, 17, 21} and set(table["kind"]) == {"bound", "built", "trained", "published"}


def test_the_readmes_ladder_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (ladder,) = (block for block in code if "solve(" in block)
    exec(compile(ladder.replace("target_margin=0", "target_margin=0, max_seconds=600"), "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["33", "100", "100", "None", "100"]


def test_three_tokens_are_built_saved_and_measured(folder: Path) -> None:
    built = run("build", "three.csv", "--embed-dim", "2", "--head-dim", "2", "-o", "three.safetensors")
    assert built.exit_code == 0 and "2 of 2" in built.output, built.output
    measured = run("measure", "three.safetensors", "three.csv")
    assert measured.exit_code == 0 and "1.0000" in measured.output
