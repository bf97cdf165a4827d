"""Whether built hop models ever err: cases, answers and errors over sizes, alphabets, strings, number formats, every k.

Recipes A and B in both encodings and recipe C, N in 16, 64, 256, 512, alphabets of 2, 4 and 26, equal neighbours allowed and
forbidden, k = 1..32 (at N = 512 also 64 and 96..128), multi-task models for every k that they serve. Every depth is compared with
`theory.hops.layers_needed`. Combinations that a number format cannot hold are refused by `build` and counted as refused.
Alphabets of two without equal neighbours alternate; they are run all the same. Answers at position 0 (blank) count, too.

    python -m benchmarks.hops_zero_errors               # everything, some tens of minutes
    python -m benchmarks.hops_zero_errors --quick       # N up to 64 and one string per case
"""

import argparse
import itertools
import time

import numpy as np
import torch

from constructions import hops
from theory.hop_strings import random_strings
from theory.hops import layers_needed

VARIANTS = (("A", "quadratic"), ("B", "quadratic"), ("C", "quadratic"), ("A", "circle"), ("B", "circle"))
MORE_HOPS = (33, 47, 48, 63, 64, 65, 96, 127, 128)


def cases(quick: bool, sizes: list[int] | None) -> list[tuple[int, int, bool]]:
    lengths = sizes or ([16, 64] if quick else [16, 64, 256, 512])
    return list(itertools.product(lengths, (2, 4, 26), (True, False)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="*", help="only these N")
    parser.add_argument("--strings", type=int, default=None, help="strings per case (2; 1 with --quick)")
    args = parser.parse_args()
    strings = args.strings or (1 if args.quick else 2)
    generator = np.random.default_rng(0)
    print("recipe encoding  dtype    form    models refused   answers  errors  wrong depths  seconds")
    total = 0
    for (recipe, encoding), dtype in itertools.product(VARIANTS, (torch.float32, torch.float64)):
        for multi_task in (False, True) if recipe != "C" else (False,):
            models = refused = answers = errors = depths = 0
            start = time.perf_counter()
            for seq_len, vocab_size, repeats in cases(args.quick, args.sizes):
                every = (*range(1, 33), *(MORE_HOPS if seq_len == 512 else ()))
                most = 31 if recipe == "B" else 32
                for k in (most,) if multi_task else every:
                    sizes = {"vocab_size": vocab_size, "seq_len": seq_len, "recipe": recipe, "encoding": encoding, "dtype": dtype}
                    try:
                        built = hops.build(**({"max_hops": k} if multi_task else {"num_hops": k}), **sizes)
                    except hops.HopRangeError:
                        refused += 1
                        continue
                    models += 1
                    depths += built.num_layers != layers_needed(k, recipe)
                    count = strings * (most + 1) if multi_task else strings
                    asked = np.arange(count) % (most + 1) if multi_task else np.full(count, k)
                    symbols = random_strings(vocab_size, seq_len, count, repeats=repeats, generator=generator)
                    tokens = torch.from_numpy(built.task.tokens(symbols, asked))
                    found = built.model.logits_at_every_position(tokens).argmax(-1).numpy()
                    errors += int((found != built.task.targets(symbols, asked)).sum())
                    answers += found.size
            total += errors
            name, form = str(dtype).removeprefix("torch."), "all k" if multi_task else "one k"
            took = time.perf_counter() - start
            counts = f"{models:7} {refused:7} {answers:9,} {errors:7} {depths:13} {took:8.0f}"
            print(f"{recipe:6} {encoding:9} {name} {form:6} {counts}", flush=True)
    print(f"{total} errors")


if __name__ == "__main__":
    main()
