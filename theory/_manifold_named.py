"""Manifolds by the names that people type."""

import re
from collections.abc import Callable

from theory._manifold_base import Manifold
from theory._manifold_embedded import FlatTorus, Product
from theory._manifold_roll import SwissRoll
from theory._manifold_round import Circle, Sphere

MANIFOLDS: dict[str, Callable[[int], Manifold]] = {
    "circle": lambda dimension: Circle(),
    "sphere": lambda dimension: Sphere(dimension),
    "torus": lambda dimension: FlatTorus((1.0,) * dimension),
    "swiss-roll": lambda dimension: SwissRoll(),
}
"""The default manifold of each kind, as a function of its dimension (which circle and swiss-roll ignore)."""

LARGEST_DIMENSION = 16


def manifold_named(text: str, ambient_dim: int | None = None, seed: int = 0) -> Manifold:
    """The manifold that a text such as "torus-3" or "circle x sphere" names, in R^ambient_dim where that is given.

    Names are circle, sphere (sphere-2), sphere-3, .., torus (torus-2), torus-3, .., swiss-roll, and products of these with " x "
    between. With `ambient_dim`, an embedding drawn from `seed`, also where it is the manifold's own D. Raises ValueError for
    other texts and for an `ambient_dim` below the manifold's.
    """
    parts = [_one(part.strip(), text) for part in re.split(r"\s+x\s+", text.strip())] if isinstance(text, str) else []
    if not parts:
        raise _unknown(text)
    manifold = parts[0] if len(parts) == 1 else Product(tuple(parts))
    return manifold if ambient_dim is None else manifold.embedded(ambient_dim, seed)


def _one(part: str, text: str) -> Manifold:
    matched = re.fullmatch(r"(sphere|torus)-(\d{1,3})", part)
    kind, dimension = (matched[1], int(matched[2])) if matched else (part, 2)
    if kind not in MANIFOLDS or not 1 <= dimension <= LARGEST_DIMENSION:
        raise _unknown(text)
    return MANIFOLDS[kind](dimension)


def _unknown(text: object) -> ValueError:
    return ValueError(
        f"manifold = {text!r}: must be circle, sphere-d, torus-d (1 <= d <= {LARGEST_DIMENSION}; d = 2 may be left out), "
        'swiss-roll, or several of them with " x " between'
    )
