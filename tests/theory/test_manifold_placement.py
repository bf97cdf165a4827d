"""Embeddings are uniform among all orthonormal ones, and large ambient dimensions cost no square of them."""

import numpy as np

from theory.manifolds import Circle


def test_columns_have_no_favoured_sign() -> None:
    entries = np.array([Circle().embedded(3, seed=seed).columns[0, 0] for seed in range(300)])
    assert abs(entries.mean()) < 4 * entries.std() / np.sqrt(len(entries))
    assert (entries > 0).mean() > 0.35  # a factorisation that always gives one sign has mean -1/2


def test_the_bound_on_coordinates_holds_in_four_thousand_dimensions() -> None:
    circle = Circle(2.0).embedded(4_000, seed=1)
    points = circle.points(np.linspace(-np.pi, np.pi, 1001)[:, None])
    assert np.abs(points).max() <= circle.coordinate_bound <= np.abs(points).max() * (1 + 1e-5)
