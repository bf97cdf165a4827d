"""Element-wise maps as data, and the transformer's options that came with them: maps, no mask, attention maps, own streams."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from constructions import ModelFileError, Transformer
from constructions.element_wise import FUNCTIONS, ElementWise, Step

SIZES = {"vocab_size": 4, "seq_len": 5, "embed_dim": 3, "num_heads": 2, "head_dim": 2, "num_layers": 2}
PROGRAM = ElementWise((
    Step(0, "round", (0,), (0.25,)),
    Step(1, "linear", (0, 1), (2.0, -1.0, 0.5)),
    Step(2, "product", (1, 1)),
    Step(0, "select", (1, 2, 0)),
))


def filled(seed: int = 0, **options: Any) -> Transformer:
    model = Transformer(**{**SIZES, **options})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def some_tokens(batch: int = 7, seed: int = 1) -> Tensor:
    return torch.randint(0, 4, (batch, 5), generator=torch.Generator().manual_seed(seed))


def by_hand(model: Transformer, stream: Tensor) -> tuple[Tensor, list[Tensor]]:
    """All layers with plain matrix products, head by head; also the weights of every head."""
    patterns = []
    for layer in range(model.num_layers):
        added = torch.zeros_like(stream)
        for head in range(model.num_heads):
            queries, keys = stream @ model.query[layer, head], stream @ model.key[layer, head]
            scores = queries @ keys.transpose(1, 2)
            if model.causal:
                places = torch.arange(stream.shape[1])
                scores = scores.masked_fill(places[:, None] < places[None, :], -math.inf)
            shares = (scores - scores.amax(-1, keepdim=True)).exp()
            pattern = shares / shares.sum(-1, keepdim=True)
            patterns.append(pattern)
            added = added + pattern @ stream @ model.value[layer, head] @ model.output[layer, head]
        stream = stream + added
        chosen = model.maps[layer] if model.maps else None
        if chosen is not None:
            stream = chosen(stream)
    return stream, patterns


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("maps", [None, (PROGRAM, None), (lambda stream: stream.tanh(), PROGRAM)])
def test_layers_maps_and_attention_maps_are_the_plain_equations(causal: bool, maps: Any) -> None:
    model, tokens = filled(causal=causal, maps=maps), some_tokens()
    with torch.no_grad():
        start = model.token_embedding[tokens] + model.position_embedding
        expected, patterns = by_hand(model, start)
        seen = model.attention_maps(tokens)
        assert (model.layers(start) - expected).abs().max() < 1e-12 * expected.abs().max()
        logits = model.logits_at_every_position(tokens)
        assert (logits - expected @ model.unembedding.T).abs().max() < 1e-12 * logits.abs().max()
        assert (model(tokens) - logits[:, -1]).abs().max() < 1e-12 * logits.abs().max()
    assert seen.shape == (2, 7, 2, 5, 5)
    assert (seen.transpose(1, 2).flatten(0, 1) - torch.stack(patterns)).abs().max() < 1e-13
    assert (seen.sum(-1) - 1).abs().max() < 1e-13
    assert bool((seen.triu(1) == 0).all()) is causal


def test_own_streams_may_have_any_number_of_positions() -> None:
    model = filled(maps=(PROGRAM, None))
    stream = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        expected, _ = by_hand(model, stream)
        assert (model.layers(stream) - expected).abs().max() < 1e-12 * expected.abs().max()


def test_a_program_is_its_steps_one_after_the_other() -> None:
    a, b, c = 1.3, -0.7, 2.2
    a2 = round(a / 0.25) * 0.25
    b2 = 2 * a2 - b + 0.5
    expected = [b2 * b2 if b2 > 0.5 else a2, b2, b2 * b2]
    assert PROGRAM(torch.tensor([a, b, c], dtype=torch.float64)).tolist() == expected


@pytest.mark.parametrize(
    ("function", "numbers", "values", "expected"),
    [
        ("linear", (3.0, 0.0), (2.0,), 6.0),
        ("linear", (1.0, -1.0, 0.5), (2.0, 7.0), -4.5),
        ("product", (), (3.0, -2.0), -6.0),
        ("reciprocal", (), (8.0,), 0.125),
        ("round", (1.0,), (2.5,), 2.0),
        ("round", (0.5,), (1.3,), 1.5),
        ("floor", (), (-1.5,), -2.0),
        ("cos", (0.5,), (3.0,), math.cos(1.5)),
        ("sin", (0.5,), (3.0,), math.sin(1.5)),
        ("select", (), (1.0, 5.0, 6.0), 5.0),
        ("select", (), (0.5, 5.0, 6.0), 6.0),
    ],
)
def test_functions(function: str, numbers: tuple[float, ...], values: tuple[float, ...], expected: float) -> None:
    sources = tuple(range(len(values)))
    stream = torch.tensor([*values, 99.0], dtype=torch.float64)
    after = ElementWise((Step(len(values), function, sources, numbers),))(stream)
    assert after[-1].item() == pytest.approx(expected, rel=1e-15)
    assert torch.equal(after[:-1], stream[:-1])


def test_every_function_is_tested_above() -> None:
    assert set(FUNCTIONS) == {"linear", "product", "reciprocal", "round", "floor", "cos", "sin", "select"}


STEPS = st.tuples(st.integers(0, 4), st.sampled_from(sorted(FUNCTIONS)), st.integers(0, 4), st.floats(-3, 3))


def step_of(target: int, function: str, source: int, number: float) -> Step:
    sources = (source, *(target,) * {"product": 1, "select": 2}.get(function, 0))
    numbers = {"linear": (number, 1.0), "round": (abs(number) + 0.1,), "cos": (number,), "sin": (number,)}
    return Step(target, function, sources, numbers.get(function, ()))


@given(steps=st.lists(STEPS, max_size=6), values=st.lists(st.floats(-3, 3), min_size=5, max_size=5))
def test_programs_survive_json_and_act_on_every_position_alone(
    steps: list[tuple[int, str, int, float]], values: list[float]
) -> None:
    program = ElementWise(tuple(step_of(*step) for step in steps))
    again = ElementWise.from_plain(json.loads(json.dumps(program.as_plain())))
    assert again == program
    row = torch.tensor(values, dtype=torch.float64)
    stream = torch.stack([row, row.flip(0), row * 2])
    together, alone = program(stream), torch.stack([again(each) for each in stream])
    assert torch.equal(together.nan_to_num(), alone.nan_to_num())


def test_models_with_programs_come_back_and_those_with_functions_are_not_written(tmp_path: Path) -> None:
    model, place = filled(maps=(None, PROGRAM), causal=False), tmp_path / "model.safetensors"
    model.save(place)
    back = Transformer.load(place)
    assert back.maps == (None, PROGRAM) and back.causal is False
    assert torch.equal(back(some_tokens()), model(some_tokens()))
    rounded = model.to_dtype(torch.float32)
    assert rounded.maps == model.maps and rounded(some_tokens()).dtype == torch.float32
    with pytest.raises(ModelFileError, match=r"a model with .+ can't be written"):
        filled(maps=(None, torch.tanh)).save(tmp_path / "other.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"maps": (None,)}, "maps = 1"),
        ({"maps": "no"}, "maps = 2"),
        ({"maps": 3}, "maps = 3"),
        ({"maps": (None, 3)}, "maps[1] = 3"),
        ({"maps": (None, [[0, "import os", [0], []]])}, "function = 'import os'"),
        ({"maps": (None, [[0, "linear", 0, []]])}, "step = "),
        ({"maps": (ElementWise((Step(3, "floor", (0,)),)), None)}, "maps[0] names coordinate 3: 0 to 2 are legal"),
        ({"causal": 1}, "causal = 1"),
    ],
)
def test_bad_maps_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as caught:
        Transformer(**SIZES, **options)
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("step", "named"),
    [
        ((-1, "floor", (0,)), "target = -1"),
        ((0, "exp", (0,)), "function = 'exp'"),
        ((0, "floor", (0, 1)), "floor takes 1"),
        ((0, "linear", (), (1.0,)), "linear takes at least 1"),
        ((0, "linear", (0,), (1.0,)), "takes 2"),
        ((0, "round", (0,), (0.0,)), "multiples of a number > 0"),
        ((0, "cos", (0,), (math.inf,)), "finite numbers"),
        ((0, "cos", (0,), ("1",)), "finite numbers"),
    ],
)
def test_bad_steps_are_named(step: Any, named: str) -> None:
    with pytest.raises(ValueError) as caught:
        Step(*step)
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_bad_streams_are_named() -> None:
    stream = torch.zeros(1, 4, 3, dtype=torch.float64)
    for call, named in (
        (lambda: filled().layers(stream[..., :2]), "(batch, positions, 3)"),
        (lambda: filled().layers(stream.float()), "dtype torch.float32"),
        (lambda: filled(positions="attention").layers(stream), "'residual'"),
        (lambda: filled(maps=(None, lambda x: x[..., :2])).layers(stream), "maps[1] returned shape (1, 4, 2)"),
        (lambda: filled(maps=(None, lambda x: 3)).layers(stream), "maps[1] returned <class 'int'>"),
        (lambda: PROGRAM(stream[..., :2]), "at least 3 are legal"),
        (lambda: filled().attention_maps(torch.zeros(1, 4, dtype=torch.long)), "tokens has shape (1, 4)"),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert named in str(caught.value) and "\n" not in str(caught.value)
