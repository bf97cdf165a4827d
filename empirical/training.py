"""Gradient descent as the papers do it: many one-layer models at once, trained as one stacked set of parameters."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import torch
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from constructions.transformer import Transformer
from empirical._models import layout_of, transformer_of
from empirical._parameters import VARIANTS, Layout, Variant
from empirical._run import FinishedStack, Progress, checked_memory, run_stacks, shown_progress
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

__all__ = ["Progress", "TrainedModel", "TrainedModels", "TrainingSettings", "Variant", "train", "train_members"]


@dataclass(frozen=True)
class TrainingSettings:
    """Schedule and optimiser of a run; the defaults are those of experiments 1 to 4 and 6.

    `batch_size` times `num_batches` associations are drawn once, uniformly with replacement, and reshuffled in each of
    `epochs` epochs. The learning rate falls linearly, epoch by epoch, from `learning_rate` in the first epoch to
    `final_learning_rate` in the last (0.01 to 0.0005: the paper says 0.1 to 0.05, but its notebook hands those figures
    to a scheduler that multiplies the base rate with them). The optimiser is Adam with `betas` and `epsilon`.
    `accuracy_window` is the number of batches, ending just before the last one, over which the notebook averages its
    accuracy. `dtype` is float32 or float64.

    Raises ValueError for sizes below 1, rates that are not positive and finite, betas outside [0, 1), a window longer
    than epochs x num_batches - 1 batches, any other dtype.
    Source: Dana, Pydi and Chevaleyre 2025, experiments section and the notebook published with it.
    """

    batch_size: int = 256
    num_batches: int = 64
    epochs: int = 64
    learning_rate: float = 0.01
    final_learning_rate: float = 0.0005
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    accuracy_window: int = 100
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_batches", "epochs", "accuracy_window"):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), 1))
        for name in ("learning_rate", "final_learning_rate", "epsilon"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} = {value!r}: must be a finite number > 0")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one setting, and have one text
        if not (isinstance(self.betas, tuple) and len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)):
            raise ValueError(f"betas = {self.betas!r}: must be a pair of numbers in [0, 1)")
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype = {self.dtype}: must be torch.float32 or torch.float64")
        if self.accuracy_window >= self.num_steps:
            raise ValueError(
                f"accuracy_window = {self.accuracy_window}: must be at most epochs x num_batches - 1 = "
                f"{self.num_steps - 1}"
            )

    @property
    def num_steps(self) -> int:
        """Optimiser steps of one model."""
        return self.epochs * self.num_batches

    @classmethod
    def notebook(cls) -> "TrainingSettings":
        """Experiments 1 to 4 and 6: 64 epochs of 64 batches of 256."""
        return cls()

    @classmethod
    def experiment_5(cls) -> "TrainingSettings":
        """The attention-only models of experiment 5: 64 epochs of 256 batches of 1024."""
        return cls(batch_size=1024, num_batches=256)

    @classmethod
    def experiment_5_mlp(cls) -> "TrainingSettings":
        """The models of experiment 5 with an MLP: as `experiment_5`, but the rate falls to a hundredth, 0.01 to 0.0001."""
        return cls(batch_size=1024, num_batches=256, final_learning_rate=0.0001)

    @classmethod
    def deep(cls) -> "TrainingSettings":
        """The runs with three layers: 64 epochs of 128 batches of 512 at the constant rate 0.0025."""
        return cls(batch_size=512, num_batches=128, learning_rate=0.0025, final_learning_rate=0.0025)

    @classmethod
    def large_dimension(cls) -> "TrainingSettings":
        """The runs with N = 200 and d = 40 to 60: 64 epochs of 64 batches of 1024."""
        return cls(batch_size=1024)

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if self.epochs == 1:
            return self.learning_rate
        return self.learning_rate + (self.final_learning_rate - self.learning_rate) * epoch / (self.epochs - 1)


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """One model of a call of `train` or `train_members`.

    `notebook_accuracy` is the mean accuracy on the training batches of the accuracy window, each before its step;
    `final_loss` the mean cross-entropy over the same batches, in nats. Both are nan for a model that `diverged`:
    its loss or a parameter was not finite, `reason` says which and when. The accuracy is on training draws: a statement
    about capacity wants the uniform table, that is the ruler applied to `to_transformer()`.
    """

    shape: AttentionShape
    variant: Variant
    seed: int
    repetition: int
    notebook_accuracy: float
    final_loss: float
    diverged: bool
    reason: str
    weights: dict[str, Tensor] = field(repr=False)
    _layout: Layout = field(repr=False)

    @property
    def nominal_parameters(self) -> int:
        """All trained scalars of the variant.

        d (S + 2 N) + 4 H d d_h in the paper's model. Notebook variant: 2 N d + S d_h + 4 H d_h^2, and 2 d d_h more for
        the shared maps when d != d_h (not the size of what `to_transformer` returns, which is folded out of these). More
        layers and MLPs add their own.
        """
        return self._layout.num_parameters()

    @property
    def effective_parameters(self) -> int | None:
        """Parameters left when changes that alter no logit are taken out; None for a model that no count is known for.

        See `Layout.num_effective_parameters`.
        """
        return self._layout.num_effective_parameters()

    def to_transformer(self, dtype: torch.dtype = torch.float64) -> AttentionOnlyTransformer | Transformer:
        """The trained model as equations (1)-(2); same logits up to rounding (about 1e-13 in float64).

        Several layers, or an MLP, give a `constructions.transformer.Transformer`.

        Paper variant: embed_dim d. Notebook variant: embed_dim d + S, the last S coordinates one-hot positions, since
        that variant's residual stream carries none. Raises ValueError for a diverged model.
        """
        if self.diverged:
            raise ValueError(f"diverged = True: a model can be converted only if its training did not diverge ({self.reason})")
        return transformer_of(self._layout, self.weights, dtype)


@dataclass(frozen=True, eq=False)
class TrainedModels(Sequence[TrainedModel]):
    """The models of one call of `train`, ordered by shape as given, then by repetition; with all that set them."""

    task: AssociationTask = field(repr=False)
    shapes: tuple[AttentionShape, ...]
    num_models: int
    settings: TrainingSettings
    variant: Variant
    seed: int
    device: str
    models: tuple[TrainedModel, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.models)

    @overload
    def __getitem__(self, index: int) -> TrainedModel: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[TrainedModel, ...]: ...

    def __getitem__(self, index: int | slice) -> TrainedModel | tuple[TrainedModel, ...]:
        return self.models[index]

    def __iter__(self) -> Iterator[TrainedModel]:
        return iter(self.models)

    @property
    def finished(self) -> tuple[TrainedModel, ...]:
        """The models that did not diverge: the only ones to average over."""
        return tuple(model for model in self.models if not model.diverged)

    @property
    def diverged(self) -> tuple[TrainedModel, ...]:
        """The models that diverged, each with its reason."""
        return tuple(model for model in self.models if model.diverged)

    def of_shape(self, shape: AttentionShape) -> tuple[TrainedModel, ...]:
        """All repetitions of one shape, diverged ones included. Raises ValueError for a shape that was not trained."""
        if shape not in self.shapes:
            raise ValueError(f"shape = {shape}: must be one of the shapes trained, {list(self.shapes)}")
        return tuple(model for model in self.models if model.shape == shape)


def train(
    *,
    task: AssociationTask,
    shapes: Sequence[AttentionShape],
    num_models: int,
    settings: TrainingSettings | None = None,
    variant: Variant = "notebook",
    seed: int,
    device: torch.device | str | None = None,
    progress: Callable[[int, int, float], None] | bool = False,
) -> TrainedModels:
    """Train `num_models` repetitions of every shape on one task, with cross-entropy at the last position only.

    Variant "notebook" is the model of the paper's notebook: heads of d_h x d_h maps behind one shared map d -> d_h (and
    before one d_h -> d; none when d = d_h), positions added inside the attention only, scores over sqrt(d_h). Variant
    "paper" is equations (1)-(2): per-head maps, positions in the residual stream, no score scaling. Initial weights are
    uniform: the notebook's bounds, and the same rules on its own shapes for the paper's model (it names none): positions
    1/sqrt(d), W_Q, W_K, W_V sqrt(6 / (3 d_h + d)), W_O 1/sqrt(d_h), embedding and unembedding 1/sqrt(d).

    Randomness. One data set per call, drawn from (seed, number of associations, batch_size x num_batches): all models learn
    the same draws, as in the notebook. Initial weights depend on (seed, variant, shape, repetition), the order of batches on
    (seed, repetition) and is shared by the shapes. So a model depends on task, settings, variant, seed, its shape and its
    repetition, and neither on the other shapes, nor on `num_models`, nor on the number of threads: on a CPU the same model
    comes out bit for bit on the same machine, alone or in company.

    On a CPU, stacks of models run side by side, up to as many as torch has threads, each on one thread; the thread number
    is put back at the end. Ctrl-C stops within one step of every stack that is running.

    Args:
        task: the associations; any S >= 1 (S = 2 has a fast path).
        shapes: distinct shapes, at least one; d_h > d and H = 0 are legal. A `TransformerShape` of one layer without MLP
            gives the model of its heads.
        num_models: repetitions per shape, >= 1.
        settings: schedule; None is `TrainingSettings.notebook()`.
        variant: "notebook" or "paper".
        seed: integer >= 0.
        device: where to compute; None is the CPU. Weights come back on the CPU.
        progress: True draws a bar, a callable gets (steps done, steps in all, mean loss in nats) now and then, in the thread
            of the caller: steps of all stacks, at the end all of them; loss of the stack just heard of, without its
            diverged models.

    Raises:
        ValueError: an argument outside what is said above, or models too large for memory (see `MAX_MODEL_BYTES`).

    Source: Dana, Pydi and Chevaleyre 2025, equations (1)-(2) and the notebook published with the paper.
    """
    shapes = checked_shapes("shapes", shapes)
    if len(set(shapes)) < len(shapes):
        raise ValueError(f"shapes = {list(shapes)!r}: must be distinct (num_models sets the number of repetitions)")
    num_models = checked_integer("num_models", num_models, 1)
    members = [(shape, repetition) for shape in shapes for repetition in range(num_models)]
    settings = TrainingSettings.notebook() if settings is None else settings
    models = train_members(
        task=task, members=members, settings=settings, variant=variant, seed=seed, device=device, progress=progress
    )
    place = str(torch.device("cpu" if device is None else device))
    return TrainedModels(task, shapes, num_models, replace(settings), variant, models[0].seed, place, models)


def train_members(
    *,
    task: AssociationTask,
    members: Sequence[tuple[AttentionShape, int]],
    settings: TrainingSettings | None = None,
    variant: Variant = "notebook",
    seed: int,
    device: torch.device | str | None = None,
    progress: Callable[[int, int, float], None] | bool = False,
    on_models: Callable[[Sequence[TrainedModel], float], None] | None = None,
) -> tuple[TrainedModel, ...]:
    """Train any set of models on one task; the models in the order of `members`. See `train`, which gives the same numbers.

    Args:
        task, settings, variant, seed, device, progress: as for `train`.
        members: distinct pairs (shape, repetition), at least one; repetition >= 0.
        on_models: called, in the caller's thread, as soon as a stack of models is finished, with its models in the order of
            `members` and the wall seconds that the stack took. What it raises ends the call.

    Raises:
        ValueError: an argument outside what is said here and at `train`, or models too large for memory.
    """
    if not isinstance(task, AssociationTask):
        raise ValueError(f"task = {task!r}: must be an AssociationTask")
    settings = TrainingSettings.notebook() if settings is None else settings
    if not isinstance(settings, TrainingSettings):
        raise ValueError(f"settings = {settings!r}: must be a TrainingSettings or None")
    members = tuple(members)
    if not members or not all(isinstance(member, tuple) and len(member) == 2 for member in members):
        raise ValueError(f"members = {list(members)!r}: must be one or more pairs of a shape and a repetition")
    shapes = checked_shapes("members", [shape for shape, _ in members])
    repetitions = [checked_integer("repetition", repetition, 0) for _, repetition in members]
    if len(set(zip(shapes, repetitions, strict=True))) < len(members):
        raise ValueError(f"members = {list(members)!r}: must be distinct")
    seed = checked_integer("seed", seed, 0)
    if variant not in VARIANTS:
        raise ValueError(f"variant = {variant!r}: must be one of {', '.join(map(repr, VARIANTS))}")
    if on_models is not None and not callable(on_models):
        raise ValueError(f"on_models = {on_models!r}: must be None or a callable")
    try:
        place = torch.device("cpu" if device is None else device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device = {device!r}: must be a device that torch can use here ({why})") from None
    checked_memory(task, tuple(dict.fromkeys(shapes)), settings, variant)

    layouts = [layout_of(task.vocab_size, task.seq_len, shape, variant) for shape in shapes]
    models: dict[int, TrainedModel] = {}

    def finished(stack: FinishedStack) -> None:
        made = {
            number: TrainedModel(
                shape=shapes[number],
                variant=variant,
                seed=seed,
                repetition=repetitions[number],
                _layout=layouts[number],
                **result.as_fields(),
            )
            for number, result in zip(stack.places, stack.results, strict=True)
        }
        models.update(made)
        if on_models is not None:
            on_models([made[number] for number in sorted(made)], stack.seconds)

    with shown_progress(progress) as report:
        run_stacks(task, list(zip(layouts, repetitions, strict=True)), settings, seed, place, report, finished)
    return tuple(models[number] for number in range(len(members)))


def checked_shapes(name: str, shapes: Sequence[AttentionShape]) -> tuple[AttentionShape, ...]:
    """The shapes as a tuple, when there is at least one and all are shapes; ValueError that names the argument otherwise."""
    shapes = tuple(shapes)
    if not shapes or not all(isinstance(shape, AttentionShape) for shape in shapes):
        raise ValueError(f"{name} = {list(shapes)!r}: must be one or more AttentionShape")
    return shapes
