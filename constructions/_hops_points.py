"""How far the points of the circle encoding, as a model has them, are from the circle: all angles that can occur."""

import numpy as np
import torch

from constructions._hops_construction import HopConstruction
from constructions._hops_layout import Plan
from constructions.element_wise import FUNCTIONS

EMBEDDED = ((("ci", "si"), 0), (("cb", "sb"), -1))
CHUNK = 1 << 20


def point_errors(construction: HopConstruction, plan: Plan) -> tuple[float, float]:
    """Largest error of a radius and of an angle, over embedded points and over those that maps compute.

    Measured in extended precision where the machine has it (numpy's longdouble); else errors of float64 points are themselves
    only known to about one unit.
    """
    task, model = construction.task, construction.model
    n, s = task.seq_len, task.vocab_size
    places, radius, angle = np.arange(n + 1), 0.0, 0.0
    embedded = model.position_embedding.detach().double().numpy()
    for names, offset in EMBEDDED:
        columns = [embedded[:, plan.coordinates.index(name)] for name in names]
        error = _errors(columns[0], columns[1], places + offset, n + 1)
        radius, angle = max(radius, error[0]), max(angle, error[1])
    # Frequencies, as the maps have them, belong to circles of so many units: look-up, last match, symbols.
    for frequency, units, most in (
        (2 * np.pi / (n + 1), n + 1, n), (np.pi / (n * (s + 1)), 2 * n * (s + 1), 2 * n * s + n), (2 * np.pi / (s + 1), s + 1, s),
    ):  # fmt: skip
        for begin in range(0, most + 1, CHUNK):
            numbers = np.arange(begin, min(begin + CHUNK, most + 1))
            stored = torch.from_numpy(numbers).to(model.dtype)
            points = [FUNCTIONS[name].apply([stored], (float(frequency),)).double().numpy() for name in ("cos", "sin")]
            error = _errors(points[0], points[1], numbers, units)
            radius, angle = max(radius, error[0]), max(angle, error[1])
    return radius, angle


def _errors(cosine: np.ndarray, sine: np.ndarray, numbers: np.ndarray, units: int) -> tuple[float, float]:
    """Against the points at the angles 2 pi numbers / units."""
    turn = 8 * np.arctan(np.longdouble(1))
    angles = turn * numbers.astype(np.longdouble) / units
    c, s = cosine.astype(np.longdouble), sine.astype(np.longdouble)
    along, across = c * np.cos(angles) + s * np.sin(angles), s * np.cos(angles) - c * np.sin(angles)
    radius = np.abs((c * c + s * s - 1) / (1 + np.sqrt(c * c + s * s)))
    return float(radius.max()), float(np.abs(np.arctan2(across, along)).max())
