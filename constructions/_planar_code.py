"""Codes of one or two dimensions for heads that write along a line or a plane: where each label sits, and how it is read.

With E in R^r what the skip connection and the heads bring together, the logit of token j is rows[j] E + offsets[j]. The circle
(r = 2) needs no offsets. The parabola (r = 1) reads the number z by 2 j z - j^2 = z^2 - (z - j)^2, largest for the j next to z.
Only labels that occur get a place: fewer labels are further apart.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions._staircase_layout import CONSTANT
from constructions.aot import AttentionOnlyTransformer
from theory.encoders import circle_code
from theory.tasks import AssociationTask


@dataclass(frozen=True)
class LabelCode:
    """Places and readings of the labels that occur; all other tokens share one reading, which loses to every label's.

    Attributes:
        labels: the tokens that occur as labels, ascending (n,).
        which: per association the place of its label in `labels` (T0,).
        rows: readings of the labels, then of all other tokens (n + 1, r).
        offsets: what is added to each logit, by the constant coordinate of the residual stream (n + 1,).
        places: where a label's associations are to be sent (n, r).
        room: half the distance from a place to the edge of its label's region (n,): so far targets may be moved aside.
        radial: whether targets may also be moved outwards, up to twice as far.
    """

    labels: Int[np.ndarray, "labels"]
    which: Int[np.ndarray, "associations"]
    rows: Float[np.ndarray, "readings outputs"]
    offsets: Float[np.ndarray, "readings"]
    places: Float[np.ndarray, "labels outputs"]
    room: float
    radial: bool

    @property
    def outputs(self) -> int:
        """r, the dimensions of the code."""
        return self.rows.shape[1]

    @property
    def targets(self) -> Float[np.ndarray, "associations outputs"]:
        """The place of every association's label."""
        return self.places[self.which]

    def margin(self, outputs: Float[np.ndarray, "some outputs"], which: Int[np.ndarray, "some"]) -> float:
        """Least difference between the label's logit and the next, over some E and their labels; NaN counts as minus infinity."""
        worst = np.inf
        for start in range(0, len(which), 1 << 12):
            part = slice(start, start + (1 << 12))
            logits = outputs[part] @ self.rows.T + self.offsets
            own = np.arange(len(logits)), which[part]
            right = logits[own].copy()
            logits[own] = -np.inf
            gap = right - logits.max(axis=1)
            worst = min(worst, float(gap.min()) if not np.isnan(gap).any() else -np.inf)
        return worst

    def moved(self, which: Int[np.ndarray, "some"], rng: np.random.Generator) -> Float[np.ndarray, "some outputs"]:
        """Places drawn inside the labels' regions, at least half of the way from their edges."""
        aside = rng.standard_normal((len(which), self.outputs))
        aside *= self.room / np.linalg.norm(aside, axis=1, keepdims=True)
        if not self.radial:
            return np.asarray(self.places[which] + rng.uniform(0.0, 1.0, size=(len(which), 1)) * aside)
        return np.asarray(rng.uniform(1.0, 2.0, size=(len(which), 1)) * (self.places[which] + aside))


def circle(task: AssociationTask) -> LabelCode:
    """n points of the unit circle: margin 1 - cos(2 pi / n), about 2 pi^2 / n^2 (1 for n <= 3 where other tokens exist).

    Other tokens have the logit 0, a label's own is at least 1. Source: Dana, Pydi and Chevaleyre 2025, Proposition 3.
    """
    labels, which = np.unique(task.targets, return_inverse=True)
    places = circle_code(len(labels))
    room = 0.5 * np.sin(np.pi / len(labels)) if len(labels) > 2 else 0.5
    return LabelCode(labels, which, np.vstack([places, np.zeros(2)]), np.zeros(len(labels) + 1), places, float(room), True)


def parabola(task: AssociationTask) -> LabelCode:
    """n numbers z = -(n - 1)/2, .., (n - 1)/2, each read as the nearest one: margin 1.

    A label's own logit 2 j z - j^2 stays at 0 or above when z is moved by `room`; other tokens have the logit -1. Derived here.
    """
    labels, which = np.unique(task.targets, return_inverse=True)
    places = np.arange(len(labels)) - (len(labels) - 1) / 2
    rows = np.append(2 * places, 0.0)[:, None]
    return LabelCode(labels, which, rows, np.append(-(places**2), -1.0), places[:, None], 0.25, False)


def skip_condition(skip: Float[np.ndarray, "outputs embed_dim"], code: LabelCode) -> float:
    """Largest singular value of P by the least one of what the heads can write through (all but a constant coordinate)."""
    through = skip.copy()
    if code.offsets.any():
        through[:, CONSTANT] = 0.0
    largest, least = np.linalg.norm(skip, 2), np.linalg.svd(through, compute_uv=False)[-1]
    return float(largest / least) if least > 1e-200 else np.inf


def put_maps(
    model: AttentionOnlyTransformer,
    code: LabelCode,
    skip: Float[np.ndarray, "outputs embed_dim"],
    values: Float[np.ndarray, "heads embed_dim outputs"],
) -> None:
    """Write readout, values and outputs such that the logits are rows (P x + sum_h M_h A_h) + offsets.

    All heads write through the same W_O with P W_O = identity, and nothing into the constant coordinate when offsets need it,
    where x(t, S) is 1. Heads wider than the code get zero columns.

    Args:
        model: embeddings, queries and keys are left alone; so are heads beyond those given.
        code: the labels' code.
        skip: P, of full row rank (without its constant column, if the code has offsets).
        values: per head M_h transposed.
    """
    writable = skip.copy()
    if code.offsets.any():
        writable[:, CONSTANT] = 0.0
    readout = code.rows @ skip
    readout[:, CONSTANT] += code.offsets
    with torch.no_grad():
        model.unembedding.copy_(torch.from_numpy(np.tile(readout[-1], (model.vocab_size, 1))))
        model.unembedding[torch.from_numpy(code.labels)] = torch.from_numpy(readout[:-1])
        model.value[: len(values), :, : code.outputs] = torch.from_numpy(values)
        model.output[: len(values), : code.outputs] = torch.from_numpy(np.linalg.pinv(writable).T)
