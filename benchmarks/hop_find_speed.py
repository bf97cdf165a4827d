"""How fast hop_k of many strings is, against a plain scan of each and against searching text from the right.

    python -m benchmarks.hop_find_speed [STRINGS] [LENGTH] [HOPS]

The rivals: a dictionary of where each symbol was last, one string after the other, k look-ups per position behind it; and
Definition 4.1 on text with str.rfind, as the published code of the experiments computes it, hop after hop. All three agree or
the script stops. Best of three runs, one thread.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from theory.hop_strings import random_strings
from theory.hops import find


def scanned(symbols: np.ndarray, num_hops: int) -> np.ndarray:
    rows = []
    for text in symbols.tolist():
        after: dict[int, int] = {}
        once = [0]
        for position, symbol in enumerate(text, start=1):
            once.append(after.get(symbol, 0))
            after[symbol] = position + 1
        row = list(range(1, len(text) + 1))
        for _ in range(num_hops):
            row = [once[position] for position in row]
        rows.append(row)
    return np.array(rows)


def searched(symbols: np.ndarray, num_hops: int) -> np.ndarray:
    rows = []
    for numbers in symbols.tolist():
        text = "".join(map(chr, numbers))
        row = list(range(1, len(text) + 1))
        for _ in range(num_hops):
            row = [text.rfind(text[at - 1], 0, at - 1) + 2 if at else 0 for at in row]
            row = [at if at > 1 else 0 for at in row]
        rows.append(row)
    return np.array(rows)


def seconds(function: Callable[[np.ndarray, int], np.ndarray], symbols: np.ndarray, num_hops: int) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        function(symbols, num_hops)
        best = min(best, time.perf_counter() - start)
    return best


def main(num_strings: int = 1000, seq_len: int = 512, num_hops: int = 100) -> None:
    symbols = random_strings(4, seq_len, num_strings, repeats=False, generator=np.random.default_rng(0))
    if not (np.array_equal(found := find(symbols, num_hops), scanned(symbols, num_hops))
            and np.array_equal(found, searched(symbols, num_hops))):
        sys.exit("the three disagree")
    ours = seconds(find, symbols, num_hops)
    print(f"{num_strings} strings of {seq_len}, k = {num_hops}: {ours:.3g} s, {symbols.size / ours:.3g} positions a second")
    for name, rival in (("plain scan", scanned), ("str.rfind", searched)):
        print(f"{name}: {seconds(rival, symbols, num_hops) / ours:.1f} times as long")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
