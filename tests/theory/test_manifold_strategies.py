"""Drawn manifolds and targets are of the kinds and sizes that were asked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.manifolds import Embedded
from theory.strategies import MANIFOLD_KINDS, hoelder_targets, manifolds


@pytest.mark.parametrize("kind", MANIFOLD_KINDS)
@settings(max_examples=10, deadline=None)
@given(data=st.data(), embedded=st.booleans())
def test_strategies_draw_what_they_say(kind: str, data: st.DataObject, embedded: bool) -> None:
    manifold = data.draw(manifolds(kind=kind, largest_dimension=2, embedded=embedded))
    assert 1 <= manifold.dimension <= 2
    assert isinstance(manifold, Embedded) == embedded
    plain = manifold.manifold if isinstance(manifold, Embedded) else manifold
    assert type(plain).__name__.lower().replace("flat", "").replace("swissroll", "swiss-roll") == kind


def test_strategies_refuse_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="kind = 'product': must be None or, up to dimension 1, one of circle, sphere, torus"):
        manifolds(kind="product", largest_dimension=1)
    with pytest.raises(ValueError, match=r"beta = \(1\.0, 1\.0\)"):
        hoelder_targets(beta=(1.0, 1.0))
