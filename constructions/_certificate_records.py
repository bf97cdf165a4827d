"""What a certificate holds, and its way to a file and back."""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int8, Int32

from constructions import _certificate_files as files
from constructions._certificate_checks import FLOAT_PRECISION, MOST_PRECISION
from constructions._certificate_files import CertificateFileError
from constructions._certificate_float import EXP_ULPS
from constructions._enclosure import FORMATS

EXACT = "exact"
RIGHT, WRONG, UNDECIDED = 1, -1, 0
ASSUMPTIONS = (
    "this machine's + - * / and conversions in float64 follow IEEE 754, rounding to nearest; numpy's matrix products sum plain "
    "products in any order, fused multiply-add allowed; subnormal numbers may be flushed to zero",
    "Arb's balls (python-flint) contain the true results",
    "forward pass: x = e + pos; q = x W_Q, k = x W_K, scores q . k, softmax with the largest score subtracted, v = x W_V, the "
    "sum of a v W_O over positions and heads with x_S, logits by W_U; all sums in any order, fused or wider accumulation "
    "allowed; every operation is right to the format's unit roundoff or better: no reduced-precision products (TF32, bfloat16)",
    f"forward pass: the softmax's exponential is within {EXP_ULPS} units in the last place",
    "forward pass: subnormal numbers may be flushed to zero in float64, float32 and bfloat16; float16 has gradual underflow",
)


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement about every association of a certificate, in the order of its `indices`.

    Attributes:
        name: "exact", or the number format of the forward pass.
        verdicts: 1 certified right, -1 certified wrong, 0 undecided.
        lower, upper: rigorous bounds on the margin, the label's logit minus the largest other one, in logit units; for a format
            on the margin that the forward pass computes. -inf and inf where nothing is known.
        precision: bits it took: 53 for float64 with a-priori bounds, more for ball arithmetic.
        note: why nothing is known, when that has one cause.
    """

    name: str
    verdicts: Int8[np.ndarray, " associations"]
    lower: Float[np.ndarray, " associations"]
    upper: Float[np.ndarray, " associations"]
    precision: Int32[np.ndarray, " associations"]
    note: str = ""

    def count(self, verdict: int) -> int:
        """How many associations have this verdict."""
        return int((self.verdicts == verdict).sum())

    @property
    def num_right(self) -> int:
        """Associations certified right."""
        return self.count(RIGHT)

    @property
    def num_wrong(self) -> int:
        """Associations certified wrong."""
        return self.count(WRONG)

    @property
    def num_undecided(self) -> int:
        """Associations of which neither could be proved."""
        return self.count(UNDECIDED)

    @property
    def least_margin(self) -> float | None:
        """The least lower bound among those certified right; None when there are none."""
        return float(self.lower[self.verdicts == RIGHT].min()) if self.num_right else None


@dataclass(frozen=True, eq=False)
class RankCertificate:
    """The rank of the features [x_S ; W_V^h A^h] (rows) over a task's sequences (columns) is at least `rank`.

    `features` and `associations` name the rows and columns of a minor proved non-singular, with `precision` bits (53: float64
    with a residual bound). Feature numbers run over x_S (d of them), then head by head (d_h each).
    """

    rank: int
    features: Int[np.ndarray, " rank"]
    associations: Int[np.ndarray, " rank"]
    precision: int
    weights_sha256: str
    task_fingerprint: str


@dataclass(frozen=True, eq=False)
class Certificate:
    """What was proved about a model and a task; see the module, and docs/certificates.md for the proofs."""

    weights_sha256: str
    task_fingerprint: str
    shape: dict[str, int]
    dtype: str
    indices: Int[np.ndarray, " associations"]
    statements: dict[str, Statement]
    max_precision: int
    rank: RankCertificate | None = None
    versions: dict[str, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON at `path`, and the arrays beside it at `path` + ".safetensors".

        Raises:
            CertificateFileError: a place is a folder, has no folder, can't be written, or holds a file that is not a
                certificate's: nothing but a certificate is replaced.
        """
        files.write(path, *_written(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Certificate":
        """Read what `save` wrote; nothing in it is executed or believed (see `recheck`).

        Raises:
            CertificateFileError: a file is missing, damaged, or not of this format.
        """
        return _read(path)


_STATEMENT_ARRAYS = (("verdict", np.int8), ("lower", np.float64), ("upper", np.float64), ("precision", np.int32))


def _written(certificate: Certificate) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The content of the JSON and the arrays; the same for the same certificate, whenever it is written."""
    arrays: dict[str, np.ndarray] = {"indices": certificate.indices.astype(np.int64)}
    counts = {}
    for name, statement in certificate.statements.items():
        parts = (statement.verdicts, statement.lower, statement.upper, statement.precision)
        arrays |= {f"{name}.{part}": array.astype(kind) for (part, kind), array in zip(_STATEMENT_ARRAYS, parts, strict=True)}
        counts[name] = _counts(statement)
    rank = certificate.rank
    if rank is not None:
        arrays |= {"rank.features": rank.features.astype(np.int64), "rank.associations": rank.associations.astype(np.int64)}
    content = {
        "model": {"sha256": certificate.weights_sha256, "dtype": certificate.dtype, **certificate.shape},
        "task": {"fingerprint": certificate.task_fingerprint},
        "max_precision": certificate.max_precision,
        "statements": counts,
        "rank": None if rank is None else {"rank": rank.rank, "precision": rank.precision},
        "assumptions": list(certificate.assumptions),
        "versions": certificate.versions,
    }
    return content, arrays


def _counts(statement: Statement) -> dict[str, Any]:
    counts = {"right": statement.num_right, "wrong": statement.num_wrong, "undecided": statement.num_undecided}
    return {**counts, "least_margin": statement.least_margin, "note": statement.note}


def _read(path: str | os.PathLike[str]) -> Certificate:
    content, arrays = files.read(path)

    def need(legal: bool, what: str) -> None:
        if not legal:
            raise CertificateFileError(f"{path}: is not a certificate ({what})")

    names = {"format", "model", "task", "max_precision", "statements", "rank", "assumptions", "versions"}
    need(set(content) == names, f"its entries must be {', '.join(sorted(names))}")
    model, task, precision, counts, rank = (content[name] for name in ("model", "task", "max_precision", "statements", "rank"))
    shape_names = ("vocab_size", "seq_len", "embed_dim", "num_heads", "head_dim")
    need(isinstance(model, dict) and set(model) == {"sha256", "dtype", *shape_names}, "model")
    need(all(_whole(model[name], 0, 2**62) for name in shape_names), "the model's shape")
    need(isinstance(model["dtype"], str) and _digest(model["sha256"]), "the model's dtype and SHA-256")
    need(isinstance(task, dict) and set(task) == {"fingerprint"} and _digest(task["fingerprint"]), "task")
    need(_whole(precision, FLOAT_PRECISION, MOST_PRECISION), "max_precision")
    need(isinstance(counts, dict) and EXACT in counts and set(counts) <= {EXACT, *FORMATS}, "statements")
    need(rank is None or (isinstance(rank, dict) and set(rank) == {"rank", "precision"} and _whole(rank["rank"], 0, 2**62)
                          and _whole(rank["precision"], FLOAT_PRECISION, precision)), "rank")
    texts = content["assumptions"]
    need(isinstance(texts, list) and all(isinstance(text, str) for text in texts), "assumptions")
    need(texts == list(ASSUMPTIONS), "its assumptions are not those of this version")
    versions = content["versions"]
    need(isinstance(versions, dict) and all(isinstance(text, str) for text in versions.values()), "versions")

    indices = _array(arrays, "indices", np.int64, None, need)
    size = len(indices)
    need(size > 0 and bool((np.diff(indices) > 0).all()) and bool(indices[0] >= 0), "indices")
    statements = {}
    for name, said in counts.items():
        verdicts, lower, upper, bits = (_array(arrays, f"{name}.{part}", kind, size, need) for part, kind in _STATEMENT_ARRAYS)
        need(isinstance(said, dict) and isinstance(said.get("note"), str), f"statement {name}")
        statement = Statement(name, verdicts, lower, upper, bits, said["note"])
        need(not bool((np.isnan(lower) | np.isnan(upper)).any() or (np.abs(verdicts) > 1).any()), f"arrays of {name}")
        need(said == _counts(statement), f"the counts of statement {name} are not those of its arrays")
        statements[name] = statement
    proved = None
    if rank is not None:
        chosen = [_array(arrays, f"rank.{part}", np.int64, rank["rank"], need) for part in ("features", "associations")]
        proved = RankCertificate(rank["rank"], chosen[0], chosen[1], rank["precision"], model["sha256"], task["fingerprint"])
    need(not arrays, "arrays that do not belong to it")
    return Certificate(
        model["sha256"], task["fingerprint"], {name: model[name] for name in shape_names}, model["dtype"], indices, statements,
        precision, proved, versions,
    )  # fmt: skip


def _array(arrays: dict[str, np.ndarray], name: str, kind: type, size: int | None, need: Any) -> np.ndarray:
    """Taken out of `arrays`, when it is there with this kind and size."""
    array = arrays.pop(name, None)
    need(array is not None, f"the array {name} is missing")
    assert array is not None
    need(array.dtype == kind and array.ndim == 1 and (size is None or len(array) == size), f"the array {name}")
    return array


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
