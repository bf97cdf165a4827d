"""Rows of probabilities: checked and normalised once, their entropies, and how far logits are from them in nats."""

from fractions import Fraction
from math import fsum

import numpy as np
from jaxtyping import Float
from scipy.special import entr

KEPT = 2.0**-51
"""Rows whose exact sum is this close to 1 are left alone; dividing by the sum always gets there, so it is done once only."""


def checked_probabilities(name: str, values: object, ndim: int) -> Float[np.ndarray, "..."]:
    """`values` as float64, each row (or the one vector) finite, non-negative and normalised to sum 1.

    A sum may miss 1 by what rounding explains: M + 2 roundings of the entries' own type for M entries (one per entry, one
    per addition of a computed norm, all doubled), so probabilities computed in float32 pass and percentages don't. Raises
    ValueError.
    """
    try:
        found = np.asarray(values)
    except (ValueError, TypeError):
        raise ValueError(f"{name}: must be a {ndim}-dimensional array of numbers, with rows of equal length") from None
    if found.ndim != ndim:
        raise ValueError(f"{name} has shape {found.shape}: must be a {ndim}-dimensional array of numbers")
    if not (np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)):
        raise ValueError(f"{name} has dtype {found.dtype}: must hold real numbers")
    rounding = float(np.finfo(found.dtype if np.issubdtype(found.dtype, np.floating) else np.float64).eps)
    tolerance = 2 * (found.shape[-1] + 2) * max(rounding, 2.0**-52)
    rows = np.array(found, dtype=np.float64, ndmin=2)
    for place, row in enumerate(rows):
        where = f"{name}[{place}]" if ndim == 2 else name
        if not (np.isfinite(row).all() and (row >= 0).all()):
            entry = int(np.argmin(np.isfinite(row) & (row >= 0)))
            raise ValueError(f"{where} has the entry {row[entry]}: must be finite and not negative")
        total = fsum(row.tolist())
        if abs(total - 1) > tolerance:
            raise ValueError(f"{where} sums to {total}: must sum to 1 (within {tolerance:.1e})")
        if abs(total - 1) > KEPT:
            row /= total
    return rows.reshape(found.shape)


def entropies(probabilities: Float[np.ndarray, "rows vocab"]) -> Float[np.ndarray, " rows"]:
    """Shannon entropy of each row in nats, 0 ln 0 = 0."""
    return entr(probabilities).sum(axis=1) + 0.0


def log_softmax(logits: Float[np.ndarray, "rows vocab"]) -> Float[np.ndarray, "rows vocab"]:
    """ln of the softmax of each row; -inf is legal as a logit beside a finite one."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def row_divergences(
    probabilities: Float[np.ndarray, "rows vocab"], logits: Float[np.ndarray, "rows vocab"]
) -> Float[np.ndarray, " rows"]:
    """KL(p || softmax z) of each row in nats; inf where a logit of -inf meets a positive probability. Never negative.

    Summed as p (e^x - 1 - x) with x = ln(softmax z / p): every term is non-negative, so small divergences keep their digits.
    """
    log_models = log_softmax(logits)
    models = np.exp(log_models)
    seen = probabilities > 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(seen, log_models - np.log(probabilities), 0.0)
        small = np.abs(ratio) < 1
        near = probabilities * (np.expm1(np.where(small, ratio, 0.0)) - ratio)
        far = models - probabilities - probabilities * ratio
    terms = np.where(seen, np.where(small, near, far), models)
    return np.maximum(terms, 0.0).sum(axis=1)


def fewest_reaching(masses: Float[np.ndarray, " items"], order: np.ndarray, share: Fraction) -> int:
    """How many items, taken in `order`, reach `share` of the sum of all masses; decided exactly on the floats as they are."""
    ratios = [mass.as_integer_ratio() for mass in masses[order].tolist()]
    scale = max(denominator for _, denominator in ratios)  # powers of 2: every mass is a whole multiple of 1 / scale
    wholes = [numerator * (scale // denominator) for numerator, denominator in ratios]
    needed, reached = share * sum(wholes), 0
    for count, whole in enumerate(wholes):
        if reached >= needed:
            return count
        reached += whole
    return len(wholes)
