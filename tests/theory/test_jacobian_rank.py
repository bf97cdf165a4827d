"""Arithmetic modulo 2^61 - 1 against Python's integers, and the rank of Jacobians against counts of parameters."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from theory import _modular
from theory.attention_rank import jacobian_rank
from theory.memorization import effective_parameters, logit_dimension, reachable_logit_dimension

PRIME = 2**61 - 1

# The field


@given(st.lists(st.integers(0, PRIME - 1), min_size=1, max_size=9), st.data())
def test_arithmetic_modulo_the_prime_and_the_order_of_its_group(numbers: list[int], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.integers(0, PRIME - 1), min_size=len(numbers), max_size=len(numbers)))
    edges = [0, 1, 2**30, 2**31 - 1, 2**31, 2**60, PRIME - 2]
    left, right = numbers + edges, others + edges[::-1]
    a, b = np.array(left, dtype=np.uint64), np.array(right, dtype=np.uint64)
    assert _modular.multiply(a, b).tolist() == [x * y % PRIME for x, y in zip(left, right, strict=True)]
    c, d = a % np.uint64(PRIME - 1), b % np.uint64(PRIME - 1)
    assert _modular.multiply(c, d, PRIME - 1).tolist() == [
        x * y % (PRIME - 1) for x, y in zip(c.tolist(), d.tolist(), strict=True)
    ]
    assert _modular.powers(c).tolist() == [pow(3, x, PRIME) for x in c.tolist()]
    assert _modular.inverses(a).tolist() == [pow(x, PRIME - 2, PRIME) for x in left]
    assert _modular.add(a, b).tolist() == [(x + y) % PRIME for x, y in zip(left, right, strict=True)]
    assert _modular.subtract(a, b).tolist() == [(x - y) % PRIME for x, y in zip(left, right, strict=True)]
    for modulus in (PRIME, PRIME - 1):
        expected = [[sum(x * y for x, y in zip(left, right, strict=True)) % modulus]]
        assert _modular.matmul(a[None] % np.uint64(modulus), b[:, None] % np.uint64(modulus), modulus).tolist() == expected


def test_the_base_has_many_powers_and_two_has_not() -> None:
    factors = (2, 3, 5, 7, 11, 13, 31, 41, 61, 151, 331, 1321)
    rest = PRIME - 1
    for factor in factors:
        while rest % factor == 0:
            rest //= factor
    assert rest == 1  # so these are all prime factors, and the order of 3 is what remains after dividing out what can be
    assert pow(3, (PRIME - 1) // 9, PRIME) == 1
    assert all(pow(3, (PRIME - 1) // 9 // factor, PRIME) != 1 for factor in factors if (PRIME - 1) // 9 % factor == 0)
    assert pow(2, 61, PRIME) == 1


# Parameters that count


@given(
    st.integers(2, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 3), st.integers(1, 4), st.integers(0, 3)
)
@example(3, 2, 2, 1, 1, 0)  # 15, one less than effective_parameters and five less than logit_dimension
def test_jacobian_rank_is_the_number_of_effective_parameters(
    tokens: int, length: int, dim: int, heads: int, width: int, seed: int
) -> None:
    shape = {"vocab_size": tokens, "seq_len": length, "embed_dim": dim, "num_heads": heads, "head_dim": width}
    count = effective_parameters(**shape)
    rank = jacobian_rank(**shape, seed=seed)
    assert rank <= min(count, logit_dimension(tokens, length, dim))
    if dim < tokens:
        reachable = reachable_logit_dimension(**shape)
        assert reachable <= logit_dimension(tokens, length, dim)
        assert rank == min(count, reachable)


@pytest.mark.parametrize(
    ("tokens", "length", "dim", "heads", "width", "rank"),
    [
        (6, 2, 2, 1, 2, 30),
        (5, 3, 4, 3, 2, 104),
        (4, 4, 3, 3, 2, 72),
        (3, 2, 4, 1, 1, 17),  # d >= N, where the count, 19, is only a bound
        (4, 3, 4, 1, 2, 44),
        (4, 1, 5, 1, 2, 16),
    ],
)
def test_jacobian_ranks_known(tokens: int, length: int, dim: int, heads: int, width: int, rank: int) -> None:
    assert jacobian_rank(vocab_size=tokens, seq_len=length, embed_dim=dim, num_heads=heads, head_dim=width) == rank
