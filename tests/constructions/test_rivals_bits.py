"""Bit extraction is right on every point, is as small as its plan says, and pays for it in bits."""

from dataclasses import replace
from fractions import Fraction
from math import log, log2

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constructions.attention import attention_weights
from constructions.rivals import bit_extraction
from constructions.rivals._exact_network import Affine, ExactNetwork, Layer, NetworkWriter, bit_length
from constructions.rivals.bit_extraction import build, memorize, plan, transplant
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


@st.composite
def labelled_points(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    dims, classes = draw(st.integers(1, 4)), draw(st.sampled_from((2, 3, 7, 8, 50, 10**6)))
    coordinate = st.one_of(st.integers(-3, 3), st.integers(-(10**6), 10**6))
    points = draw(st.lists(st.tuples(*[coordinate] * dims), min_size=1, max_size=16, unique=True))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=len(points), max_size=len(points)))
    return np.array(points, dtype=np.int64), np.array(labels, dtype=np.int64), classes


@settings(deadline=None, max_examples=25)
@given(labelled_points(), st.integers(0, 3))
@example((np.array([[0]]), np.array([1]), 2), 0)
@example((np.array([[-1], [0], [1]]), np.array([0, 0, 0]), 2), 0)
@example((np.array([[0], [1], [2]]), np.array([999_999, 5, 7]), 10**6), 0)  # labels far larger than the distances of ids
def test_right_on_every_point_and_of_the_planned_size(drawn: tuple[np.ndarray, np.ndarray, int], seed: int) -> None:
    points, labels, classes = drawn
    network = memorize(points, labels, classes, seed=seed)
    assert network.evaluate(points) == [[label] for label in labels.tolist()]
    planned = plan(len(points), classes, points.shape[1], max(1, int(np.abs(points).max())))
    assert (network.num_parameters, network.depth) == (planned.num_parameters, planned.depth)
    assert [len(layer.bias) for layer in network.layers] == planned.widths[1:]
    assert network.width <= 12
    # Nothing beats counting.
    assert network.num_parameters * network.weight_bits >= network.total_bits >= len(points) * log2(classes)


@settings(deadline=None, max_examples=15)
@given(task=association_tasks(), seed=st.integers(0, 3))
def test_sequences_of_any_length(task: AssociationTask, seed: int) -> None:
    held = transplant(task, seed=seed)
    assert held.num_held == held.num_associations == task.num_associations
    assert held.num_heads == 1 and held.model is None and held.claimed is None


@given(task=association_tasks(), seed=st.integers(0, 3))
@settings(deadline=None, max_examples=15)
def test_the_ids_are_a_head_of_width_one(task: AssociationTask, seed: int) -> None:
    """Softmax over the positions' scores ln c_i averages the tokens; times sum(c), plus the offset, that is the first layer."""
    first = memorize(task.sequences, task.targets, task.vocab_size, seed=seed).layers[0]
    factors = [int(weight) for weight in first.weight[0]]
    assert min(factors) >= 1
    ids = [int(value) for value in first.forward([task.sequences[:, i].astype(object) for i in range(task.seq_len)])[0]]
    assert len(set(ids)) == task.num_associations
    weights = attention_weights(torch.tensor([log(factor) for factor in factors], dtype=torch.float64), dim=0).numpy()
    average = (task.sequences * weights).sum(axis=1)
    assert np.allclose(average * sum(factors) + float(first.bias[0]), np.array(ids, dtype=np.float64), rtol=1e-12, atol=0)


def test_parameters_grow_like_the_root() -> None:
    """At most sqrt(N_s log N_s) blocks, and sqrt(N_s / log N_s) points in a block, whose ids have 2 log N_s bits and a few."""
    for power in range(4, 31, 2):
        size = 2**power
        here = plan(size, 16, 2, 100)
        assert here.num_blocks <= (size * power) ** 0.5 + 1
        assert here.block_size <= (size / power) ** 0.5 + 1
        assert here.id_bits <= 2 * power + log2(2 * 100 * 2) + 1
        # A block costs a layer of (5 + 1) 5 entries, a point of a block id_bits + 2 layers of at most (12 + 1) 12; 200: the ends.
        most = 30 * ((size * power) ** 0.5 + 1) + 156 * (2 * power + 12) * ((size / power) ** 0.5 + 1) + 200
        assert 30 * (here.num_blocks - 1) < here.num_parameters <= most


def test_own_setting_and_seeds() -> None:
    first, again, other = build(100, 10, seed=1), build(100, 10, seed=1), build(100, 10, seed=2)
    assert first == again
    assert first.notes != other.notes
    assert first.num_held == other.num_held == 100
    assert first.weight_bits > 53
    assert first.num_parameters == other.num_parameters


def test_a_projection_that_merges_points_is_drawn_again() -> None:
    """On a 2 x 2 grid one draw in 16 has two equal factors, which merge (0, 1) and (1, 0): the seeds where the first does."""
    grid, labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 2, 3])
    merging = [seed for seed in range(100) if len(set(np.random.default_rng(seed).integers(1, 17, size=2).tolist())) == 1]
    assert len(merging) >= 3
    for seed in merging[:5]:
        assert memorize(grid, labels, 4, seed=seed).evaluate(grid) == [[0], [1], [2], [3]]


def test_float64_weights_do_not_hold_it() -> None:
    """The bits are needed: with every weight rounded to float64, though evaluated without a further rounding, labels get lost."""
    points = np.arange(200)[:, None]
    labels = np.random.default_rng(0).integers(2, size=200)
    network = memorize(points, labels, 2)

    def rounded(value: Fraction) -> Fraction:
        return Fraction(float(value))

    layers = tuple(
        replace(layer, weight=tuple(tuple(map(rounded, row)) for row in layer.weight), bias=tuple(map(rounded, layer.bias)))
        for layer in network.layers
    )
    answers = [outputs[0] for outputs in ExactNetwork(layers).evaluate(points)]
    assert sum(answer == label for answer, label in zip(answers, labels.tolist(), strict=True)) < 150


def test_a_point_that_was_not_stored_gets_the_label_zero() -> None:
    network = memorize(np.array([[10], [20], [30]]), np.array([1, 1, 1]), 2)
    strangers = np.array([[-30], [0], [11], [19], [25]])
    assert network.evaluate(strangers) == [[0]] * 5


@pytest.mark.parametrize(
    ("value", "bits"),
    [(Fraction(0), 0), (Fraction(1), 2), (Fraction(-5), 4), (Fraction(3, 4), 3), (Fraction(1, 1024), 11), (Fraction(9, 2), 5)],
)
def test_bit_length(value: Fraction, bits: int) -> None:
    assert bit_length(value) == bits


def test_the_evaluator_against_fractions() -> None:
    """A random rational network, layer by layer with Fraction arithmetic; weights are integers in the hidden layers."""
    generator = np.random.default_rng(0)
    writer = NetworkWriter(3)
    forms = writer.inputs
    for _ in range(4):
        fed = {}
        for place in range(5):
            weighted = sum((form * int(generator.integers(-9, 10)) for form in forms), Affine({}))
            fed[str(place)] = weighted + int(generator.integers(-9, 10))
        forms = list(writer.layer(fed).values())
    network = writer.finish([forms[0] - forms[1]])
    points = generator.integers(-50, 51, size=(20, 3))
    for point, found in zip(points.tolist(), network.evaluate(points), strict=True):
        values = [Fraction(entry) for entry in point]
        for layer in network.layers:
            sums = [
                bias + sum(weight * value for weight, value in zip(row, values, strict=True))
                for row, bias in zip(layer.weight, layer.bias, strict=True)
            ]
            values = sums if layer.linear else [max(total, Fraction(0)) for total in sums]
        assert found == values
    assert network.num_parameters == 5 * 4 + 3 * 5 * 6 + 6


def test_a_value_that_is_no_integer_is_refused() -> None:
    with pytest.raises(ArithmeticError, match="not an integer"):
        ExactNetwork((Layer(((Fraction(1, 2),),), (Fraction(0),), linear=True),)).evaluate(np.array([[3]]))


def test_refusals_name_the_assumption() -> None:
    with pytest.raises(ValueError, match="separated"):
        memorize(np.array([[1, 2], [3, 4], [1, 2]]), np.array([0, 1, 1]), 2)
    with pytest.raises(ValueError, match="labels has values from 0 to 2: 0 to 1 are legal"):
        memorize(np.array([[1], [2]]), np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="num_points = 30: at most 13"):
        build(30, 2, dims=3, radius=1)
    with pytest.raises(ValueError, match="num_labels = 1"):
        build(3, 1)
    assert bit_extraction.claimed_capacity(1000) is None
