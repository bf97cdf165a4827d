"""`headcount verify`: check claims, say verdicts, compare them with those on record."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.progress import BarColumn, TimeElapsedColumn
from rich.table import Table

from headcount import __version__, console
from headcount._output import checked_file
from headcount._progress import progress_bar
from headcount.claims import PAPERS, Claim, Effort, Outcome, Verdict, chosen, ledger, records
from headcount.claims.page import best, evidence_lines
from headcount.claims.records import Records
from headcount.claims.run import verify_all
from theory._whole_files import whole_files

DIFFERS = 1
WIDEST_EVIDENCE = 160
MOST_JOBS = 2
"""Processes used unless told otherwise: most of the time goes into two groups of trained models."""


def verify(
    *, names: Sequence[str], paper: str | None, effort: Effort, json_file: Path | None, show: Sequence[str], record: Path | None,
    list_only: bool, seed: int, jobs: int | None,
) -> int:
    """`headcount verify`; the exit code: 0, or 1 when a verdict differs from the one on record, or a check crashed."""
    claims = chosen([*names, *show], ledger(paper))
    if list_only:
        if json_file is not None or record is not None:
            raise ValueError("--list: nothing is checked, so neither --json nor --record is legal with it")
        console.show(_list(claims))
        return 0
    for place, name in ((json_file, "--json"), (record, "--record")):
        if place is not None:
            checked_file(place, name, {})
    if json_file is not None and record is not None and json_file.resolve() == record.resolve():
        raise ValueError(f"--record {record}: is the file of --json too; another file is legal")
    kept: Records = {}
    for key in PAPERS:
        kept |= records.shipped(key)
    before = records.read(record) if record is not None and record.exists() else {}
    if record is not None:
        _check_papers(record, [*before, *(claim.name for claim in claims)])
    code = records.code_hash()  # of what is about to run, not of what is there when it ends
    outcomes: list[Outcome] = []
    try:
        with progress_bar("{task.description}", BarColumn(), TimeElapsedColumn()) as progress:
            task = progress.add_task("", total=len(claims))
            share: dict[str, float] = {}

            def report(claim: Claim, done: float) -> None:
                share[claim.name] = min(1.0, done)
                complete = {outcome.claim.name for outcome in outcomes}
                total = len(outcomes) + sum(part for name, part in share.items() if name not in complete)
                words = f"{len(outcomes)} of {len(claims)} done, {claim.name.partition('/')[2]}"
                progress.update(task, completed=total, description=words)

            for outcome in verify_all(claims, effort, seed=seed, jobs=_jobs(jobs, effort), report=report):
                outcomes.append(outcome)  # one by one: Ctrl-C keeps those that are done
    except KeyboardInterrupt:
        if outcomes:
            console.show(_table(outcomes, kept))
        complete = {outcome.claim.name for outcome in outcomes}
        rest = " ".join(claim.name for claim in claims if claim.name not in complete)
        done = f"{len(outcomes)} of {len(claims)} claims are done, nothing is written"
        console.say(f"{done}; the rest: headcount verify --effort {effort} --seed {seed} {rest}")
        raise
    outcomes.sort(key=lambda outcome: claims.index(outcome.claim))
    _write(json_file, record, before, outcomes, effort, seed, code)
    if show:
        for outcome in outcomes:
            console.show(_full(outcome, kept))
    else:
        console.show(_table(outcomes, kept))
    for line in _closing(outcomes, kept):
        console.say(line)
    for place, name in ((json_file, "JSON"), (record, "records")):
        if place is not None:
            console.say(f"{name} {place}")
    return DIFFERS if any(_differs(outcome, kept) or outcome.verdict is Verdict.ERROR for outcome in outcomes) else 0


def _check_papers(record: Path, names: Sequence[str]) -> None:
    """A file that is called like a paper holds that paper's records alone; any other file may hold a mix."""
    if record.stem not in PAPERS:
        return
    strange = sorted({name.partition("/")[0] for name in names} - {record.stem})
    if strange:
        legal = f"--paper {record.stem}, or a file of another name, is legal"
        raise ValueError(f"--record {record}: is for claims of {record.stem} alone, not of {', '.join(strange)}; {legal}")


def _jobs(wanted: int | None, effort: Effort) -> int:
    """Processes to use: at effort quick the start of a second one takes longer than it saves."""
    cores = os.cpu_count() or 1
    return min(wanted, max(2, cores)) if wanted else 1 if effort is Effort.QUICK else min(MOST_JOBS, cores)


def _differs(outcome: Outcome, kept: Records) -> bool:
    """Whether the record at the same effort says something else; no record, no difference."""
    entry = kept.get(outcome.claim.name, {}).get(outcome.effort)
    return entry is not None and entry.verdict is not outcome.verdict


def _write(
    json_file: Path | None, record: Path | None, before: Records, outcomes: Sequence[Outcome], effort: Effort, seed: int,
    code: str,
) -> None:
    if json_file is not None:
        content = {"headcount": __version__, "code": code, "effort": effort.value, "seed": seed,
                   "claims": [records.outcome_as_json(outcome) for outcome in outcomes]}
        with whole_files(json_file) as (partial,):
            partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    if record is not None:
        commands = {outcome.claim.name: _command(outcome.claim, effort, seed) for outcome in outcomes}
        today = datetime.now(UTC).date().isoformat()
        after = records.merged(before, outcomes, date=today, code=code, commands=commands)
        with whole_files(record) as (partial,):
            partial.write_text(records.as_text(after, [claim.name for claim in ledger()]), encoding="utf-8")


def _command(claim: Claim, effort: Effort, seed: int) -> str:
    chance = f" --seed {seed}" if seed else ""
    return f"headcount verify {shlex.quote(claim.name)} --effort {effort}{chance}"


def _list(claims: Sequence[Claim]) -> Table:
    table = _frame(f"{len(claims)} claims", "claim", "where", "kind", "checked from", "title")
    for claim in claims:
        table.add_row(claim.name, claim.number, claim.kind, claim.least_effort if claim.check else "-", claim.title)
    return table


def _table(outcomes: Sequence[Outcome], kept: Records) -> Table:
    table = _frame(f"{len(outcomes)} claims at effort {outcomes[0].effort}" if outcomes else "no claims",
                   "claim", "kind", "verdict", "evidence", "seconds")
    one_paper = len({outcome.claim.paper for outcome in outcomes}) < 2
    for outcome in outcomes:
        name = outcome.claim.name.partition("/")[2] if one_paper else outcome.claim.name
        table.add_row(
            name, outcome.claim.kind, _verdict(outcome, kept), _evidence(outcome, kept),
            f"{outcome.seconds:.1f}",
        )
    return table


def _frame(title: str, *headings: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading == "seconds" else "left",
                         no_wrap=heading in ("kind", "seconds"))
    return table


def _verdict(outcome: Outcome, kept: Records) -> str:
    if _differs(outcome, kept):
        return f"{outcome.verdict} (on record: {kept[outcome.claim.name][outcome.effort].verdict})"
    return outcome.verdict


def _evidence(outcome: Outcome, kept: Records) -> str:
    if outcome.verdict is not Verdict.NOT_CHECKED:
        return _short(outcome.summary)
    if outcome.claim.check is None:
        return _short(outcome.claim.note)
    latest = best(kept.get(outcome.claim.name, {}))
    if latest is None or latest[1].verdict is Verdict.NOT_CHECKED:
        return f"checked from effort {outcome.claim.least_effort}; nothing on record"
    effort, entry = latest
    return _short(f"on record at {effort}, {entry.date}, code {entry.code}: {entry.verdict}: {entry.summary(outcome.claim)}")


def _short(text: str) -> str:
    return text if len(text) <= WIDEST_EVIDENCE else text[: WIDEST_EVIDENCE - 3] + "..."


def _closing(outcomes: Sequence[Outcome], kept: Records) -> Iterator[str]:
    counts = {verdict: sum(outcome.verdict is verdict for outcome in outcomes) for verdict in Verdict}
    total = sum(outcome.seconds for outcome in outcomes)
    yield f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items() if count)}; {total:.1f} s"
    for outcome in outcomes:
        if outcome.verdict is Verdict.ERROR:
            yield f"ERROR {outcome.claim.name}: {outcome.failure}"
        elif _differs(outcome, kept):
            entry = kept[outcome.claim.name][outcome.effort]
            yield f"CHANGED {outcome.claim.name}: {outcome.verdict}, on record {entry.verdict} ({entry.date}, code {entry.code})"
    unknown = [outcome.claim.name for outcome in outcomes if outcome.effort not in kept.get(outcome.claim.name, {})]
    if unknown:
        yield f"no record at effort {outcomes[0].effort}, so nothing to compare with, for {console.few(unknown)}"


def _full(outcome: Outcome, kept: Records) -> Table:
    claim = outcome.claim
    rows = {"where": f"{claim.number}, {PAPERS[claim.paper]}", "title": claim.title, "statement": claim.statement}
    if claim.assumptions:
        rows["assumes"] = "; ".join(claim.assumptions)
    if claim.repairs:
        rows["repairs"] = claim.repairs
    if claim.note:
        rows["note"] = claim.note
    if claim.code:
        rows["code"] = ", ".join(claim.code)
    rows["kind"] = f"{claim.kind}, {claim.granted} where its assumption is granted" if claim.granted else claim.kind.value
    rows["verdict"] = f"{_verdict(outcome, kept)} (effort {outcome.effort}, {outcome.seconds:.1f} s)"
    if outcome.failure:
        rows["failure"] = outcome.failure
    for number, piece in enumerate(outcome.evidence):
        rows[f"evidence {number + 1}"] = "\n".join(evidence_lines(claim, piece))
    for effort, entry in kept.get(claim.name, {}).items():
        if effort is not outcome.effort and entry.verdict is not Verdict.NOT_CHECKED:
            lines = [f"{entry.verdict}, {entry.date}, code {entry.code}, {entry.seconds} s: {entry.command}"]
            lines += [line for piece in entry.evidence for line in evidence_lines(claim, piece)]
            rows[f"on record ({effort})"] = "\n".join(lines)
    return console.facts(claim.name, rows)
