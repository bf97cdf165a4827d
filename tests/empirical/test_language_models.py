"""Language models of the scaling runs: what they compute against torch's modules, what they weigh, what files are refused."""

import math

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from constructions._token_model import ModelFileError
from empirical.decoder import Decoder
from empirical.language_models import LanguageModel, LanguageTransformer, RecurrentModel, load_language_model

VOCAB, CONTEXT, WIDTH, LAYERS = 11, 9, 6, 2


def transformer(**others):
    return LanguageTransformer(VOCAB, CONTEXT, WIDTH, 2, LAYERS, **others)


def recurrent(**others):
    return RecurrentModel(VOCAB, CONTEXT, WIDTH, LAYERS, **others)


MODELS = {"transformer": transformer, "lstm": recurrent}


def some_tokens(batch=5, seed=3):
    return torch.randint(0, VOCAB, (batch, CONTEXT), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_counted_as_the_formulas_say_and_as_they_are(name):
    model = MODELS[name](dtype=torch.float64)
    assert isinstance(model, LanguageModel)
    by_name = {key: value.numel() for key, value in model.named_parameters()}
    m, rest = WIDTH, (2 * VOCAB + (CONTEXT if name == "transformer" else 0)) * WIDTH
    inner = 12 * LAYERS * m * m + 13 * LAYERS * m + 2 * m if name == "transformer" else 8 * LAYERS * m * m + 8 * LAYERS * m
    assert model.non_embedding_parameters == inner and model.total_parameters == inner + rest == sum(by_name.values())
    if name == "lstm":
        assert inner == sum(parameter.numel() for parameter in nn.LSTM(m, m, LAYERS).parameters())


class Products(TorchFunctionMode):
    """Counts two operations for each multiply-add of the matrix products that are called inside; of all scores, masked or not.

    torch's own FlopCounterMode finds the same numbers, and takes seconds to import what it needs.
    """

    flops = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func is torch.einsum:
            indices = args[0].split("->")[0].split(",")
            sizes = {name: size for names, array in zip(indices, args[1:], strict=True)
                     for name, size in zip(names.strip(), array.shape, strict=True)}  # fmt: skip
            self.flops += 2 * math.prod(sizes.values())
        elif func in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__):
            self.flops += 2 * found.numel() * args[0].shape[-1]
        return found


def test_flops_are_those_of_the_products_with_a_causal_half():
    """In front of a mask half of the scores, and one row more, are needed: 4 n m becomes 2 n m."""
    model, tokens = transformer(), some_tokens(1)
    with Products() as counter:
        model.stream(tokens)
    assert counter.flops / CONTEXT - 2 * LAYERS * CONTEXT * WIDTH == model.forward_flops_per_token


def test_flops_of_the_lstm_are_its_matrix_products():
    model = recurrent()
    products = [value.numel() for key, value in model.named_parameters() if key in ("gates_in", "gates_back", "unembedding")]
    assert model.forward_flops_per_token == 2 * sum(products)


def test_the_recurrent_model_is_torch_s_lstm_between_two_tables():
    model, m = recurrent(dtype=torch.float64, seed=5), WIDTH
    theirs = nn.LSTM(m, m, LAYERS, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7, generator=torch.Generator().manual_seed(parameter.numel()))
        for layer in range(LAYERS):
            for ours, name in (("gates_in", "weight_ih"), ("gates_back", "weight_hh"), ("gates_in_bias", "bias_ih"),
                               ("gates_back_bias", "bias_hh")):  # fmt: skip
                getattr(theirs, f"{name}_l{layer}").copy_(getattr(model, ours)[layer])
    tokens = some_tokens()
    expected = theirs(model.token_embedding[tokens])[0] @ model.unembedding.T
    torch.testing.assert_close(model(tokens), expected, rtol=1e-12, atol=1e-12)


def test_the_transformer_is_the_decoder_and_an_unembedding():
    model = transformer(dtype=torch.float64, seed=2)
    decoder = Decoder(WIDTH, CONTEXT, WIDTH, 2, LAYERS, dropout=0.0, embed_tokens=VOCAB, dtype=torch.float64)
    with torch.no_grad():
        for name in decoder.parameter_names:
            getattr(decoder, name).copy_(getattr(model, name))
    tokens = some_tokens() % WIDTH  # the bare decoder has a logit for so many only
    expected = decoder.stream(tokens) @ model.unembedding.T
    torch.testing.assert_close(model.logits_at_every_position(tokens), expected, rtol=1e-12, atol=1e-14)
    assert model.logits_at_every_position(tokens).shape == (5, CONTEXT, VOCAB) and not model(tokens).isnan().any()


@pytest.mark.parametrize("name", MODELS)
def test_no_position_sees_what_comes_behind_it(name):
    model, tokens = MODELS[name](dtype=torch.float64, seed=1), some_tokens()
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % VOCAB
    before, after = model(tokens), model(other)
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=1e-12, atol=1e-14)
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


@pytest.mark.parametrize("name", MODELS)
def test_at_birth_all_tokens_are_nearly_equally_likely(name):
    model, tokens = MODELS[name](), some_tokens(50)
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(VOCAB), rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_files_come_back_as_the_same_class_with_the_same_answers(name, tmp_path):
    model = MODELS[name](seed=4)
    model.save(tmp_path / "model.safetensors", {"from": "here"})
    back, provenance = load_language_model(tmp_path / "model.safetensors")
    assert type(back) is type(model) and provenance == {"from": "here"} and back.arguments() == model.arguments()
    assert torch.equal(back.logits_at_every_position(some_tokens()), model.logits_at_every_position(some_tokens()))


def test_files_of_other_models_and_damaged_ones_are_refused(tmp_path):
    place = tmp_path / "model.safetensors"
    Decoder(4, 5, 6, 2, 1).save(place)
    with pytest.raises(ModelFileError, match="is no language model"):
        load_language_model(place)
    recurrent().save(place)
    place.write_bytes(place.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        load_language_model(place)
    with pytest.raises(ModelFileError, match="no such file"):
        load_language_model(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LanguageTransformer(VOCAB, CONTEXT, 5, 2, 1), "embed_dim = 5: must be a multiple of num_heads = 2"),
        (lambda: LanguageTransformer(VOCAB, CONTEXT, 0, 1, 1), "embed_dim = 0"),
        (lambda: RecurrentModel(VOCAB, CONTEXT, 0, 1), "embed_dim = 0"),
        (lambda: RecurrentModel(VOCAB, CONTEXT, 4, 0), "num_layers = 0"),
        (lambda: Decoder(VOCAB, CONTEXT, 5, 1, 1), "embed_dim = 5: must be an integer >= 11"),
        (lambda: transformer()(some_tokens() + 2), "has the token"),
        (lambda: recurrent()(some_tokens()[:, :4]), "tokens has shape"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make, named):
    with pytest.raises(ValueError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)
