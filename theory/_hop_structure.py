"""What find does to the positions of a string: chains, how many are undefined, how far back it looks, what guessing earns.

find^1 is injective where it is defined (p + 1 is found from the next occurrence of X_p after p, and from nowhere else), and
never points forward. So the positions of a string fall into fixed points (behind an equal symbol) and chains, each of which
steps from its last position down to a first occurrence of a symbol and ends there. There is one chain for each of the s symbols
that the string uses; that of position 1 is position 1 alone. Position i is undefined under find^k when fewer than k steps are
left on its chain, hence, for every string, whether symbols repeat or not, and k >= 1,

    undefined positions = 1 + the sum over the other s - 1 chains of min(k, positions of the chain) <= 1 + k (s - 1),

with equality exactly while no chain but that of position 1 is shorter than k. Derived here.
"""

from math import nan

import numpy as np
from jaxtyping import Int, Integer

from theory._hop_draws import all_strings, num_strings_of, random_strings
from theory._hop_maps import checked_symbols, find, symbols_at
from theory.shapes import checked_integer

_CHUNK = 2**20  # symbols that are followed at once


def hops_left(symbols: Integer[np.ndarray, "*batch seq_len"]) -> Int[np.ndarray, "*batch seq_len"]:
    """The largest k, up to N, at which find^k of a position is defined: N at fixed points (any k), 0 at first occurrences.

    Raises ValueError for symbols that are no strings of integers >= 0.
    """
    found = find(symbols, 1)
    seq_len = found.shape[-1]
    left = np.full((*found.shape[:-1], seq_len + 1), -1, dtype=np.int64)
    for position in range(1, seq_len + 1):
        target = found[..., position - 1 : position]
        steps = np.take_along_axis(left, target, axis=-1) + 1
        left[..., position : position + 1] = np.where(target == position, seq_len, steps)
    return left[..., 1:]


def chain_lengths(symbols: Integer[np.ndarray, " seq_len"]) -> Int[np.ndarray, " num_chains"]:
    """Positions of each chain of one string, shortest first: one chain per symbol in use. They add up to N less the fixed points.

    Raises ValueError for symbols that are no string of integers >= 0.
    """
    left = hops_left(symbols)
    left = left[left < left.size]
    at_least = np.bincount(left)  # chains with more than 0, 1, .. positions
    return np.repeat(np.arange(1, at_least.size + 1), at_least - np.append(at_least[1:], 0))


def exact_hops(symbols: Integer[np.ndarray, " seq_len"]) -> int:
    """The largest k, up to N, for which exactly 1 + k (s - 1) positions of one string of s symbols are undefined.

    It is the length of the shortest chain besides that of position 1; N where there is none, s = 1.

    Raises ValueError for symbols that are no string of integers >= 0.
    """
    lengths = chain_lengths(symbols)
    return int(lengths[1]) if lengths.size > 1 else int(np.size(symbols))


def num_undefined(vocab_size: int, num_hops: int, seq_len: int) -> int:
    """The most positions of a string of N symbols from |Sigma| at which hop_k is undefined: min(N, 1 + k (|Sigma| - 1)).

    0 for k = 0. Attained by 0, 1, .., |Sigma| - 1, 0, 1, .. whatever k is, so that it cannot be improved, and by every string
    that uses all symbols while `exact_hops` of it is at least k. Below that, and with symbols that don't occur, fewer are
    undefined. In the experiments' strings (|Sigma| = 4, N = 98) 97 - 3 k positions are defined up to their largest k, 16 (of
    10,000 strings one has more, at k = 16), and in 99.3% of them still at k = 20. Derived here; shares measured.

    Raises ValueError for sizes out of range.
    """
    vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
    num_hops = checked_integer("num_hops", num_hops, 0)
    return min(seq_len, 1 + num_hops * (vocab_size - 1)) if num_hops else 0


def most_hops(vocab_size: int, seq_len: int) -> int:
    """The largest k at which every string of N symbols from |Sigma| >= 2 still has a defined position.

    It is the largest k < (N - 1) / (|Sigma| - 1), by `num_undefined`; with one symbol, N >= 2, there is no largest. Derived here.

    Raises ValueError for vocab_size < 2 or seq_len < 1.
    """
    vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 2), checked_integer("seq_len", seq_len, 1)
    return max(0, (seq_len - 2) // (vocab_size - 1))


def mean_look_back(vocab_size: int, num_hops: int) -> int:
    """k (|Sigma| - 1): the mean of i - find^k(i) in long random strings that use all of Sigma, and no string's is larger.

    Exact far from the start, for every stationary ergodic source of symbols, repeats or not: symbol a comes back after
    1 / P(a) positions on average (Kac 1947), so that the last equal symbol is |Sigma| positions back on average, one more than a
    hop; and find^1, one-to-one without a start, leaves the law of what a position sees as it was, so that further hops are
    alike. In every string, the mean over its defined positions is at most the number of undefined ones less 1 (find^k is
    one-to-one from the defined positions to as many of 2..N), hence at most this. Near the start only short ways are defined:
    2.93 instead of 3 at k = 1 and 46.0 instead of 48 at k = 16 in the experiments' strings, N = 98. Derived here.

    Raises ValueError for sizes out of range.
    """
    return checked_integer("num_hops", num_hops, 0) * (checked_integer("vocab_size", vocab_size, 1) - 1)


def chance_error(
    vocab_size: int,
    num_hops: int,
    seq_len: int,
    *,
    num_strings: int = 1000,
    seed: int = 0,
    repeats: bool = False,
) -> float:
    """The least error of a guess that sees the symbol X_i and k only, in uniformly random strings (`random_strings`).

    The error of Sanford, Hsu and Telgarsky 2024 (Appendix G.1): mean over strings of the share of defined positions that are
    wrong (strings without any are left out). Names of symbols don't matter, so that the best guess is X_i itself or any one
    other symbol, and one number, the chance that hop_k(i) = X_i, decides. It is an average over all strings where there are at
    most `num_strings`, else over so many random ones: its standard error is then below 1 / (2 sqrt(num_strings)), and usually
    far below. NaN where no string that was looked at has a defined position.

    Raises ValueError for sizes out of range (see `random_strings`).
    """
    checked_integer("num_hops", num_hops, 0)
    checked_integer("num_strings", num_strings, 1)
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    random_strings(vocab_size, seq_len, 0, repeats=repeats, generator=generator)  # for its errors
    if num_strings_of(vocab_size, seq_len, repeats=repeats) <= num_strings:
        strings = all_strings(vocab_size, seq_len, repeats=repeats)
    else:
        strings = random_strings(vocab_size, seq_len, num_strings, repeats=repeats, generator=generator)
    chunk = max(1, _CHUNK // seq_len)
    parts = [_shares_same(strings[start : start + chunk], num_hops) for start in range(0, len(strings), chunk)]
    shares = np.concatenate(parts)
    if not shares.size:
        return nan
    same = float(shares.mean())
    return 1 - max(same, (1 - same) / (vocab_size - 1)) if vocab_size > 1 else 1 - same


def _shares_same(strings: Integer[np.ndarray, "rows seq_len"], num_hops: int) -> np.ndarray:
    """Of the defined positions of each string that has any, the share at which hop_k(i) = X_i."""
    strings = checked_symbols(strings)
    found = find(strings, num_hops)
    defined = (found > 0).sum(axis=1)
    same = (symbols_at(strings, found) == strings).sum(axis=1)
    return same[defined > 0] / defined[defined > 0]
