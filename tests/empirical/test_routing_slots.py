"""Slots of the routing head, measured: nested, exact where said, far below the proof's number, the same for the same seed."""

import numpy as np
import pytest

from constructions.mpc import Hashing, PolynomialKeys, RoutingHead, route
from empirical.routing_slots import SLOT_COLUMNS, random_routing, routing_slots, slots_needed
from theory.parallel import Messages, hashing_slots_bound, hashing_slots_for


def test_table() -> None:
    told: list[tuple[int, int]] = []
    table = routing_slots(((8, 1), (12, 2)), trials=4, seed=3, progress=lambda done, all_: told.append((done, all_)))
    assert tuple(table.columns) == SLOT_COLUMNS and told == [(1, 2), (2, 2)]
    assert (table.trials == 4).all() and (table.wrong == 0).all()
    for (n, s), rows in table.groupby(["num_machines", "messages"]):
        assert (rows.proof_bound == hashing_slots_bound(n, s)).all()
        assert (rows.one_routing_bound == hashing_slots_for(n, s, 0.01)).all()
        assert rows.slots.is_monotonic_increasing and rows.exact.is_monotonic_increasing  # nested columns
        assert rows.needed.tolist() == [False] * (len(rows) - 1) + [True]
        assert rows.exact.tolist()[-1] == 4 and (rows.exact[:-1] < 4).all()
        assert rows.slots.max() < hashing_slots_bound(n, s)
        assert rows.slots.tolist()[:-1] == [2**power for power in range(len(rows) - 1)]
        assert rows.printed_wrong.tolist()[-1] == 0 and rows.printed_wrong.max() > 0
    again = routing_slots(((8, 1), (12, 2)), trials=4, seed=3)
    assert table.equals(again) and not table.equals(routing_slots(((8, 1), (12, 2)), trials=4, seed=4))


@pytest.mark.parametrize(("n", "s"), [(4, 1), (4, 2), (9, 3), (16, 2)])
def test_full_loads(n: int, s: int) -> None:
    drawn = random_routing(n, s, np.random.default_rng(0))
    assert drawn.shape == (n, s) and all(len(set(row)) == s for row in drawn.tolist())
    assert np.array_equal(np.bincount(drawn.ravel(), minlength=n), np.full(n, s))


@pytest.mark.parametrize("seed", range(6))
def test_the_count_of_slots_is_what_attention_delivers(seed: int) -> None:
    """One slot less fails by attention, that many succeed."""
    rng = np.random.default_rng(seed)
    destinations = random_routing(10, 2, rng)
    sent: list[Messages] = [tuple((int(target), (int(rng.integers(99)),)) for target in row) for row in destinations]
    needed = slots_needed(Hashing(10, 2, 1, 400, seed), destinations)
    assert needed > 1
    enough = route(RoutingHead(PolynomialKeys(10, 2), Hashing(10, 2, 1, needed, seed)), sent)
    too_few = route(RoutingHead(PolynomialKeys(10, 2), Hashing(10, 2, 1, needed - 1, seed)), sent)
    assert enough.received is not None and too_few.received is None
    assert slots_needed(Hashing(10, 2, 1, needed - 1, seed), destinations) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: random_routing(5, 3, np.random.default_rng(0)), "messages = 3: at most num_machines // 2 = 2"),
        (lambda: routing_slots(((8, 1),), trials=0), "trials = 0"),
        (lambda: routing_slots(((8, 1),), seed=-1), "seed = -1"),
        (lambda: routing_slots(((1, 1),)), "num_machines = 1"),
        (lambda: routing_slots(((100, 4),)), r"num_machines = 100 with 4 messages"),
    ],
)
def test_sizes_out_of_range_are_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()  # type: ignore[operator]
