"""The routing head: keys with their margins, packets that survive a mean, and failures that are never silent."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions._mpc_keys import KeyFailure, scale_of
from constructions.attention import attention_pattern
from constructions.mpc import Hashing, PolynomialKeys, RandomKeys, RoutingHead, route, routing_head
from theory.parallel import Messages

KEYS = ("hashed", "polynomial")


@st.composite
def routings(draw: st.DrawFn) -> tuple[int, list[Messages]]:
    """(s, outboxes): any routing in which nobody sends or receives more than s messages; often full, often empty."""
    size, most = draw(st.integers(2, 12)), draw(st.integers(1, 2))
    load = [0] * size
    outboxes = []
    for _ in range(size):
        free = [target for target in range(size) if load[target] < most]
        targets = draw(st.lists(st.sampled_from(free), max_size=most, unique=True)) if free else []
        for target in targets:
            load[target] += 1
        words = st.lists(st.integers(-(2**49), 2**49), min_size=1, max_size=3).map(tuple)
        outboxes.append(tuple((target, draw(words)) for target in targets))
    return most, outboxes


def delivered(outboxes: list[Messages]) -> tuple[Messages, ...]:
    return tuple(
        tuple((source, words) for source, outbox in enumerate(outboxes) for target, words in outbox if target == machine)
        for machine in range(len(outboxes))
    )


@settings(deadline=None, max_examples=40)
@given(routings(), st.sampled_from(KEYS), st.integers(0, 99))
def test_any_routing_comes_back_whole_or_with_a_reason(routing: tuple[int, list[Messages]], keys: str, seed: int) -> None:
    most, outboxes = routing
    result = route(routing_head(len(outboxes), most, 3, keys=keys, seed=seed), outboxes)
    if result.received is None:
        assert result.reason
    else:
        assert result.received == delivered(outboxes)


@settings(deadline=None, max_examples=60)
@given(routings(), st.integers(1, 12), st.integers(0, 99))
def test_with_far_too_few_slots_nothing_wrong_is_ever_returned(
    routing: tuple[int, list[Messages]], slots: int, seed: int
) -> None:
    most, outboxes = routing
    result = route(routing_head(len(outboxes), most, 3, keys="polynomial", slots=slots, seed=seed), outboxes)
    assert (result.received is None and "recovered" in result.reason) or result.received == delivered(outboxes)


def full_load(size: int, most: int, seed: int) -> list[Messages]:
    rng = np.random.default_rng(seed)
    names = rng.permutation(size).tolist()
    shifts = rng.choice(size, most, replace=False).tolist()
    sent: list[Messages] = [()] * size
    for place, name in enumerate(names):
        sent[name] = tuple((names[(place + shift) % size], (int(rng.integers(1000)),)) for shift in shifts)
    return sent


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(("size", "most"), [(16, 1), (32, 2), (24, 3)])
def test_full_loads_are_delivered(size: int, most: int, keys: str) -> None:
    for seed in range(3):
        outboxes = full_load(size, most, seed)
        result = route(routing_head(size, most, 1, keys=keys, seed=seed), outboxes)
        assert result.received == delivered(outboxes), result.reason


# Failures of the paper's decoder, each made on purpose, and what the two additions of a packet make of it.


def fixed(size: int, most: int, marks: dict[tuple[int, int], list[int]], slots: int) -> RoutingHead:
    """A head whose hashing matrix has exactly these marks."""
    hashing = Hashing(size, most, 1, slots)
    hashing.matrix[:] = False
    for pair, columns in marks.items():
        hashing.matrix[pair][columns] = True
    return RoutingHead(PolynomialKeys(size, most), hashing)


def printed(head: RoutingHead, outboxes: list[Messages], machine: int) -> Messages:
    from constructions.mpc import means

    return head.hashing.unpack_as_printed(machine, means(head, outboxes)[machine])


def test_a_packet_without_any_slot_is_noticed() -> None:
    head, sent = fixed(4, 1, {}, 3), [((2, (7,)),), (), (), ()]
    assert printed(head, sent, 2) == ()  # the paper's decoder: nobody wrote to me
    result = route(head, sent)
    assert result.received is None and "machine 2 recovered 0 of an unknown number" in result.reason


def test_two_packets_that_always_meet_are_not_taken_for_one() -> None:
    """Both sources mark the same slots: their mean looks like one packet, of a machine between them that sent nothing."""
    head = fixed(4, 2, {(0, 3): [0, 1], (2, 3): [0, 1]}, 2)
    sent: list[Messages] = [((3, (10,)),), (), ((3, (20,)),), ()]
    assert printed(head, sent, 3) == ((1, (15,)),)
    result = route(head, sent)
    assert result.received is None and "machine 3 recovered 0 of an unknown number" in result.reason


def test_a_packet_that_always_meets_others_is_missed_and_counted() -> None:
    head = fixed(4, 2, {(0, 3): [0], (2, 3): [0, 1]}, 2)
    sent: list[Messages] = [((3, (10,)),), (), ((3, (20,)),), ()]
    assert printed(head, sent, 3) == ((2, (20,)),)  # as if machine 0 had sent nothing
    result = route(head, sent)
    assert result.received is None and "machine 3 recovered 1 of 2 messages" in result.reason


def test_a_source_whose_own_packets_collide_is_counted() -> None:
    head = fixed(4, 2, {(0, 3): [0], (0, 1): [0], (2, 3): [1]}, 2)
    sent: list[Messages] = [((3, (10,)), (1, (5,))), (), ((3, (20,)),), ()]
    result = route(head, sent)
    assert result.received is None and "machine 1 recovered 0" in result.reason


def test_a_packet_for_somebody_else_is_not_mine_but_tells_how_many_there_are() -> None:
    head = fixed(4, 2, {(0, 1): [1], (2, 3): [0], (0, 3): []}, 2)
    sent: list[Messages] = [((3, (10,)), (1, (5,))), (), ((3, (20,)),), ()]
    result = route(head, sent)
    assert result.received is None and "machine 3 recovered 1 of 2" in result.reason


# Keys.


@pytest.mark.parametrize(("size", "most"), [(7, 1), (16, 2), (9, 3), (450, 3), (97, 4), (13, 7)])
def test_polynomial_scores_are_exact_integers_up_to_the_limit(size: int, most: int) -> None:
    """In torch's own products, at sizes where positions counted from 1 already give wrong scores."""
    assert size ** (2 * most) < 2**53
    keys, rng = PolynomialKeys(size, most), np.random.default_rng(size)
    queries = torch.from_numpy(np.stack([keys.query(machine) for machine in range(size)]))
    for count in range(most + 1):
        chosen = tuple(rng.choice(size, count, replace=False).tolist())
        scores = (queries @ torch.from_numpy(keys.key(chosen))).tolist()
        exact = [-np.prod([(machine - d) ** 2 for d in chosen], dtype=object) for machine in range(size)]
        assert scores == exact
    assert (queries @ torch.from_numpy(keys.start_key)).tolist() == [-0.5] * size


@pytest.mark.parametrize(("size", "most"), [(2**27, 1), (9742, 2), (100, 4)])
def test_polynomial_keys_are_refused_past_their_limit(size: int, most: int) -> None:
    assert size ** (2 * most) >= 2**53
    with pytest.raises(ValueError, match=rf"num_machines = {size} with {most} messages: .*N\^\(2s\) < 2\^53"):
        PolynomialKeys(size, most)


def test_counted_from_one_the_limit_is_not_enough() -> None:
    """Why positions are centred: below N^(2s) = 2^53 scores of uncentred positions are already off."""
    rng, size, most, wrong = np.random.default_rng(0), 97, 4, 0
    powers = torch.tensor([[float(machine**power) for power in range(2 * most + 1)] for machine in range(1, size + 1)])
    for _ in range(50):
        chosen = (rng.choice(size, most, replace=False) + 1).tolist()
        coefficients = [1]
        for root in [root for root in chosen for _ in range(2)]:
            coefficients = [a - root * b for a, b in zip([0, *coefficients], [*coefficients, 0], strict=True)]
        scores = -(powers.double() @ torch.tensor([float(c) for c in coefficients], dtype=torch.float64))
        wrong += bool((scores[[d - 1 for d in chosen]] != 0).any())
    assert size ** (2 * most) < 2**53 and wrong > 0


@pytest.mark.parametrize(("size", "most"), [(16, 1), (16, 2), (32, 2)])
def test_random_keys_keep_their_promise_for_every_set(size: int, most: int) -> None:
    keys = RandomKeys(size, most, seed=1)
    for chosen in combinations(range(size), most):
        try:
            products = keys.vectors @ keys.key(chosen)[:-1]
        except KeyFailure:
            continue
        inside = np.isin(np.arange(size), chosen)
        assert np.abs(products[inside] - 1).max() < 1e-12 and products[~inside].max() <= 0.7


def test_random_keys_of_default_size_exist_for_nearly_every_set() -> None:
    keys, missing, sets = RandomKeys(32, 2, seed=1), 0, list(combinations(range(32), 2))
    for chosen in sets:
        try:
            keys.key(chosen)
        except KeyFailure:
            missing += 1
    assert missing <= len(sets) // 100


def test_a_set_without_a_key_is_a_reason() -> None:
    head = routing_head(32, 2, 1, key_dim=16)
    result = route(head, full_load(32, 2, 0))
    assert result.received is None and "largest product outside" in result.reason
    same = RandomKeys(8, 2, dim=1)  # vectors of one sign: two machines always depend on each other
    with pytest.raises(KeyFailure, match="dependent"):
        same.key((0, 1))


@pytest.mark.parametrize("keys", [PolynomialKeys(12, 2), RandomKeys(12, 2, seed=2)])
def test_attention_is_the_plain_mean_over_sources_and_the_start_without_any(keys: PolynomialKeys | RandomKeys) -> None:
    targets = [(3, 5), (3,), (), (5, 0)] + [()] * 8
    queries = torch.from_numpy(np.stack([keys.query(machine) for machine in range(12)]))[None, :, None]
    rows = torch.from_numpy(np.stack([keys.start_key, *(keys.key(each) for each in targets)]))[None, :, None]
    pattern = attention_pattern(queries * scale_of(keys), rows, causal=False)[0, 0]
    for machine in range(12):
        sources = [source + 1 for source, each in enumerate(targets) if machine in each] or [0]
        others = [position for position in range(13) if position not in sources]
        assert (pattern[machine, others] == 0).all()  # underflow, not merely small
        assert (pattern[machine, sources] - 1 / len(sources)).abs().max() < 1e-6


def test_more_slots_are_the_same_matrix_and_more() -> None:
    few, many = Hashing(6, 2, 1, 5, seed=3), Hashing(6, 2, 1, 50, seed=3)
    assert np.array_equal(few.matrix, many.matrix[:, :, :5])
    share = Hashing(40, 2, 1, 100, seed=3).matrix.mean()
    assert abs(share - 1 / 5) < 5 * (0.2 * 0.8 / 160000) ** 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: routing_head(8, 0, 1), "messages = 0"),
        (lambda: routing_head(8, 1, 0), "message_words = 0"),
        (lambda: route(routing_head(8, 1, 1), [()] * 7), "outboxes has 7 machines"),
        (lambda: route(routing_head(2, 1, 1), [((1, (0.5,)),), ()]), "machine 0 sends 0.5"),
    ],
)
def test_what_cannot_be_routed_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()  # type: ignore[operator]


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(
    ("outbox", "message"),
    [
        (((-1, (5,)),), "names machine -1 of 4"),
        (((4, (5,)),), "names machine 4 of 4"),
        (((2, (5,)), (2, (6,))), "at most one message per destination is legal, and none without words"),
        (((2, ()),), "at most one message per destination is legal, and none without words"),
        (((0, (5,)), (2, (6,)), (3, (7,))), "3 messages of up to 1 words, the head carries 2 of 1"),
        (((2, (5, 6)),), "1 messages of up to 2 words, the head carries 2 of 1"),
    ],
)
def test_an_outbox_that_is_none_is_refused_and_nothing_lost(outbox: Messages, message: str, keys: str) -> None:
    with pytest.raises(ValueError, match=f"^machine 1: {message}$"):
        route(routing_head(4, 2, 1, keys=keys), [(), outbox, (), ()])
