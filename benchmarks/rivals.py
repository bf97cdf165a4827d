"""What the constructions of other papers hold, next to what they claim: the tables of docs/rivals.md.

Everything is drawn from fixed seeds, so that a second run prints the same numbers. A capacity is the largest count of which 99%
is recalled, averaged over draws, found by doubling and bisection; exponents are least-squares slopes of logarithms with 95%
Student intervals.

    python -m benchmarks.rivals                       # all tables
    python -m benchmarks.rivals bit_extraction        # one rival's
"""

import argparse
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from constructions.rivals import (
    baum,
    bit_extraction,
    bubeck,
    cabannes,
    huben_morris,
    mahdavi,
    nichani_attention,
    nichani_mlp,
)
from constructions.rivals._associative import largest_count
from constructions.rivals.memory import RivalMemory
from empirical.regression import Estimate, log_log_slope
from theory.tasks import AssociationTask

SEEDS = range(5)
TASK = AssociationTask.complete(50, 2, 0)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table in Markdown."""
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |")
    print()


def memories(found: Iterable[RivalMemory]) -> None:
    """The rows that every rival has."""
    head = ("setting", "size", "asked", "held", "claimed", "parameters", "heads", "weight bits", "label bits a parameter")
    table(head, (_memory_row(memory) for memory in found))


def _memory_row(memory: RivalMemory) -> list[object]:
    claimed = "order only" if memory.claimed is None else f"{memory.claimed:,g}"
    heads = "-" if memory.num_heads is None else memory.num_heads
    counts = [memory.num_associations, memory.num_held, claimed, memory.num_parameters, heads, memory.weight_bits]
    return [memory.setting, memory.size, *counts, f"{memory.bits_per_parameter:.3g}"]


def shown(exponent: Estimate) -> str:
    """An exponent with its interval."""
    return f"{exponent.value:.3f} [{exponent.low:.3f}, {exponent.high:.3f}]"


def capacity(recall: Callable[[int, int], float], seed: int, queries: int = 2000) -> int:
    """The largest count at which recall(count, seed), averaged over about so many queries, is 99%."""

    def accuracy(count: int) -> float:
        return float(np.mean([recall(count, 1000 * seed + draw) for draw in range(max(1, queries // count))]))

    return largest_count(accuracy, most=20_000)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean, and the least and largest value."""
    return f"{np.mean(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def run_mahdavi() -> None:
    sizes = [(4, 5, 8, 5), (20, 5, 10, 5), (20, 5, 10, 3), (20, 10, 64, 10), (50, 10, 10, 10), (100, 5, 10, 5), (20, 5, 10, 1)]
    rows = []
    for heads, size, dim, width in sizes:
        for shared in (True, False):
            for more in (0, 1):
                memory = mahdavi.build(
                    num_heads=heads, context_size=size, embed_dim=dim, head_dim=width, num_labels=50, seed=0,
                    num_associations=mahdavi.claimed_capacity(heads, size, width) + more, shared_context=shared,
                )  # fmt: skip
                rows.append((
                    memory.size, "one" if shared else "distinct", int(memory.claimed or 0), memory.num_associations,
                    memory.num_held, memory.notes["largest error"], memory.notes["largest weight"], memory.num_parameters,
                ))  # fmt: skip
    table(("size", "contexts", "claimed", "asked", "held", "largest error", "largest weight", "parameters"), rows)
    memories(mahdavi.transplant(TASK, embed_dim=10, head_dim=10, num_heads=heads, seed=0) for heads in (1, 20, 100, 249))
    memories([mahdavi.transplant(TASK, embed_dim=10, head_dim=1, num_heads=20, seed=0)])


def run_huben_morris() -> None:
    rows = []
    for count, dim in ((50, 9), (200, 9), (500, 9), (1000, 20)):
        for network in ("features", "bubeck"):
            memory = huben_morris.build(num_associations=count, input_dim=dim, network=network, seed=0)
            notes = memory.notes
            rows.append((
                count, dim, network, memory.num_heads, int(memory.claimed or 0), memory.num_held, notes.get("sharpness", "-"),
                notes["largest weight"],
            ))  # fmt: skip
    table(("single tokens", "d - 1", "network", "heads", "claimed", "held", "sharpness beta", "largest weight"), rows)
    for network in ("features", "bubeck"):
        memories(
            huben_morris.transplant(TASK, embed_dim=10, head_dim=1, num_heads=heads, seed=0, network=network)
            for heads in (20, 100, 249, 1092)
        )


def run_bubeck() -> None:
    rows = []
    for points, dim in ((100, 2), (100, 10), (1000, 10), (1000, 50), (4000, 50)):
        found = [bubeck.build(num_points=points, input_dim=dim, num_labels=50, seed=seed) for seed in range(5)]
        values = {name: [float(memory.notes[name]) for memory in found] for name in found[0].notes}
        rows.append((
            points, dim, bubeck.units_needed(points, dim), min(memory.num_held for memory in found), found[0].num_parameters,
            spread(values["largest error"], 2), spread(values["largest error, evaluation's rounding included"], 2),
            spread(values["largest weight"], 2),
        ))  # fmt: skip
    head = ("n", "d", "units", "held, least of five", "parameters", "largest error", "rounding included", "largest weight")
    table(head, rows)
    memories(bubeck.transplant(TASK, embed_dim=10, head_dim=10, num_heads=heads, seed=0) for heads in (5, 20, 28))


def run_baum() -> None:
    rows = []
    for points, dim in ((100, 2), (100, 10), (1000, 10), (1000, 50), (4000, 50)):
        found = [baum.build(num_points=points, input_dim=dim, seed=seed) for seed in range(5)]
        held = min(memory.num_held for memory in found)
        rows.append((points, dim, baum.units_needed(points, dim), ", ".join(memory.size.split()[0] for memory in found), held))
    table(("n", "d", "claimed units", "used, five draws", "held, least of five draws"), rows)


def run_bit_extraction() -> None:
    rows = []
    for size in (64, 256, 1024):
        held, planned = bit_extraction.build(size, 16, radius=1000), bit_extraction.plan(size, 16, 3, 1000)
        bits = held.notes["bits"].split(" bits")[0]
        counts = (held.num_held, held.num_parameters, planned.depth, held.weight_bits, bits, int(size * math.log2(16)))
        rows.append((size, *counts, f"{held.num_parameters / math.sqrt(size):.0f}"))
    head = ("N_s", "held", "parameters", "depth", "longest weight", "all weights, bits", "labels, bits", "parameters / sqrt(N_s)")
    table(head, rows)
    sizes = [2.0**power for power in range(8, 31, 2)]
    counts = [float(bit_extraction.plan(int(size), 16, 3, 1000).num_parameters) for size in sizes]
    logs = [count / math.sqrt(math.log2(size)) for size, count in zip(sizes, counts, strict=True)]
    print(f"parameters against N_s, from 2^8 to 2^30 (counted by formula): exponent {shown(log_log_slope(sizes, counts))};")
    print(f"after division by sqrt(log2 N_s): {shown(log_log_slope(sizes, logs))}; claimed 1/2 up to logs")
    memories([bit_extraction.transplant(TASK)])


def run_cabannes() -> None:
    dims = [2**power for power in range(6, 13)]
    for alpha in (1.5, 2.0):
        errors = {d: [cabannes.error_by_dimension(d, alpha, seed=seed) for seed in SEEDS] for d in dims}
        table(
            ("d", "P = d / ln d", f"error at alpha = {alpha:g}, five draws", "recalled of the P"),
            ((d, cabannes.threshold(d), spread(errors[d]), cabannes.build(d, alpha=alpha).num_held) for d in dims),
        )
        flat = [error for d in dims for error in errors[d]]
        against = log_log_slope([float(d) for d in dims for _ in SEEDS], flat)
        stored = log_log_slope([cabannes.threshold(d) + 0.5 for d in dims for _ in SEEDS], flat)
        claimed = cabannes.claimed_exponents(alpha)[0]
        print(f"exponent in d {shown(against)}, in P {shown(stored)}; claimed {claimed:g} up to logs")
    numbers = [100, 300, 1000, 3000, 10_000, 30_000]
    for alpha in (1.5, 2.0):
        limit = 300 if alpha < 2 else 30_000  # more inputs are seen than 8,192 dimensions can keep otherwise
        used = [number for number in numbers if number <= 10 * limit]
        found = [
            float(np.mean([cabannes.error_by_samples(T, alpha, embed_dim=8192, seed=seed) for seed in range(30)])) for T in used
        ]
        exponent = log_log_slope(used, found)
        print(f"alpha = {alpha:g}, d = 8192, T = {used[0]} to {used[-1]:,} samples, means of 30:", end=" ")
        print(f"exponent in T {shown(exponent)}; claimed {cabannes.claimed_exponents(alpha)[1]:.3f}")

    def stored_error(count: int) -> list[float]:
        return [cabannes.error_by_dimension(1024, 1.5, num_stored=count, seed=seed) for seed in SEEDS]

    counts = [74, 147, 295, 590, 1024, 2048, 8192]
    table(
        ("d = 1024: P", "P / d", "error at alpha = 1.5, five draws"),
        ((count, f"{count / 1024:.2g}", spread(stored_error(count))) for count in counts),
    )
    memories([cabannes.build(1024), *(cabannes.transplant(TASK, embed_dim=d) for d in (10, 256))])
    memories([cabannes.transplant(TASK, embed_dim=d, num_stored=2500) for d in (10, 256)])


def run_nichani_attention() -> None:
    dims = (16, 32, 64, 128)
    for name, classes, power in (("injective", None, 2), ("10 classes", 10, 1)):
        found = {}
        for d in dims:

            def recall(count: int, seed: int, d: int = d, classes: int | None = classes) -> float:
                return nichani_attention.linear_recall(count, d, num_classes=classes, seed=seed)

            found[d] = [float(capacity(recall, seed)) for seed in range(3)]
        head = ("d", f"linear memory, {name}: capacity, three times", "capacity / d", "capacity / parameters d^2")
        rows = ((d, spread(found[d]), *(spread([n / d**k for n in found[d]], 2) for k in (1, 2))) for d in dims)
        table(head, rows)
        exponent = log_log_slope([float(d) for d in dims for _ in range(3)], [n for d in dims for n in found[d]])
        print(f"exponent in d {shown(exponent)}; claimed {power} up to logs")
    _facts_by_attention()


def _facts_by_attention() -> None:
    rows = []
    for d, head_dim in ((128, 4), (256, 8), (512, 8), (1024, 16)):
        found = []
        for seed in SEEDS:

            def recall(count: int, d: int = d, head_dim: int = head_dim, seed: int = seed) -> float:
                built = nichani_attention.build(64, count, count, embed_dim=d, head_dim=head_dim, seed=seed)
                return built.num_held / built.num_associations

            found.append(largest_count(recall, most=64))
        heads = 64 // head_dim + math.ceil(np.mean(found) / head_dim)
        attention, facts = 4 * heads * d * head_dim, 64 * float(np.mean(found))
        bits = facts * math.log2(np.mean(found)) / attention
        relations = (spread([float(n) for n in found], 2), f"{np.mean(found) / d:.3f}")
        rows.append((d, head_dim, *relations, heads, f"{facts:.0f}", attention, f"{facts / attention:.2g}", f"{bits:.2g}"))
    print("factual recall by attention alone, S = 64 subjects; largest R = D with 99% of the facts, five draws")
    head = ("d", "d_h", "R", "R / d", "H", "facts", "attention parameters", "facts a parameter", "label bits a parameter")
    table(head, rows)
    print("more subjects at R = D = 6, d = 512, d_h = 8: heads grow with S, facts with them")
    built = [nichani_attention.build(subjects, 6, 6, embed_dim=512, head_dim=8) for subjects in (32, 128, 512)]
    transplanted = [nichani_attention.transplant(TASK, embed_dim=d) for d in (10, 128, 512)]
    memories([*built, *transplanted])


def run_nichani_mlp() -> None:
    rows, products, counts = [], [], []
    for d, width in ((32, 512), (32, 1024), (64, 512), (64, 1024), (64, 2048), (128, 1024)):

        def recall(count: int, seed: int, d: int = d, width: int = width) -> float:
            return nichani_mlp.mlp_recall(count, d, width, seed=seed)

        found = [float(capacity(recall, seed, queries=500)) for seed in range(3)]
        products += [float(d * width)] * 3
        counts += found
        bits = np.mean(found) * math.log2(np.mean(found)) / (2 * d * width)
        rows.append((d, width, spread(found), spread([n / (d * width) for n in found], 2), f"{bits:.2g}"))
    table(("d", "m", "MLP memory: capacity, three times", "capacity / m d", "bits an MLP parameter"), rows)
    print(f"exponent in m d {shown(log_log_slope(products, counts))}; claimed 1 up to logs")
    memories(
        [
            nichani_mlp.build(200, embed_dim=64, width=2048),
            *(nichani_mlp.build_facts(32, 8, 32, embed_dim=256, head_dim=4, width=width) for width in (256, 1024, 4096)),
            nichani_mlp.transplant(TASK, embed_dim=10, width=1024),
            nichani_mlp.transplant(TASK, embed_dim=128, width=8192),
        ]
    )


RUNS: dict[str, Callable[[], None]] = {
    "mahdavi": run_mahdavi,
    "huben_morris": run_huben_morris,
    "bubeck": run_bubeck,
    "baum": run_baum,
    "bit_extraction": run_bit_extraction,
    "cabannes": run_cabannes,
    "nichani_attention": run_nichani_attention,
    "nichani_mlp": run_nichani_mlp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rivals", nargs="*", metavar="rival", help=f"of {', '.join(RUNS)}; all when none is named")
    chosen = parser.parse_args().rivals or list(RUNS)
    for name in chosen:
        if name not in RUNS:
            parser.error(f"rivals has {name!r}: {', '.join(RUNS)} are legal")
    for name in chosen:
        print(f"\n## {name}")
        RUNS[name]()


if __name__ == "__main__":
    main()
