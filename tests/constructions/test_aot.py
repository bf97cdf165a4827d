"""The model as an object: sizes, bad input, and files that come back bit for bit or are refused."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from constructions import AttentionOnlyTransformer, ModelFileError, load_with_provenance
from constructions.aot import FILE_FORMAT, PARAMETER_NAMES
from theory.memorization import parameter_count
from theory.shapes import AttentionShape
from theory.strategies import attention_shapes

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def filled(model: AttentionOnlyTransformer) -> AttentionOnlyTransformer:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    filled(AttentionOnlyTransformer(5, 2, 3, 4, 2)).save(path, {"source": "a test"})
    return path


@given(shape=attention_shapes(wide_heads=True), vocab_size=st.integers(2, 9), seq_len=st.integers(1, 4))
def test_arrays_hold_the_parameters_the_paper_counts(shape: AttentionShape, vocab_size: int, seq_len: int) -> None:
    model = AttentionOnlyTransformer(vocab_size, seq_len, shape.embed_dim, shape.num_heads, shape.head_dim)
    counted = parameter_count(vocab_size, seq_len, shape.embed_dim, shape.num_heads, shape.head_dim)
    assert sum(parameter.numel() for parameter in model.parameters()) == counted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", [0, 3])
def test_files_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype, heads: int) -> None:
    model = filled(AttentionOnlyTransformer(7, 3, 4, heads, 2, dtype=dtype))
    path = tmp_path / "m.safetensors"
    model.save(path, {"task": "abc", "seed": "3"})
    back, provenance = load_with_provenance(path)
    assert provenance == {"task": "abc", "seed": "3"}
    assert back.shape == model.shape and back.dtype == dtype
    for name in PARAMETER_NAMES:
        assert torch.equal(getattr(back, name), getattr(model, name))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    tokens = torch.randint(0, 7, (20, 3))
    assert torch.equal(back(tokens), model(tokens))


def test_damaged_files_are_refused_in_one_line(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    model = AttentionOnlyTransformer.load(saved)
    tensors = {name: getattr(model, name).detach() for name in PARAMETER_NAMES}
    sizes = {"vocab_size": 5, "seq_len": 2, "embed_dim": 3, "num_heads": 4, "head_dim": 2}
    right = {"format": FILE_FORMAT, "shape": json.dumps(sizes), "provenance": "{}"}

    def written(**change: object) -> bytes:
        save_file({**tensors, **change.get("tensors", {})}, tmp_path / "x", {**right, **change.get("metadata", {})})  # type: ignore[dict-item]
        return (tmp_path / "x").read_bytes()

    damaged = {
        "empty": b"",
        "text": b"hello, this is no model at all\n",
        "half": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "longer": whole + b"\0",
        "foreign": written(metadata={"format": "something else"}),
        "no shape": written(metadata={"shape": ""}),
        "shape of another": written(metadata={"shape": json.dumps({**sizes, "num_heads": 5})}),
        "huge shape": written(metadata={"shape": json.dumps({**sizes, "num_heads": 10**15})}),
        "absurd shape": written(metadata={"shape": json.dumps({**sizes, "num_heads": 10**30})}),
        "negative shape": written(metadata={"shape": json.dumps({**sizes, "embed_dim": -3})}),
        "shape is a list": written(metadata={"shape": "[1, 2]"}),
        "extra size": written(metadata={"shape": json.dumps({**sizes, "layers": 5})}),
        "provenance is no table": written(metadata={"provenance": "[1]"}),
        "provenance is no JSON": written(metadata={"provenance": "{"}),
        "whole numbers": written(tensors={name: value.to(torch.int32) for name, value in tensors.items()}),
        "mixed types": written(tensors={"key": tensors["key"].float()}),
        "another tensor": written(tensors={"bias": torch.zeros(3)}),
    }
    for name, content in damaged.items():
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelFileError) as error:
            AttentionOnlyTransformer.load(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value), name
    for place in (tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(ModelFileError):
            AttentionOnlyTransformer.load(place)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("constructions._token_model.save_file", full)
    with pytest.raises(ModelFileError, match="No space left"):
        AttentionOnlyTransformer(5, 2, 3, 4, 2).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]
    for place in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(ModelFileError):
            AttentionOnlyTransformer(5, 2, 3, 4, 2).save(place)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (torch.tensor([[0, 5]]), "token 5"),
        (torch.tensor([[0, -1]]), "token -1"),
        (torch.tensor([[0, 1, 2]]), r"shape \(1, 3\)"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
        (torch.tensor([[0.0, 1.0]]), "float32"),
        (torch.tensor([[True, False]]), "bool"),
    ],
)
def test_bad_tokens_are_named(tokens: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AttentionOnlyTransformer(5, 2, 3, 4, 2)(tokens)


@pytest.mark.parametrize("sizes", [(0, 2, 3, 4, 2), (5, 0, 3, 4, 2), (5, 2, 0, 4, 2), (5, 2, 3, -1, 2), (5, 2, 3, 4, 0)])
def test_bad_sizes_are_refused(sizes: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"legal|must be"):
        AttentionOnlyTransformer(*sizes)


def test_a_whole_number_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="floating-point"):
        AttentionOnlyTransformer(5, 2, 3, 4, 2, dtype=torch.int64)


def test_pipes_are_refused_and_links_stay_links(tmp_path: Path) -> None:
    model = AttentionOnlyTransformer(5, 2, 3, 4, 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="ordinary file"):
        model.save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and AttentionOnlyTransformer.load(tmp_path / "real").num_heads == 4
