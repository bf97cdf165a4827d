"""Manifolds in R^D with everything about them in closed form, and functions on them whose smoothness is known.

What a theory of learning on low-dimensional data (Havrilla and Liao 2024) speaks of, to test it with: a compact d-dimensional
M in R^D of positive reach, charts that are tangent projections of balls with a smooth partition of unity, and beta-Hoelder
functions on M. All of it float64 and exact up to rounding. The exponents that the theory promises are those of
`theory.manifold_rates`, also to be had here.

    manifold = Circle().embedded(8)
    x = manifold.sample(1000, np.random.default_rng(0))        # (1000, 8)
    y = weierstrass_target(manifold, beta=0.5)(x)              # (1000,)
    charts = manifold.charts(radius=0.8)
    charts.partition(x) @ np.ones(charts.num_charts)           # all 1
"""

from theory._manifold_base import Charts, Manifold, WaveCoordinates
from theory._manifold_embedded import Embedded, FlatTorus, Product
from theory._manifold_named import MANIFOLDS, manifold_named
from theory._manifold_roll import SwissRoll
from theory._manifold_round import Circle, Sphere
from theory._manifold_targets import TARGETS, Target, smooth_target, target_named, weierstrass_target
from theory.manifold_rates import (
    NetworkSize,
    approximation_size,
    data_exponent,
    derive_rates,
    dimension_from_data_exponent,
    dimension_from_model_exponent,
    estimation_size,
    inverse_difference,
    model_exponent,
)

__all__ = [
    "MANIFOLDS",
    "TARGETS",
    "Charts",
    "Circle",
    "Embedded",
    "FlatTorus",
    "Manifold",
    "NetworkSize",
    "Product",
    "Sphere",
    "SwissRoll",
    "Target",
    "WaveCoordinates",
    "approximation_size",
    "data_exponent",
    "derive_rates",
    "dimension_from_data_exponent",
    "dimension_from_model_exponent",
    "estimation_size",
    "inverse_difference",
    "manifold_named",
    "model_exponent",
    "smooth_target",
    "target_named",
    "weierstrass_target",
]
