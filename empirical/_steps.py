"""One step of training a stack: the plain one, and one on fixed buffers that a CUDA graph can repeat.

The CUDA graph itself is unmeasured: it has not been run on a GPU. All of `FixedStep` but the capture runs on CPUs too, which
is how the tests reach it.
"""

from contextlib import suppress

import torch
from jaxtyping import Float
from torch import Tensor

from empirical._batches import Batch
from empirical._loss import Adam, Record, softmax_in_place, summed_loss_gradient
from empirical._stacked import Engine


class PlainStep:
    """The step as CPUs take it: nothing is computed that is not wanted in this very step."""

    def __init__(self, engine: Engine, adam: Adam, record: Record) -> None:
        self.engine, self.adam, self.record = engine, adam, record

    def __call__(self, batch: Batch, rate: float, in_window: bool, looked_at: bool) -> Float[Tensor, " models"] | None:
        """Take the step; losses of the models on its batch if it is `looked_at`."""
        tokens, targets, weights = batch
        probabilities = softmax_in_place(self.engine.logits(tokens))
        if in_window:
            self.record.add(probabilities, targets, weights)
        losses = self.record.losses(probabilities, targets, weights) if looked_at else None
        self.engine.backward(summed_loss_gradient(probabilities, targets, weights))
        self.adam.step(rate)
        return losses


class FixedStep:
    """The same step, always on the same tensors, without asking the device for anything: fit to be captured and repeated.

    Batch, rate and whether the step is in the window are copied in; the losses are computed in every step. On a GPU the
    step is captured at its first call as a CUDA graph, so that its hundred or so small operations are started at once;
    where that fails they are started one by one. Unmeasured, see above.
    """

    def __init__(self, engine: Engine, adam: Adam, record: Record) -> None:
        self.engine, self.adam, self.record = engine, adam, record
        self.in_window = torch.zeros((), dtype=torch.float64, device=record.correct.device)
        self.rate = torch.zeros((), dtype=torch.float32, device=record.correct.device)  # the one type that CUDA's Adam takes
        self.batch: Batch | None = None
        self.losses = torch.zeros_like(record.correct)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch, rate: float, in_window: bool, looked_at: bool) -> Float[Tensor, " models"] | None:
        """Take the step; losses of the models on its batch if it is `looked_at`."""
        first = self.batch is None
        if self.batch is None:
            tokens, targets, weights = batch
            self.batch = (tokens.clone(), targets.clone(), None if weights is None else weights.clone())
        for held, new in zip(self.batch, batch, strict=True):
            if held is not None and new is not None:
                held.copy_(new)
        self.rate.fill_(rate)
        self.in_window.fill_(float(in_window))
        if first and self.losses.device.type == "cuda":
            self._capture()
        if self.graph is None:
            self._take()
        else:
            self.graph.replay()
        return self.losses if looked_at else None

    def _take(self) -> None:
        assert self.batch is not None
        tokens, targets, weights = self.batch
        probabilities = softmax_in_place(self.engine.logits(tokens))
        self.record.add(probabilities, targets, weights, self.in_window)
        self.losses.copy_(self.record.losses(probabilities, targets, weights))
        self.engine.backward(summed_loss_gradient(probabilities, targets, weights))
        self.adam.step(self.rate)

    def _capture(self) -> None:
        """Record the step as a graph, after two rehearsals whose traces are wiped (libraries set themselves up in them)."""
        lasting = [*self.adam.state, self.record.correct, self.record.total_loss]
        before = [tensor.clone() for tensor in lasting]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._take()
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(lasting, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with suppress(RuntimeError):
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._take()
            self.graph = graph
