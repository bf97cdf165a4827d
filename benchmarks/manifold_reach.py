"""How far built networks on manifolds come: every cell of every grid, slopes with intervals, and what they cost.

Product trees by attention; errors at fresh random points against the grid on circle, flat torus and sphere, smooth and rough
targets, degrees 0 to 5, with where rounding stops them; that nothing depends on rotation or ambient dimension, that the
indicator is needed, that float32 is too coarse for routing, and where dense attention and pair-by-pair evaluation agree.
`seconds` is processor time of one thread. Targets: circle -2 and -0.5 within 0.1, torus -2 within 0.15 at N = 8 to 64.

    python -m benchmarks.manifold_reach [PART...]    # trees circle torus sphere degrees invariance antipodal dense; all if none
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from constructions.interaction import InteractionPrecisionError, product_tree
from constructions.manifolds import build
from empirical.manifold_reach import reach_slopes, reach_table
from theory.manifolds import Circle, FlatTorus, Manifold, Sphere, Target, smooth_target, weierstrass_target

SHOWN = ["manifold", "target", "degree", "grid", "charts", "tokens", "heads", "blocks", "rms", "sup", "seconds"]
SLOPES = ["error", "against", "slope", "low", "high", "predicted"]


def show(title: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """A table, whole."""
    print(f"\n{title}")
    print(table[list(columns)].to_string(index=False, float_format=lambda value: f"{value:.4g}"), flush=True)


def reach(title: str, target: Target, grids: Sequence[int], degree: int, num_points: int = 1500) -> None:
    """Cells, the slope between neighbours, and the fitted slopes."""
    table = reach_table(target.manifold, target, grids, degree, num_points=num_points)
    show(title, table, SHOWN)
    steps = np.diff(np.log(table["rms"])) / np.diff(np.log(table["grid"]))
    print("rms slope from grid to grid: " + ", ".join(f"{step:.2f}" for step in steps))
    show("slopes", reach_slopes(table), SLOPES)


def trees() -> None:
    """Products of 2 to 16 numbers in [-1.5, 1.5]: dense attention and pair by pair against numpy's product."""
    rows, generator = [], np.random.default_rng(0)
    for factors in (2, 3, 4, 5, 8, 16):
        network, inputs = product_tree(factors), generator.uniform(-1.5, 1.5, (500, factors))
        truth = inputs.prod(axis=1)
        dense = np.abs(network.evaluate_dense(inputs) - truth).max()
        rows.append((factors, network.num_blocks, network.heads_per_block, dense, np.abs(network.evaluate(inputs) - truth).max()))
    columns = ["factors", "blocks", "heads per block", "dense error", "sparse error"]
    show("product trees, largest error at 500 inputs", pd.DataFrame(rows, columns=columns), columns)


def circle() -> None:
    """The circle in R^8."""
    place, grids = Circle().embedded(8, seed=0), (16, 32, 64, 128, 256)
    reach("circle in R^8, smooth, hats", smooth_target(place), grids, 1)
    for beta in (0.5, 0.75):
        reach(f"circle in R^8, Weierstrass {beta}, trapezoids", weierstrass_target(place, beta), grids, 0)
    reach("circle in R^8, Weierstrass 0.5, trapezoids, further on", weierstrass_target(place, 0.5), (256, 512, 1024, 2048), 0)


def torus() -> None:
    """The flat torus of two unit circles in R^6."""
    place = FlatTorus().embedded(6, seed=0)
    reach("flat torus in R^6, smooth, hats", smooth_target(place), (8, 16, 32, 64), 1, 600)
    reach("flat torus in R^6, Weierstrass 0.5, trapezoids", weierstrass_target(place, 0.5), (8, 16, 32, 64), 0, 600)


def sphere() -> None:
    """The sphere in R^3, the first curved manifold of two dimensions."""
    place = Sphere()
    reach("sphere, smooth, hats", smooth_target(place), (8, 16, 32, 64), 1, 600)
    reach("sphere, Weierstrass 0.5, trapezoids", weierstrass_target(place, 0.5), (8, 16, 32, 64), 0, 600)


def degrees() -> None:
    """Local polynomials of degree 2 to 5 on smooth functions: slope -(m + 1), until rounding."""
    place = Circle().embedded(8, seed=0)
    for degree in (2, 3, 4, 5):
        reach(f"circle in R^8, smooth, degree {degree}", smooth_target(place), (16, 32, 64, 128, 256, 512), degree)
    reach("circle in R^8, smooth, degree 7, until rounding stops it", smooth_target(place), (32, 64, 128, 256, 512), 7, 400)
    reach("sphere, smooth, degree 2", smooth_target(Sphere()), (8, 16, 32, 64), 2, 200)
    reach("sphere, smooth, degree 3", smooth_target(Sphere()), (8, 16, 32, 64), 3, 200)
    flat = FlatTorus()
    reach("flat torus in R^4, smooth, degree 2", smooth_target(flat), (8, 16, 32), 2, 300)


def invariance() -> None:
    """The same function on the same manifold, turned and moved into other spaces: errors at the same points of it."""
    rows = []
    for manifold, degree, grid in ((Circle(), 1, 64), (Circle(), 3, 64), (FlatTorus(), 1, 16), (Sphere(), 1, 16)):
        parameters, target = manifold.parameters(manifold.sample(800, np.random.default_rng(0))), smooth_target(manifold)
        first = None
        for ambient, seed in ((manifold.ambient_dim + 1, 0), (manifold.ambient_dim + 1, 1), (50, 0), (50, 1)):
            place = manifold.embedded(ambient, seed=seed)
            points = place.points(parameters)
            answers = build(place, target.on(place), grid, degree)(points)
            first = answers if first is None else first
            error = answers - target.on(place)(points)
            rms = float(np.sqrt(np.mean(error**2)))
            rows.append((place.name, degree, grid, seed, rms, float(np.abs(answers - first).max())))
    columns = ["manifold", "degree", "grid", "seed", "rms", "off the first by"]
    show("rotation and ambient dimension", pd.DataFrame(rows, columns=columns), columns)


def antipodal() -> None:
    """Without indicators the far side answers too."""
    rows = []
    for place, grid in ((Circle().embedded(8, seed=0), 64), (FlatTorus().embedded(6, seed=0), 16), (Sphere(), 16)):
        target, points = smooth_target(place), place.sample(800, np.random.default_rng(0))
        for indicator in (True, False):
            error = build(place, target, grid, indicator=indicator)(points) - target(points)
            rows.append((place.name, grid, indicator, float(np.sqrt(np.mean(error**2))), float(np.abs(error).max())))
    columns = ["manifold", "grid", "indicator", "rms", "sup"]
    show("indicators on and off", pd.DataFrame(rows, columns=columns), columns)


def dense() -> None:
    """All pairs of tokens attended to, against pair by pair: float64 within its bound, float32 not usable."""
    rows = []
    cases: tuple[tuple[Manifold, int, int, float], ...] = (
        (Circle(), 2, 0, 1.3), (Circle(), 2, 1, 1.3), (Circle(), 4, 1, 1.3), (Circle(), 8, 1, 1.3), (Circle(), 16, 1, 1.3),
        (Circle(), 2, 2, 1.3), (Circle(), 4, 2, 1.3), (Sphere(), 2, 0, 1.3), (Sphere(), 2, 1, 1.3),
    )  # fmt: skip
    for manifold, grid, degree, radius in cases:
        built = build(manifold, smooth_target(manifold), grid, degree, radius=radius)
        network, points = built.network, manifold.sample(10, np.random.default_rng(0))
        start = time.process_time()
        off = {
            dtype: float(np.abs(network.evaluate_dense(points, built.dense(dtype, np.inf)) - built(points)).max())
            for dtype in (torch.float64, torch.float32)
        }
        refused = "no"
        try:
            built.dense(torch.float32)
        except InteractionPrecisionError:
            refused = "yes"
        rows.append(
            (
                manifold.name, degree, grid, built.num_tokens, built.num_heads, max(network.routing_constants),
                off[torch.float64], network.error_bound(), off[torch.float32], refused, time.process_time() - start,
            )
        )  # fmt: skip
    columns = [
        "manifold", "degree", "grid", "tokens", "heads", "routing constant", "float64 off by", "its bound", "float32 off by",
        "refused", "seconds",
    ]  # fmt: skip
    show("dense attention against pair by pair, 10 points", pd.DataFrame(rows, columns=columns), columns)


PARTS: dict[str, Callable[[], None]] = {
    "trees": trees, "circle": circle, "torus": torus, "sphere": sphere, "degrees": degrees, "invariance": invariance,
    "antipodal": antipodal, "dense": dense,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: {', '.join(PARTS)} are legal")
    torch.set_num_threads(1)
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
