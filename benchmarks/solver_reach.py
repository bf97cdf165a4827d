"""How few heads the solver gets by with on complete tables of random labels, against the time it is allowed.

    python -m benchmarks.solver_reach [--case 0 1 2 3 4 5] [--tables 5] [--patience 1]

Each line is one table: associations held, those proved right in exact arithmetic, seconds by the clock and of this process. It
stops at the first exact recall (target margin 0). Cases: (N, d, H, seconds allowed, tables that must succeed).
"""

import argparse
import time

import torch

from constructions import certify
from empirical.solver import solve
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

CASES = (
    (10, 2, 13, 20.0, 5),
    (10, 2, 11, 60.0, 3),
    (50, 10, 31, 15.0, 5),
    (50, 10, 24, 60.0, 5),
    (50, 10, 20, 300.0, 5),
    (10, 2, 10, 120.0, 0),
    (50, 10, 18, 600.0, 0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, nargs="*", default=list(range(5)), help=f"which of {CASES}")
    parser.add_argument("--tables", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the solver")
    parser.add_argument("--patience", type=float, default=1.0, help="multiply the seconds allowed, on a busy machine")
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} thread(s)")
    for number in arguments.case:
        vocab, dim, heads, allowed, needed = CASES[number]
        allowed *= arguments.patience
        reached = 0
        print(f"N={vocab} d=d_h={dim} H={heads}, at most {allowed:g} s", flush=True)
        for table in range(arguments.tables):
            task = AssociationTask.complete(vocab, 2, table)
            begin = time.process_time()
            solved = solve(task, AttentionShape(dim, heads, dim), seed=arguments.seed, max_seconds=allowed, target_margin=0.0)
            used = time.process_time() - begin
            proved = certify(solved.model, task, dtypes=()).statements["exact"].num_right
            reached += proved == task.num_associations
            print(
                f"  table {table}: held {solved.num_held}, proved {proved} of {task.num_associations},"
                f" {solved.seconds:.1f} s wall, {used:.1f} s CPU, {len(solved.history)} steps, {solved.restarts} restarts,"
                f" {solved.bits_per_effective_parameter:.2f} bits per effective parameter",
                flush=True,
            )
        wanted = f" (at least {needed} wanted: {'yes' if reached >= needed else 'NO'})" if needed else ""
        print(f"  {reached} of {arguments.tables} tables{wanted}", flush=True)


if __name__ == "__main__":
    main()
