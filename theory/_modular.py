"""Arithmetic modulo the prime 2^61 - 1 on whole arrays, and the rank of a matrix over that field.

Entries are uint64 and reduced. The same multiplication serves modulo 2^61 - 2, the order of the field's multiplicative
group, where exponents live. Private to `theory.attention_rank`.
"""

from functools import cache

import numpy as np
from jaxtyping import Integer, UInt64

PRIME = 2**61 - 1
ORDER = PRIME - 1
BASE = 3
"""Base of the powers: its order modulo PRIME is ORDER / 9. (2 would not do: as 2^61 = 1, it has 61 different powers.)"""

_MASK_31, _MASK_30, _MASK_61 = np.uint64(2**31 - 1), np.uint64(2**30 - 1), np.uint64(PRIME)
_S30, _S31, _S61 = np.uint64(30), np.uint64(31), np.uint64(61)


def residues(numbers: Integer[np.ndarray, "..."], modulus: int = PRIME) -> UInt64[np.ndarray, "..."]:
    """Signed or unsigned 64-bit integers as residues 0, .., modulus - 1."""
    return np.asarray(numbers % numbers.dtype.type(modulus)).astype(np.uint64)


def add(left: UInt64[np.ndarray, "..."], right: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Sums, broadcast as numpy does."""
    return (left + right) % np.uint64(PRIME)


def subtract(left: UInt64[np.ndarray, "..."], right: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Differences, broadcast as numpy does."""
    return (left + (np.uint64(PRIME) - right)) % np.uint64(PRIME)


def multiply(
    left: UInt64[np.ndarray, "..."], right: UInt64[np.ndarray, "..."], modulus: int = PRIME
) -> UInt64[np.ndarray, "..."]:
    """Products, broadcast as numpy does, modulo PRIME or ORDER."""
    # With limbs of 30 and 31 bits, 2^61 is replaced by 1 (PRIME) or 2 (ORDER); the sum stays below 2^64.
    wrap = np.uint64(2**61 - modulus)
    high, low, other_high, other_low = left >> _S31, left & _MASK_31, right >> _S31, right & _MASK_31
    middle = high * other_low + low * other_high
    bottom = low * other_low
    total = np.uint64(2) * wrap * (high * other_high) + wrap * (middle >> _S30) + ((middle & _MASK_30) << _S31)
    return np.asarray((total + wrap * (bottom >> _S61) + (bottom & _MASK_61)) % np.uint64(modulus))


def matmul(
    left: UInt64[np.ndarray, "*batch rows inner"],
    right: UInt64[np.ndarray, "*other inner columns"],
    modulus: int = PRIME,
) -> UInt64[np.ndarray, "..."]:
    """Matrix products over the last two axes, the others broadcast, modulo PRIME or ORDER."""
    total = multiply(left[..., :, 0, None], right[..., None, 0, :], modulus)
    for k in range(1, left.shape[-1]):
        total = (total + multiply(left[..., :, k, None], right[..., None, k, :], modulus)) % np.uint64(modulus)
    return total


@cache
def _power_table() -> UInt64[np.ndarray, "8 256"]:
    return np.array([[pow(BASE, byte << 8 * k, PRIME) for byte in range(256)] for k in range(8)], dtype=np.uint64)


def powers(exponents: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """BASE to the exponents (residues modulo ORDER), modulo PRIME."""
    table, byte = _power_table(), np.uint64(255)
    result = table[0][exponents & byte]
    for k in range(1, 8):
        result = multiply(result, table[k][exponents >> np.uint64(8 * k) & byte])
    return result


def inverses(numbers: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Multiplicative inverses; 0 for 0."""
    flat = [pow(number, -1, PRIME) if number else 0 for number in numbers.ravel().tolist()]
    return np.array(flat, dtype=np.uint64).reshape(numbers.shape)


def rank(matrix: Integer[np.ndarray, "rows columns"]) -> int:
    """Rank of a matrix of residues over the field with PRIME elements."""
    from flint import nmod_mat  # imported here so that `import theory` does without it

    if 0 in matrix.shape:
        return 0
    return int(nmod_mat(matrix.shape[0], matrix.shape[1], matrix.ravel().tolist(), PRIME).rank())
