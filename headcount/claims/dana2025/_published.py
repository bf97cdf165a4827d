"""Published accuracies as claims look at them: on training draws, means over repetitions, as rows of `empirical/published.csv`.

Dana, Pydi and Chevaleyre 2025, data files of experiments 1, 2 and 3; N = 50, S = 2, rounded to four decimals.
"""

from empirical.comparison import read_published

VOCAB_SIZE = 50
ROUNDING = 5e-5
"""Of every accuracy here and in `empirical/published.csv`."""


def _curve(experiment: str, axis: str, **fixed: int) -> dict[int, float]:
    """Accuracies of one curve by what lies along x, in ascending order."""
    rows = read_published()
    rows = rows[rows["experiment"] == experiment]
    for name, value in fixed.items():
        rows = rows[rows[name] == value]
    found = dict(sorted((int(row[axis]), float(row["draw_accuracy"])) for row in rows.to_dict("records")))
    if not found:
        raise ValueError(f"published.csv has no row of {experiment} with {fixed}")
    return found


_BY_HEADS = {dim: _curve("exp_1", "num_heads", embed_dim=dim) for dim in range(3, 14)}
_BY_HEAD_DIM = _curve("exp_2", "head_dim")
_BY_EMBED_DIM = _curve("exp_3", "embed_dim")

HEADS = tuple(_BY_HEADS[3])
EXPERIMENT_1: dict[int, tuple[float, ...]] = {dim: tuple(curve.values()) for dim, curve in _BY_HEADS.items()}
"""By d = d_h, one accuracy for each of HEADS."""

HEAD_DIMS = tuple(_BY_HEAD_DIM)
EXPERIMENT_2 = tuple(_BY_HEAD_DIM.values())
"""By d_h, d = 10, H = 20; one map R^10 -> R^{d_h} shared by all heads, none for d_h = 10."""

EMBED_DIMS = tuple(_BY_EMBED_DIM)
EXPERIMENT_3 = tuple(_BY_EMBED_DIM.values())
"""By d, d_h = 10, H = 20; one map R^d -> R^10 shared by all heads, none for d = 10."""
