"""The transformer of several layers: the one-layer model where it has one layer, plain equations otherwise, files, bad input."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from constructions import AttentionOnlyTransformer, ModelFileError, Transformer, logit_margins
from constructions.transformer import FILE_FORMAT, PARAMETER_NAMES, load_transformer_with_provenance
from empirical.capacity import measure
from theory.memorization import effective_parameters, parameter_count
from theory.shapes import TransformerShape
from theory.tasks import AssociationTask

SIZES = {"vocab_size": 5, "seq_len": 3, "embed_dim": 3, "num_heads": 2, "head_dim": 2, "num_layers": 2, "mlp_width": 4}


def filled(model: Any, scale: float = 1.0, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def every_sequence(vocab_size: int, seq_len: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(vocab_size)] * seq_len).reshape(-1, seq_len)


def activated(hidden: Tensor, kind: str) -> Tensor:
    return hidden.clamp(min=0) if kind == "relu" else hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))


def plain_logits(model: Transformer, tokens: list[int]) -> list[Tensor]:
    """Logits after every position of one sequence, vector by vector."""
    place = model.position_embedding
    x = [model.token_embedding[token] for token in tokens]
    if model.positions == "residual":
        x = [row + place[i] for i, row in enumerate(x)]
    for layer in range(model.num_layers):
        u = [row + place[i] for i, row in enumerate(x)] if model.positions == "attention" else x
        added = []
        for i in range(len(tokens)):
            total = torch.zeros(model.embed_dim, dtype=torch.float64)
            for head in range(model.num_heads):
                query = u[i] @ model.query[layer, head]
                scores = [float(model.score_scale * query @ (u[j] @ model.key[layer, head])) for j in range(i + 1)]
                shares = [math.exp(score - max(scores)) for score in scores]
                if model.attention == "relu":
                    shares, whole = [max(score, 0.0) for score in scores], 1.0
                else:
                    whole = sum(shares)
                for j, share in enumerate(shares):
                    total = total + share / whole * (u[j] @ model.value[layer, head] @ model.output[layer, head])
            added.append(total)
        x = [row + more for row, more in zip(x, added, strict=True)]
        if model.mlp_width:
            hidden = [row @ model.mlp_in[layer] + model.mlp_bias[layer] for row in x]
            after = [activated(h, model.mlp_activation) for h in hidden]
            for k in range(model.mlp_layers - 1):
                deeper = [h @ model.mlp_hidden[layer, k] + model.mlp_hidden_bias[layer, k] for h in after]
                after = [activated(h, model.mlp_activation) for h in deeper]
            x = [row + h @ model.mlp_out[layer] for row, h in zip(x, after, strict=True)]
    return [model.unembedding @ row for row in x]


@pytest.mark.parametrize("positions", ["residual", "attention"])
@pytest.mark.parametrize(
    "change",
    [
        {}, {"mlp_width": 0}, {"num_heads": 0}, {"head_dim": 5, "num_layers": 3}, {"seq_len": 1}, {"attention": "relu"},
        {"mlp_activation": "relu", "mlp_layers": 3}, {"attention": "relu", "mlp_activation": "relu", "mlp_layers": 2},
    ],
)  # fmt: skip
def test_logits_are_those_of_the_plain_equations(positions: Any, change: dict[str, Any]) -> None:
    model = filled(Transformer(**{**SIZES, **change}, positions=positions, score_scale=0.7), 0.8)
    tokens = every_sequence(model.vocab_size, model.seq_len)[::3]
    with torch.no_grad():
        everywhere, last = model(tokens, all_positions=True), model(tokens)
        expected = torch.stack([torch.stack(plain_logits(model, row.tolist())) for row in tokens])
    assert (everywhere - expected).abs().max() < 1e-12 * expected.abs().max()
    assert (last - expected[:, -1]).abs().max() < 1e-12 * expected.abs().max()


@settings(max_examples=30)
@given(
    sizes=st.tuples(st.integers(2, 6), st.integers(1, 3), st.integers(1, 4), st.integers(0, 4), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_one_layer_without_mlp_is_the_attention_only_transformer(sizes: tuple[int, ...], seed: int) -> None:
    """Same arrays, same logits: the attention of both, one on samples and one on tokens, is one mathematics."""
    plain, deep = filled(AttentionOnlyTransformer(*sizes), 1.0, seed), Transformer(*sizes)
    with torch.no_grad():
        for name in ("token_embedding", "position_embedding", "unembedding"):
            getattr(deep, name).copy_(getattr(plain, name))
        for name in ("query", "key", "value", "output"):
            getattr(deep, name)[0].copy_(getattr(plain, name))
    tokens = every_sequence(sizes[0], sizes[1])
    for everywhere in (False, True):
        with torch.no_grad():
            ours, theirs = deep(tokens, all_positions=everywhere), plain(tokens, all_positions=everywhere)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-12 * max(1.0, float(theirs.abs().max()))
    nominal = sum(parameter.numel() for parameter in deep.parameters())
    assert nominal == parameter_count(*sizes)


@pytest.mark.parametrize("positions", ["residual", "attention"])
def test_later_tokens_change_no_earlier_logits(positions: Any) -> None:
    model = filled(Transformer(**{**SIZES, "seq_len": 4}, positions=positions))
    tokens = torch.randint(5, (64, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(tokens, all_positions=True)
        for position in range(1, 4):
            changed = tokens.clone()
            changed[:, position:] = (changed[:, position:] + 1) % 5
            after = model(changed, all_positions=True)
            assert torch.equal(after[:, :position], before[:, :position])
            assert (after[:, position] != before[:, position]).any(dim=1).all()


def test_long_batches_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = filled(Transformer(**SIZES)), every_sequence(5, 3)
    whole = model(tokens)
    for elements in (1, 100):
        monkeypatch.setattr("constructions.transformer.CHUNK_ELEMENTS", elements)
        assert torch.allclose(model(tokens), whole, rtol=0, atol=1e-12)
    assert model(tokens[:0]).shape == (0, 5)
    assert model(tokens[:0], all_positions=True).shape == (0, 3, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("change", [{}, {"num_heads": 0}, {"mlp_width": 0}])
def test_files_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype, change: dict[str, int]) -> None:
    sizes = {**SIZES, **change}
    model = filled(Transformer(**sizes, positions="attention", score_scale=0.1, dtype=dtype), 0.3)
    model.save(tmp_path / "m.safetensors", {"seed": "3"})
    back, provenance = load_transformer_with_provenance(tmp_path / "m.safetensors")
    assert provenance == {"seed": "3"} and back.dtype == dtype and back.shape == TransformerShape(*list(sizes.values())[2:])
    assert (back.positions, back.score_scale) == ("attention", 0.1)
    for name in PARAMETER_NAMES:
        assert torch.equal(getattr(back, name), getattr(model, name))
    tokens = torch.randint(0, 5, (20, 3))
    assert torch.equal(back(tokens), model(tokens))
    assert torch.equal(Transformer.load(tmp_path / "m.safetensors")(tokens), model(tokens))


def test_files_of_the_usual_kind_are_as_they_were_and_others_hold_their_options(tmp_path: Path) -> None:
    usual, other = Transformer(**SIZES), filled(Transformer(**SIZES, attention="relu", mlp_activation="relu", mlp_layers=3))
    assert set(usual.arguments()) == {*SIZES, "positions", "score_scale"} and len(dict(usual.named_parameters())) == 10
    other.save(tmp_path / "m")
    back, tokens = Transformer.load(tmp_path / "m"), torch.randint(0, 5, (20, 3))
    assert (back.attention, back.mlp_activation, back.mlp_layers) == ("relu", "relu", 3)
    assert torch.equal(back(tokens), other(tokens)) and torch.equal(other.to_dtype(torch.float64)(tokens), other(tokens))
    assert other.mlp_hidden.shape == (2, 2, 4, 4) and bool(other.mlp_hidden.any())
    right = {"format": FILE_FORMAT, "shape": json.dumps(other.arguments() | {"mlp_layers": 2}), "provenance": "{}"}
    save_file({name: part.detach() for name, part in other.named_parameters()}, tmp_path / "x", right)
    with pytest.raises(ModelFileError, match="mlp_hidden has shape"):
        Transformer.load(tmp_path / "x")
    maps = other.attention_maps(tokens)
    assert bool((maps >= 0).all()) and bool((maps.sum(-1) == 0).any()) and bool((maps.sum(-1) > 1.1).any())


def test_damaged_files_and_those_of_other_models_are_refused_in_one_line(tmp_path: Path) -> None:
    model, path = filled(Transformer(**SIZES)), tmp_path / "m.safetensors"
    model.save(path)
    whole = path.read_bytes()
    tensors = {name: getattr(model, name).detach() for name in PARAMETER_NAMES}
    options = {"positions": "residual", "score_scale": 1.0}
    right = {"format": FILE_FORMAT, "shape": json.dumps({**SIZES, **options}), "provenance": "{}"}

    def written(tensors: dict[str, Tensor], **change: str) -> bytes:
        save_file(tensors, tmp_path / "x", {**right, **change})
        return (tmp_path / "x").read_bytes()

    def with_shape(**change: object) -> bytes:
        return written(tensors, shape=json.dumps({**SIZES, **options, **change}))

    AttentionOnlyTransformer(5, 2, 3, 4, 2).save(tmp_path / "plain")
    damaged = {
        "empty": b"", "half": whole[: len(whole) // 2], "one byte short": whole[:-1], "longer": whole + b"\0",
        "one layer": (tmp_path / "plain").read_bytes(), "foreign": written(tensors, format="something else"),
        "more layers": with_shape(num_layers=3), "no layer": with_shape(num_layers=0), "wider": with_shape(mlp_width=5),
        "huge": with_shape(num_layers=10**15), "absurd": with_shape(num_layers=10**30), "no place": with_shape(positions="above"),
        "zero scale": with_shape(score_scale=0.0), "text scale": with_shape(score_scale="1"), "unknown": with_shape(norm="layer"),
        "a tensor too few": written({name: tensors[name] for name in PARAMETER_NAMES[1:]}),
        "mixed types": written({**tensors, "key": tensors["key"].float()}),
        "transposed": written({**tensors, "mlp_in": tensors["mlp_in"].transpose(1, 2).contiguous()}),
        "provenance is no table": written(tensors, provenance="[1]"),
    }  # fmt: skip
    damaged_path = tmp_path / "damaged"
    for name, content in damaged.items():
        damaged_path.write_bytes(content)
        with pytest.raises(ModelFileError) as error:
            Transformer.load(damaged_path)
        assert str(damaged_path) in str(error.value) and "\n" not in str(error.value), name
    with pytest.raises(ModelFileError):
        AttentionOnlyTransformer.load(path)
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelFileError):
            Transformer.load(place)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vocab_size": 0}, "vocab_size = 0"), ({"seq_len": 0}, "seq_len = 0"), ({"num_layers": 0}, "num_layers = 0"),
        ({"num_layers": 2.0}, "num_layers = 2.0"), ({"mlp_width": -1}, "mlp_width = -1"), ({"num_heads": -1}, "num_heads = -1"),
        ({"positions": "none"}, "positions = 'none'"), ({"score_scale": 0}, "score_scale = 0"),
        ({"score_scale": math.inf}, "score_scale = inf"), ({"score_scale": math.nan}, "score_scale = nan"),
        ({"score_scale": True}, "score_scale = True"), ({"dtype": torch.int64}, "dtype = torch.int64"),
        ({"attention": "linear"}, "attention = 'linear'"), ({"mlp_activation": "tanh"}, "mlp_activation = 'tanh'"),
        ({"mlp_layers": 0}, "mlp_layers = 0"), ({"mlp_layers": 1.5}, "mlp_layers = 1.5"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as error:
        Transformer(**{**SIZES, **change})
    assert named in str(error.value) and "\n" not in str(error.value)


@pytest.mark.bad_input
def test_bad_tokens_are_named() -> None:
    model = Transformer(**SIZES)
    for tokens, named in (
        (torch.zeros(2, 3), "dtype torch.float32"), (torch.zeros(2, 3, dtype=torch.bool), "dtype torch.bool"),
        (torch.zeros(2, 2, dtype=torch.long), "(2, 2)"), (torch.zeros(3, dtype=torch.long), "(3,)"),
        (torch.full((1, 3), 5), "token 5"), (torch.full((1, 3), -1), "token -1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="tokens has") as error:
            model(tokens)
        assert named in str(error.value)


def test_measure_takes_several_layers_and_leaves_the_cross_entropy_out_when_told() -> None:
    task = AssociationTask.complete(5, 3, seed=0)
    model = filled(Transformer(**SIZES))
    found, short = measure(model, task), measure(model, task, cross_entropy=False)
    with torch.no_grad():
        logits, labels = model(torch.tensor(task.sequences)), torch.tensor(task.targets)
    assert found.held == short.held == int((logits.argmax(1) == labels).sum()) == int((logit_margins(model, task) > 0).sum())
    assert found.cross_entropy == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)))
    for name in ("cross_entropy", "best_temperature", "cross_entropy_at_best_temperature", "bits_by_cross_entropy"):
        assert math.isnan(getattr(short, name)) and not math.isnan(getattr(found, name)), name
    same = ("margin_min", "margin_median", "margin_max", "memory", "nominal_parameters", "bits_per_parameter")
    assert all(getattr(found, name) == getattr(short, name) for name in same)
    assert found.nominal_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.effective_parameters is None and math.isnan(found.bits_per_effective_parameter)
    told = measure(model, task, nominal_parameters=10, effective_parameters=7, cross_entropy=False)
    assert (told.nominal_parameters, told.effective_parameters) == (10, 7)
    assert told.bits_per_effective_parameter == pytest.approx(told.held * math.log2(5) / 7)
    plain = measure(filled(AttentionOnlyTransformer(5, 3, 3, 2, 2)), task, cross_entropy=False)
    assert plain.nominal_parameters == parameter_count(5, 3, 3, 2, 2)
    assert plain.effective_parameters == effective_parameters(5, 3, 3, 2, 2)
