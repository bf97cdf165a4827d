"""Built hop models against the definition: all small strings, adversarial ones, every k, every depth, every head's role."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import hops
from constructions._token_model import ModelFileError
from constructions.hops import HopConstruction, HopRangeError, build
from constructions.transformer import Transformer
from theory.hop_strings import random_strings
from theory.hops import find, find_by_definition, hop, layers_needed, reach
from theory.strategies import hop_strings

VARIANTS = [("A", "quadratic"), ("B", "quadratic"), ("C", "quadratic"), ("A", "circle"), ("B", "circle")]
MULTI_TASK = [variant for variant in VARIANTS if variant[0] != "C"]
DTYPES = [torch.float32, torch.float64]


@functools.cache
def built_model(recipe="A", encoding="quadratic", dtype=torch.float64, num_hops=None, max_hops=None, vocab_size=3, seq_len=6):
    sizes = {"vocab_size": vocab_size, "seq_len": seq_len}
    return build(num_hops, max_hops=max_hops, recipe=recipe, encoding=encoding, dtype=dtype, **sizes)


def all_strings(vocab_size, seq_len):
    return np.array(list(itertools.product(range(vocab_size), repeat=seq_len)))


def tokens_of(built, symbols, num_hops):
    return torch.from_numpy(built.task.tokens(symbols, num_hops))


def test_the_worked_example():
    symbols = np.array(["abcde".index(letter) for letter in "baebcabebdea"])
    answers = {1: "~~~a~ecbe~bb", 2: "~~~~~~~ab~ec", 3: "~~~~~~~~a~b~", 4: "~~~~~~~~~~a~"}
    for recipe, encoding in VARIANTS:
        for k, answer in answers.items():
            built = built_model(recipe, encoding, num_hops=k, vocab_size=5, seq_len=12)
            assert "".join("abcde~"[symbol] for symbol in built.predict(symbols)) == answer


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_string_of_six_symbols_out_of_three(recipe, encoding, dtype):
    strings = all_strings(3, 6)
    for k in (1, 2, 3, 4, 6) if dtype == torch.float32 else (3, 4):
        built = built_model(recipe, encoding, dtype, num_hops=k)
        found = built.model.logits_at_every_position(tokens_of(built, strings, k)).argmax(-1)
        assert (found.numpy() == built.task.targets(strings, k)).all()


@pytest.mark.parametrize(("recipe", "encoding"), MULTI_TASK)
@pytest.mark.parametrize("max_hops", [0, 1, 7, 8, 9])
def test_models_that_read_k_serve_every_k_in_one_batch(recipe, encoding, max_hops):
    built = built_model(recipe, encoding, torch.float32, max_hops=max_hops)
    strings = np.concatenate([random_strings(3, 6, 20, repeats=True, generator=np.random.default_rng(0))] * (max_hops + 1))
    asked = np.repeat(np.arange(max_hops + 1), 20)
    found = built.model.logits_at_every_position(tokens_of(built, strings, asked)).argmax(-1).numpy()
    assert (found == built.task.targets(strings, asked)).all()
    assert (built.predict(strings.reshape(-1, 5, 6), asked.reshape(-1, 5)) == hop(strings, asked).reshape(-1, 5, 6)).all()
    assert reach(built.num_layers, recipe) >= max_hops


HOPS = (2, 5, 13)


@given(st.sampled_from(VARIANTS), st.sampled_from(HOPS), hop_strings(vocab_size=5, seq_len=24))
@settings(max_examples=40)
def test_adversarial_strings_against_the_definition(variant, num_hops, symbols):
    built = built_model(*variant, torch.float32, num_hops=num_hops, vocab_size=5, seq_len=24)
    places = find_by_definition(symbols, num_hops)
    assert (built.predict(symbols) == np.where(places > 0, symbols[places - 1], -1)).all()


@given(st.sampled_from(MULTI_TASK), st.integers(0, 20), hop_strings(vocab_size=5, seq_len=24))
@settings(max_examples=25)
def test_adversarial_strings_for_models_that_read_k(variant, num_hops, symbols):
    built = built_model(*variant, torch.float32, max_hops=20, vocab_size=5, seq_len=24)
    assert (built.predict(symbols, num_hops) == hop(symbols, num_hops)).all()


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("seq_len", "vocab_size", "repeats", "num_hops"), [(16, 2, True, 6), (64, 26, True, 2), (64, 4, False, 6), (64, 2, True, 32)]
)
def test_a_part_of_the_grid(recipe, encoding, dtype, seq_len, vocab_size, repeats, num_hops):
    strings = random_strings(vocab_size, seq_len, 4, repeats=repeats, generator=np.random.default_rng(1))
    built = build(num_hops, vocab_size=vocab_size, seq_len=seq_len, recipe=recipe, encoding=encoding, dtype=dtype)
    assert (built.predict(strings) == hop(strings, num_hops)).all()


@pytest.mark.parametrize("recipe", ["A", "B", "C"])
def test_long_strings_and_many_hops(recipe):
    strings = random_strings(2, 512, 1, repeats=True, generator=np.random.default_rng(2))
    built = build(127, vocab_size=2, seq_len=512, recipe=recipe, dtype=torch.float32)
    answers = hop(strings, 127)
    assert (built.predict(strings) == answers).all()
    assert (answers >= 0).sum() > 100  # the task is not empty there


@pytest.mark.parametrize("recipe", ["A", "B", "C"])
def test_depth_and_heads_are_those_of_the_formula(recipe):
    for k in (*range(1, 10), 16, 17, 127, 128):
        built = build(k, vocab_size=2, seq_len=3, recipe=recipe)
        assert built.num_layers == layers_needed(k, recipe)
        heads = {layer: 0 for layer in range(1, built.num_layers + 1)}
        for role in built.roles:
            heads[role.layer] += role.role != "idle"
        assert max(heads.values()) == {"A": 1, "B": 2, "C": 2 if k > 1 else 1}[recipe]
        assert recipe != "B" or all(heads[layer] == 1 for layer in heads if layer > 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_hops", [1, 2, 11])
def test_recipe_c_is_attention_only_and_exact_bit_for_bit(dtype, num_hops):
    built = built_model("C", dtype=dtype, num_hops=num_hops, vocab_size=4, seq_len=64)
    model = built.model
    assert model.maps == () and model.mlp_width == 0 and model.score_scale == 1
    strings = random_strings(4, 64, 16, repeats=True, generator=np.random.default_rng(0))
    tokens = tokens_of(built, strings, num_hops)
    stream = model.layers(model.token_embedding[tokens] + model.position_embedding)
    assert (stream == stream.round()).all()
    codes = torch.from_numpy(hop(strings, num_hops) + 1).to(dtype)  # 0 is missing
    assert (stream[:, 1:, -1] == codes).all()
    symbols = torch.arange(1, 5, dtype=dtype)
    logits = model.logits_at_every_position(tokens)[:, 1:, 1:5]
    assert (logits == 2 * codes[..., None] * symbols - symbols**2).all()
    maps = model.attention_maps(tokens)
    busy = [(role.layer - 1, role.head) for role in built.roles if role.role != "idle"]
    assert all(bool(((maps[layer, :, head] == 0) | (maps[layer, :, head] == 1)).all()) for layer, head in busy)


def where_it_looks(role, symbols, num_hops):
    places = np.arange(symbols.shape[-1] + 1)
    if role.role == "find":
        return np.concatenate([np.zeros((len(symbols), 1), int), find(symbols, role.hops)], 1)
    looks = {"previous token": np.maximum(places - 1, 0), "broadcast": 0 * places}[role.role]
    return np.broadcast_to(looks, (len(symbols), len(places)))


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
@pytest.mark.parametrize("num_hops", [1, 5, 6, 12])
def test_heads_look_where_their_roles_say(recipe, encoding, num_hops):
    strings = random_strings(3, 40, 6, repeats=True, generator=np.random.default_rng(3))
    for multi_task in (False, True) if recipe != "C" else (False,):
        k = {"max_hops": 12} if multi_task else {"num_hops": num_hops}
        built = built_model(recipe, encoding, vocab_size=3, seq_len=40, **k)
        maps = built.model.attention_maps(tokens_of(built, strings, num_hops)).numpy()
        assert len(built.roles) == built.num_layers * built.model.num_heads
        for role in built.roles_for(num_hops):
            weights = maps[role.layer - 1, :, role.head]
            if role.role == "idle":
                continue
            if role.role == "rank":
                equal = np.tril(strings[:, :, None] == strings[:, None, :])
                assert weights[:, 1:, 0] == pytest.approx(1 / (1 + equal.sum(-1)))
                continue
            looks = np.take_along_axis(weights, where_it_looks(role, strings, num_hops)[..., None], -1)
            assert looks.min() == pytest.approx(1.0), role


def test_the_roles_of_five_hops():
    def finds(recipe):
        roles = built_model(recipe, num_hops=5).roles
        return [(role.layer, role.hops) for role in roles if role.role == "find"]

    assert finds("A") == [(2, 1), (3, 1), (4, 1), (5, 2)]
    assert finds("B") == [(2, 1), (3, 1), (4, 3)]
    assert finds("C") == [(2, 1), (3, 1), (4, 2), (5, 4), (5, 1)]
    assert built_model("A", num_hops=5).roles[0] == hops.HeadRole(1, 0, "previous token")
    deeper = built_model("A", max_hops=9)
    assert [role.hops for role in deeper.roles_for(5) if role.layer > 2 and role.role == "find"] == [0, 1, 1, 2]
    with pytest.raises(ValueError, match="10"):
        deeper.roles_for(10)


def test_looped_layers_are_one_layer():
    built = build(max_hops=32, vocab_size=3, seq_len=8, looped=True)
    model = built.model
    assert built.looped and built.num_layers == 7
    for weights in (model.query, model.key, model.value, model.output):
        assert all(torch.equal(weights[layer], weights[2]) for layer in range(3, 7))
    assert len(set(model.maps[2:])) == 1 and model.maps[1] != model.maps[2]
    strings = all_strings(2, 8)
    assert (built.predict(strings, 21) == hop(strings, 21)).all()


def test_float32_holds_strings_of_4095_symbols_and_no_longer():
    random = random_strings(4, 3000, 1, repeats=True, generator=np.random.default_rng(4))[0]
    symbols = np.concatenate([random, np.arange(1095) // 300])
    built = build(3, vocab_size=4, seq_len=4095, dtype=torch.float32, recipe="B")
    assert (built.predict(symbols) == hop(symbols, 3)).all()
    for recipe in ("A", "B", "C"):
        assert hops.certify_hops(build(3, vocab_size=4, seq_len=4095, dtype=torch.float32, recipe=recipe)).proved
        with pytest.raises(HopRangeError, match=r"seq_len = 4096: past the look-up limit of float32, N\^2 < 2\^24"):
            build(3, vocab_size=4, seq_len=4096, dtype=torch.float32, recipe=recipe)
    assert build(1, vocab_size=4, seq_len=5000).dtype == "float64"


def test_a_model_past_the_limit_would_err(monkeypatch):
    # What the refusal is good for: the same recipe at 8000 positions in float32 looks up wrong places.
    monkeypatch.setattr(hops, "check_range", lambda *args, **kwargs: None)
    built = build(1, vocab_size=2, seq_len=6000, dtype=torch.float32)
    tokens = tokens_of(built, np.arange(6000)[None] % 2, 1)
    stream = built.model.token_embedding[tokens] + built.model.position_embedding
    queries, keys = (stream[0] @ weights[0, 0] for weights in (built.model.query, built.model.key))
    attended = (queries[5000:] @ keys.T).argmax(-1)
    assert (attended != torch.arange(4999, 6000)).any()


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
def test_files_bring_back_the_same_model(recipe, encoding, tmp_path):
    scale = None if recipe == "C" else 64.0
    built = build(6, vocab_size=3, seq_len=9, recipe=recipe, encoding=encoding, dtype=torch.float32, scale=scale)
    built.save(tmp_path / "hop.safetensors", {"made by": "a test"})
    again = HopConstruction.load(tmp_path / "hop.safetensors")
    kept = ("task", "recipe", "encoding", "scale", "roles", "looped", "dtype")
    assert all(getattr(again, name) == getattr(built, name) for name in kept)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(built.model.parameters(), again.model.parameters(), strict=True))
    strings = all_strings(3, 9)[::97]
    assert (again.predict(strings) == hop(strings, 6)).all()
    assert hops.recheck(hops.certify_hops(built), again) == ()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "D"}, {"seq_len": 10}, {"min_hops": 2}, {"max_hops": 60}, {"scale": -1.0}, {"scale": "x"},
        {"encoding": "circle"}, {"looped": 3},
    ],
)  # fmt: skip
def test_files_that_say_something_else_than_they_hold_are_refused(change, tmp_path):
    built = build(6, vocab_size=3, seq_len=9)
    kept = {
        "vocab_size": 3, "seq_len": 9, "min_hops": 6, "max_hops": 6, "recipe": "A", "encoding": "quadratic", "scale": 1024.0,
        "looped": False,
    }  # fmt: skip
    place = tmp_path / "hop.safetensors"
    built.model.save(place, {"hops": json.dumps(kept)})
    HopConstruction.load(place)
    built.model.save(place, {"hops": json.dumps(kept | change)})
    with pytest.raises(ModelFileError, match="is no hop model") as caught:
        HopConstruction.load(place)
    assert "\n" not in str(caught.value)


def test_other_models_are_no_hop_models(tmp_path):
    Transformer(5, 4, 3, 1, 2, 1).save(tmp_path / "plain.safetensors")
    with pytest.raises(ModelFileError, match="is no hop model"):
        HopConstruction.load(tmp_path / "plain.safetensors")
    with pytest.raises(ModelFileError, match="no such file"):
        HopConstruction.load(tmp_path / "none.safetensors")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "num_hops = None, max_hops = None: exactly one"),
        ({"num_hops": 2, "max_hops": 2}, "num_hops = 2, max_hops = 2: exactly one"),
        ({"num_hops": 0}, "num_hops = 0: must be an integer >= 1"),
        ({"num_hops": 1.5}, "num_hops = 1.5"),
        ({"max_hops": -1}, "max_hops = -1"),
        ({"num_hops": 2, "vocab_size": 0}, "vocab_size = 0"),
        ({"num_hops": 2, "seq_len": 0}, "seq_len = 0"),
        ({"num_hops": 2, "recipe": "D"}, "recipe = 'D'"),
        ({"num_hops": 2, "encoding": "binary"}, "encoding = 'binary'"),
        ({"num_hops": 2, "recipe": "C", "encoding": "circle"}, "encoding = 'circle' with recipe = 'C'"),
        ({"max_hops": 2, "recipe": "C"}, "max_hops with recipe = 'C'"),
        ({"num_hops": 2, "dtype": torch.float16}, "dtype = float16: float32 and float64 are legal .*2\\^11"),
        ({"num_hops": 2, "dtype": torch.bfloat16}, "dtype = bfloat16: float32 and float64 are legal .*2\\^8"),
        ({"num_hops": 2, "dtype": torch.int64}, "dtype = int64: float32 and float64 are legal$"),
        ({"num_hops": 2, "scale": 100.0}, "scale = 100.0: a power of two"),
        ({"num_hops": 2, "scale": -2.0}, "scale = -2.0: a power of two"),
        ({"num_hops": 2, "scale": 2.0}, "seq_len = 8: past the .* scale limit of float64"),
        ({"num_hops": 2, "recipe": "C", "scale": 512.0}, "746 <= lambda gap"),
        ({"num_hops": 2, "looped": True}, "looped = True"),
        ({"max_hops": 2, "recipe": "B", "looped": True}, "looped = True"),
    ],
)
def test_what_cannot_be_built_is_named_in_one_line(arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        build(**({"vocab_size": 4, "seq_len": 8} | arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(("symbols", "num_hops", "said"), [
    (np.zeros(5, int), 2, "symbols"), (np.full(6, 3), 2, "symbols"), (np.zeros(6, int), 10, "num_hops"),
    (np.zeros(6, int), None, "num_hops = None"),
])  # fmt: skip
def test_what_cannot_be_asked_is_named(symbols, num_hops, said):
    with pytest.raises(ValueError, match=said):
        built_model("A", max_hops=9).predict(symbols, num_hops)


def test_an_empty_batch_has_no_answers():
    assert built_model(num_hops=2).predict(np.zeros((0, 6), int)).shape == (0, 6)
