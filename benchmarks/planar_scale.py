"""How large the planar construction goes, against the staircase of Corollary 1 on the same table (heads of dimension d, not two).

Each row is built in a process of its own, so that its peak memory is its own; printed are wall and CPU seconds of one build, peak
memory, and the ratios planar / staircase. What was built is run in float64 and float32: whole where that is quick, else on a
random sample, with the Clopper-Pearson bound on what may be wrong: measured, not proved.

    python -m benchmarks.planar_scale            # all rows
    python -m benchmarks.planar_scale --slope    # only time against T0
"""

import argparse
import json
import resource
import time

from benchmarks._scale import describe, in_own_process, slope

MODULE = "benchmarks.planar_scale"

ROWS = [  # N, d, associations run
    (50, 10, None),
    (100, 20, None),
    (200, 2, 5000),
    (300, 20, 5000),
    (1000, 20, 300),
    (1000, 10, 300),
]
SLOPE_SIZES = (100, 178, 316, 562, 1000)
SLOPE_DIMS = (20, 8)


def build_once(method: str, vocab_size: int, embed_dim: int, sample: int | None, run: bool) -> dict[str, object]:
    import torch

    from constructions import planar, staircase
    from theory.tasks import AssociationTask

    def build(task: AssociationTask):  # type: ignore[no-untyped-def]  # imported above, in the process that builds
        if method == "planar":
            return planar.build(task, embed_dim=embed_dim, check=False)
        return staircase.build(task, embed_dim=embed_dim, head_dim=embed_dim, check=False)

    build(AssociationTask.complete(5, 2, 0))  # warm up imports and libraries' own set-up: the time is the construction's
    task = AssociationTask.complete(vocab_size, 2, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    built = build(task)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    row: dict[str, object] = {
        "N": vocab_size, "d": embed_dim, "d_h": built.model.head_dim, "T0": task.num_associations, "heads": built.num_heads,
        "held": built.num_held, "seconds": wall, "cpu": cpu, "GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "threads": torch.get_num_threads(), "margin": built.promised_margin,
        "parameters": sum(p.numel() for p in built.model.parameters()),
    }  # fmt: skip
    for dtype in ("float64", "float32") if run else ():
        check = built.checked((dtype,), sample=sample).checks[0]
        row[dtype] = (check.num_right, check.num_checked, check.margin)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--slope", action="store_true", help="only time against T0")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(build_once(*json.loads(options.one))))
        return
    for vocab_size, embed_dim, sample in () if options.slope else ROWS:
        rival = in_own_process(MODULE, "staircase", vocab_size, embed_dim, sample, False)
        row = in_own_process(MODULE, "planar", vocab_size, embed_dim, sample, True)
        print(f"N={row['N']} d={row['d']}: {row['held']:,} of {row['T0']:,} associations with {row['heads']:,} heads of "
              f"dimension {row['d_h']}, {row['seconds']:.3g} s ({row['cpu']:.3g} s of CPU, {row['threads']} threads), "
              f"peak {row['GiB']:.2f} GiB, margin {row['margin']:.3g}")
        print(f"    staircase: {rival['heads']:,} heads of dimension {rival['d_h']}, {rival['seconds']:.3g} s "
              f"({rival['cpu']:.3g} s of CPU), peak {rival['GiB']:.2f} GiB; planar / staircase: seconds "
              f"{row['seconds'] / rival['seconds']:.2f}, CPU {row['cpu'] / rival['cpu']:.2f}, memory "
              f"{row['GiB'] / rival['GiB']:.2f}, parameters {row['parameters'] / rival['parameters']:.2f}")
        for dtype in ("float64", "float32"):
            print(f"    {dtype}: {describe(*row[dtype], row['held'])}", flush=True)
    for embed_dim in SLOPE_DIMS:
        runs = [min((in_own_process(MODULE, "planar", n, embed_dim, None, False) for _ in range(2)), key=lambda run: run["cpu"])
                for n in SLOPE_SIZES]
        print(f"CPU time against T0 at d={embed_dim}: {slope(runs, 'cpu')}", flush=True)


if __name__ == "__main__":
    main()
