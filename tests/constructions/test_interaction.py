"""Interaction heads: one pair speaks, arithmetic is exact, bounds hold, precision is refused, files come back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from constructions import ModelFileError, Transformer
from constructions._interaction_files import digest
from constructions.interaction import (
    COSINE,
    DATA,
    ONE,
    SECOND,
    SINE,
    Block,
    HeadPairs,
    InteractionNetwork,
    InteractionPrecisionError,
    TokenMap,
    affine,
    clears,
    constants,
    feed_forward,
    interaction_head,
    joined,
    load_network_with_provenance,
    position_rows,
    product_tree,
    products,
)

EPS = float(np.finfo(np.float64).eps)
HAT = TokenMap.hat(DATA, DATA)
MAPS: dict[str, tuple[Any, Any]] = {  # how to make a map, and what it is before it is cut off at 0 and 1
    "hat": (
        lambda row, source, **how: TokenMap.hat(row, source, centre=0.3, half_width=0.7, **how),
        lambda v: 1 - abs(v - 0.3) / 0.7,
    ),
    "trapezoid": (
        lambda row, source, **how: TokenMap.trapezoid(row, source, centre=-0.2, spacing=0.9, **how),
        lambda v: 2 - abs(v + 0.2) / 0.3,
    ),
    "ramp": (lambda row, source, **how: TokenMap.ramp(row, source, 0.5, 0.8, **how), lambda v: (0.8 - v) / 0.3),
    "clip": (lambda row, source, **how: TokenMap.clip(row, source, -0.5, 1.0, **how), lambda v: np.clip(v, -0.5, 1.0)),
}


def stream_of(network: InteractionNetwork, inputs: np.ndarray) -> np.ndarray:
    """Exact routing, (samples, tokens, 5)."""
    state = network._state(inputs).reshape(2, network.num_tokens, -1)
    rows = np.repeat(position_rows(network.num_tokens)[None], len(inputs), 0)
    rows[:, :, :2] = state.transpose(2, 1, 0)
    return rows


def random_network(seed: int) -> InteractionNetwork:
    """Any heads at all, and in half of the blocks any maps at all: inputs, junk, position rows, several writers of one row."""
    generator = np.random.default_rng(seed)
    length = int(generator.integers(2, 7))
    blocks: list[Block] = []
    for _ in range(int(generator.integers(1, 4))):
        count = int(generator.integers(0, 6))
        targets, sources = generator.integers(0, length, (2, count))
        rows, (lefts, rights) = generator.integers(0, 2, count), generator.integers(0, 5, (2, count))
        pairs = HeadPairs(targets, sources, rows, lefts, rights, *generator.normal(size=(2, count)))
        cleared = generator.permutation(length)[: generator.integers(0, 3)]
        pairs = joined(pairs, clears(cleared, int(generator.integers(0, 2))))
        network = None
        if generator.random() < 0.5:
            num_gated = int(generator.integers(0, length + 1))
            before = InteractionNetwork(length, np.arange(2), 0, (*blocks, Block(pairs)), 1.5).bounds()
            maps: list[list[TokenMap]] = [[], []]
            for part, there in zip(maps, (num_gated, length - num_gated), strict=True):
                for row, name in enumerate(generator.permutation(list(MAPS))[: generator.integers(0, 3)] if there else []):
                    part.append(MAPS[name][0](row, int(generator.integers(0, 2)), replaces=bool(generator.random() < 0.7)))
            network = feed_forward(length, num_gated, maps[0], maps[1], float(np.abs(before[-1, :2]).max()))
        blocks.append(Block(pairs, network))
    written = [int(block.pairs.targets[0]) for block in blocks if len(block.pairs)]
    return InteractionNetwork(length, np.arange(2), written[-1] if written else 0, tuple(blocks), 1.5)


def plain_heads(pairs: HeadPairs, tokens: np.ndarray) -> np.ndarray:
    """One sample (tokens, 5) behind the heads, pair by pair in words of the docstring."""
    after = tokens.copy()
    for p, q, row, left, right, scale, shift in zip(
        pairs.targets, pairs.sources, pairs.rows, pairs.lefts, pairs.rights, pairs.scales, pairs.shifts, strict=True
    ):
        after[p, row] += scale * tokens[p, left] * tokens[q, right] + shift
    return after


@settings(max_examples=25)
@given(length=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_one_pair_speaks_and_all_others_are_exactly_silent(length: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    target, source, row = int(generator.integers(length)), int(generator.integers(length)), int(generator.integers(2))
    form, coefficient = generator.normal(size=(5, 5)), float(generator.normal())
    tokens = position_rows(length)
    tokens[:, :2] = 3 * generator.normal(size=(length, 2))
    bound = float(np.abs(tokens @ form @ tokens.T).max())
    parts = interaction_head(form, target, source, row, coefficient, length, bound)
    model = Transformer(1, length, 5, 1, 5, attention="relu", causal=False)
    with torch.no_grad():
        for name, part in zip(("query", "key", "value", "output"), parts, strict=True):
            getattr(model, name)[0, 0] = torch.from_numpy(part)
        written = model.layers(torch.from_numpy(tokens)[None])[0].numpy() - tokens
    expected = coefficient * max(0.0, float(tokens[target] @ form @ tokens[source]))
    routing = 1.05 * bound / (1 - np.cos(np.pi / (2 * length)))
    roundings = 30 * EPS * (abs(coefficient) * (np.abs(tokens[target]) @ np.abs(form) @ np.abs(tokens[source]) + 4 * routing))
    assert abs(written[target, row] - expected) <= roundings + EPS * abs(tokens[target, row])
    assert roundings <= 1e-9 * abs(coefficient) * bound  # the promise is far above rounding
    written[target, row] = 0
    assert not written.any()


def test_a_bound_that_forgets_junk_lets_other_pairs_speak() -> None:
    length, form = 6, np.zeros((5, 5))
    form[DATA, DATA] = 1.0
    tokens = position_rows(length)
    tokens[:, DATA] = [1.0, 1.0, 0.0, 0.0, 100.0, 100.0]  # the wanted pair (0, 1) has score 1, two others 10^4
    for bound, silent in ((1.0, False), (1e4, True)):
        query = interaction_head(form, 0, 1, DATA, 1.0, length, bound)[0]
        scores = np.maximum(tokens @ query @ tokens.T, 0)
        assert bool(np.count_nonzero(scores) == 1) is silent


@settings(max_examples=18)
@given(seed=st.integers(0, 10**6))
def test_sparse_dense_and_plain_agree_and_bounds_hold_on_every_row(seed: int) -> None:
    """For any network: exact routing is the docstring's sum, lies within the bounds; the dense one is as near as is promised."""
    network, generator = random_network(seed), np.random.default_rng(seed)
    inputs = np.concatenate([generator.uniform(-1.5, 1.5, (20, 2)), 1.5 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1], [0, 0]])])
    bounds, limits = network.bounds(), network.score_bounds
    assert bounds.shape == (network.num_blocks + 1, 5, network.num_tokens, 2)
    for stage in range(network.num_blocks + 1):
        prefix = dataclasses.replace(network, blocks=network.blocks[:stage])
        stream = stream_of(prefix, inputs)
        assert (stream >= bounds[stage, :, :, 0].T).all() and (stream <= bounds[stage, :, :, 1].T).all()
        if stage == network.num_blocks:
            break
        block = network.blocks[stage]
        for left, right, scale, shift in zip(
            block.pairs.lefts, block.pairs.rights, block.pairs.scales, block.pairs.shifts, strict=True
        ):  # all ordered pairs of tokens, not only the one that shall speak
            scores = scale * stream[:, :, None, left] * stream[:, None, :, right] + shift
            assert np.abs(scores).max() <= limits[stage]
        if block.feed_forward is None:
            after = stream_of(dataclasses.replace(network, blocks=network.blocks[: stage + 1]), inputs)
        else:
            alone = (*network.blocks[:stage], Block(block.pairs))
            after = stream_of(dataclasses.replace(network, blocks=alone), inputs)
        magnitude = 1 + np.abs(stream).max() ** 2
        expected = np.stack([plain_heads(block.pairs, each) for each in stream])
        coefficients = 1 + np.abs(block.pairs.scales).sum() + np.abs(block.pairs.shifts).sum()
        assert np.abs(after - expected).max() <= 32 * EPS * magnitude * coefficients
    exact = network.evaluate(inputs)
    for dtype in (torch.float64, torch.float32):
        error = np.abs(network.evaluate_dense(inputs, network.dense(dtype, tolerance=np.inf)) - exact).max()
        assert error <= network.error_bound(dtype) + network.error_bound(torch.float64)
    assert network.error_bound() < 1e-6 * max(1.0, float(np.abs(bounds[:, :2]).max())) ** 2


def test_bounds_of_a_cleared_row_and_of_a_square_are_what_they_are() -> None:
    heads = joined(clears([0, 1], DATA), products(0, DATA, DATA, 0, DATA), affine(1, DATA, 0, DATA, 2.0, 1.0))
    bounds = InteractionNetwork(3, np.array([0, 1]), 0, (Block(heads),), 2.0).bounds()[-1, DATA]
    assert bounds == pytest.approx(np.array([[0, 4], [-3, 5], [0, 0]]), abs=1e-7)


def test_junk_counts_in_the_bound_of_scores_and_every_block_has_its_own() -> None:
    small = products(0, SECOND, DATA, 1, DATA)
    network = InteractionNetwork(4, np.array([0, 1]), 0, (Block(joined(small, constants(3, DATA, 7.0))), Block(small)), 2.0)
    assert network.score_bounds == pytest.approx((7.0, 49.0), rel=1e-7)  # token 3 holds 7 in a row that the product reads
    factor = 1.05 / (1 - np.cos(np.pi / 8))
    assert network.routing_constants == pytest.approx((7 * factor, 49 * factor), rel=1e-7)
    model = network.dense()
    assert float(model.query[1].abs().max()) == pytest.approx(2 * 49 * factor, rel=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_their_formulas_and_exactly_flat_outside(name: str) -> None:
    make, formula = MAPS[name]
    values = np.concatenate([np.linspace(-2, 2, 401), [-1e15, 1e15, -1e8, 1e8]])
    found = make(DATA, SECOND)(values)
    low, high = (-0.5, 1.0) if name == "clip" else (0.0, 1.0)
    wanted = np.clip(formula(values), low, high)
    assert np.abs(found - wanted).max() <= 16 * EPS
    outside = np.abs(values) > 1.4
    assert set(found[outside]) <= {low, high}


def test_hats_and_trapezoids_are_partitions_of_unity() -> None:
    values, places = np.linspace(-2, 2, 501), np.arange(-10, 11) * 0.4
    for maps in (
        [TokenMap.hat(DATA, DATA, centre=z, half_width=0.4) for z in places],
        [TokenMap.trapezoid(DATA, DATA, centre=z, spacing=0.4) for z in places],
    ):
        parts = np.stack([each(values) for each in maps])
        assert np.abs(parts.sum(0) - 1).max() <= 200 * EPS
        assert ((parts > 0).sum(0) <= 2).all()


@pytest.mark.parametrize("num_gated", [0, 1, 4, 9])
@pytest.mark.parametrize("replaces", [True, False])
def test_first_tokens_get_one_map_and_the_others_another(num_gated: int, replaces: bool) -> None:
    length, bound = 9, 50.0
    gated = [TokenMap.ramp(DATA, DATA, 0.5, 0.8, replaces=replaces)] if num_gated else []
    others = [TokenMap.hat(SECOND, DATA, replaces=replaces), TokenMap.clip(DATA, DATA, -1.0, 1.0, replaces=replaces)]
    network = feed_forward(length, num_gated, gated, others if num_gated < length else [], bound)
    tokens = np.repeat(position_rows(length)[None], 400, 0)
    tokens[:, :, :2] = np.random.default_rng(0).choice([-50.0, 50.0, 0.0, 0.6, -0.3, 7.0, 1.0], (400, length, 2))
    after, front = network(tokens), np.arange(length) < num_gated
    expected = tokens.copy()
    old = 0.0 if replaces else 1.0
    data = tokens[:, :, DATA]
    expected[:, front, DATA] = old * data[:, front] + np.clip((0.8 - data[:, front]) / 0.3, 0, 1)
    expected[:, ~front, DATA] = old * data[:, ~front] + np.clip(data[:, ~front], -1, 1)
    expected[:, ~front, SECOND] = old * tokens[:, ~front, SECOND] + np.maximum(1 - np.abs(data[:, ~front]), 0)
    assert np.abs(after - expected).max() <= 64 * EPS * bound
    assert (after[:, front, SECOND] == tokens[:, front, SECOND]).all() and (after[:, :, 2:] == tokens[:, :, 2:]).all()
    if replaces:
        assert not after[:, ~front, SECOND][np.abs(data[:, ~front]) >= 1].any()
        assert not after[:, front, DATA][data[:, front] >= 0.81].any()


@pytest.mark.parametrize("length", [16, 64, 256])
def test_float32_is_refused_where_it_is_wrong_and_float64_is_not(length: int) -> None:
    """One copied value with M = 4, as anyone would try first: the estimate that refuses is what is measured."""
    network = InteractionNetwork(length, np.array([0]), length - 1, (Block(affine(length - 1, DATA, 0, DATA)),), 4.0)
    inputs = np.linspace(-4, 4, 41)[:, None]
    with pytest.raises(InteractionPrecisionError, match="float32") as error:
        network.dense(torch.float32)
    assert "\n" not in str(error.value)
    model = network.dense(torch.float32, tolerance=1.0)
    wrong = np.abs(network.evaluate_dense(inputs, model) - inputs[:, 0]).max()
    assert 1e-6 < wrong <= 8 * network.rounding_error(torch.float32)
    assert np.abs(network.evaluate_dense(inputs) - inputs[:, 0]).max() <= 8 * network.rounding_error(torch.float64) < 1e-9
    assert network.rounding_error(torch.float32) == pytest.approx(1.19e-7 * 0.851 * 4 * length**2, rel=0.02)


def test_dense_attention_that_takes_too_much_memory_is_refused_in_one_line() -> None:
    network = InteractionNetwork(6000, np.array([0]), 1, (Block(affine(1, DATA, 0, DATA)),), 1.0)
    with pytest.raises(ValueError, match="num_tokens = 6000") as error:
        network.dense()
    assert "\n" not in str(error.value) and not isinstance(error.value, InteractionPrecisionError)
    assert network.evaluate(np.array([[0.25]]))[0] == 0.25


def test_parts_of_samples_and_tokens_and_number_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = product_tree(5)
    network = dataclasses.replace(tree, blocks=(*tree.blocks, Block(constants(0, DATA, 0.1), feed_forward(5, 0, [], [HAT], 8.0))))
    inputs = np.random.default_rng(0).uniform(-1.0, 1.0, (7, 5))
    whole = network.evaluate(inputs)
    assert np.abs(whole - np.maximum(1 - np.abs(inputs.prod(1) + 0.1), 0)).max() <= 16 * EPS
    assert np.array_equal(network.evaluate(inputs, chunk_elements=1), whole)
    monkeypatch.setattr("constructions._interaction_sparse.SLICE_ELEMENTS", 1)
    assert np.array_equal(network.evaluate(inputs), whole)
    single = network.evaluate(inputs, dtype="float32")
    assert single.dtype == np.float64 and 0 < np.abs(single - whole).max() <= 16 * float(np.finfo(np.float32).eps)
    assert network.evaluate(inputs[:0]).shape == network.evaluate_dense(inputs[:0]).shape == (0,)


def test_counts() -> None:
    heads, network = joined(constants(0, DATA, [1.0, 2.0]), clears(1, SECOND)), feed_forward(4, 0, [], [HAT], 1.0)
    found = InteractionNetwork(4, np.array([0]), 0, (Block(heads, network), Block(heads)), 1.0)
    assert (found.num_blocks, found.heads_per_block, found.num_heads, found.ambient_dim) == (2, (6, 6), 12, 1)
    width = network.width
    assert found.num_parameters == 100 * 12 + 20 + (5 * width + width) + (width * width + width) + 5 * width


def test_files_come_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    network, path = random_network(17), tmp_path / "n.safetensors"
    assert any(block.feed_forward is not None for block in network.blocks) and network.num_heads
    network.save(path, {"seed": "1"})
    back, provenance = load_network_with_provenance(path)
    inputs = np.random.default_rng(0).uniform(-1.5, 1.5, (9, 2))
    assert provenance == {"seed": "1"} and np.array_equal(back.evaluate(inputs), network.evaluate(inputs))
    assert np.array_equal(InteractionNetwork.load(path).bounds(), network.bounds())
    arrays, whole = load_file(path), path.read_bytes()
    shape = {"num_tokens": network.num_tokens, "output": network.output, "num_blocks": network.num_blocks, "input_bound": 1.5}
    kind = "headcount interaction network, version 1"

    def written(changed: dict[str, np.ndarray] | None = None, **metadata: str) -> bytes:
        kept = arrays | (changed or {})
        right = {"format": kind, "shape": json.dumps(shape), "provenance": "{}", "sha256": digest(kept)}
        save_file(kept, tmp_path / "x", {**right, **metadata})
        return (tmp_path / "x").read_bytes()

    assert len(written()) > 0 and InteractionNetwork.load(tmp_path / "x").num_heads == network.num_heads
    damaged = {
        "a bit of the last array": whole[:-1] + bytes([whole[-1] ^ 1]), "another's digest": written(sha256="0" * 64),
        "empty": b"", "short": whole[:-1], "foreign": written(format="other"), "no shape": written(shape="{"),
        "shape is a list": written(shape="[1]"), "more blocks": written(shape=json.dumps(shape | {"num_blocks": 9})),
        "fewer blocks": written(shape=json.dumps(shape | {"num_blocks": 0})), "a stranger": written({"z": np.zeros(1)}),
        "few tokens": written(shape=json.dumps(shape | {"num_tokens": 1})), "no table": written(provenance="[1]"),
        "not finite": written({"0.scales": np.full(len(arrays["0.scales"]), np.nan)}),
        "a row that never changes": written({"0.rows": np.full(len(arrays["0.rows"]), ONE, np.int8)}),
        "floats as tokens": written({"inputs": np.zeros(2)}), "two columns": written({"inputs": np.zeros((2, 1), np.int64)}),
    }  # fmt: skip
    for name, content in damaged.items():
        (tmp_path / "damaged").write_bytes(content)
        with pytest.raises(ModelFileError) as error:
            InteractionNetwork.load(tmp_path / "damaged")
        assert "damaged" in str(error.value) and "\n" not in str(error.value), name
    for place in (tmp_path, tmp_path / "missing" / "n"):
        with pytest.raises(ModelFileError):
            network.save(place)
        with pytest.raises(ModelFileError):
            InteractionNetwork.load(place)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: product_tree(2).evaluate(np.zeros((1, 2)), dtype="float16"), "dtype = 'float16'"),  # type: ignore[arg-type]
        (lambda: affine(0, COSINE, 1, DATA), "rows has the entry 2"),
        (lambda: affine(-1, DATA, 1, DATA), "targets has the entry -1"),
        (lambda: products(0, DATA, 5, 1, DATA), "lefts has the entry 5"),
        (lambda: constants([0, 1], DATA, [1.0, 2.0, 3.0]), "shapes do not fit"),
        (lambda: constants(0, DATA, np.nan), "shifts has an entry that is not finite"),
        (lambda: constants(0.5, DATA, 1.0), "targets has dtype float64"),
        (lambda: interaction_head(np.eye(5), 3, 0, DATA, 1.0, 3, 1.0), "target = 3"),
        (lambda: interaction_head(np.eye(5), 0, 0, DATA, 1.0, 3, -1.0), "bound = -1.0"),
        (lambda: TokenMap.hat(DATA, DATA, half_width=0.0), "half_width = 0.0"),
        (lambda: TokenMap.ramp(DATA, SINE, 0.0, 1.0), "source_row = 3"),
        (lambda: TokenMap.clip(DATA, DATA, 1.0, 1.0), "high - low = 0.0"),
        (lambda: feed_forward(3, 4, [], [], 1.0), "num_gated = 4"),
        (lambda: feed_forward(3, 0, [HAT], [], 1.0), "gated has 1 maps for no token"),
        (lambda: feed_forward(3, 0, [], [HAT] * 2, 1.0), "replace one row"),
        (lambda: InteractionNetwork(2, np.array([0, 0]), 0, (), 1.0), "inputs has a token twice"),
        (lambda: InteractionNetwork(2, np.array([2]), 0, (), 1.0), "inputs reaches"),
        (lambda: InteractionNetwork(2, np.array([0]), 2, (), 1.0), "output = 2"),
        (lambda: InteractionNetwork(2, np.array([0]), 0, (Block(clears(2, DATA)),), 1.0), "targets up to 2"),
        (lambda: InteractionNetwork(2, np.array([0]), 0, (), np.inf), "input_bound = inf"),
        (lambda: random_network(1).evaluate(np.array([[0.0, 1.6]])), "beyond input_bound = 1.5"),
        (lambda: random_network(1).evaluate(np.array([[0.0, np.nan]])), "not finite"),
        (lambda: random_network(1).evaluate(np.zeros((2, 3))), "(2, 3)"),
        (lambda: random_network(1).dense(torch.int64), "torch.int64"),
        (lambda: random_network(1).dense(tolerance=0.0), "tolerance = 0.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(make: Any, named: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert named in str(error.value) and "\n" not in str(error.value)
