"""What a cloud may bring: one point far off, which changes no estimate, and a missing package, which is named."""

import sys
from typing import Any

import numpy as np
import pytest

from empirical.dimension import levina_bickel, two_nn


@pytest.mark.parametrize(("kind", "far"), [(np.float16, 1e3), (np.float32, 1e7), (np.float64, 1e9)])
def test_one_point_far_off_drops_no_other(kind: type, far: float) -> None:
    points = np.random.default_rng(0).normal(size=(600, 3)).astype(kind)
    alone = [each(points, resamples=0) for each in (levina_bickel, two_nn)]
    points[0] = far
    with_it = [each(points, resamples=0) for each in (levina_bickel, two_nn)]
    for before, after in zip(alone, with_it, strict=True):
        assert after.num_dropped == before.num_dropped <= 60  # float16 repeats some points even so
        assert after.dimension == pytest.approx(before.dimension, rel=0.02)


@pytest.mark.parametrize("method", [levina_bickel, two_nn])
def test_a_missing_package_is_named_with_what_brings_it(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "skdim"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skdim", None)
    with pytest.raises(ValueError, match=r"headcount\[dimension\]"):
        method(np.random.default_rng(0).normal(size=(60, 3)), resamples=0)
