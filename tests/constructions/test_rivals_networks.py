"""Baum's threshold networks and Bubeck et al.'s ReLU bumps: right in exact arithmetic, of the claimed size, or refused."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from constructions.rivals import baum, bubeck
from theory.strategies import association_tasks
from theory.tasks import AssociationTask

SIZES = {"num_points": st.integers(1, 40), "input_dim": st.integers(1, 8), "seed": st.integers(0, 10**6)}


def gaussian(num_points: int, input_dim: int, seed: int) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_points, input_dim)), rng


def exact_preactivations(network: baum.ThresholdNetwork | bubeck.ReluNetwork, point: np.ndarray) -> list[Fraction]:
    """inward · x + bias of the stored float weights, with no rounding at all."""
    x = [Fraction(float(value)) for value in point]
    return [
        sum((Fraction(float(w)) * value for w, value in zip(row, x, strict=True)), Fraction(float(bias)))
        for row, bias in zip(network.inward, network.bias, strict=True)
    ]


def exact_relu_output(network: bubeck.ReluNetwork, point: np.ndarray) -> Fraction:
    units = exact_preactivations(network, point)
    return sum((Fraction(float(w)) * max(z, Fraction(0)) for w, z in zip(network.outward, units, strict=True)), Fraction(0))


@given(**SIZES, scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=30)
def test_bumps_pass_through_all_real_labels(num_points: int, input_dim: int, seed: int, scale: float) -> None:
    """The exact output of the stored weights is as near to the labels as the float output with its error bound says."""
    points, rng = gaussian(num_points, input_dim, seed)
    labels = scale * rng.standard_normal(num_points)
    network = bubeck.fit(points, labels, seed=seed)
    assert len(network.bias) == bubeck.units_needed(num_points, input_dim) == 4 * -(-num_points // input_dim)
    floats, bound = network(points), network.error_bound(points)
    for point, label, value, error in zip(points, labels, floats, bound, strict=True):
        exact = exact_relu_output(network, point)
        assert abs(exact - Fraction(float(value))) <= Fraction(float(error))
        assert abs(exact - Fraction(float(label))) <= Fraction(float(error + 1e-6 * scale))


@given(**SIZES)
def test_bumps_are_nothing_away_from_their_slab(num_points: int, input_dim: int, seed: int) -> None:
    """Every point is farther from all kinks than its own rounding, and a group's units vanish at the other groups' points."""
    points, rng = gaussian(num_points, input_dim, seed)
    network = bubeck.fit(points, rng.standard_normal(num_points), seed=seed)
    before = points @ network.inward.T + network.bias
    rounding = (input_dim + 2) * 2.0**-52 * (np.abs(points) @ np.abs(network.inward).T + np.abs(network.bias))
    assert (np.abs(before) > 10 * rounding).all()
    units = (np.maximum(before, 0) * network.outward).reshape(num_points, -1, 4)
    per_group = np.abs(units.sum(axis=2)) > 1e-6 * np.abs(units).max(axis=2, initial=1.0)
    assert (per_group.sum(axis=1) <= 1).all() and (per_group.sum(axis=0) <= input_dim).all()


@given(**SIZES, num_labels=st.integers(2, 1000))
def test_bubeck_holds_what_it_claims(num_points: int, input_dim: int, seed: int, num_labels: int) -> None:
    memory = bubeck.build(num_points=num_points, input_dim=input_dim, num_labels=num_labels, seed=seed)
    units = bubeck.units_needed(num_points, input_dim)
    assert memory.num_held == memory.num_associations == num_points <= memory.claimed
    assert memory.claimed == bubeck.claimed_capacity(units, input_dim) == input_dim * units // 4 < num_points + input_dim
    assert memory.num_parameters == units * (input_dim + 2)
    assert memory.num_heads is None and memory.model is None
    assert memory == bubeck.build(num_points=num_points, input_dim=input_dim, num_labels=num_labels, seed=seed)


@given(**SIZES, share=st.floats(0.0, 1.0))
@settings(max_examples=100)
def test_baum_gives_every_dichotomy_with_the_claimed_units(num_points: int, input_dim: int, seed: int, share: float) -> None:
    """Right in exact arithmetic, so no point sits on a threshold."""
    points, rng = gaussian(num_points, input_dim, seed)
    labels = rng.random(num_points) < share
    network = baum.fit(points, labels, seed)
    assert len(network.bias) <= baum.units_needed(num_points, input_dim)
    assert np.array_equal(network(points), labels)
    if num_points * len(network.bias) <= 200:
        for point, label in zip(points, labels, strict=True):
            on = sum(w for w, z in zip(network.outward, exact_preactivations(network, point), strict=True) if z > 0)
            assert (on > network.cut) == label


@pytest.mark.parametrize(("input_dim", "full_groups", "spare"), [(2, 1, 1), (4, 1, 2), (5, 2, 1), (6, 3, 3), (8, 2, 4)])
@pytest.mark.parametrize("turned", [False, True])
def test_baum_where_slabs_alone_would_need_a_unit_more(input_dim: int, full_groups: int, spare: int, turned: bool) -> None:
    num_points = (2 * full_groups + 1) * input_dim
    smaller = full_groups * input_dim + spare
    for seed in range(5):
        points, rng = gaussian(num_points, input_dim, seed)
        labels = (rng.permutation(num_points) < smaller) != turned
        network = baum.fit(points, labels, seed)
        assert 2 * -(-smaller // input_dim) > len(network.bias) <= baum.units_needed(num_points, input_dim) == 2 * full_groups + 1
        assert np.array_equal(network(points), labels)


@pytest.mark.parametrize("input_dim", [1, 2, 3, 4, 5])
def test_baum_is_tight_on_a_curve_that_no_hyperplane_meets_often(input_dim: int) -> None:
    """d + 2 points of the moment curve, labels alternating: the claimed two units do, and one does not (a linear program)."""
    time = np.arange(input_dim + 2) / (input_dim + 1)
    points = time[:, None] ** np.arange(1, input_dim + 1)
    labels = np.arange(input_dim + 2) % 2 == 0
    network = baum.fit(points, labels)
    assert np.array_equal(network(points), labels)
    assert len(network.bias) <= baum.units_needed(len(points), input_dim) == (2 if input_dim > 1 else 3)
    signed = np.where(labels, -1.0, 1.0)[:, None] * np.column_stack([points, np.ones(len(points))])
    lone = linprog(np.zeros(input_dim + 1), A_ub=signed, b_ub=-np.ones(len(points)), bounds=(None, None))
    assert lone.status == 2  # infeasible: no halfspace, and none of its complements
    assert linprog(np.zeros(input_dim + 1), A_ub=-signed, b_ub=-np.ones(len(points)), bounds=(None, None)).status == 2


@given(**SIZES)
def test_baum_memory(num_points: int, input_dim: int, seed: int) -> None:
    memory = baum.build(num_points=num_points, input_dim=input_dim, seed=seed)
    assert memory.num_held == num_points <= memory.claimed == input_dim * -(-num_points // input_dim)
    assert memory.num_labels == 2 and memory.num_heads is None and memory.model is None
    assert memory.num_parameters <= baum.units_needed(num_points, input_dim) * (input_dim + 2) + 1


def test_points_out_of_general_position_are_refused_by_name() -> None:
    line = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 1.0]])
    twice = np.array([[0.0, 1.0], [0.5, 3.0], [0.0, 1.0]])
    plane = np.array([[a, b, 1.0] for a, b in combinations([0.1, 0.7, 1.9, 4.2, 5.5], 2)])
    for points, labels in ((line, np.arange(4) % 2 == 0), (twice, np.arange(3) == 0), (plane, np.arange(10) < 4)):
        with pytest.raises(ValueError, match="general position"):
            bubeck.fit(points, labels.astype(float))
        with pytest.raises(ValueError, match="general position"):
            baum.fit(points, labels)


@given(seed=st.integers(0, 10**6), embed_dim=st.integers(2, 5))
def test_four_pairs_of_a_table_are_not_in_general_position(seed: int, embed_dim: int) -> None:
    """Why the transplant groups pairs as it does: the obvious grouping is refused."""
    points, _ = gaussian(4, embed_dim, seed)
    table = np.array([np.concatenate([points[a], points[b]]) for a in (0, 1) for b in (2, 3)])
    with pytest.raises(ValueError, match="general position"):
        bubeck.fit(table, np.arange(4.0))


@given(task=association_tasks(seq_len=2, num_associations=(1, 40)), size=st.integers(1, 9))
def test_pair_groups_repeat_no_token_at_a_place(task: AssociationTask, size: int) -> None:
    groups = bubeck.pair_groups(task, size)
    assert sorted(np.concatenate(groups).tolist()) == list(range(task.num_associations))
    for group in groups:
        assert 1 <= len(group) <= size
        assert all(len(np.unique(tokens)) == len(group) for tokens in task.sequences[group].T)


@given(vocab_size=st.integers(2, 12), size=st.integers(1, 11))
def test_a_whole_table_fills_its_groups(vocab_size: int, size: int) -> None:
    groups = bubeck.pair_groups(AssociationTask.complete(vocab_size, 2, 0), min(size, vocab_size - 1))
    assert len(groups) == -(-(vocab_size**2) // min(size, vocab_size - 1))


@given(
    task=association_tasks(seq_len=2), embed_dim=st.integers(1, 4), num_heads=st.integers(1, 6), seed=st.integers(0, 10**6)
)
def test_bubeck_transplanted_holds_what_it_is_given(task: AssociationTask, embed_dim: int, num_heads: int, seed: int) -> None:
    """And weighs no more than the heads that it stands for, while one group more would, unless all pairs are in."""
    head_dim = embed_dim + 3
    memory = bubeck.transplant(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    assert memory.num_held == memory.num_associations <= memory.claimed
    network = memory.num_parameters - 2 * task.vocab_size * embed_dim
    group = 4 * (2 * embed_dim + 2)
    budget = 4 * embed_dim * head_dim * num_heads
    assert network % group == 0 and network <= budget
    assert network + group > budget or memory.num_associations == task.num_associations
    assert memory.model is None and memory.num_heads is None and memory.setting == "transplanted"


@pytest.mark.bad_input
def test_arguments_out_of_range() -> None:
    pairs, triples = AssociationTask.complete(3, 2, 0), AssociationTask.complete(2, 3, 0)
    with pytest.raises(ValueError, match="task has sequences of 3 tokens: 2 is legal"):
        bubeck.transplant(triples, embed_dim=2, head_dim=2, num_heads=9, seed=0)
    with pytest.raises(ValueError, match="num_heads = 1: 4 d d_h H = 16 weights; at least 24 are legal"):
        bubeck.transplant(pairs, embed_dim=2, head_dim=2, num_heads=1, seed=0)
    for function in (baum.units_needed, bubeck.units_needed, baum.claimed_capacity, bubeck.claimed_capacity):
        with pytest.raises(ValueError, match="input_dim = 0"):
            function(3, 0)
    with pytest.raises(ValueError, match="num_points"):
        bubeck.build(num_points=0, input_dim=2, num_labels=2, seed=0)
    with pytest.raises(ValueError, match="num_labels = 1"):
        bubeck.build(num_points=1, input_dim=2, num_labels=1, seed=0)
    with pytest.raises(ValueError, match="seed = -1"):
        baum.build(num_points=1, input_dim=2, seed=-1)
