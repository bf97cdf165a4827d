"""The ruler: what a model holds of a task, measured the same way whether its weights were built, solved or trained."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from constructions.construction import logit_margins
from constructions.transformer import Transformer
from theory.memorization import effective_parameters as effective_count
from theory.memorization import memory_from_accuracy
from theory.tasks import AssociationTask

LOGITS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Measurement:
    """What a model holds of a task, every association counted once (the uniform table).

    Attributes:
        num_associations: T0, associations asked.
        held: associations whose label's logit is strictly the largest: a tie holds nothing.
        accuracy: held / T0.
        margin_min, margin_median, margin_max: of the label's logit over the next one, in logit units; NaN where a logit is NaN.
            The median of an even number is the lower one.
        cross_entropy: mean of -log p(label), in nats, of the logits as they are; NaN, like what follows from it, where `measure`
            was told to leave it out.
        best_temperature: the temperature by which dividing all logits makes the cross-entropy least; NaN where none does.
        cross_entropy_at_best_temperature: that least mean, in nats; never above log N.
        nominal_parameters: scalars in the model's arrays, or those of its variant as told.
        effective_parameters: those left after gauge freedom (`theory.memorization.effective_parameters`), or as told; None for
            several layers or with an MLP, where the count is not known, unless told.
        bits_per_parameter: held * log2(N) / nominal_parameters.
        bits_per_effective_parameter: held * log2(N) / effective_parameters; NaN where these are None.
        bits_by_cross_entropy: (T0 log2 N - total cross-entropy at the best temperature, in bits) / nominal_parameters; this
            estimate depends on the scale of the logits, hence the temperature.
        memory: X with accuracy = 1/N + (1 - 1/N) X / T0 (phi^-1, Corollary 2): associations beyond guessing; can be below 0.

    Source: Dana, Pydi and Chevaleyre 2025, Corollary 2 and experiments; bits per parameter as in Allen-Zhu and Li 2024 and
    Morris et al. 2025.
    """

    num_associations: int
    held: int
    accuracy: float
    margin_min: float
    margin_median: float
    margin_max: float
    cross_entropy: float
    best_temperature: float
    cross_entropy_at_best_temperature: float
    nominal_parameters: int
    effective_parameters: int | None
    bits_per_parameter: float
    bits_per_effective_parameter: float
    bits_by_cross_entropy: float
    memory: float


def measure(
    model: AttentionOnlyTransformer | Transformer,
    task: AssociationTask,
    *,
    nominal_parameters: int | None = None,
    effective_parameters: int | None = None,
    cross_entropy: bool = True,
) -> Measurement:
    """Measure a model on a task.

    Args:
        model: any attention-only transformer or `Transformer`, in any dtype, on any device.
        task: the associations; its tokens must be in the model's vocabulary. The task's N is the N of the bits and of phi.
        nominal_parameters: the count to divide by, where the weights came from another parametrisation (a trained variant).
        effective_parameters: likewise.
        cross_entropy: False leaves the cross-entropies and what follows from them NaN; they take most of the time.

    Returns:
        All numbers of the ruler. A logit that is NaN holds nothing and leaves margins and cross-entropy NaN.

    Raises:
        ValueError: the task doesn't fit the model, or a parameter count below 1.
    """
    for name, given in (("nominal_parameters", nominal_parameters), ("effective_parameters", effective_parameters)):
        if given is not None and given < 1:
            raise ValueError(f"{name} = {given}: at least 1 is legal")
    nominal = sum(array.numel() for array in model.parameters()) if nominal_parameters is None else nominal_parameters
    effective = _effective_parameters(model) if effective_parameters is None else effective_parameters
    margins = logit_margins(model, task)
    held = int((margins > 0).sum())
    entropy, temperature, least = _cross_entropies(model, task) if cross_entropy else (math.nan,) * 3
    bits = math.log2(task.vocab_size)
    stored = task.num_associations * (bits - least / math.log(2))
    broken = bool(margins.isnan().any())
    return Measurement(
        num_associations=task.num_associations,
        held=held,
        accuracy=held / task.num_associations,
        margin_min=math.nan if broken else float(margins.min()),
        margin_median=math.nan if broken else float(margins.median()),
        margin_max=math.nan if broken else float(margins.max()),
        cross_entropy=entropy,
        best_temperature=temperature,
        cross_entropy_at_best_temperature=least,
        nominal_parameters=nominal,
        effective_parameters=effective,
        bits_per_parameter=held * bits / nominal,
        bits_per_effective_parameter=math.nan if effective is None else held * bits / effective,
        bits_by_cross_entropy=stored / nominal,
        memory=float(memory_from_accuracy(held / task.num_associations, task.vocab_size, task.num_associations)),
    )


def _effective_parameters(model: AttentionOnlyTransformer | Transformer) -> int | None:
    if isinstance(model, Transformer):
        return None
    return effective_count(model.vocab_size, model.seq_len, model.embed_dim, model.num_heads, model.head_dim)


def _cross_entropies(model: AttentionOnlyTransformer | Transformer, task: AssociationTask) -> tuple[float, float, float]:
    """Mean cross-entropy as is, best temperature, least mean cross-entropy; the infinite temperature gives log N."""
    chunks = _Logits(model, task)
    as_is = chunks.cross_entropy(1.0)
    if not math.isfinite(as_is):
        return as_is, math.nan, math.nan
    uniform = math.log(model.vocab_size)
    if chunks.spread == 0.0:
        return as_is, math.nan, uniform
    # As a function of the inverse temperature the mean is convex: a bounded search over its logarithm finds the minimum.
    # Beyond exp(40) / spread every difference has left the range of floats; towards 0 the mean tends to log N.
    low, high = math.log(1e-6 / chunks.spread), math.log(1e9 / chunks.spread)
    found = minimize_scalar(
        lambda log_inverse: chunks.cross_entropy(math.exp(log_inverse)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    if found.fun >= uniform:
        return as_is, math.inf, uniform
    return as_is, math.exp(-found.x), float(found.fun)


class _Logits:
    """The model's logits on a task relative to the label's, kept where they fit memory, computed again where they don't."""

    def __init__(self, model: AttentionOnlyTransformer | Transformer, task: AssociationTask) -> None:
        self.model, self.task = model, task
        self.rows = max(1, LOGITS_AT_ONCE // model.vocab_size)
        self.kept = list(self._compute()) if task.num_associations <= 4 * self.rows else None
        spreads = [float(part.abs().max()) for part in self._parts()]
        self.spread = math.nan if any(math.isnan(s) for s in spreads) else max(spreads)

    def _compute(self) -> Iterator[Tensor]:
        for start in range(0, self.task.num_associations, self.rows):
            tokens = torch.tensor(self.task.sequences[start : start + self.rows])
            labels = torch.tensor(self.task.targets[start : start + self.rows])
            with torch.no_grad():
                logits = self.model(tokens).to("cpu", torch.float64)
            yield logits - logits.gather(1, labels[:, None])

    def _parts(self) -> Iterable[Tensor]:
        return self.kept if self.kept is not None else self._compute()

    def cross_entropy(self, inverse_temperature: float) -> float:
        """Mean over the associations of log sum_j exp((logit_j - logit_label) / temperature), in nats."""
        total = 0.0
        for part in self._parts():
            total += float(torch.logsumexp(inverse_temperature * part, dim=1).sum())
        return total / self.task.num_associations
