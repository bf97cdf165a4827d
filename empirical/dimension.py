"""The dimension of the manifold that data lie near, how sure that is, and the exponents it promises.

Havrilla and Liao 2024 predict how the loss of a model falls with data and size from one number, the intrinsic dimension of the
data. That number is itself an estimate with a bias that grows with it: read every estimate beside its `bias_curve`, or let
`corrected_dimension` do so.

    points = np.load("embeddings.npy")                          # a row for each point
    estimate = levina_bickel(points)                            # .dimension, .low, .high, .reason
    curve = bias_curve(num_points=len(points), ambient_dim=points.shape[1])
    predicted_exponents(corrected_dimension(estimate, curve), beta=(0.5, 1.0))
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from empirical._dimension_bias import (
    DIMENSIONS,
    CorrectedDimension,
    PredictedExponents,
    bias_curve,
    corrected_dimension,
    known_cloud,
    predicted_exponents,
)  # fmt: skip
from empirical._dimension_estimators import (
    DimensionEstimate,
    Groups,
    checked_spread,
    gride,
    levina_bickel,
    prepared_cloud,
    two_nn,
)  # fmt: skip
from empirical._dimension_neighbours import Cloud, Metric
from empirical._dimension_scales import Plateau, dimension_by_scale, plateau
from empirical._dimension_shapes import correlation_dimension, local_pca

if TYPE_CHECKING:
    import pandas as pd

METHODS: dict[str, Callable[..., DimensionEstimate]] = {
    "levina_bickel": levina_bickel, "two_nn": two_nn, "gride": gride, "local_pca": local_pca,
    "correlation_dimension": correlation_dimension,
}  # fmt: skip
"""Every estimator by its name."""
USUAL_NEIGHBOURS = {"levina_bickel": 20, "two_nn": 2, "gride": 16, "local_pca": 40, "correlation_dimension": 20}
MOST_PCA_RESAMPLES = 40

__all__ = [
    "DIMENSIONS", "METHODS", "Cloud", "CorrectedDimension", "DimensionEstimate", "Plateau", "PredictedExponents", "bias_curve",
    "corrected_dimension", "correlation_dimension", "dimension_by_scale", "estimate_dimensions", "gride", "known_cloud",
    "levina_bickel", "local_pca", "method_arguments", "plateau", "predicted_exponents", "prepared_cloud", "two_nn",
]  # fmt: skip


def method_arguments(method: str, neighbours: int | None = None) -> dict[str, int]:
    """The `neighbours` of a method as keyword arguments: none for None or two_nn (always 2), for gride the even number below.

    Raises ValueError for a method that isn't there.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
    if neighbours is None or method == "two_nn":
        return {}
    return {"neighbours": neighbours - neighbours % 2 if method == "gride" else neighbours}


def estimate_dimensions(
    points: Float[np.ndarray, "n D"],
    methods: Sequence[str] | None = None,
    *,
    neighbours: int | None = None,
    metric: Metric = "euclidean",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    groups: Groups = None,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":
    """A row for each method, columns as the fields of `DimensionEstimate`; neighbours are found once for all.

    methods: names in `METHODS` (None: all); neighbours: None for each method's own; resamples: local_pca takes 40 at most;
    progress: called with (done, all) methods; others as `levina_bickel`. A method that too few points keep from an estimate has
    a row of NaN with the reason; where that is so of all, or an argument is out of range, ValueError.
    """
    import pandas as pd

    names = list(METHODS) if methods is None else list(methods)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"methods = {names}: must be some of {', '.join(METHODS)}, each once")
    arguments = {name: method_arguments(name, neighbours) for name in names}
    checked_spread(resamples, level)
    most = max(arguments[name].get("neighbours", USUAL_NEIGHBOURS[name]) for name in names)
    prepared = prepared_cloud(points, most, metric)
    found: list[DimensionEstimate] = []
    for name in names:
        draws = min(resamples, MOST_PCA_RESAMPLES) if name == "local_pca" else resamples
        needed = arguments[name].get("neighbours", USUAL_NEIGHBOURS[name])
        if len(prepared.rows) <= needed:
            reason = f"{len(prepared.rows)} distinct points are too few for {needed} neighbours"
            nothing = (math.nan, math.nan, math.nan, level, len(prepared.rows), prepared.num_dropped, needed)
            found.append(DimensionEstimate(name, *nothing, reason))
        else:
            found.append(METHODS[name](
                points, metric=metric, resamples=draws, level=level, seed=seed, groups=groups, prepared=prepared,
                **arguments[name],
            ))  # fmt: skip
        if progress is not None:
            progress(len(found), len(names))
    if all(estimate.num_points <= estimate.neighbours for estimate in found):
        raise ValueError(f"points: {found[0].reason}; more points or fewer neighbours are legal")
    columns = [field.name for field in fields(DimensionEstimate)]
    return pd.DataFrame([[getattr(estimate, name) for name in columns] for estimate in found], columns=columns)
