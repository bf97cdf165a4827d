"""Tables of points as other people made them, read without guessing.

Which column is what is told, or recognised by exact names and said; units other than the plain ones are told; a row that no law
can use is kept in a list with its line and the reason.
"""

import re
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from empirical._number_tables import NumberTable, from_pandas, read_table, unusable
from empirical._scaling_points import DroppedRow, ParameterCount, ScalingPoints
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN, PF_DAY

if TYPE_CHECKING:
    import pandas as pd

ROLES = {"N": "parameters", "D": "tokens", "C": "training FLOP", "L": "loss", "run": "the run that a point is of"}
RECOGNISED = {
    "N": ("n", "params", "parameters", "model size", "num_params", "total parameters", "total_parameters"),
    "D": ("d", "tokens", "training tokens", "train_tokens", "num_tokens"),
    "C": ("c", "flop", "flops", "compute", "training flop", "training flops"),
    "L": ("l", "loss"),
    "run": ("run", "run_name"),
}
"""Names of columns, in lower case, that say what they are; all others must be told."""
UNITS = {
    "N": {"parameters": 1.0, "thousands": 1e3, "millions": 1e6, "billions": 1e9},
    "D": {"tokens": 1.0, "thousands": 1e3, "millions": 1e6, "billions": 1e9, "trillions": 1e12},
    "C": {"FLOP": 1.0, "PF-days": PF_DAY},
    "L": {"nats": 1.0, "bits": log(2)},
}
"""Factors to parameters, tokens, FLOP, and nats per token, by role."""
GAP = 1e3
"""Neighbours in a sorted column further apart than this factor are in different units, unless the unit is told."""
LEAST = {"N": 100.0, "D": 1e4, "C": 1e9}
"""Smaller numbers are likely in thousands, millions or billions, so that their unit must be told."""

LARGEST_PLAY = 1.25
"""FLOP counted in detail differ from 6 N D by less than this factor, mostly."""


def parse_columns(text: str) -> dict[str, str]:
    """What "N=Model Size,C=Training FLOP,L=loss" says: role -> name of the column, as written, commas in names included.

    Raises ValueError for an unknown or repeated role, or an empty name.
    """
    return _parse_pairs("columns", text, tuple(ROLES))


def parse_units(text: str) -> dict[str, str]:
    """What "N=millions,L=bits" says: role -> unit. Raises ValueError for what `UNITS` does not have."""
    found = _parse_pairs("units", text, tuple(UNITS))
    _factors(found)
    return found


def _parse_pairs(name: str, text: str, roles: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in re.split(rf",(?=\s*(?:{'|'.join(roles)})\s*=)", text):
        role, equals, value = part.partition("=")
        role, value = role.strip(), value.strip()
        if not equals or role not in roles or not value:
            legal = ",".join(f"{each}=.." for each in roles)
            raise ValueError(f"{name}: {part.strip()!r}: ROLE=NAME is legal, as in {legal}")
        if role in found:
            raise ValueError(f"{name}: {role} is there twice; once is legal")
        found[role] = value
    return found


def _factors(units: Mapping[str, str]) -> dict[str, float]:
    for role, unit in units.items():
        if role not in UNITS or unit not in UNITS[role]:
            legal = "; ".join(f"{each} in {' or '.join(known)}" for each, known in UNITS.items())
            raise ValueError(f"units: {role} = {unit!r} is unknown; legal are {legal}")
    return {role: known[units[role]] if role in units else 1.0 for role, known in UNITS.items()}


def read_points(
    path: Path | str,
    columns: Mapping[str, str] | None = None,
    *,
    units: Mapping[str, str] | None = None,
    parameter_count: ParameterCount = "not stated",
) -> ScalingPoints:
    """Points from a CSV file (UTF-8, with a header; tab-separated when its name ends in .tsv).

    Args:
        path: the file.
        columns: role -> name of its column. Roles are N (parameters), D (tokens), C (training FLOP; D = C / 6N where D is not
            told, N = C / 6D where N is not), L (loss), run. None recognises the names of `RECOGNISED`, capitals or not.
        units: role -> unit, see `UNITS`; parameters, tokens, FLOP and nats per token unless told.
        parameter_count: what N counts.

    Returns:
        The points; rows with a missing number, an infinity, or a number <= 0 are in `dropped`.

    Raises:
        ValueError: in one line with file, line and column: not a table, a column that is missing, named twice or not told, text
            where a number should be, numbers that are in no one unit, or no row left.
    """
    return _points(read_table(path), columns, units, parameter_count)


def points_from_table(
    table: "pd.DataFrame",
    columns: Mapping[str, str] | None = None,
    *,
    units: Mapping[str, str] | None = None,
    parameter_count: ParameterCount = "not stated",
) -> ScalingPoints:
    """Points from a pandas table; arguments and errors as `read_points`, with rows counted from 1 in place of lines."""
    return _points(from_pandas(table), columns, units, parameter_count)


def _points(
    table: NumberTable, columns: Mapping[str, str] | None, units: Mapping[str, str] | None, parameter_count: ParameterCount
) -> ScalingPoints:
    chosen, factors = _chosen(table, columns), _factors(units or {})
    given = {role: table.numbers(name) for role, name in chosen.items() if role != "run"}
    for role, numbers in given.items():
        _check_one_unit(table, role, chosen[role], numbers, role in (units or {}))
    values = {role: numbers * factors[role] for role, numbers in given.items()}
    reasons: dict[int, str] = {}
    for role, numbers in values.items():
        for place in np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0))):
            reasons.setdefault(int(place), unusable(chosen[role], given[role][place]))
    kept = np.array([place not in reasons for place in range(len(table.rows))], dtype=bool)
    dropped = tuple(DroppedRow(table.lines[place], reason) for place, reason in sorted(reasons.items()))
    if not kept.any():
        some = f"; {table.word} {dropped[0].line}: {dropped[0].reason}" if dropped else ""
        raise ValueError(f"{table.name}: none of {len(table.rows)} rows has finite numbers > 0 in all of {_said(chosen)}{some}")
    left = {role: numbers[kept] for role, numbers in values.items()}
    notes, warnings = [f"columns: {_said(chosen)}"], list[str]()
    if "N" in left and "D" in left:
        parameters, tokens = left["N"], left["D"]
        if "C" in left:
            ratio = left["C"] / (FLOPS_PER_PARAMETER_TOKEN * parameters * tokens)
            worst = int(np.argmax(np.abs(np.log(ratio))))
            if abs(log(ratio[worst])) > log(LARGEST_PLAY):
                where = f"{table.word} {table.lines[np.flatnonzero(kept)[worst]]}"
                spread = f"{ratio.min():.3g} to {ratio.max():.3g}" if ratio.max() > 1.01 * ratio.min() else f"{ratio[worst]:.3g}"
                warnings.append(
                    f"{chosen['C']} is {spread} times 6 N D, furthest off in {where}: N and D were used, {chosen['C']} was not"
                )
    elif "N" in left:
        parameters, tokens = left["N"], left["C"] / (FLOPS_PER_PARAMETER_TOKEN * left["N"])
        notes.append("D = C / (6 N)")
    else:
        parameters, tokens = left["C"] / (FLOPS_PER_PARAMETER_TOKEN * left["D"]), left["D"]
        notes.append("N = C / (6 D)")
    runs = None
    if "run" in chosen:
        runs = tuple(text for text, stays in zip(table.texts(chosen["run"]), kept, strict=True) if stays)
    notes += [f"{role} in {unit}" for role, unit in (units or {}).items()]
    return ScalingPoints(
        parameters, tokens, left["L"], runs=runs, dropped=dropped, parameter_count=parameter_count, source=table.name,
        notes=tuple(notes), warnings=tuple(warnings),
    )  # fmt: skip


def _said(chosen: Mapping[str, str]) -> str:
    return ", ".join(f"{role} = {name!r}" for role, name in chosen.items())


def _chosen(table: NumberTable, columns: Mapping[str, str] | None) -> dict[str, str]:
    """Role -> column of the table."""
    have = ", ".join(repr(name) for name in table.header[:30])
    if columns is None:
        found: dict[str, list[str]] = {
            role: [name for name in table.header if name.lower() in known] for role, known in RECOGNISED.items()
        }
        for role, names in found.items():
            if len(names) > 1:
                raise ValueError(f"{table.name}: {role} may be {' or '.join(map(repr, names))}; tell it by columns {role}=NAME")
        columns = {role: names[0] for role, names in found.items() if names}
    for role, name in columns.items():
        if role not in ROLES:
            raise ValueError(f"columns: {role!r} is no role; {', '.join(ROLES)} are legal")
        count = table.header.count(name)
        if count != 1:
            there = f"are {count} columns" if count else "is no column"
            raise ValueError(f"{table.name}: there {there} {name!r}; columns are {have}")
    shared = [name for name in columns.values() if list(columns.values()).count(name) > 1]
    if shared:
        raise ValueError(f"columns: {shared[0]!r} is told twice; one role for each column is legal")
    if "L" not in columns or sum(role in columns for role in ("N", "D", "C")) < 2:
        told = _said(columns) if columns else "none"
        raise ValueError(
            f"{table.name}: L and two of N, D, C are needed, and the columns told or recognised are {told}; columns are {have}"
        )
    return {role: columns[role] for role in ROLES if role in columns}


def _check_one_unit(table: NumberTable, role: str, name: str, numbers: Float[np.ndarray, " rows"], told: bool) -> None:
    """Refuses a column whose numbers can't all be in one unit, or not in the plain one where none was told."""
    places = np.flatnonzero(np.isfinite(numbers) & (numbers > 0))
    if role not in LEAST or not places.size:
        return
    places = places[np.argsort(numbers[places], kind="stable")]
    ordered = numbers[places]
    small = ordered[0] < LEAST[role]
    gaps = np.flatnonzero(ordered[1:] > GAP * ordered[:-1])
    if gaps.size and (small or not told):
        below, above = (f"{table.word} {table.lines[places[gaps[0] + side]]} {ordered[gaps[0] + side]:g}" for side in (0, 1))
        raise ValueError(
            f"{table.name}: column {name!r} has in {below} and next to it in {above}, which are in no one unit; all numbers of "
            f"{ROLES[role]} in one unit are legal, and where they are, tell it by units ({role} in {' or '.join(UNITS[role])})"
        )
    if small and not told:
        raise ValueError(
            f"{table.name}: column {name!r} has {ordered[0]:g}, few for {ROLES[role]}; tell the unit of such a column by units, "
            f"{role} = {' or '.join(UNITS[role])}"
        )
