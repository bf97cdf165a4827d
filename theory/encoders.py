"""Codes: one direction per token, so that a vector near a token's direction is read out as that token by the unembedding.

Proposition 3 of Dana, Pydi and Chevaleyre 2025 uses the circle; in more dimensions a code of low coherence keeps
labels further apart.
"""

import numpy as np
from jaxtyping import Float

LARGEST_DESCENT = 2000  # 60 steps then take a few seconds


def circle_code(num_tokens: int) -> Float[np.ndarray, "tokens 2"]:
    """Unit vectors in the plane at the angles 2 pi j / n.

    Args:
        num_tokens: n >= 1 directions.

    Returns:
        One row per token. Reading row y against all rows has the margin 1 - cos(2 pi / n), about 2 pi^2 / n^2.

    Raises:
        ValueError: `num_tokens` is below 1.

    Source: Dana, Pydi and Chevaleyre 2025, proof of Proposition 3.
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens = {num_tokens}: at least 1 is legal")
    angles = 2 * np.pi * np.arange(num_tokens) / num_tokens
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def low_coherence_code(num_tokens: int, dim: int, seed: int, *, steps: int = 60) -> Float[np.ndarray, "tokens dim"]:
    """Unit vectors whose largest scalar product with one another (the coherence) is small.

    Random directions that repel each other: gradient descent on the soft maximum of all scalar products, ever sharper.
    Where the best code is known it is returned at once: the circle in the plane, a regular simplex for up to `dim + 1` tokens.

    Args:
        num_tokens: n >= 1 directions.
        dim: d >= 2.
        seed: of the random start; the same arguments give the same code.
        steps: of the descent, each O(n^2 d) in time and O(n^2) in memory; 0, or more than 2,000 tokens, leaves the random start.

    Returns:
        One unit row per token.

    Raises:
        ValueError: a number below its least value.
    """
    if dim < 2:
        raise ValueError(f"dim = {dim}: at least 2 is legal")
    if steps < 0:
        raise ValueError(f"steps = {steps}: at least 0 is legal")
    if dim == 2:
        return circle_code(num_tokens)
    if num_tokens < 1:
        raise ValueError(f"num_tokens = {num_tokens}: at least 1 is legal")
    if num_tokens <= dim + 1 and steps:
        return _simplex(num_tokens, dim)
    code = np.random.default_rng(seed).standard_normal((num_tokens, dim))
    code /= np.linalg.norm(code, axis=1, keepdims=True)
    if num_tokens > LARGEST_DESCENT or not steps:
        return code
    best, lowest = code, np.inf
    for sharpness in np.geomspace(4.0, 200.0, steps):
        products = code @ code.T
        np.fill_diagonal(products, -np.inf)
        highest = products.max()
        if highest < lowest:
            best, lowest = code, highest
        weights = np.exp(sharpness * (products - highest))
        push = (weights @ code) / weights.sum(axis=1, keepdims=True)
        code = code - (4.0 / sharpness) * push
        code /= np.linalg.norm(code, axis=1, keepdims=True)
    return code if coherence(code) < lowest else best


def _simplex(num_tokens: int, dim: int) -> Float[np.ndarray, "tokens dim"]:
    """A regular simplex of unit vectors: scalar products -1 / (n - 1)."""
    code = np.zeros((num_tokens, dim))
    if num_tokens == 1:
        code[0, 0] = 1.0
        return code
    axes = np.linalg.svd(np.eye(num_tokens) - 1.0 / num_tokens)[2][: num_tokens - 1]
    code[:, : num_tokens - 1] = axes.T / np.linalg.norm(axes.T, axis=1, keepdims=True)
    return code


def coherence(code: Float[np.ndarray, "tokens dim"]) -> float:
    """The largest scalar product of two different rows: 1 minus the least margin with which a unit code is read out."""
    products = code @ code.T
    np.fill_diagonal(products, -np.inf)
    return float(products.max())
