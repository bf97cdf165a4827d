"""How often intervals of dimension estimates hold what they are for, on clouds of known dimension, for three ways to make them.

An interval says how far another sample of as many points would move the estimate. So it is held against the estimator's own mean
over all clouds of a cell ("mean"), and against the true dimension ("truth"), which it can hold only where the estimator's bias is
small. The ways:

    halves      random halves of the cloud, each measured on its own: what `empirical.dimension` does
    per point   the mean of independent values, one a point: overlapping neighbourhoods taken for independent
    redrawn     points drawn with replacement, repeats collapsed, the usual percentile interval

Every cell is printed with its Clopper-Pearson interval; the exit code is 1 if a cell of halves against the mean lies outside 90%
to 99% (with fewer than 200 clouds: only if its whole Clopper-Pearson interval does).

    python -m benchmarks.dimension_coverage                      # 200 clouds of 400 points a cell: some 6 minutes of one core
    python -m benchmarks.dimension_coverage --points 1600        # some 30 minutes
    python -m benchmarks.dimension_coverage --quick              # 40 clouds of 400 points: 75 s

With `--corrected` another question: how often what `corrected_dimension` makes of an estimate, by a curve of balls, Gaussians and
spheres, holds the true dimension, on these shapes and on others. That range takes the shapes of its curve for the only ones, so
that nothing promises 95% elsewhere: no cell fails, all are printed.

    python -m benchmarks.dimension_coverage --corrected          # 20 clouds of 800 points a cell
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from empirical._dimension_bias import FAMILIES, bias_curve, corrected_dimension, known_cloud
from empirical._dimension_estimators import gride_likelihood, harmonic_mean, two_nn_line
from empirical._dimension_intervals import Statistic, halved_spread, interval, listed_neighbours
from empirical._dimension_neighbours import Cloud, cloud
from empirical.dimension import METHODS as ESTIMATORS
from empirical.dimension import prepared_cloud
from theory.manifolds import Circle, FlatTorus, Manifold, Product, Sphere, SwissRoll

METHODS: dict[str, tuple[Statistic, int]] = {
    "levina_bickel": (harmonic_mean, 20), "two_nn": (two_nn_line, 2), "gride": (gride_likelihood, 16),
}  # fmt: skip
WAYS = ("halves", "per point", "redrawn")
CELLS = [("sphere", 1), ("sphere", 2), ("ball", 2), ("gaussian", 5), ("ball", 10), ("gaussian", 20)]
CORRECTED = [
    *((family, d) for d in (3, 5, 10) for family in (*FAMILIES, "cube", "torus", "circle x sphere")),
    ("swiss roll", 2), ("circle x swiss roll", 3),
]  # fmt: skip
"""Shapes of the curve, and others."""
KNOWN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
BOUNDS = (0.90, 0.99)
ENOUGH = 200


def ends_of(
    way: str, found: Cloud, statistic: Statistic, neighbours: int, estimate: float, resamples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """The 95% interval of one cloud, made one way."""
    logs = np.log(found.distances)
    if way == "halves":
        seed = int(generator.integers(1 << 31))
        spread = halved_spread(statistic, logs, found.neighbours, neighbours, resamples=resamples, seed=seed)
        return interval(estimate, spread, 0.95, resamples)
    drawn = np.empty(resamples)
    for number in range(resamples):
        rows = generator.integers(len(logs), size=len(logs))
        drawn[number] = statistic(logs[rows, :neighbours] if way == "per point" else redrawn(found, logs, rows, neighbours))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def redrawn(
    found: Cloud, logs: Float[np.ndarray, "n m"], rows: Int[np.ndarray, " n"], neighbours: int
) -> Float[np.ndarray, "a k"]:
    """Log distances among the points that were drawn, each as often as it was drawn but never its own neighbour."""
    there = np.zeros(len(logs), bool)
    there[rows] = True
    inside = there[found.neighbours]
    place = np.cumsum(inside, axis=1)
    fine = there & (place[:, -1] >= neighbours)
    near = np.zeros((len(logs), neighbours))
    near[fine] = logs[inside & (place <= neighbours) & fine[:, None]].reshape(-1, neighbours)
    return near[rows[fine[rows]]]


def shape(name: str, dimension: int, num_points: int, generator: np.random.Generator) -> Float[np.ndarray, "n D"]:
    """Points even on a shape of this dimension."""
    if name in FAMILIES:
        return known_cloud(name, dimension, num_points, generator)
    if name == "cube":
        return generator.uniform(size=(num_points, dimension))
    manifolds: dict[str, Callable[[], Manifold]] = {
        "torus": lambda: FlatTorus((1.0,) * dimension),
        "circle x sphere": lambda: Product((Circle(), Sphere(dimension - 1))),
        "swiss roll": SwissRoll,
        "circle x swiss roll": lambda: Product((Circle(), SwissRoll())),
    }
    manifold = manifolds[name]()
    assert manifold.dimension == dimension
    return manifold.sample(num_points, generator)


def corrected(points: int, clouds: int, resamples: int) -> None:
    """How often corrected intervals hold the true dimension."""
    curve = bias_curve(num_points=points, dimensions=KNOWN, method=list(ESTIMATORS), neighbours=None, repeats=2)
    print("shape                 d  points  method                 clouds  mean est.  own held   corrected  width  "
          "held               95%")  # fmt: skip
    hits: dict[tuple[bool, str], list[bool]] = {}
    for name, dimension in CORRECTED:
        told: dict[str, list[tuple[float, float, float, float]]] = {method: [] for method in ESTIMATORS}
        own = dict.fromkeys(ESTIMATORS, 0)
        for number in range(clouds):
            found = shape(name, dimension, points, np.random.default_rng([points, dimension, number, 1]))
            prepared = prepared_cloud(found)
            for method, estimator in ESTIMATORS.items():
                estimate = estimator(found, resamples=resamples, seed=number, prepared=prepared)
                after = corrected_dimension(estimate, curve)
                own[method] += estimate.low <= dimension <= estimate.high
                told[method].append((estimate.dimension, after.dimension, after.low, after.high))
        for method, rows in told.items():
            values = np.array(rows)
            held = (values[:, 2] <= dimension) & (dimension <= values[:, 3])
            hits.setdefault((name in FAMILIES, method), []).extend(held.tolist())
            low, high = stats.binomtest(int(held.sum()), clouds).proportion_ci(method="exact")
            print(
                f"{name:20} {dimension:2d} {points:7d}  {method:22} {clouds:6d} {values[:, 0].mean():10.3f} "
                f"{own[method] / clouds:9.1%} {np.nanmean(values[:, 1]):11.3f} "
                f"{np.median(values[:, 3] - values[:, 2]) / dimension:6.1%} "
                f"{held.mean():6.1%} [{low:6.1%}, {high:6.1%}]",
                flush=True,
            )
    for (of_curve, method), held_all in sorted(hits.items(), reverse=True):
        kind = "shapes of the curve" if of_curve else "other shapes"
        print(f"{kind:20} {method:22} {np.mean(held_all):6.1%} of {len(held_all)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--corrected", action="store_true", help="of dimensions after their bias")
    parser.add_argument("--clouds", type=int, default=None, help="per cell (200; 40 with --quick, 20 with --corrected)")
    parser.add_argument("--points", type=int, nargs="*", default=None, help="points of a cloud (400; 800 with --corrected)")
    parser.add_argument("--resamples", type=int, default=100)
    args = parser.parse_args()
    clouds = args.clouds or (20 if args.corrected else 40 if args.quick else 200)
    begun, fine = time.process_time(), True
    if args.corrected:
        for points in args.points or (800,):
            corrected(points, clouds, min(args.resamples, 40))
        print(f"{time.process_time() - begun:.0f} s of processor time")
        return 0
    print("family    d  points  method         way        clouds  mean est.  width   mean held            95%    truth held")
    for points in args.points or (400,):
        for family, dimension in CELLS:
            for method, (statistic, neighbours) in METHODS.items():
                estimates = np.empty(clouds)
                ends = np.empty((len(WAYS), clouds, 2))
                for number in range(clouds):
                    generator = np.random.default_rng([points, dimension, number])
                    found = cloud(known_cloud(family, dimension, points, generator), listed_neighbours(neighbours))
                    estimates[number] = statistic(np.log(found.distances[:, :neighbours]))
                    for place, way in enumerate(WAYS):
                        ends[place, number] = ends_of(
                            way, found, statistic, neighbours, estimates[number], args.resamples, generator
                        )
                centre = float(np.exp(np.log(estimates).mean()))
                for way, pairs in zip(WAYS, ends, strict=True):
                    hits = int(((pairs[:, 0] <= centre) & (centre <= pairs[:, 1])).sum())
                    truth = int(((pairs[:, 0] <= dimension) & (dimension <= pairs[:, 1])).sum())
                    low, high = stats.binomtest(hits, clouds).proportion_ci(method="exact")
                    reached = (hits / clouds,) * 2 if clouds >= ENOUGH else (float(low), float(high))
                    within = reached[0] <= BOUNDS[1] and reached[1] >= BOUNDS[0]
                    fine &= within or way != "halves"
                    print(
                        f"{family:8} {dimension:2d} {points:7d}  {method:13}  {way:9} {clouds:7d} {centre:10.3f} "
                        f"{np.median(pairs[:, 1] - pairs[:, 0]) / centre:6.1%}  {hits / clouds:6.1%} [{low:6.1%}, {high:6.1%}] "
                        f"{truth / clouds:7.1%}{'' if within else '   OUTSIDE'}",
                        flush=True,
                    )
    print(f"{time.process_time() - begun:.0f} s of processor time")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
