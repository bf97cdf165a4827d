"""Time to exact recall of 2,500 associations (N = 50, d = d_h = 10): the solver beside Adam with the paper's schedule.

    python -m benchmarks.solver_against_adam [--heads 31 40 60] [--table 0] [--seed 0]

The two take turns in one process. Adam: `empirical.train`, 64 epochs of 64 batches of 256, its whole schedule (the learning
rate falls to the end, so that there is no earlier stop to compare with); where it ends below exact recall its time is only a
lower bound on what exact recall would take, and the ratio is printed with ">". Accuracy is on the table, every association once.
"""

import argparse
import time

import torch

from constructions import certify
from empirical.capacity import measure
from empirical.solver import solve
from empirical.training import train
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, nargs="*", default=[31, 40, 60])
    parser.add_argument("--table", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=300.0, help="last stop of the solver (default 300)")
    arguments = parser.parse_args()
    task = AssociationTask.complete(50, 2, arguments.table)
    print(f"{torch.get_num_threads()} thread(s); T0 = {task.num_associations}")
    for heads in arguments.heads:
        shape = AttentionShape(10, heads, 10)
        start, used = time.perf_counter(), time.process_time()
        solved = solve(task, shape, seed=arguments.seed, max_seconds=arguments.seconds, target_margin=0.0)
        solver_wall, solver_cpu = time.perf_counter() - start, time.process_time() - used
        proved = certify(solved.model, task, dtypes=()).statements["exact"].num_right
        start, used = time.perf_counter(), time.process_time()
        trained = train(task=task, shapes=[shape], num_models=1, seed=arguments.seed)[0]
        adam_wall, adam_cpu = time.perf_counter() - start, time.process_time() - used
        ruler = measure(trained.to_transformer(), task)
        sign = "" if ruler.held == task.num_associations else "> "
        accuracy, draws = solved.num_held / task.num_associations, trained.notebook_accuracy
        print(
            f"H={heads}: solver accuracy {accuracy:.4f} (proved {proved}), {solver_wall:.1f} s wall, {solver_cpu:.1f} s CPU;"
            f" Adam accuracy {ruler.accuracy:.4f} (on training draws {draws:.4f}), {adam_wall:.1f} s wall, {adam_cpu:.1f} s CPU;"
            f" Adam / solver {sign}{adam_wall / solver_wall:.1f} wall, {sign}{adam_cpu / solver_cpu:.1f} CPU"
            + ("" if solved.exact else "  (solver not exact)"),
            flush=True,
        )


if __name__ == "__main__":
    main()
