"""The public strategy of strings for hop_k draws what it says, meets the awkward cases and shrinks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import theory.strategies
from theory._hop_draws import repaired, string_of_family
from theory.hops import find as find_positions
from theory.strategies import HOP_FAMILIES, hop_strings

first_found = settings(max_examples=2000, database=None, phases=[Phase.generate], derandomize=True)
shrunk = settings(max_examples=300, database=None, phases=[Phase.generate, Phase.shrink], derandomize=True)


@given(data=st.data(), low=st.integers(1, 6), more=st.integers(0, 3), shortest=st.integers(1, 10), spare=st.integers(0, 5))
def test_sizes_are_kept(data: st.DataObject, low: int, more: int, shortest: int, spare: int) -> None:
    symbols = data.draw(hop_strings(vocab_size=(low, low + more), seq_len=(shortest, shortest + spare)))
    assert symbols.dtype == np.int64
    assert shortest <= symbols.size <= shortest + spare
    assert 0 <= symbols.min() <= symbols.max() < low + more


@pytest.mark.parametrize("family", [None, *HOP_FAMILIES])
def test_no_repeats_means_none(family: str | None) -> None:
    @settings(max_examples=20, database=None)
    @given(hop_strings(repeats=False, family=family))
    def check(symbols: np.ndarray) -> None:
        assert (symbols[1:] != symbols[:-1]).all()

    check()


AWKWARD: dict[str, Callable[[np.ndarray], bool]] = {
    "one symbol": lambda symbols: symbols.size > 4 and len(set(symbols.tolist())) == 1,
    "half of all positions fixed": lambda symbols: (
        len(set(symbols.tolist())) > 2
        and 2 * int((find_positions(symbols, 1) == np.arange(1, symbols.size + 1)).sum()) >= symbols.size > 5
    ),
    "first occurrences at the end": lambda symbols: (
        symbols.size > 6 and len(set(symbols[:-2].tolist())) == 2 < len(set(symbols.tolist()))
    ),
    "a return from the very end": lambda symbols: (
        symbols.size > 6 and find_positions(symbols, 1)[-1] == 2 and len(set(symbols.tolist())) > 2
    ),
    "nothing defined soon": lambda symbols: symbols.size > 8 and not find_positions(symbols, 3).any(),
    "many hops without a fixed point": lambda symbols: (
        bool(find_positions(symbols, 6).any()) and bool((symbols[1:] != symbols[:-1]).all())
    ),
    "a palindrome": lambda symbols: len(set(symbols.tolist())) > 2 and symbols.tolist() == symbols[::-1].tolist(),
    "three periods": lambda symbols: (
        symbols.size >= 9 and len(set(symbols.tolist())) == 3 and symbols[3:].tolist() == symbols[:-3].tolist()
    ),
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_strings_are_found(kind: str) -> None:
    assert AWKWARD[kind](find(hop_strings(vocab_size=(2, 4), seq_len=(8, 10)), AWKWARD[kind], settings=first_found))


@pytest.mark.parametrize(
    ("family", "wanted"),
    [
        ("any", [3, 0, 1, 3, 2, 1, 0, 2]),
        ("constant", [3] * 8),
        ("periodic", [3, 0, 1, 3, 0, 1, 3, 0]),
        ("runs", [3, 3, 3, 3, 3, 3, 0, 0]),
        ("late", [3, 0, 3, 0, 3, 1, 0, 2]),
        ("mirror", [3, 0, 1, 3, 3, 1, 0, 3]),
        ("far return", [3, 0, 1, 0, 2, 1, 0, 3]),
        ("counting", [3, 0, 1, 2, 3, 0, 1, 2]),
    ],
)
def test_what_a_family_makes_of_entries(family: str, wanted: list[int]) -> None:
    """With 3 for the length of periods, runs and late ends."""
    assert string_of_family(family, np.array([3, 0, 1, 3, 2, 1, 0, 2]), 3, 4).tolist() == wanted


def test_repairs_go_from_left_to_right() -> None:
    assert repaired(np.array([2, 2, 2, 0, 0, 1, 1]), 3).tolist() == [2, 0, 2, 0, 1, 2, 1]


def test_every_family_is_drawn() -> None:
    seen = set()
    real = theory.strategies.string_of_family

    def spy(family: str, *rest: Any) -> np.ndarray:
        seen.add(family)
        return real(family, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theory.strategies, "string_of_family", spy)

        @settings(max_examples=150, database=None, derandomize=True)
        @given(hop_strings())
        def draw(symbols: np.ndarray) -> None:
            pass

        draw()
    assert seen == set(HOP_FAMILIES)


@pytest.mark.parametrize(
    ("condition", "smallest"),
    [
        (lambda symbols: True, [0]),
        (lambda symbols: bool(find_positions(symbols, 1).any()), [0, 0]),
        (lambda symbols: bool((find_positions(symbols, 1)[1:] == np.arange(1, symbols.size)).any()), [0, 1, 0]),
        (lambda symbols: len(set(symbols.tolist())) == 3, [0, 1, 2]),
    ],
)
def test_failing_strings_shrink(condition: Callable[[np.ndarray], bool], smallest: list[int]) -> None:
    found = find(hop_strings(), condition, settings=shrunk).tolist()
    assert len(found) == len(smallest)
    assert sum(found) <= sum(smallest) + 1


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 0}, "vocab_size = 0: must be an integer >= 1"),
        ({"seq_len": (3, 2)}, "seq_len = (3, 2): must be (least, largest) with least <= largest"),
        ({"vocab_size": 1, "repeats": False}, "vocab_size = 1: must reach 2 when repeats=False"),
        ({"family": "odd"}, f"family = 'odd': must be None or one of {', '.join(HOP_FAMILIES)}"),
    ],
)
def test_arguments_are_checked_when_the_strategy_is_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        hop_strings(**arguments)
    assert str(error.value) == message
