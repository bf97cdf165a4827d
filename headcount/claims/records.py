"""What earlier runs found, kept with date, hash of the code and command: the verdicts that a new run is compared with."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any

from headcount.claims.claim import Case, Claim, Effort, Evidence, Interval, Method, Number, Verdict
from headcount.claims.run import Outcome, summary

FORMAT = "headcount claim records, version 1"
HASHED = ("theory", "constructions", "empirical", "headcount.claims")
HASHED_FILES = ("*.py", "*.csv")


class RecordFileError(ValueError):
    """A file that is not a file of claim records, or a damaged one."""


@dataclass(frozen=True)
class Record:
    """One verdict as it was recorded.

    Attributes:
        verdict: as decided then.
        evidence: that it was decided from.
        seconds: that the check took.
        date: of the run, ISO.
        code: first 12 digits of a hash of the project's sources, see `code_hash`.
        command: that repeats it.
    """

    verdict: Verdict
    evidence: tuple[Evidence, ...]
    seconds: float
    date: str
    code: str
    command: str

    def summary(self, claim: Claim) -> str:
        """The evidence in one line."""
        return summary(claim, self.evidence)


Records = dict[str, dict[Effort, Record]]
"""By name of the claim, by effort."""


def shipped(paper: str) -> Records:
    """The records that come with the project; none for a paper without.

    Raises RecordFileError for a damaged file, and for one with records of another paper's claims.
    """
    place = resources.files("headcount.claims") / "records" / f"{paper}.json"
    if not place.is_file():
        return {}
    kept = parsed(place.read_text(encoding="utf-8"), str(place))
    strange = [name for name in kept if name.partition("/")[0] != paper]
    if strange:
        raise RecordFileError(f"{place}: has records of {strange[0]}; claims of {paper} alone are legal")
    return kept


def read(path: Path) -> Records:
    """Read a file of records. Raises RecordFileError in one line."""
    try:
        return parsed(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordFileError(f"{path}: cannot be read as text ({error})") from error


def parsed(text: str, name: str) -> Records:
    """Records from JSON. Raises RecordFileError naming the file and what is wrong."""
    try:
        content = json.loads(text, parse_float=_bounded)
        if content["format"] != FORMAT:
            raise RecordFileError(f"{name}: format {content['format']!r}; {FORMAT!r} is legal")
        return {
            claim: {Effort(effort): _record(entry) for effort, entry in efforts.items()}
            for claim, efforts in content["claims"].items()
        }
    except RecordFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RecursionError) as error:
        raise RecordFileError(f"{name}: is not a file of claim records ({type(error).__name__}: {error})") from error


def merged(before: Records, outcomes: Sequence[Outcome], *, date: str, code: str, commands: Mapping[str, str]) -> Records:
    """Records with outcomes added, those of the same claim and effort replaced; errors are not recorded."""
    records = {claim: dict(efforts) for claim, efforts in before.items()}
    for outcome in outcomes:
        if outcome.verdict is Verdict.ERROR:
            continue
        name = outcome.claim.name
        record = Record(outcome.verdict, outcome.evidence, round(outcome.seconds, 1), date, code, commands[name])
        records.setdefault(name, {})[outcome.effort] = record
    return records


def as_text(records: Records, order: Sequence[str]) -> str:
    """The content of a file of records: claims in the given order, others after them."""
    known = [name for name in order if name in records]
    names = known + sorted(set(records) - set(known))
    claims = {
        name: {effort.value: _plain(records[name][effort]) for effort in Effort if effort in records[name]} for name in names
    }
    return json.dumps({"format": FORMAT, "claims": claims}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain numbers and strings: one entry of `headcount verify --json`."""
    claim = outcome.claim
    return {
        "claim": claim.name,
        "number": claim.number,
        "title": claim.title,
        "kind": claim.kind.value,
        "statement": claim.statement,
        "assumptions": list(claim.assumptions),
        "repairs": claim.repairs,
        "effort": outcome.effort.value,
        "verdict": outcome.verdict.value,
        "summary": outcome.summary,
        "evidence": [_plain(piece) for piece in outcome.evidence],
        "seconds": outcome.seconds,
        "failure": outcome.failure,
    }


def code_hash() -> str:
    """First 12 digits of the SHA-256 of all sources and tables that a verdict may depend on, in a fixed order."""
    digest = hashlib.sha256()
    for package in HASHED:
        root = Path(str(resources.files(package)))
        for path in sorted(path for pattern in HASHED_FILES for path in root.rglob(pattern)):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _plain(thing: Any) -> Any:
    if isinstance(thing, Record | Evidence | Case | Interval):
        content = {field.name: _plain(getattr(thing, field.name)) for field in fields(thing)}
        return {name: value for name, value in content.items() if not (value is None or value is False or value == "")}
    if isinstance(thing, tuple):
        return [_plain(piece) for piece in thing]
    if isinstance(thing, Fraction) or (isinstance(thing, float) and not isfinite(thing)):
        return str(thing)
    return thing


def _record(entry: Mapping[str, Any]) -> Record:
    return Record(
        verdict=Verdict(entry["verdict"]),
        evidence=tuple(_evidence(piece) for piece in entry["evidence"]),
        seconds=float(entry["seconds"]),
        date=str(entry["date"]),
        code=str(entry["code"]),
        command=str(entry["command"]),
    )


def _evidence(entry: Mapping[str, Any]) -> Evidence:
    interval = entry.get("interval")
    return Evidence(
        method=Method(entry["method"]),
        ranges=entry["ranges"],
        num_cases=entry["num_cases"],
        closest=_case(entry.get("closest")),
        counterexample=_case(entry.get("counterexample")),
        interval=None if interval is None else Interval(interval["what"], *(float(interval[name]) for name in _ENDS)),
        complete=entry.get("complete", False),
        argument=entry.get("argument", ""),
        note=entry.get("note", ""),
    )


_ENDS = ("estimate", "low", "high", "predicted", "level")


def _case(entry: Mapping[str, Any] | None) -> Case | None:
    if entry is None:
        return None
    return Case(entry["description"], _number(entry["value"]), _number(entry["formula"]), float(entry["tolerance"]))


def _number(value: int | float | str) -> Number:
    if not isinstance(value, str):
        return value
    if value in ("inf", "-inf"):
        return float(value)
    if not re.fullmatch(r"-?\d{1,4000}(/\d{1,4000})?", value):  # an exponent could stand for a number that fills the memory
        raise ValueError(f"{value[:40]!r} is not a number of a record")
    return Fraction(value)


def _bounded(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number
