"""Proofs about weights: which associations a model holds, in exact arithmetic and in a forward pass, and its features' rank.

Two statements are kept apart for every association. "exact": with the weights taken as the binary numbers that they are, and real
arithmetic, the label's logit is strictly above every other (a tie is wrong). A format's name, "float32" say: so it is in an
ordinary forward pass of the model rounded to that format, whatever the order of its sums. A model can have one without the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int

from constructions._certificate_balls import margins_balls, precisions
from constructions._certificate_checks import (
    FLOAT_PRECISION,
    Progress,
    Steps,
    check_dtypes,
    checked_indices,
    checked_precision,
    checked_weights,
    float_weights,
    model_shape,
    versions,
    weights_sha256,
)
from constructions._certificate_files import CertificateFileError
from constructions._certificate_float import Margins, Weights, margins_float
from constructions._certificate_rank import Minor, find_minor, proves
from constructions._certificate_records import EXACT, RIGHT, UNDECIDED, WRONG, Certificate, RankCertificate, Statement
from constructions.aot import PARAMETER_NAMES, AttentionOnlyTransformer
from constructions.construction import DTYPES
from theory.tasks import AssociationTask

__all__ = [
    "Certificate", "CertificateFileError", "RankCertificate", "Recheck", "Statement", "certify", "certify_rank", "recheck",
    "weights_sha256",
]  # fmt: skip



@dataclass(frozen=True)
class Recheck:
    """What a recheck found: nothing, or every disagreement, one line each."""

    disagreements: tuple[str, ...]
    num_checked: int

    @property
    def agreed(self) -> bool:
        """Whether all that the certificate claims follows from the model and the task."""
        return not self.disagreements


def certify(
    model: AttentionOnlyTransformer,
    task: AssociationTask,
    *,
    indices: Sequence[int] | Int[np.ndarray, " associations"] | None = None,
    dtypes: Sequence[str] = ("float64", "float32"),
    max_precision: int = 4096,
    rank: bool = False,
    progress: Progress | None = None,
) -> Certificate:
    """Prove what can be proved of a model's associations.

    Args:
        model: finite weights of any floating-point type.
        task: the associations; its sequences and vocabulary must fit the model.
        indices: which of them, ascending; all by default.
        dtypes: forward passes to make statements about, of "float64", "float32", "bfloat16" and "float16"; may be empty.
        max_precision: bits of ball arithmetic to go up to for associations that float64 leaves open (exact statement only).
        rank: also certify the rank of the features, see `certify_rank`.
        progress: called with steps done and steps in all.

    Raises:
        ValueError: a NaN or infinite weight, a task that does not fit, an unknown format, an illegal index or precision.
    """
    max_precision = checked_precision(max_precision)
    check_dtypes(dtypes)
    kept = checked_indices(task, indices)
    weights = checked_weights(model, task)
    report = Steps(progress, len(kept) * (1 + len(dtypes)))
    floats = _float_margins(model, weights, task, kept, tuple(dtypes), report)
    statements = {EXACT: _exact(weights, task, kept, floats[EXACT], max_precision, report)}
    for name in dtypes:
        found = floats[name]
        statements[name] = _from_floats(name, found) if found is not None else _nothing(name, len(kept))
    return Certificate(
        weights_sha256(model), task.fingerprint(), model_shape(model), str(model.dtype).removeprefix("torch."), kept, statements,
        max_precision, certify_rank(model, task, indices=kept, max_precision=max_precision) if rank else None, versions(),
    )  # fmt: skip


def certify_rank(
    model: AttentionOnlyTransformer,
    task: AssociationTask,
    *,
    indices: Sequence[int] | Int[np.ndarray, " associations"] | None = None,
    max_precision: int = 4096,
) -> RankCertificate:
    """Prove a lower bound on the rank of the features over the task's sequences, as large as can be.

    Raises:
        ValueError: as `certify`.
    Source: the feature matrix of Theorem 1 in Dana, Pydi and Chevaleyre 2025, the skip connection's rows included.
    """
    max_precision = checked_precision(max_precision)
    kept = checked_indices(task, indices)
    weights = checked_weights(model, task)
    minor = find_minor(weights, task.sequences[kept], kept, max_precision)
    digests = weights_sha256(model), task.fingerprint()
    return RankCertificate(minor.rank, minor.features, minor.associations, minor.precision, *digests)


def recheck(
    certificate: Certificate, model: AttentionOnlyTransformer, task: AssociationTask, *, progress: Progress | None = None
) -> Recheck:
    """Prove again, from the model and the task alone, everything that a certificate claims.

    Each verdict must come out again, and each recorded bound must follow: a recomputed lower bound is at least the recorded one,
    an upper one at most. Where float64 falls short of that, ball arithmetic of rising precision decides.

    Only the associations named in `indices` are checked; of the others a certificate says nothing. No evidence, and checked
    only to be legal: the precisions (bits that it took, of an association or the rank) and `max_precision`, up to which
    undecided is to be undecided again. Not checked: `versions`. The weights' SHA-256 covers parameters and shape, not a model
    file's provenance.

    Raises:
        ValueError: the model has a NaN or infinite weight, or the task does not fit it.
    """
    weights = checked_weights(model, task)
    wrong = _header_disagreements(certificate, model, task)
    if wrong:
        return Recheck(tuple(wrong), 0)
    names = tuple(name for name in certificate.statements if name != EXACT)
    kept = certificate.indices
    report = Steps(progress, len(kept) * (1 + len(names)))
    floats = _float_margins(model, weights, task, kept, names, report)
    for name, statement in certificate.statements.items():
        wrong += [f"{name}: association {kept[row]}: its verdict contradicts its own bounds" for row in _inconsistent(statement)]
        found = floats[name]
        wrong += _beside_the_point(statement, certificate.max_precision, found is None)
        if name == EXACT:
            assert found is not None
            wrong += _recheck_exact(certificate, weights, task, found, report)
        elif found is None:
            wrong += [f"{name}: association {kept[row]}: nothing can be proved, as weights overflow the format"
                      for row in np.flatnonzero((statement.verdicts != UNDECIDED) | (statement.lower > -np.inf)
                                                | (statement.upper < np.inf))]
        else:
            wrong += _recheck_forward(statement, kept, found)
    if certificate.rank is not None:
        wrong += _recheck_rank(certificate.rank, weights, task, certificate.max_precision)
    return Recheck(tuple(wrong), len(kept))


def _float_margins(
    model: AttentionOnlyTransformer,
    weights: Weights,
    task: AssociationTask,
    kept: Int[np.ndarray, " associations"],
    dtypes: tuple[str, ...],
    report: Steps,
) -> dict[str, Margins | None]:
    """Tier one for the exact statement and every format; None for formats that the weights overflow."""
    sweeps: list[tuple[Weights, list[str]]] = [(weights, [])]
    found: dict[str, Margins | None] = {}
    for name in dtypes:
        rounded = float_weights(model.to_dtype(DTYPES[name]))
        arrays = [getattr(rounded, part) for part in PARAMETER_NAMES]
        if not all(np.isfinite(array).all() for array in arrays):
            found[name] = None
            report.advance(len(kept))
            continue
        # Weights that rounding leaves as they are, share the exact statement's sweep.
        for other, names in sweeps:
            if all(np.array_equal(array, getattr(other, part)) for array, part in zip(arrays, PARAMETER_NAMES, strict=True)):
                names.append(name)
                break
        else:
            sweeps.append((rounded, [name]))
    for number, (given, names) in enumerate(sweeps):
        steps = len(kept) * (len(names) + (number == 0))
        exact, *forward = margins_float(given, task, kept, tuple(names), partial(report.share, steps))
        report.advance(steps)
        if number == 0:
            found[EXACT] = exact
        found.update(zip(names, forward, strict=True))
    return found


def _from_floats(name: str, found: Margins) -> Statement:
    verdicts = np.where(found.recorded_lower > 0, RIGHT, np.where(found.recorded_upper <= 0, WRONG, UNDECIDED)).astype(np.int8)
    precision = np.full(len(verdicts), FLOAT_PRECISION, np.int32)
    return Statement(name, verdicts, found.recorded_lower, found.recorded_upper, precision)


def _nothing(name: str, count: int) -> Statement:
    blank, precision = np.full(count, np.inf), np.full(count, FLOAT_PRECISION, np.int32)
    return Statement(name, np.zeros(count, np.int8), -blank, blank, precision, _note(name, True))


def _note(name: str, overflows: bool) -> str:
    return f"weights overflow {name}" if overflows else ""


def _exact(
    weights: Weights,
    task: AssociationTask,
    kept: Int[np.ndarray, " associations"],
    found: Margins | None,
    max_precision: int,
    report: Steps,
) -> Statement:
    """Tier two for what tier one leaves open."""
    assert found is not None
    statement = _from_floats(EXACT, found)
    for precision in precisions(max_precision):
        still = np.flatnonzero(statement.verdicts == UNDECIDED)
        if not len(still):
            break
        report.more(len(still))
        results = margins_balls(weights, task.sequences[kept[still]], task.targets[kept[still]], precision, report.at)
        report.advance(len(still))
        for row, (verdict, lower, upper) in zip(still.tolist(), results, strict=True):
            statement.verdicts[row], statement.precision[row] = verdict, precision
            if verdict:  # both bounds from one computation
                statement.lower[row], statement.upper[row] = lower, upper
            else:
                statement.lower[row] = max(statement.lower[row], lower)
                statement.upper[row] = min(statement.upper[row], upper)
    return statement


def _header_disagreements(certificate: Certificate, model: AttentionOnlyTransformer, task: AssociationTask) -> list[str]:
    """What must hold before anything can be recomputed."""
    wrong = []
    if certificate.weights_sha256 != weights_sha256(model):
        wrong.append("the model's weights are not those that the certificate is about (SHA-256)")
    if certificate.task_fingerprint != task.fingerprint():
        wrong.append("the task is not the one that the certificate is about (fingerprint)")
    if certificate.shape != model_shape(model) or certificate.dtype != str(model.dtype).removeprefix("torch."):
        wrong.append("the model's shape or number format is not the one that the certificate states")
    try:
        checked_precision(certificate.max_precision)
        checked_indices(task, certificate.indices)
        check_dtypes([name for name in certificate.statements if name != EXACT])
        if EXACT not in certificate.statements:
            raise ValueError("there is no exact statement")
    except ValueError as error:
        wrong.append(f"the certificate is not well formed: {error}")
    for name, statement in certificate.statements.items():
        arrays = (statement.verdicts, statement.lower, statement.upper, statement.precision)
        if name != statement.name or any(array.shape != certificate.indices.shape for array in arrays):
            wrong.append(f"the certificate is not well formed: statement {name!r} has a wrong name or size")
    return wrong


def _inconsistent(statement: Statement) -> Iterator[int]:
    """Rows whose recorded numbers do not fit together, NaN included."""
    verdicts, lower, upper = statement.verdicts, statement.lower, statement.upper
    fits = (lower <= upper) & np.isin(verdicts, (RIGHT, WRONG, UNDECIDED))
    fits &= np.where(verdicts == RIGHT, lower >= 0, True) & np.where(verdicts == WRONG, upper <= 0, True)
    yield from np.flatnonzero(~fits).tolist()


def _beside_the_point(statement: Statement, max_precision: int, overflows: bool) -> Iterator[str]:
    """What is no evidence, but shown: a note other than `certify` writes, precisions that it never has."""
    if statement.note != _note(statement.name, overflows):
        yield f"{statement.name}: its note is not the one that this model gives"
    legal = [FLOAT_PRECISION, *(precisions(max_precision) if statement.name == EXACT else ())]
    if not np.isin(statement.precision, legal).all():
        yield f"{statement.name}: has a precision other than {', '.join(map(str, legal))} bits"


def _follows(statement: Statement, row: int, verdict: int, lower: float, upper: float) -> bool:
    """Whether a recorded claim follows from recomputed bounds."""
    claimed = int(statement.verdicts[row])
    return (claimed in (UNDECIDED, verdict)) and bool(statement.lower[row] <= lower) and bool(upper <= statement.upper[row])


def _complaint(name: str, association: int, statement: Statement, row: int, lower: float, upper: float) -> str:
    words = {RIGHT: "right", WRONG: "wrong", UNDECIDED: "undecided"}
    claim = f"{words.get(int(statement.verdicts[row]), 'no verdict')}, [{statement.lower[row]:.17g}, {statement.upper[row]:.17g}]"
    return f"{name}: association {association}: claims {claim}; the recomputed margin is in [{lower:.17g}, {upper:.17g}]"


def _recheck_exact(
    certificate: Certificate, weights: Weights, task: AssociationTask, found: Margins, report: Steps
) -> Iterator[str]:
    statement, kept = certificate.statements[EXACT], certificate.indices
    verdicts = np.where(found.lower > 0, RIGHT, np.where(found.upper <= 0, WRONG, UNDECIDED))
    fine = (statement.verdicts == verdicts) & (statement.lower <= found.lower) & (found.upper <= statement.upper)
    open_rows = np.flatnonzero(~(fine & (verdicts != UNDECIDED)))
    seen = {row: (int(verdicts[row]), float(found.lower[row]), float(found.upper[row])) for row in open_rows.tolist()}
    for precision in precisions(certificate.max_precision):
        # A claim that is contradicted already, or undecided but now decided, needs no more bits.
        still = [row for row, (verdict, lower, upper) in seen.items()
                 if not (verdict and statement.verdicts[row] != verdict)
                 and not (verdict and _follows(statement, row, verdict, lower, upper))
                 and not (statement.lower[row] > upper or statement.upper[row] < lower)]
        if not still:
            break
        report.more(len(still))
        results = margins_balls(weights, task.sequences[kept[still]], task.targets[kept[still]], precision, report.at)
        report.advance(len(still))
        for row, (verdict, lower, upper) in zip(still, results, strict=True):
            before = seen[row]
            seen[row] = verdict or before[0], max(before[1], lower), min(before[2], upper)
    for row, (verdict, lower, upper) in seen.items():
        if verdict != statement.verdicts[row] or not _follows(statement, row, verdict, lower, upper):
            yield _complaint(EXACT, int(kept[row]), statement, row, lower, upper)


def _recheck_forward(statement: Statement, kept: Int[np.ndarray, " associations"], found: Margins) -> Iterator[str]:
    verdicts = np.where(found.lower > 0, RIGHT, np.where(found.upper <= 0, WRONG, UNDECIDED))
    expected = np.where(found.recorded_lower > 0, RIGHT, np.where(found.recorded_upper <= 0, WRONG, UNDECIDED))
    # A claim must follow from the tight bounds; no claim may be missing where even the loose ones decide.
    good = np.where(statement.verdicts == UNDECIDED, expected == UNDECIDED, statement.verdicts == verdicts)
    good &= (statement.lower <= found.lower) & (found.upper <= statement.upper)
    for row in np.flatnonzero(~good).tolist():
        yield _complaint(statement.name, int(kept[row]), statement, row, float(found.lower[row]), float(found.upper[row]))


def _recheck_rank(rank: RankCertificate, weights: Weights, task: AssociationTask, max_precision: int) -> Iterator[str]:
    heads, embed_dim, head_dim = weights.query.shape
    features, places = rank.features, rank.associations
    legal = len(features) == len(places) == rank.rank == len(set(features.tolist())) == len(set(places.tolist()))
    for numbers, most in ((features, embed_dim + heads * head_dim), (places, task.num_associations)):
        legal = legal and bool(((numbers >= 0) & (numbers < most)).all())
    if not legal or rank.precision not in (FLOAT_PRECISION, *precisions(max_precision)):
        yield "rank: the minor's features and associations do not fit the model, the task or the rank"
    elif not proves(Minor(features, places, rank.precision), weights, task.sequences[places], max_precision):
        yield f"rank: the minor of size {rank.rank} could not be proved non-singular again"
