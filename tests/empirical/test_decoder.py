"""The decoder against the sizes published, and against a plain implementation of the same model written here."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from constructions import _token_model
from constructions.transformer import Transformer
from empirical import decoder
from empirical.decoder import Decoder, load_decoder_with_provenance

SIZES = {"vocab_size": 7, "seq_len": 6, "embed_dim": 12, "num_heads": 3, "num_layers": 2}


def shaken(seed=0, **changes):
    """A decoder in float64 whose every parameter, biases and scales too, is random and of size about one."""
    model = Decoder(**{**SIZES, **changes}, dtype=torch.float64, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return model


def some_tokens(model, batch=4, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(model.vocab_size, size=(batch, model.seq_len)))


PER_LAYER = set(decoder.LAYER_PARAMETERS)


def plain_logits(model, tokens):
    """One sequence, position by position and head by head, in numpy; the attention weights beside the logits."""
    weight = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    m, heads = model.embed_dim, model.num_heads
    width = m // heads

    def norm(row, scale, shift):
        centred = row - sum(row) / m
        return centred / math.sqrt(sum(centred**2) / m + 1e-5) * scale + shift

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    stream = [weight["token_embedding"][token] + weight["position_embedding"][place] for place, token in enumerate(tokens)]
    patterns = np.zeros((model.num_layers, heads, len(stream), len(stream)))
    for layer in range(model.num_layers):
        at = min(layer, 2) if model.looped else layer
        w = {name: weight[name][at] for name in PER_LAYER}
        read = [norm(row, w["attention_scale"], w["attention_shift"]) for row in stream]
        read = [row @ w["attention_in"] + w["attention_in_bias"] for row in read]
        added = []
        for i in range(len(stream)):
            mixed = []
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                query = read[i][:m][own]
                scores = [query @ read[j][m : 2 * m][own] / math.sqrt(width) for j in range(i + 1)]
                share = [math.exp(score - max(scores)) for score in scores]
                patterns[layer, head, i, : i + 1] = np.array(share) / sum(share)
                mixed.append(sum(patterns[layer, head, i, j] * read[j][2 * m :][own] for j in range(i + 1)))
            added.append(np.concatenate(mixed) @ w["attention_out"] + w["attention_out_bias"])
        stream = [row + more for row, more in zip(stream, added, strict=True)]
        wide = [gelu(norm(row, w["mlp_scale"], w["mlp_shift"]) @ w["mlp_in"] + w["mlp_in_bias"]) for row in stream]
        stream = [row + hidden @ w["mlp_out"] + w["mlp_out_bias"] for row, hidden in zip(stream, wide, strict=True)]
    return np.stack([norm(row, weight["final_scale"], weight["final_shift"]) for row in stream]), patterns


@pytest.mark.parametrize(
    ("width", "heads", "counts"),
    [
        (128, 4, (413_440, 611_712, 809_984, 1_008_256, 1_206_528)),
        (256, 8, (1_613_312, 2_403_072, 3_192_832, 3_982_592, 4_772_352)),
    ],
)
def test_as_many_parameters_as_the_published_models(width, heads, counts):
    rows = {"embed_tokens": 30, "embed_positions": 100}
    models = [Decoder(23, 99, width, heads, layers, **rows, device="meta") for layers in range(2, 7)]
    assert tuple(model.num_parameters for model in models) == counts
    assert [12 * n * width**2 + 13 * n * width + 2 * width + 130 * width for n in range(2, 7)] == list(counts)


@pytest.mark.parametrize("changes", [{}, {"num_layers": 1}, {"num_layers": 5, "looped": True}, {"num_heads": 1, "seq_len": 1}])
def test_logits_and_attention_are_those_of_the_plain_implementation(changes):
    model = shaken(**changes)
    tokens = some_tokens(model)
    expected = [plain_logits(model, sequence.tolist()) for sequence in tokens]
    # Some 10^3 float64 operations on numbers up to 10^2: rounding stays below 10^3 * 2^-53 * 10^2 = 1e-11.
    np.testing.assert_allclose(model.logits_at_every_position(tokens).numpy(), [each[0] for each in expected], rtol=0, atol=1e-11)
    maps = model.attention_maps(tokens).numpy()
    np.testing.assert_allclose(maps, np.stack([each[1] for each in expected], axis=1), rtol=0, atol=1e-11)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_sits_on_the_embedding_on_attention_weights_and_on_both_branches(rate):
    model = shaken(dropout=rate, num_heads=2).train()
    tokens = some_tokens(model, batch=8)
    m, width = model.embed_dim, model.head_dim
    hidden = torch.ones(model.seq_len, model.seq_len, dtype=torch.bool).triu(1)

    def split(part):
        return part.reshape(*part.shape[:2], model.num_heads, width).transpose(1, 2)

    torch.manual_seed(5)
    flow = functional.dropout(model.token_embedding[tokens] + model.position_embedding, rate)
    for layer in range(model.num_layers):
        w = {name: getattr(model, name)[layer] for name in PER_LAYER}
        read = functional.layer_norm(flow, (m,), w["attention_scale"], w["attention_shift"], 1e-5)
        queries, keys, values = map(split, (read @ w["attention_in"] + w["attention_in_bias"]).split(m, dim=-1))
        scores = (queries @ keys.transpose(-1, -2) / math.sqrt(width)).masked_fill(hidden, -torch.inf)
        mixed = functional.dropout(scores.softmax(-1), rate) @ values
        mixed = mixed.transpose(1, 2).reshape(flow.shape) @ w["attention_out"] + w["attention_out_bias"]
        flow = flow + functional.dropout(mixed, rate)
        read = functional.layer_norm(flow, (m,), w["mlp_scale"], w["mlp_shift"], 1e-5)
        added = functional.gelu(read @ w["mlp_in"] + w["mlp_in_bias"], approximate="tanh") @ w["mlp_out"] + w["mlp_out_bias"]
        flow = flow + functional.dropout(added, rate)
    expected = functional.layer_norm(flow, (m,), model.final_scale, model.final_shift, 1e-5)
    torch.manual_seed(5)
    torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-11)


def test_measured_without_dropout_in_either_mode_and_the_mode_stays():
    model = shaken(dropout=0.5)
    tokens = some_tokens(model)
    expected, maps = model.eval()(tokens), model.attention_maps(tokens)
    for mode in (True, False):
        model.train(mode)
        before = torch.random.get_rng_state()
        logits = model.logits_at_every_position(tokens)
        assert torch.equal(logits, expected) and not logits.requires_grad
        assert torch.equal(model.attention_maps(tokens), maps)
        assert model.training is mode
        assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(model.train()(tokens), expected)


def test_the_mode_stays_when_tokens_are_refused_and_when_torch_fails(monkeypatch):
    model = shaken(dropout=0.5).train()
    with pytest.raises(ValueError, match="tokens has the token 7"):
        model.logits_at_every_position(torch.full((1, 6), 7))
    monkeypatch.setattr(model, "stream", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.logits_at_every_position(some_tokens(model))
    assert model.training


def test_long_batches_in_parts_give_the_same(monkeypatch):
    model = shaken()
    tokens = some_tokens(model, batch=7)
    whole, parts = model.logits_at_every_position(tokens), list[int]()
    monkeypatch.setattr(decoder, "CHUNK_ELEMENTS", 2 * model.seq_len * model.shape.mlp_width)
    stream = model.stream
    monkeypatch.setattr(model, "stream", lambda part: parts.append(len(part)) or stream(part))
    torch.testing.assert_close(model.logits_at_every_position(tokens), whole, rtol=0, atol=1e-11)
    assert parts == [2, 2, 2, 1]


def test_no_position_sees_a_later_one():
    model = shaken(num_layers=3)
    tokens = some_tokens(model, batch=1)
    logits = model.logits_at_every_position(tokens)
    for place in range(model.seq_len):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % model.vocab_size
        difference = (model.logits_at_every_position(changed) - logits).abs().amax(-1)[0]
        assert not difference[:place].any()
        assert difference[place:].gt(1e-9).all()  # and every later one sees it


def test_attention_rows_are_causal_distributions():
    model = shaken(num_layers=3)
    maps = model.attention_maps(some_tokens(model, batch=5))
    assert maps.shape == (3, 5, 3, 6, 6)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 5, 3, 6, dtype=torch.float64), rtol=0, atol=1e-15 * 6)
    assert not maps.triu(1).any()


def test_a_looped_decoder_is_one_whose_layers_from_the_third_on_are_copies():
    looped, plain = shaken(num_layers=5, looped=True), shaken(num_layers=5)
    with torch.no_grad():
        for name in decoder.PARAMETER_NAMES:
            own = getattr(looped, name)
            getattr(plain, name).copy_(own[[0, 1, 2, 2, 2]] if name in PER_LAYER else own)
    tokens = some_tokens(looped)
    assert torch.equal(looped.logits_at_every_position(tokens), plain.logits_at_every_position(tokens))
    assert looped.attention_maps(tokens).shape[0] == looped.num_layers == 5
    targets = some_tokens(looped, seed=2).flatten()
    for model in (looped, plain):
        model.eval()
        functional.cross_entropy(model(tokens).flatten(0, 1), targets).backward()
    torch.testing.assert_close(looped.mlp_in.grad[2], plain.mlp_in.grad[2:].sum(0), rtol=1e-9, atol=1e-12)
    m = looped.embed_dim
    assert plain.num_parameters - looped.num_parameters == 2 * (12 * m**2 + 13 * m)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_up_to_three_layers_there_is_nothing_to_share(num_layers):
    looped, plain = (Decoder(**{**SIZES, "num_layers": num_layers}, looped=each) for each in (True, False))
    assert looped.num_parameters == plain.num_parameters
    tokens = some_tokens(plain)
    assert torch.equal(looped.logits_at_every_position(tokens), plain.logits_at_every_position(tokens))


def test_initial_weights_are_normal_with_the_deviations_of_the_kind():
    model = Decoder(20, 64, 64, 4, 8, seed=3)
    deviations = {"token_embedding": 0.02, "position_embedding": 0.02, "attention_in": 0.02, "mlp_in": 0.02}
    deviations |= {"attention_out": 0.02 / 4, "mlp_out": 0.02 / 4}  # sqrt(2 * 8) = 4
    for name, weights in model.named_parameters():
        parameter = weights.detach()
        if name in deviations:
            count, deviation = parameter.numel(), deviations[name]
            # Five standard errors of a mean and of a deviation of so many normal numbers.
            assert abs(float(parameter.mean())) < 5 * deviation / math.sqrt(count), name
            assert abs(float(parameter.std()) - deviation) < 5 * deviation / math.sqrt(2 * count), name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("_scale")))), name


def test_weights_are_a_function_of_the_seed_and_torch_s_generator_is_left_alone():
    before = torch.random.get_rng_state()
    first, same, other = Decoder(**SIZES, seed=4), Decoder(**SIZES, seed=4), Decoder(**SIZES, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.mlp_in, same.mlp_in) and not torch.equal(first.mlp_in, other.mlp_in)


def test_rows_that_no_token_has_get_no_gradient():
    model = shaken(embed_tokens=10, embed_positions=9).eval()
    functional.cross_entropy(model(some_tokens(model)).flatten(0, 1), some_tokens(model, seed=2).flatten()).backward()
    assert model.token_embedding.shape[0] == 10 and model.position_embedding.shape[0] == 9
    assert not model.token_embedding.grad[7:].any() and not model.position_embedding.grad[6:].any()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in model.parameters())


@pytest.mark.parametrize(
    "changes", [{}, {"looped": True, "num_layers": 4, "embed_tokens": 9, "embed_positions": 8, "dropout": 0.25}]
)
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, changes):
    model = shaken(**changes)
    model.save(tmp_path / "model.safetensors", {"from": "a test"})
    loaded, provenance = load_decoder_with_provenance(tmp_path / "model.safetensors")
    assert loaded.arguments() == model.arguments() and provenance == {"from": "a test"}
    assert all(torch.equal(getattr(loaded, name), getattr(model, name)) for name in decoder.PARAMETER_NAMES)
    assert loaded.dtype == torch.float64
    tokens = some_tokens(model)
    assert torch.equal(loaded.logits_at_every_position(tokens), model.logits_at_every_position(tokens))
    single = model.to_dtype(torch.float32)
    assert single.dtype == torch.float32 and single.looped == model.looped


def test_files_of_other_models_and_of_other_shapes_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    Transformer(7, 6, 12, 3, 4).save(path)
    with pytest.raises(_token_model.ModelFileError, match="not a headcount model"):
        Decoder.load(path)
    shaken().save(path)
    with pytest.raises(_token_model.ModelFileError):
        Transformer.load(path)
    tensors, metadata = load_file(path), {"format": decoder.FILE_FORMAT, "shape": json.dumps(shaken(seq_len=5).arguments())}
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(_token_model.ModelFileError, match="position_embedding has shape"):
        Decoder.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 6}, "embed_dim = 6: must be an integer >= 7"),
        ({"embed_dim": 13}, "embed_dim = 13: must be a multiple of num_heads = 3"),
        ({"num_heads": 0}, "num_heads = 0: must be an integer >= 1"),
        ({"num_layers": 0}, "num_layers = 0: must be an integer >= 1"),
        ({"seq_len": 0}, "seq_len = 0: must be an integer >= 1"),
        ({"vocab_size": 0}, "vocab_size = 0: must be an integer >= 1"),
        ({"dropout": 1.0}, r"dropout = 1.0: must be a number in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout = nan: must be a number in \[0, 1\)"),
        ({"embed_tokens": 6}, "embed_tokens = 6: must be an integer >= 7"),
        ({"embed_positions": 5}, "embed_positions = 5: must be an integer >= 6"),
        ({"seed": -1}, "seed = -1: must be an integer >= 0"),
        ({"dtype": torch.int64}, "dtype = torch.int64: a floating-point type is legal"),
    ],
)
def test_sizes_that_are_none_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Decoder(**{**SIZES, **changes})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "changes", [{"looped": 1}, {"dropout": "0.1"}, {"dropout": True}, {"num_layers": 2.0}, {"embed_dim": None}]
)
def test_arguments_of_wrong_types_are_refused_in_one_line(changes):
    with pytest.raises(ValueError, match=f"^{next(iter(changes))} = [^\n]*$"):
        Decoder(**{**SIZES, **changes})


@pytest.mark.parametrize("tokens", [torch.zeros(2, 5, dtype=torch.long), torch.full((2, 6), 7), torch.full((2, 6), -1)])
@pytest.mark.parametrize("method", ["forward", "logits_at_every_position", "attention_maps"])
def test_tokens_that_are_none_are_refused(tokens, method):
    with pytest.raises(ValueError, match=r"^tokens has "):
        getattr(shaken(), method)(tokens)


def test_an_empty_batch_has_empty_logits():
    model = shaken()
    assert model.logits_at_every_position(torch.zeros(0, 6, dtype=torch.long)).shape == (0, 6, 12)
    assert model.attention_maps(torch.zeros(0, 6, dtype=torch.long)).shape == (2, 0, 3, 6, 6)
