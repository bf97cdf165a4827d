"""`headcount verify`: what it prints and writes, its exit codes, and that nothing but the named files is touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headcount.claims import PAPERS, Claim, Effort, Evidence, Kind, Method, Verdict, ledger, records
from headcount.claims import page as claims_page
from headcount.cli import app

ROOT = Path(__file__).parents[2]
FAST = ["remark-heads", "corollary-1", "corollary-2-conversion", "table-1-kim"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", *arguments], prog_name="headcount")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ledger_of(monkeypatch: pytest.MonkeyPatch, check, least_effort: Effort = Effort.QUICK) -> None:
    claim = Claim("dana2025/mine", "1", "t", Kind.TIGHT, "s", lambda: 0, check, least_effort=least_effort)
    monkeypatch.setattr("headcount._verify.ledger", lambda paper=None: (claim,))


def recorded(monkeypatch: pytest.MonkeyPatch, verdict: Verdict, effort: Effort = Effort.QUICK) -> None:
    entry = records.Record(verdict, (HELD,), 1.0, "2026-01-02", "0123456789ab", "headcount verify dana2025/mine")
    monkeypatch.setattr(records, "shipped", lambda paper: {"dana2025/mine": {effort: entry}})


HELD = Evidence(Method.PROPERTY, "all of it", num_cases=3)


def crash(_: object) -> Evidence:
    raise RuntimeError("on purpose")


def test_a_table_of_verdicts_and_exit_code_0() -> None:
    result = run(*FAST)
    assert result.exit_code == 0, result.output
    for words in ("refuted", "proved", "not checked", "000 -> 0, 010 -> 1, 100 -> 1, 110 -> 0"):
        assert words in result.output


def test_show_says_everything() -> None:
    result = run("--show", "dana2025/corollary-1")
    assert result.exit_code == 0
    claim = next(claim for claim in ledger() if claim.name == "dana2025/corollary-1")
    for words in (claim.statement, claim.note, *claim.assumptions, "Counterexample", "kind", "lower", "refuted"):
        assert words in " ".join(result.output.split())


def test_a_verdict_off_the_record_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger_of(monkeypatch, lambda _: HELD)
    recorded(monkeypatch, Verdict.HELD)
    assert run().exit_code == 0
    recorded(monkeypatch, Verdict.PROVED)
    result = run()
    assert result.exit_code == 1
    assert "CHANGED dana2025/mine: held, on record proved (2026-01-02, code 0123456789ab)" in result.output
    recorded(monkeypatch, Verdict.PROVED, Effort.STANDARD)  # of another effort: nothing to compare with
    assert run().exit_code == 0


def test_a_crash_exits_1_with_and_without_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger_of(monkeypatch, crash)
    result = run()
    assert result.exit_code == 1 and "ERROR dana2025/mine: the check crashed: RuntimeError: on purpose" in result.output
    recorded(monkeypatch, Verdict.HELD)
    assert run().exit_code == 1


def test_evidence_of_a_higher_effort_is_shown_as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger_of(monkeypatch, crash, least_effort=Effort.STANDARD)
    recorded(monkeypatch, Verdict.HELD, Effort.STANDARD)
    result = run()
    assert result.exit_code == 0
    assert "not checked" in result.output
    assert "on record at standard, 2026-01-02, code 0123456789ab: held: 3 cases" in " ".join(result.output.split())
    assert "headcount verify dana2025/mine" in run("--show", "mine").output


def test_json_and_records_are_written_whole_and_nothing_else(empty_folder: Path) -> None:
    result = run(*FAST, "--json", "found.json", "--record", "kept.json")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in empty_folder.iterdir()) == ["found.json", "kept.json"]
    found = json.loads((empty_folder / "found.json").read_text())
    verdicts = {entry["claim"]: entry["verdict"] for entry in found["claims"]}
    assert verdicts["dana2025/corollary-1"] == "refuted" and verdicts["dana2025/table-1-kim"] == "not checked"
    example = next(entry for entry in found["claims"] if entry["claim"] == "dana2025/corollary-1")["evidence"][0]
    assert example["counterexample"]["value"] == 3 and example["counterexample"]["formula"] == 4
    kept = records.read(empty_folder / "kept.json")
    assert {name: entries[Effort.QUICK].verdict.value for name, entries in kept.items()} == verdicts


def test_property_tests_leave_no_trace_in_the_folder(empty_folder: Path) -> None:
    command = [sys.executable, "-m", "headcount", "verify", "--effort", "quick"]
    names = [claim.name for claim in ledger("dana2025") if claim.name.endswith(("lemma-2", "theorem-2"))]
    assert len(names) == 2
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *names], cwd=empty_folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-claim"], "there is none of that name"),
        (["--paper", "dana2026"], "kaplan2020 or hoffmann2022 or havrilla2024 or scaling_lecture is legal"),
        (["--effort", "heroic"], "quick"),
        (["--json", "nowhere/found.json"], "there is no folder nowhere"),
        (["--json", "."], "is a folder"),
        (["--seed", "-1"], "at least 0"),
        (["--jobs", "0"], "at least 1"),
        (["--json", "same.json", "--record", "same.json"], "another file is legal"),
        (["--list", "--json", "found.json"], "--list"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and words in lines[0], result.stderr


def test_damaged_records_are_named(empty_folder: Path) -> None:
    (empty_folder / "kept.json").write_text("{}")
    result = run("remark-heads", "--record", "kept.json")
    assert result.exit_code == 2 and "kept.json: is not a file of claim records" in result.stderr
    assert (empty_folder / "kept.json").read_text() == "{}"


def test_the_list_checks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger_of(monkeypatch, crash)
    result = run("--list")
    assert result.exit_code == 0 and "dana2025/mine" in result.output


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(empty_folder: Path) -> None:
    program = (
        "import os, signal\n"
        "from headcount import _verify\n"
        "from headcount.claims import Claim, Evidence, Kind, Method\n"
        "from headcount.cli import main\n"
        "held = Evidence(Method.PROPERTY, 'r', num_cases=1)\n"
        "def stop(_):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return held\n"
        "claims = tuple(Claim(f'dana2025/{name}', '1', 't', Kind.TIGHT, 's', lambda: 0, check)\n"
        "               for name, check in (('first', lambda _: held), ('second', stop), ('third', stop)))\n"
        "_verify.ledger = lambda paper=None: claims\n"
        "import sys\n"
        "sys.argv = ['headcount', 'verify', '--json', 'found.json']\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=empty_folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stdout + done.stderr
    rest = "the rest: headcount verify --effort quick --seed 0 dana2025/second dana2025/third"
    assert f"1 of 3 claims are done, nothing is written; {rest}" in done.stdout
    assert list(empty_folder.iterdir()) == []


def test_several_processes_find_what_one_finds() -> None:
    one, two = (run(*FAST, "--jobs", jobs, "--json", f"{jobs}.json") for jobs in ("1", "2"))
    assert one.exit_code == two.exit_code == 0, two.output
    found = [json.loads(Path(f"{jobs}.json").read_text())["claims"] for jobs in "12"]
    for entry in (*found[0], *found[1]):
        del entry["seconds"]
    assert found[0] == found[1]


def test_the_page_of_claims_is_not_stale() -> None:
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == claims_page.page(), "run: make claims"


def test_a_stale_page_is_noticed(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert claims_page.main(["claims.md"]) == 0
    assert claims_page.main(["claims.md", "--check"]) == 0
    with Path("claims.md").open("a") as file:
        file.write("edited by hand\n")
    assert claims_page.main(["claims.md", "--check"]) == 1
    assert claims_page.main([]) == 2
    assert "stale" in capsys.readouterr().err


def test_the_hash_of_the_code_sees_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = records.code_hash()
    assert len(before) == 12 and before == records.code_hash()
    monkeypatch.setattr(records, "HASHED", ("theory", "constructions"))
    assert records.code_hash() != before


def claims_of(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    claims = tuple(Claim(name, "1", "t", Kind.TIGHT, "s", lambda: 0, lambda _: HELD) for name in names)
    monkeypatch.setattr(
        "headcount._verify.ledger",
        lambda paper=None: tuple(claim for claim in claims if paper is None or claim.paper == paper),
    )


def test_records_of_two_papers_may_share_a_file_that_is_neithers(monkeypatch: pytest.MonkeyPatch) -> None:
    claims_of(monkeypatch, "dana2025/mine", "sanford2024/mine")
    assert run("--record", "kept.json").exit_code == 0
    assert list(records.read(Path("kept.json"))) == ["dana2025/mine", "sanford2024/mine"]


def test_a_papers_file_of_records_takes_its_own_claims_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    claims_of(monkeypatch, "dana2025/mine", "sanford2024/mine")
    for chosen in ((), ("--paper", "dana2025"), ("dana2025/mine",)):
        refused = run(*chosen, "--record", "sanford2024.json")
        assert refused.exit_code == 2 and not Path("sanford2024.json").exists()
        (line,) = refused.stderr.splitlines()
        assert "is for claims of sanford2024 alone, not of dana2025" in line and "--paper sanford2024" in line
    assert run("--paper", "sanford2024", "--record", "sanford2024.json").exit_code == 0
    assert list(records.read(Path("sanford2024.json"))) == ["sanford2024/mine"]


def test_records_that_lie_in_another_papers_file_are_not_added_to(monkeypatch: pytest.MonkeyPatch) -> None:
    claims_of(monkeypatch, "dana2025/mine", "sanford2024/mine")
    assert run("--record", "kept.json").exit_code == 0
    Path("kept.json").rename("sanford2024.json")
    before = Path("sanford2024.json").read_text()
    refused = run("--paper", "sanford2024", "--record", "sanford2024.json")
    assert refused.exit_code == 2 and "not of dana2025" in refused.stderr
    assert Path("sanford2024.json").read_text() == before


def test_every_shipped_file_has_the_records_of_its_own_paper(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    for paper in PAPERS:
        kept = records.shipped(paper)
        assert kept and {name.partition("/")[0] for name in kept} == {paper}
    (empty_folder / "records").mkdir()
    shutil.copy(ROOT / "headcount/claims/records/dana2025.json", empty_folder / "records" / "sanford2024.json")
    monkeypatch.setattr(records.resources, "files", lambda package: empty_folder)
    with pytest.raises(records.RecordFileError, match="claims of sanford2024 alone are legal"):
        records.shipped("sanford2024")
    assert records.shipped("dana2025") == {}


def test_without_a_paper_all_papers_are_checked_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    claims_of(monkeypatch, "dana2025/mine", "sanford2024/mine")
    both, one = run(), run("--paper", "sanford2024")
    assert "dana2025/mine " in both.output and "sanford2024/mine " in both.output
    assert "dana2025" not in one.output and one.output.startswith("1 claims")


def test_the_page_names_the_commands_and_the_claims_of_every_paper() -> None:
    text = claims_page.page()
    names = {claim.name for claim in ledger()}
    for paper, title in PAPERS.items():
        assert f"headcount verify --paper {paper} " in text and f"\n## {title}\n" in text
        assert f"{paper}/{claims_page.SHOWN[paper]}" in names
    for claim in ledger():
        assert f"\n### {claim.name}\n" in text


def test_no_two_claims_have_one_name() -> None:
    names = [claim.name for claim in ledger()]
    assert len(set(names)) == len(names)
    assert {name.partition("/")[0] for name in names} == set(PAPERS)
