"""Which directions the labels get: for a readout that only has to be right, codes with many realizable tables, not wide
margins."""

import numpy as np
from scipy.optimize import nnls

from theory.encoders import circle_code, low_coherence_code

POLISH_STEPS, POLISH_SAMPLES, POLISH_RATE = 40, 600, 0.05


def readout_code(counts: np.ndarray, width: int, seed: int, polish: bool) -> np.ndarray:
    """One row per label, labels occurring `counts` times, in at most `width` dimensions.

    A simplex or the circle where they fit; else random directions, which have a smaller codim than codes of low coherence, and
    with `polish` are moved downhill on codim by stochastic gradients (3 to 4 per cent more associations at N = 50, d = 10).
    """
    classes = len(counts)
    if width >= classes - 1:
        return np.array([[1.0], [-1.0]]) if classes == 2 else low_coherence_code(classes, classes - 1, seed)
    if width == 2:
        return circle_code(classes)
    code = low_coherence_code(classes, width, seed, steps=0)
    return _polished(code, counts / counts.sum(), seed) if polish else code


def _polished(code: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    moment, square = np.zeros_like(code), 0.0
    for step in range(1, POLISH_STEPS + 1):
        rng = np.random.default_rng([seed, 6, step])
        gradient = _gradient(code, weights, rng)
        moment = 0.8 * moment + 0.2 * gradient
        square = 0.95 * square + 0.05 * float((gradient**2).mean())
        code = code - POLISH_RATE * moment / np.sqrt(square / (1 - 0.95**step))
        code = code - code.mean(axis=0)
    return np.asarray(code / np.sqrt((code**2).sum(axis=1).mean()))


def _gradient(code: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of codim: a sample g of label y costs |rho|^2, rho = sum_j c_j (u_j - u_y) with c >= 0 by least squares.

    By the envelope theorem the cost changes by 2 (g - rho) . sum_j c_j (du_j - du_y).
    """
    drawn = rng.standard_normal((POLISH_SAMPLES, code.shape[1]))
    drawn *= np.sqrt(code.shape[1]) / np.linalg.norm(drawn, axis=1, keepdims=True)
    points = (np.arange(POLISH_SAMPLES) + rng.uniform()) / POLISH_SAMPLES
    labels = np.minimum(np.searchsorted(np.cumsum(weights), points), len(code) - 1)
    gradient = np.zeros_like(code)
    for label, sample in zip(labels.tolist(), drawn, strict=True):
        ways = (code - code[label]).T
        shares, _ = nnls(ways, sample)
        kept = sample - ways @ shares
        used = np.flatnonzero(shares)
        gradient[used] += shares[used, None] * kept
        gradient[label] -= shares.sum() * kept
    return 2 * gradient / POLISH_SAMPLES
