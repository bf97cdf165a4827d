"""A model as it is measured: eval mode, no gradients, and its own modes back afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluated(model: object) -> Iterator[None]:
    """The model in eval mode and without gradients; each of its modules has its own mode back afterwards."""
    modes = {}
    if isinstance(model, torch.nn.Module):
        modes = {module: module.training for module in model.modules()}
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def device_of(model: object) -> torch.device:
    """Where the model's parameters are; the processor if it has none."""
    first = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return torch.device("cpu") if first is None else first.device
