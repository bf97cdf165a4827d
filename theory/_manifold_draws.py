"""Manifolds and functions on them at random for Hypothesis: every class, odd radii, products of unlike factors, embeddings."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from theory._manifold_targets import MOST_TERMS
from theory.manifolds import Circle, FlatTorus, Manifold, Product, Sphere, SwissRoll, Target, smooth_target, weierstrass_target
from theory.shapes import checked_integer

Draw = Callable[..., Any]
# Lists come in as Any: run-time type checkers try an entry at random, which Hypothesis allows no strategy.

MANIFOLD_KINDS = ("circle", "sphere", "torus", "swiss-roll", "product")
"""What a drawn manifold is before it is embedded."""


def manifolds(
    *, kind: str | None = None, largest_dimension: int = 3, embedded: bool | None = None
) -> st.SearchStrategy[Manifold]:
    """Manifolds of every kind in MANIFOLD_KINDS with radii from 0.1 to 3, plain or in up to ten dimensions more.

    `kind` is one of MANIFOLD_KINDS, None mixes those that have a dimension up to `largest_dimension` (>= 1). `embedded=True`
    draws random embeddings only, False none, None mixes.

        @given(manifolds(largest_dimension=2), st.integers(0, 99))
        def test_charts(manifold, seed): ...

    Raises ValueError for an unknown kind and for one that needs a larger dimension.
    """
    least = {"swiss-roll": 2, "product": 2}
    checked_integer("largest_dimension", largest_dimension, 1)
    legal = [name for name in MANIFOLD_KINDS if least.get(name, 1) <= largest_dimension]
    if kind is not None and kind not in legal:
        raise ValueError(f"kind = {kind!r}: must be None or, up to dimension {largest_dimension}, one of {', '.join(legal)}")
    return _manifolds(legal if kind is None else [kind], largest_dimension, embedded)


def hoelder_targets(
    *, manifold: Manifold | None = None, beta: tuple[float, float] = (0.1, 3.0), smooth: bool | None = None
) -> st.SearchStrategy[Target]:
    """Targets on `manifold` (None: any of `manifolds()`): Weierstrass' kind with beta in this range in steps of 0.05, or smooth.

    `smooth=True` draws smooth ones only, False none, None mixes.

        @given(hoelder_targets(beta=(0.1, 0.95), smooth=False))
        def test_rate(target): ...

    Raises ValueError for a range without a legal beta.
    """
    legal = [step / 20 for step in range(1, 200) if step % 20 and beta[0] <= step / 20 <= beta[1]]
    if not legal:
        raise ValueError(f"beta = {beta}: must be a range (least, largest) with a multiple of 0.05 in (0, 10) that is no integer")
    return _targets(manifold, legal, smooth)


def _radii() -> st.SearchStrategy[float]:
    return st.integers(1, 30).map(lambda tenths: tenths / 10) | st.just(1.0)


@st.composite
def _plain(draw: Draw, kinds: Any, largest: int) -> Manifold:
    kind = draw(st.sampled_from(kinds))
    if kind == "circle":
        return Circle(draw(_radii()))
    if kind == "sphere":
        return Sphere(draw(st.integers(1, largest)), draw(_radii()))
    if kind == "torus":
        return FlatTorus(tuple(draw(st.lists(_radii(), min_size=1, max_size=largest))))
    if kind == "swiss-roll":
        start, more = draw(st.integers(32, 60)), draw(st.integers(5, 90))
        return SwissRoll(start / 10, (start + more) / 10, draw(st.integers(1, 20)) / 20, draw(_radii()))
    first: Manifold = draw(_plain(["circle", "sphere"] + ["swiss-roll"] * (largest > 2), largest - 1))
    second: Manifold = draw(_plain(["circle", "sphere"], largest - first.dimension))
    return Product((first, second))


@st.composite
def _manifolds(draw: Draw, kinds: Any, largest: int, embedded: bool | None) -> Manifold:
    manifold: Manifold = draw(_plain(kinds, largest))
    if not (draw(st.booleans()) if embedded is None else embedded):
        return manifold
    return manifold.embedded(manifold.ambient_dim + draw(st.integers(0, 10)), draw(st.integers(0, 2**16)))


@st.composite
def _targets(draw: Draw, manifold: Manifold | None, betas: Any, smooth: bool | None) -> Target:
    chosen: Manifold = draw(manifolds()) if manifold is None else manifold
    if draw(st.booleans()) if smooth is None else smooth:
        return smooth_target(chosen)
    return weierstrass_target(chosen, draw(st.sampled_from(betas)), draw(st.integers(1, MOST_TERMS)))
