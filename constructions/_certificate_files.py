"""Certificate files: JSON, and the arrays beside it as safetensors; written whole or not at all, read with suspicion.

Hashes detect damage: the JSON has one of its own content and one of the arrays' bytes. They prove nothing about what is claimed;
that is `recheck`'s business.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from theory._messages import first_line
from theory._whole_files import whole_files

FORMAT = "headcount certificate, version 1"
ARRAYS_SUFFIX = ".safetensors"
MOST_JSON_BYTES = 1 << 20
MOST_ARRAY_BYTES = 1 << 34
MOST_LETTERS = 200  # of a message that quotes what is in a file


class CertificateFileError(ValueError):
    """Files that are not a certificate saved by `Certificate.save`, damaged ones, or a place where none can be written."""


def arrays_path(path: str | os.PathLike[str]) -> Path:
    """Where the arrays of the certificate at `path` are."""
    place = Path(path).resolve()
    return place.with_name(place.name + ARRAYS_SUFFIX)


def check_place(path: str | os.PathLike[str]) -> None:
    """CertificateFileError unless a certificate may be written at `path`: what is there already must be one, in both places.

    A certificate's file is known by its `format` (JSON) or by the names of its arrays; whether it is intact does not matter.
    """
    place = Path(path).resolve()
    for target in (place, arrays_path(place)):
        if (target.exists() and not target.is_file()) or not target.parent.is_dir():
            raise CertificateFileError(f"{target}: an ordinary file in an existing folder is legal as a place for a certificate")
    if place.exists() and not _is_content(place):
        raise CertificateFileError(f"{place}: is there and is no certificate, so it is not replaced; another name is legal")
    beside = arrays_path(place)
    if beside.exists() and not _is_arrays(beside):
        raise CertificateFileError(
            f"{beside}: is there and holds no certificate's arrays, so it is not replaced; another name is legal"
        )


def write(path: str | os.PathLike[str], content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write both files; the JSON, which vouches for the arrays, goes last."""
    check_place(path)
    place = Path(path).resolve()
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    whole = {"format": FORMAT, **content, "arrays": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
    whole["sha256"] = _content_hash(whole)
    text = json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    try:
        with whole_files(arrays_path(place), place) as (arrays_partial, partial):
            arrays_partial.write_bytes(data)
            partial.write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise CertificateFileError(f"{place}: can't be written ({error.strerror})") from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Both files, when they are undamaged and belong together; what they say is checked by the caller."""
    place = Path(path)
    try:
        text = _bytes(place, MOST_JSON_BYTES).decode("utf-8")
        content = json.loads(text, parse_constant=_refuse, object_pairs_hook=_without_repeats)
    except (UnicodeDecodeError, RecursionError) as error:
        raise CertificateFileError(f"{place}: is not a certificate (not JSON)") from error
    except CertificateFileError:
        raise
    except ValueError as error:  # of JSON itself, NaN, a number of too many digits, a name given twice
        raise CertificateFileError(f"{place}: is not a certificate ({first_line(error)[:MOST_LETTERS]})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CertificateFileError(f"{place}: is not a certificate (it lacks format = {FORMAT!r})")
    if content.pop("sha256", None) != _content_hash({name: value for name, value in content.items() if name != "sha256"}):
        raise CertificateFileError(f"{place}: is damaged (its content does not match its SHA-256)")
    beside, stated = arrays_path(place), content.pop("arrays", None)
    if not isinstance(stated, dict) or set(stated) != {"sha256", "bytes"}:
        raise CertificateFileError(f"{place}: does not state the hash of its arrays")
    data = _bytes(beside, MOST_ARRAY_BYTES)
    if hashlib.sha256(data).hexdigest() != stated["sha256"] or len(data) != stated["bytes"]:
        raise CertificateFileError(f"{beside}: is damaged or of another certificate (its SHA-256 is not the one stated)")
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        words = first_line(error)[:MOST_LETTERS]
        raise CertificateFileError(f"{beside}: is not a readable safetensors file ({words})") from error
    return content, arrays


def _is_content(place: Path) -> bool:
    try:
        content = json.loads(_bytes(place, MOST_JSON_BYTES))
    except (ValueError, RecursionError):  # CertificateFileError included
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _is_arrays(place: Path) -> bool:
    try:
        with safe_open(str(place), framework="numpy") as file:
            names = set(file.keys())
    except (SafetensorError, OSError, ValueError):
        return False
    return {"indices", "exact.verdict", "exact.lower", "exact.upper", "exact.precision"} <= names


def _content_hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _bytes(path: Path, most: int) -> bytes:
    if not path.exists():
        raise CertificateFileError(f"{path}: no such file")
    if not path.is_file():
        raise CertificateFileError(f"{path}: is no ordinary file")
    try:
        if path.stat().st_size > most:
            raise CertificateFileError(f"{path}: is larger than any certificate ({most} bytes)")
        return path.read_bytes()
    except OSError as error:
        raise CertificateFileError(f"{path}: can't be read ({error.strerror})") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not legal")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
