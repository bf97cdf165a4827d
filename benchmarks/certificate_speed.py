"""How fast certificates are: associations a second through float64 with a-priori bounds, beside ball arithmetic (Arb) alone.

The model is the staircase at N = 50, d = d_h = 10 with its 249 heads, all 2,500 associations; the time is the least of three
runs. The rival proves the same with Arb at 64 bits from the start, on a sample, its tables per token warmed up.

    python -m benchmarks.certificate_speed
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from constructions import AttentionOnlyTransformer, memorize
from constructions._certificate_balls import BallModel
from constructions._certificate_checks import checked_weights
from constructions.certificate import certify, recheck
from theory.tasks import AssociationTask

SAMPLE = 200
WANTED = 5000


def rate(count: int, work: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return count / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    task = AssociationTask.complete(50, 2, 0)
    model = memorize(task, embed_dim=10, head_dim=10).model
    found = certify(model, task)
    for name, statement in found.statements.items():
        print(f"{name}: {statement.num_right:,} right, {statement.num_wrong:,} wrong, {statement.num_undecided:,} undecided")
    rates = {
        "exact": rate(2500, lambda: certify(model, task, dtypes=()), runs),
        "exact and float64": rate(2500, lambda: certify(model, task, dtypes=("float64",)), runs),
        "exact, float64 and float32": rate(2500, lambda: certify(model, task), runs),
        "recheck of all three": rate(2500, lambda: recheck(found, model, task), runs),
    }
    balls = _ball_rate(model, task)
    for name, speed in rates.items():
        print(f"{name}: {speed:,.0f} associations a second, {speed / balls:,.0f} times Arb alone")
    print(f"Arb alone, exact: {balls:,.0f} associations a second")
    print(f"at least {WANTED:,} a second through tier one: {'yes' if rates['exact'] >= WANTED else 'NO'}")


def _ball_rate(model: AttentionOnlyTransformer, task: AssociationTask) -> float:
    from flint import ctx

    chosen = np.random.default_rng(0).choice(task.num_associations, SAMPLE, replace=False)
    pairs = list(zip(task.sequences[chosen].tolist(), task.targets[chosen].tolist(), strict=True))
    with ctx.workprec(64):
        balls = BallModel(checked_weights(model, task), 64)
        verdicts = [balls.margin(sequence, label)[0] for sequence, label in pairs]
        assert verdicts == [1] * SAMPLE
        return rate(SAMPLE, lambda: [balls.margin(sequence, label) for sequence, label in pairs], 1)


if __name__ == "__main__":
    main()
