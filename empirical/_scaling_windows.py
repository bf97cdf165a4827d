"""Windows of a corpus: those that a run trains on, each once, and those that its loss is measured on, with intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from scipy import stats
from torch import Tensor
from torch.nn import functional

from empirical._scaling_run import ScalingRun
from empirical.data import Corpus
from empirical.language_models import LanguageModel

VALIDATION_SHARE = 0.05
"""Of the corpus' bytes, in whole files, that no run trains on."""
LEVEL = 0.95
WINDOW_STREAM = 0x57494E01
"""First word of the seed of the order of windows."""
PART = 32
"""Validation windows that are measured at once."""


class TrainingWindows:
    """The batches of a run: windows of the training files in an order drawn from the seed, each at most once.

    Window i reads tokens [i n, (i + 1) n) of the files one after the other and is asked for those one further on.

    Raises ValueError where the corpus has other tokens than the run, or too few.
    """

    def __init__(self, run: ScalingRun, corpus: Corpus) -> None:
        if (corpus.tokenizer, corpus.vocab_size) != (run.tokenizer, run.vocab_size):
            wanted = f"{run.vocab_size} {run.tokenizer}"
            raise ValueError(f"the corpus has {corpus.vocab_size} {corpus.tokenizer} tokens: must be the run's {wanted}")
        self._run, self._text = run, corpus.split(VALIDATION_SHARE).training.tokens
        there = max(0, (len(self._text) - 1) // run.context)
        needed = run.tokens // run.context
        if needed > there:
            raise ValueError(f"tokens = {run.tokens}: the corpus has {there * run.context} for training, and each is seen once")
        self._order = np.random.default_rng([WINDOW_STREAM, run.seed]).permutation(there)[:needed]

    def at(self, step: int) -> tuple[Int[Tensor, "batch positions"], Int[Tensor, "batch positions"]]:
        """Tokens and targets of a step, counted from 0."""
        size = self._run.batch_size
        return _cut(self._text, self._order[step * size : (step + 1) * size] * self._run.context, self._run.context)


def _cut(text: Integer[np.ndarray, " tokens"], starts: Int[np.ndarray, " windows"], context: int) -> tuple[Tensor, Tensor]:
    windows = torch.from_numpy(text[starts[:, None] + np.arange(context + 1)].astype(np.int64))
    return windows[:, :-1], windows[:, 1:]


@dataclass(frozen=True, eq=False)
class HeldOutLoss:
    """Loss on held-out files, in nats per token, with 95% intervals.

    Windows of one file are alike, so the intervals are about files: deviations are summed by the file in which a window begins,
    and the sums' spread gives the error (t quantile, one degree less than there are files). All runs on a corpus are measured on
    the same windows, so a difference of two runs is known far better than either loss: an interval says how other files of this
    kind would come out, not how another seed would.

    The files are held out from training, not from every choice: the rule of learning rates and the deviations of the initial
    weights were chosen by the loss on windows of these same files, and no third part was kept for the losses that are reported.
    They may be a little lower than on files that nobody looked at; by how much was not measured.

    Attributes:
        loss, low, high: mean over all windows and positions.
        by_position: rows position p = 1..n: mean loss of the token that is predicted from p tokens; columns mean, low, high.
        num_windows, num_files: what they are measured on.
    """

    loss: float
    low: float
    high: float
    by_position: Float[np.ndarray, "positions 3"]
    num_windows: int
    num_files: int


def held_out_loss(
    model: LanguageModel, run: ScalingRun, corpus: Corpus, device: torch.device, tick: Callable[[], None] | None = None
) -> HeldOutLoss:
    """Measure a model on the run's validation windows; `tick` is called between parts.

    Raises ValueError where the held-out files have fewer windows, or all windows begin in one file.
    """
    text, starts, files = _validation(run, corpus)
    parts = []
    for begin in range(0, len(starts), PART):
        tokens, targets = _cut(text, starts[begin : begin + PART], run.context)
        logits = model.logits_at_every_position(tokens.to(device)).float()
        losses = functional.cross_entropy(logits.flatten(0, 1), targets.to(device).flatten(), reduction="none")
        parts.append(losses.view(tokens.shape).double().cpu().numpy())
        if tick is not None:
            tick()
    losses_of_windows = np.concatenate(parts)
    by_position = clustered_mean(losses_of_windows, files)
    loss, low, high = (float(value) for value in clustered_mean(losses_of_windows.mean(1, keepdims=True), files)[0])
    return HeldOutLoss(loss, low, high, by_position, len(starts), len(np.unique(files)))


def require_validation(run: ScalingRun, corpus: Corpus) -> None:
    """ValueError where `held_out_loss` would raise it."""
    _validation(run, corpus)


def _validation(
    run: ScalingRun, corpus: Corpus
) -> tuple[Integer[np.ndarray, " tokens"], Int[np.ndarray, " windows"], Int[np.ndarray, " windows"]]:
    part = corpus.split(VALIDATION_SHARE).validation
    there = max(0, (len(part.tokens) - 1) // run.context)
    if run.validation_windows > there:
        asked = f"validation_windows = {run.validation_windows}"
        raise ValueError(f"{asked}: the held-out files have {there} of {run.context} tokens")
    starts = np.arange(run.validation_windows) * there // run.validation_windows * run.context
    files = np.searchsorted(part.offsets, starts, side="right") - 1
    if len(np.unique(files)) < 2:
        raise ValueError("the corpus has one held-out file for this run: the interval of its loss needs at least 2")
    return part.tokens, starts, files


def clustered_mean(
    values: Float[np.ndarray, "windows columns"], clusters: Int[np.ndarray, " windows"], level: float = LEVEL
) -> Float[np.ndarray, "columns 3"]:
    r"""Mean of each column with an interval that lets rows of one cluster depend on each other: rows (mean, low, high).

    With W rows, G clusters and \(s_g\) the sum of a cluster's deviations from the mean, the variance of the mean is
    \(G/(G-1) \sum_g s_g^2 / W^2\), the usual cluster-robust one (Liang and Zeger 1986).
    """
    mean = values.mean(0)
    names, place = np.unique(clusters, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values - mean)
    error = np.sqrt(len(names) / (len(names) - 1) * (sums**2).sum(0)) / len(values)
    half = float(stats.t.ppf(0.5 + level / 2, len(names) - 1)) * error
    return np.stack([mean, mean - half, mean + half], axis=1)
