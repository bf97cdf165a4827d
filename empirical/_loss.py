"""Softmax, the gradient of the loss, Adam, and what is recorded of a run: all of a step that no engine does."""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from empirical._parameters import StackedParameters

if TYPE_CHECKING:
    from empirical.training import TrainingSettings

NOTEBOOK_FLOOR = 1e-12
"""What the notebook adds to a probability before it takes the logarithm; reported losses do the same."""

BITS_PER_NAT = 1 / math.log(2)


def softmax_in_place(logits: Float[Tensor, "models vocab_size rows"]) -> Float[Tensor, "models vocab_size rows"]:
    """Softmax over the vocabulary; powers of two because torch computes them on CPUs in half the time of powers of e."""
    logits.sub_(logits.amax(1, keepdim=True)).mul_(BITS_PER_NAT).exp2_()
    return logits.div_(logits.sum(1, keepdim=True))


def summed_loss_gradient(
    probabilities: Float[Tensor, "models vocab_size rows"],
    targets: Int[Tensor, "models 1 rows"],
    weights: Float[Tensor, "models rows"] | None,
) -> Float[Tensor, "models vocab_size rows"]:
    """Gradient by the logits of the cross-entropy summed (not averaged) over the batch; overwrites `probabilities`.

    It is (softmax - one-hot) times the row weights.
    """
    minus_one = probabilities.new_full((1, 1, 1), -1.0)
    gradient = probabilities.scatter_add_(1, targets, minus_one.expand(targets.shape))
    return gradient if weights is None else gradient.mul_(weights.unsqueeze(1))


class Adam:
    """Adam on the flat parameters, by torch's own fused kernel (the one behind torch.optim.Adam(fused=True)).

    The gradient it gets is that of the summed loss, batch_size times the mean's; with epsilon scaled alike, the step is the
    one that Adam takes for the mean.
    """

    def __init__(self, parameters: StackedParameters, settings: "TrainingSettings") -> None:
        flat = parameters.flat
        self.state = [flat, torch.zeros_like(flat), torch.zeros_like(flat), torch.zeros((), device=flat.device)]
        self.gradient, self.settings = parameters.flat_grad, settings
        self.epsilon = settings.epsilon * settings.batch_size

    def step(self, rate: float | Tensor) -> None:
        flat, mean, square, steps = self.state
        first, second = self.settings.betas
        steps += 1
        torch._fused_adam_(
            [flat], [self.gradient], [mean], [square], [], [steps], lr=rate, beta1=first, beta2=second,
            weight_decay=0.0, eps=self.epsilon, amsgrad=False, maximize=False,
        )  # fmt: skip


class Record:
    """Accuracy and loss over the window, and which models diverged."""

    def __init__(self, num_models: int, settings: "TrainingSettings", device: torch.device) -> None:
        last = settings.num_steps - 1
        self.window = range(last - settings.accuracy_window, last)
        self.batch_size, self.epochs = settings.batch_size, settings.epochs
        self.correct = torch.zeros(num_models, dtype=torch.float64, device=device)
        self.total_loss = torch.zeros(num_models, dtype=torch.float64, device=device)
        self.reasons = [""] * num_models

    def add(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None, times: Float[Tensor, ""] | float = 1.0) -> None:
        """Count a batch of the window; with `times` 0 it leaves all as it was."""
        right = (probabilities.argmax(dim=1, keepdim=True) == targets).squeeze(1).to(torch.float64)
        self.correct += (right if weights is None else right * weights).sum(1) * times
        losses = self.losses(probabilities, targets, weights) * (self.batch_size * times)
        # a loss that is not finite counts in the window only
        self.total_loss += losses if isinstance(times, float) else torch.where(times > 0, losses, 0.0)

    def losses(self, probabilities: Tensor, targets: Tensor, weights: Tensor | None) -> Float[Tensor, " models"]:
        """Mean loss of every model on a batch, nats."""
        rows = -(probabilities.gather(1, targets).squeeze(1) + NOTEBOOK_FLOOR).log()
        return (rows if weights is None else rows * weights).sum(1).to(torch.float64) / self.batch_size

    def look(self, losses: Float[Tensor, " models"], epoch: int) -> float:
        """Mean loss of the models still finite on a batch, after noting those that are not."""
        found = losses.tolist()
        finite = [loss for loss in found if abs(loss) < float("inf")]
        for place, loss in enumerate(found):
            if not abs(loss) < float("inf") and not self.reasons[place]:
                self.reasons[place] = f"loss not finite in epoch {epoch + 1} of {self.epochs}"
        return sum(finite) / len(finite) if finite else float("nan")

    def close(self, parameters: StackedParameters) -> None:
        """Note the models that the last steps broke."""
        for place in range(len(self.reasons)):
            whole = all(bool(torch.isfinite(block[place]).all()) for block in parameters.block.values())
            if not self.reasons[place] and not whole:
                self.reasons[place] = "parameters not finite after the last step"

    def accuracy(self, place: int) -> float:
        return float(self.correct[place]) / (len(self.window) * self.batch_size)

    def loss(self, place: int) -> float:
        return float(self.total_loss[place]) / (len(self.window) * self.batch_size)
