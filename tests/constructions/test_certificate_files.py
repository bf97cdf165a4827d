"""Certificate files: the same back, whole or not at all, and no damaged or hostile file read as one."""

import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from constructions import AttentionOnlyTransformer, memorize
from constructions._certificate_files import _content_hash, arrays_path
from constructions.aot import ModelFileError, load_with_provenance
from constructions.certificate import Certificate, CertificateFileError, certify, recheck
from theory.tasks import AssociationTask

TASK = AssociationTask.complete(3, 2, 0)


@pytest.fixture(scope="module")
def model() -> AttentionOnlyTransformer:
    return memorize(TASK, embed_dim=2, head_dim=2).model


@pytest.fixture(scope="module")
def certificate(model: AttentionOnlyTransformer) -> Certificate:
    return certify(model, TASK, rank=True)


@pytest.fixture
def place(certificate: Certificate, tmp_path: Path) -> Path:
    path = tmp_path / "c.json"
    certificate.save(path)
    return path


def rewritten(place: Path, change_content=lambda content: None, change_arrays=lambda arrays: None) -> None:
    """A forger who knows the format: content and arrays changed, every hash made to fit."""
    content, arrays = json.loads(place.read_text()), dict(load(arrays_path(place).read_bytes()))
    change_arrays(arrays)
    data = save(arrays)
    arrays_path(place).write_bytes(data)
    content["arrays"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    change_content(content)
    del content["sha256"]
    place.write_text(json.dumps({**content, "sha256": _content_hash(content)}))


def refused(place: Path, *words: str) -> None:
    with pytest.raises(CertificateFileError) as caught:
        Certificate.load(place)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    for word in words:
        assert word in message


def test_there_and_back(place: Path, certificate: Certificate, model: AttentionOnlyTransformer) -> None:
    back = Certificate.load(place)
    for name in ("weights_sha256", "task_fingerprint", "shape", "dtype", "max_precision", "versions", "assumptions"):
        assert getattr(back, name) == getattr(certificate, name)
    assert list(back.statements) == list(certificate.statements)
    for name, statement in certificate.statements.items():
        for part in ("verdicts", "lower", "upper", "precision"):
            assert np.array_equal(getattr(back.statements[name], part), getattr(statement, part))
    assert back.rank is not None and certificate.rank is not None and back.rank.rank == certificate.rank.rank
    assert recheck(back, model, TASK).agreed
    assert sorted(path.name for path in place.parent.iterdir()) == ["c.json", "c.json.safetensors"]


def test_the_same_every_time(place: Path, certificate: Certificate, model: AttentionOnlyTransformer, tmp_path: Path) -> None:
    other = tmp_path / "again.json"
    certify(model, TASK, rank=True).save(other)
    assert other.read_bytes() == place.read_bytes()
    assert arrays_path(other).read_bytes() == arrays_path(place).read_bytes()


def test_infinite_bounds_survive(tmp_path: Path, model: AttentionOnlyTransformer) -> None:
    huge = model.to_dtype(model.dtype)
    huge.output.data *= 1e300
    found = certify(huge, TASK, max_precision=64)
    assert np.isinf(found.statements["float32"].lower).all()
    found.save(tmp_path / "c.json")
    back = Certificate.load(tmp_path / "c.json")
    assert back.statements["float32"].note and np.isinf(back.statements["float32"].upper).all()
    assert recheck(back, huge, TASK).agreed


@pytest.mark.parametrize("which", ["json", "arrays"])
def test_flipped_bits_are_detected(place: Path, which: str) -> None:
    """One bit of every second byte of the JSON, of every seventh of the arrays; a different bit from one to the next."""
    target = place if which == "json" else arrays_path(place)
    good = target.read_bytes()
    for number in range(0, len(good), 2 if which == "json" else 7):
        bad = bytearray(good)
        bad[number] ^= 1 << (number * 3 // 2 % 8)
        target.write_bytes(bytes(bad))
        with pytest.raises(CertificateFileError):
            Certificate.load(place)
    target.write_bytes(good)
    Certificate.load(place)


def test_truncated_and_swapped_files(place: Path, model: AttentionOnlyTransformer, tmp_path: Path) -> None:
    for target in (place, arrays_path(place)):
        good = target.read_bytes()
        for size in (0, 1, len(good) // 2, len(good) - 2):
            target.write_bytes(good[:size])
            refused(place)
        target.write_bytes(good + b"x")
        refused(place)
        target.write_bytes(good)
    certify(model, TASK, dtypes=()).save(tmp_path / "other.json")
    arrays_path(tmp_path / "other.json").replace(arrays_path(place))
    refused(place, "another certificate")


def test_hostile_json(place: Path) -> None:
    good = place.read_text()
    for text, word in {
        "[" * 100_000: "JSON", '{"a": NaN}': "NaN", '{"a": 1, "a": 1}': "twice", "1" * 10_000: "digits", "null": "format",
        '"x"': "format", "\ufeff{}": "certificate", '{"format": 7}': "format", '{"a": Infinity}': "Infinity",
    }.items():  # fmt: skip
        place.write_text(text)
        refused(place, word)
    place.write_bytes(b"\xff\xfe" + good.encode())
    refused(place)
    place.write_text(good + " " * (1 << 20))
    refused(place, "larger")
    place.unlink()
    refused(place, "no such file")
    place.mkdir()
    refused(place, "no ordinary file")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("max_precision",), 10**12), (("max_precision",), 1.5), (("max_precision",), True), (("model",), None),
        (("model", "sha256"), "x" * 64), (("model", "num_heads"), -1), (("model", "dtype"), 3), (("task",), {}),
        (("statements",), {}), (("statements", "exact"), None), (("statements", "exact", "right"), 1000),
        (("statements", "exact", "least_margin"), 5.0), (("statements", "exact", "note"), ["x"]), (("rank", "rank"), 10**9),
        (("rank", "precision"), 5000), (("rank",), 3), (("assumptions",), []), (("assumptions",), ["all is well"]),
        (("versions",), {"numpy": 2}), (("surprise",), 1), (("arrays",), None), (("arrays", "sha256"), "0" * 64),
        (("arrays", "bytes"), 0),
    ],
)  # fmt: skip
def test_forged_content_with_fitting_hash(place: Path, path: tuple[str, ...], value: object) -> None:
    def change(content: dict) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    rewritten(place, change)
    refused(place)


def test_forged_arrays_with_fitting_hashes(place: Path, model: AttentionOnlyTransformer) -> None:
    good, good_arrays = place.read_bytes(), arrays_path(place).read_bytes()

    def drop(arrays: dict) -> None:
        del arrays["exact.lower"]

    def add(arrays: dict) -> None:
        arrays["more"] = np.zeros(1)

    def narrow(arrays: dict) -> None:
        arrays["exact.lower"] = arrays["exact.lower"].astype(np.float32)

    def short(arrays: dict) -> None:
        arrays["exact.upper"] = arrays["exact.upper"][:-1]

    def nan(arrays: dict) -> None:
        arrays["exact.upper"] = np.full(9, np.nan)

    def descending(arrays: dict) -> None:
        arrays["indices"] = arrays["indices"][::-1].copy()

    def verdict(arrays: dict) -> None:
        arrays["exact.verdict"] = np.full(9, 7, np.int8)

    for change in (drop, add, narrow, short, nan, descending, verdict):
        rewritten(place, change_arrays=change)
        refused(place)
        place.write_bytes(good)
        arrays_path(place).write_bytes(good_arrays)

    # What is well formed but false gets past the reader, and is found by the recheck.
    def better(arrays: dict) -> None:
        arrays["float32.lower"] = arrays["float32.upper"].copy()

    def raised(content: dict) -> None:
        content["statements"]["float32"]["least_margin"] = float(load(arrays_path(place).read_bytes())["float32.lower"].min())

    rewritten(place, raised, better)
    assert len(recheck(Certificate.load(place), model, TASK).disagreements) == 9
    place.write_bytes(good)
    arrays_path(place).write_bytes(good_arrays)
    rewritten(place, lambda content: content["task"].update(fingerprint="0" * 64))
    assert "task" in recheck(Certificate.load(place), model, TASK).disagreements[0]


def test_a_header_that_lies_about_its_arrays(place: Path) -> None:
    header = json.dumps({"indices": {"dtype": "I64", "shape": [1 << 60], "data_offsets": [0, 8]}}).encode()
    for data in (struct.pack("<Q", len(header)) + header + bytes(8), struct.pack("<Q", 1 << 60) + b"{}", b""):
        arrays_path(place).write_bytes(data)
        content = json.loads(place.read_text())
        content["arrays"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        del content["sha256"]
        place.write_text(json.dumps({**content, "sha256": _content_hash(content)}))
        refused(place, "safetensors")


def test_places_where_none_can_be_written(certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CertificateFileError, match="existing folder"):
        certificate.save(tmp_path / "none" / "c.json")
    with pytest.raises(CertificateFileError, match="ordinary file"):
        certificate.save(tmp_path)
    (tmp_path / "d.json.safetensors").mkdir()
    with pytest.raises(CertificateFileError, match="ordinary file"):
        certificate.save(tmp_path / "d.json")
    (tmp_path / "d.json.safetensors").rmdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    certificate.save(tmp_path / "c.json")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CertificateFileError, match="No space left"):
        certificate.save(tmp_path / "c.json")
    with pytest.raises(CertificateFileError, match="No space left"):
        certificate.save(tmp_path / "new.json")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_link_stays_a_link(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "c.json")
    certificate.save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "real" / "c.json.safetensors").is_file()
    Certificate.load(tmp_path / "link.json")


def test_what_is_no_certificate_is_not_replaced(
    place: Path, certificate: Certificate, model: AttentionOnlyTransformer, tmp_path: Path
) -> None:
    model.save(tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("precious")
    (tmp_path / "table").write_text('{"format": "another"}')
    (tmp_path / "empty").touch()
    (tmp_path / "d.safetensors").write_text("precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("other", "text", "table", "empty", "d", "c.json.safetensors"):
        with pytest.raises(CertificateFileError, match="not replaced") as caught:
            certificate.save(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    arrays_path(place).write_bytes(before["other.safetensors"])  # a certificate whose arrays gave way to a model
    with pytest.raises(CertificateFileError, match="no certificate's arrays"):
        certificate.save(place)
    assert arrays_path(place).read_bytes() == before["other.safetensors"]


def test_certificates_are_replaced_damaged_or_not(place: Path, certificate: Certificate) -> None:
    good = place.read_bytes(), arrays_path(place).read_bytes()
    certificate.save(place)
    place.unlink()  # an interrupted writing leaves the arrays alone
    certificate.save(place)
    arrays_path(place).unlink()
    certificate.save(place)
    place.write_text(place.read_text().replace('"right": ', '"right": 1', 1))
    refused(place, "damaged")
    certificate.save(place)
    assert (place.read_bytes(), arrays_path(place).read_bytes()) == good


def test_a_model_is_not_read_from_a_pipe_but_through_a_link(model: AttentionOnlyTransformer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (AttentionOnlyTransformer.load, load_with_provenance):
        with pytest.raises(ModelFileError, match="pipe: is no ordinary file"):
            read(tmp_path / "pipe")
    model.save(tmp_path / "model.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "model.safetensors")
    assert torch.equal(AttentionOnlyTransformer.load(tmp_path / "link").key, model.key)
