"""Hypothesis profiles, and torch's generator made as reproducible as numpy's."""

import os
from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings


class TorchGenerator:
    """torch's global generator in the form that Hypothesis seeds, saves and restores around every example."""

    def seed(self, value: int) -> None:
        torch.manual_seed(value)

    def getstate(self) -> torch.Tensor:
        return torch.get_rng_state()

    def setstate(self, state: torch.Tensor) -> None:
        torch.set_rng_state(state)


# Hypothesis keeps only a weak reference.
TORCH_GENERATOR = TorchGenerator()
hypothesis.register_random(TORCH_GENERATOR)

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=50, **COMMON)
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, print_blob=True, **COMMON)
settings.register_profile("nightly", max_examples=2000, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def types_checked_unless_the_input_is_bad(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of bad input want our own errors, not those of the run-time type checker."""
    bad = request.node.get_closest_marker("bad_input") is not None
    jaxtyping.config.update("jaxtyping_disable", bad)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
