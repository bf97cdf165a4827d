"""The block staircase for all 2,500 associations at N = 50, d = d_h = 10: seconds, and beside cold linear programs.

The rival decides the same blocks with scipy's default solver on the plain problem: all inequalities at once, no warm start, one
program that a block's sequences fit and one that they do not with one more. That is the least that it could do if it knew every
block's length beforehand; it is timed on some blocks, spread over the walk, and the mean taken for all.

    python -m benchmarks.block_staircase_speed
"""

import argparse
import time

import numpy as np
from scipy.optimize import linprog

from constructions import certify
from constructions._block_search import Choice, first_choice, walk_choice
from constructions._block_walk import Staircase
from constructions.block_staircase import Found, assembled
from theory.tasks import AssociationTask

WANTED = 60.0
MARGIN_CAP = 2.0


def cold(task: AssociationTask, choice: Choice, walked: Staircase, number: int, members: np.ndarray) -> tuple[float, float]:
    """Best margin (cut off at 2) of a head's block, and the seconds that it took.

    Maps are bounded entry by entry, by the box within the walk's ball: with one more sequence the margin must stay below 1.
    """
    started = time.perf_counter()
    features = choice.layout.deltas(task.sequences[members])
    offsets = choice.layout.rows[1][task.sequences[members, 1]] @ walked.skip.T
    labels = choice.labels[members]
    normals = choice.code[labels][:, None] - choice.code[None]
    wrong = np.arange(len(choice.code)) != labels[:, None]
    lengths = np.linalg.norm(normals[wrong], axis=1)
    left = np.einsum("tlr,tm->tlrm", normals, features)[wrong].reshape(len(lengths), -1) / lengths[:, None]
    right = np.einsum("tlr,tr->tl", normals, offsets)[wrong] / lengths
    box = choice.bound / left.shape[1] ** 0.5
    found = linprog(
        np.append(np.zeros(left.shape[1]), -1.0),
        A_ub=np.hstack([-left, np.ones((len(left), 1))]),
        b_ub=right,
        bounds=[(-box, box)] * left.shape[1] + [(None, MARGIN_CAP)],
    )
    return float(found.x[-1]) if found.status == 0 else float("nan"), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=int, default=0, help="seed of the label table")
    parser.add_argument("--blocks", type=int, default=4, help="blocks that the rival is timed on")
    arguments = parser.parse_args()
    task = AssociationTask.complete(50, 2, arguments.table)
    wall, processor = time.perf_counter(), time.process_time()
    choice = first_choice(task, 10, 10, 10, 0)
    walked = walk_choice(task, choice, None)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    built = assembled(task, Found(walked, choice, "grouped", {}), 10, None, check=True)
    right = certify(built.model, task, dtypes=()).statements["exact"].num_right
    proved = sum(closed is not None and closed.refusal.excess > 0 for closed in walked.closed)
    print(f"{built.num_heads} heads, {right:,} of {task.num_associations:,} proved right")
    print(f"{proved} of {len(walked.blocks)} blocks proved full")
    print(f"{wall:.1f} s on the clock, {processor:.1f} s of the processor, {walked.pivots:,} pivots")
    seconds = []
    for number in np.linspace(1, len(walked.blocks) - 2, arguments.blocks).astype(int):
        closed = walked.closed[number]
        assert closed is not None
        inside, first = cold(task, choice, walked, number, walked.blocks[number])
        beyond, second = cold(task, choice, walked, number, closed.members)
        seconds.append(first + second)
        print(f"block {number}, {len(walked.blocks[number])} sequences: {first + second:.2f} s of cold LPs,", end=" ")
        print(f"margin {inside:.3g}, with one more {beyond:.3g}")
    rival = float(np.mean(seconds)) * len(walked.blocks)
    print(f"cold LPs, two a block, lengths known: {rival:.0f} s for all (from {len(seconds)} blocks), ratio {rival / wall:.1f}")
    print(f"2,500 associations in under {WANTED:.0f} s: {'yes' if wall < WANTED and right == task.num_associations else 'NO'}")


if __name__ == "__main__":
    main()
