"""How well attention matrices agree with "position i attends to position t(i)", string by string."""

import numpy as np
from jaxtyping import Float, Int

SCORES = ("cosine", "paper_score", "paper_cosine", "weight")
"""The scores of `string_scores`, by their columns in tables."""


def string_scores(
    maps: Float[np.ndarray, "batch heads positions positions"], targets: Int[np.ndarray, "targets batch positions"]
) -> dict[str, Float[np.ndarray, "targets batch heads"]]:
    """Scores of every head against every target map, for each string by itself.

    With A a head's matrix, B the matrix with a one at (i, t(i)) for every defined row i and zeros elsewhere, |.| the Frobenius
    norm and A' the defined rows of A:
        cosine: sum(A * B) / (|A'| |B|), which is 1 for a head that puts all its weight on the target;
        paper_score: |A * B|^2 / (|A| |B|), as printed in Sanford, Hsu and Telgarsky 2024, appendix G.4;
        paper_cosine: sum(A * B) / (|A| |B|), as their published code computes it;
        weight: mean of A[i, t(i)] over defined rows.

    Args:
        maps: attention weights, rows are the positions that look.
        targets: t(i) as a column of `maps`, -1 where row i is not defined.

    Returns:
        By the names in SCORES; NaN for strings without a defined row. A matrix of zeros scores 0.
    """
    squares = (maps**2).sum(axis=-1)
    found = {name: np.full((len(targets), *maps.shape[:2]), np.nan) for name in SCORES}
    for place, target in enumerate(targets):
        defined = target >= 0
        count = defined.sum(axis=-1)[:, None].astype(float)
        index = np.where(defined, target, 0)[:, None, :, None]
        hit = np.take_along_axis(maps, index, axis=-1)[..., 0] * defined[:, None]
        total = hit.sum(axis=-1)
        own = np.sqrt((squares * defined[:, None]).sum(axis=-1) * count)  # one root, so that a perfect head has exactly 1
        whole = np.sqrt(squares.sum(axis=-1) * count)
        for name, top, bottom in (
            ("cosine", total, own),
            ("paper_score", (hit**2).sum(axis=-1), whole),
            ("paper_cosine", total, whole),
            ("weight", total, count + 0 * total),
        ):
            score = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
            found[name][place] = np.where(count > 0, score, np.nan)
    return found


def decisiveness(maps: Float[np.ndarray, "batch heads positions positions"]) -> Float[np.ndarray, "batch heads"]:
    """The mean over rows of the largest weight, row 0 left out, which under a causal mask has one weight; NaN for one row."""
    if maps.shape[-1] < 2:
        return np.full(maps.shape[:2], np.nan)
    return maps[..., 1:, :].max(axis=-1).mean(axis=-1)
