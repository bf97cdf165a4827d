"""Lower bounds say what they are: conditional ones without any number, the others up to a constant that nobody stated."""

from collections.abc import Callable
from fractions import Fraction
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.depth_bounds import (
    CONDITIONAL_BOUNDS,
    CONJECTURE,
    AsymptoticBound,
    ConditionalBound,
    chain_of_thought_bound,
    hop_players_bound,
    kernel_attention_bound,
    message_passing_bound,
    pointer_chasing_bound,
    recurrent_bound,
    scale_warning,
    windowed_attention_bound,
)
from theory.hop_strings import pointer_chasing

SIZES = {"num_hops": 5, "seq_len": 10**6}
HOP_BOUNDS: list[tuple[Callable[..., AsymptoticBound], dict[str, int], float, str]] = [
    (hop_players_bound, {"message_bits": 7}, 7, "R"),
    (recurrent_bound, {"state_dim": 64}, 64, "L"),
    (kernel_attention_bound, {"embed_dim": 3, "feature_dim": 5, "num_heads": 7, "bits": 11}, 1155, "L"),
    (windowed_attention_bound, {"window": 10, "every": 100, "embed_dim": 3, "num_heads": 7, "bits": 11}, 2010 * 231, "L"),
    (chain_of_thought_bound, {"embed_dim": 3, "num_heads": 7, "bits": 11}, 231, r"N_{\mathrm{CoT}}"),
]


@pytest.mark.parametrize("bound", CONDITIONAL_BOUNDS, ids=lambda bound: bound.name)
def test_conditional_bounds_say_so_and_offer_no_number(bound: ConditionalBound) -> None:
    assert bound.condition == CONJECTURE
    assert bound.statement.startswith("If Conjecture 2.4 holds")
    assert "asymptotically" in bound.statement
    assert r"\Omega(\log" in bound.depth
    assert all(part in bound.statement for part in bound.assumptions)
    values = [getattr(bound, name) for name in dir(bound) if not name.startswith("_")]
    assert not [value for value in values if callable(value) or isinstance(value, int | float)]


def test_both_conditional_bounds_are_there() -> None:
    assert [bound.source[-13:] for bound in CONDITIONAL_BOUNDS] == ["Corollary 4.3", "Corollary 3.5"]


@pytest.mark.parametrize(("function", "sizes", "spent", "rounds"), HOP_BOUNDS)
def test_bounds_for_hops(function: Callable[..., AsymptoticBound], sizes: dict[str, int], spent: float, rounds: str) -> None:
    bound = function(**SIZES, **sizes)
    assert bound.spent == spent
    assert bound.inside == 10**6 / 5**6 == 64
    assert (bound.rounds, bound.num_hops) == (rounds, 5)
    assert rf"\({rounds} \ge k\) or" in bound.statement
    assert r"\Omega(N / k^6)" in bound.statement
    assert "constant not stated" in bound.statement
    assert not bound.constant_stated
    assert not bound.is_vacuous


@pytest.mark.parametrize(("function", "sizes", "spent", "rounds"), HOP_BOUNDS)
def test_sizes_below_one_are_refused(
    function: Callable[..., AsymptoticBound], sizes: dict[str, int], spent: float, rounds: str
) -> None:
    whole = {**SIZES, **sizes}
    for name in whole:
        with pytest.raises(ValueError) as error:
            function(**{**whole, name: 0})
        assert str(error.value) == f"{name} = 0: must be an integer >= 1"


@given(num_hops=st.integers(1, 12), width=st.integers(1, 1000))
def test_the_players_bound_is_pointer_chasing_at_its_length(num_hops: int, width: int) -> None:
    """q = N / 2k: q / k^5 is N / (2 k^6), the same up to the constant that is left open."""
    chasing = pointer_chasing_bound(num_hops, width)
    hopping = hop_players_bound(num_hops, 2 * width * num_hops)
    assert isnan(chasing.spent)
    assert isnan(hopping.spent)
    assert Fraction(2 * width * num_hops, num_hops**6) == 2 * Fraction(width, num_hops**5)
    assert hopping.inside == pytest.approx(2 * chasing.inside, rel=1e-15)


def test_the_hard_strings_have_the_alphabet_and_length_of_the_bound() -> None:
    task = pointer_chasing(4, 6, 1, generator=np.random.default_rng(0)).task
    width = (task.seq_len - 1) // (2 * 4)
    assert (width, task.vocab_size) == (6, 2 * width + 2)


def test_message_passing() -> None:
    bound = message_passing_bound(num_vertices=10**4, num_layers=3, message_dim=16)
    assert bound.spent == 12
    assert bound.inside == pytest.approx(10, rel=1e-14)
    assert bound.statement == r"\(L \sqrt{m} = \tilde\Omega(N^{1/4})\), the constant not stated."
    assert bound.log_factors
    assert not bound.constant_stated
    with pytest.raises(ValueError, match="message_dim = 0"):
        message_passing_bound(10, 1, 0)


def test_bounds_say_nothing_at_the_sizes_of_experiments() -> None:
    assert hop_players_bound(4, 1000).inside == pytest.approx(0.244140625, rel=1e-15)
    assert scale_warning(4, 1000) == (
        "N / k^6 = 0.24 < 1 at N = 1000, k = 4: bounds of Omega(N / k^6) say nothing at this size"
    )
    assert scale_warning(16, 98) is not None
    assert scale_warning(3, 3**6 - 1) is not None
    assert scale_warning(3, 3**6) is None
    assert scale_warning(1, 1) is None


def test_huge_k_gives_a_small_number_and_no_error() -> None:
    assert hop_players_bound(10**60, 5).inside == 0
    assert hop_players_bound(10**60, 5).is_vacuous


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scale_warning(0, 5), "num_hops = 0: must be an integer >= 1"),
        (lambda: pointer_chasing_bound(2, 1.5), "width = 1.5: must be an integer >= 1"),  # type: ignore[arg-type]
        (lambda: pointer_chasing_bound(2, 3, 0), "message_bits = 0: must be an integer >= 1"),
    ],
)
def test_other_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
