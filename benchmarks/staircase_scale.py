"""How large the staircase goes: associations, heads, seconds to build, memory, and whether a forward pass is right.

Each row is built and run in a process of its own, so that its peak memory is its own; the time is the median of three builds,
and of one for the million. Rows up to 90,000 associations are run whole, in float64 and float32; the million is run on a random
sample, with the Clopper-Pearson bound on what may be wrong: measured, not proved.

    python -m benchmarks.staircase_scale            # all rows
    python -m benchmarks.staircase_scale --slope    # only time against T0
"""

import argparse
import json
import resource
import statistics
import time

from benchmarks._scale import describe, in_own_process, slope

MODULE = "benchmarks.staircase_scale"

ROWS = [  # N, d, d_h, sample
    (10, 2, 2, None),
    (50, 10, 10, None),
    (200, 2, 2, None),
    (300, 20, 20, None),
    (1000, 20, 20, 1000),
]
SLOPE_SIZES = (100, 178, 316, 562, 1000)
SLOPE_DIMS = ((20, 20), (20, 4), (20, 1))


def build_once(vocab_size: int, embed_dim: int, head_dim: int, sample: int | None, run: bool) -> dict[str, object]:
    import torch

    from constructions import memorize
    from theory.tasks import AssociationTask

    # Warm up imports and libraries' own set-up: the time is the construction's.
    memorize(AssociationTask.complete(5, 2, 0), embed_dim=embed_dim, head_dim=head_dim, check=False)
    task = AssociationTask.complete(vocab_size, 2, 0)
    times = []
    for _ in range(1 if task.num_associations > 100_000 else 3):
        start = time.perf_counter()
        built = memorize(task, embed_dim=embed_dim, head_dim=head_dim, check=False)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    row: dict[str, object] = {
        "N": vocab_size, "d": embed_dim, "d_h": head_dim, "T0": task.num_associations, "heads": built.num_heads,
        "held": built.num_held, "seconds": seconds, "GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "threads": torch.get_num_threads(), "promised margin": built.promised_margin,
    }  # fmt: skip
    for dtype in ("float64", "float32") if run else ():
        check = built.checked((dtype,), sample=sample).checks[0]
        row[dtype] = (check.num_right, check.num_checked, check.margin)
    row["GiB with forward pass"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--slope", action="store_true", help="only time against T0")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(build_once(*json.loads(options.one))))
        return
    if not options.slope:
        for size in ROWS:
            row = in_own_process(MODULE, *size, True)
            print(f"N={row['N']} d={row['d']} d_h={row['d_h']}: {row['held']:,} of {row['T0']:,} associations "
                  f"with {row['heads']:,} heads, built in {row['seconds']:.3g} s on {row['threads']} threads, "
                  f"peak {row['GiB']:.2f} GiB ({row['GiB with forward pass']:.2f} with the forward pass), "
                  f"promised margin {row['promised margin']:.3g}")
            for dtype in ("float64", "float32"):
                print(f"    {dtype}: {describe(*row[dtype], row['held'])}", flush=True)
    for embed_dim, head_dim in SLOPE_DIMS:
        sizes = [(n, embed_dim, head_dim, None, False) for n in SLOPE_SIZES]
        runs = [min((in_own_process(MODULE, *size) for _ in range(2)), key=lambda run: run["seconds"]) for size in sizes]
        print(f"time against T0 at d={embed_dim}, d_h={head_dim}: {slope(runs, 'seconds')}", flush=True)


if __name__ == "__main__":
    main()
