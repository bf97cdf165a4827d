"""From cells to results: trained in one call for each company, measured by the ruler, delivered stack by stack."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from empirical import training
from empirical.capacity import measure
from empirical.cells import Cell, CellResult
from theory.shapes import AttentionShape, TransformerShape
from theory.tasks import AssociationTask

Deliver = Callable[[list[CellResult]], None]
Report = Callable[[float], None]  # fraction of a call's optimiser steps that is done

LONGEST_REASON = 300


def compute(cells: Iterable[Cell]) -> Iterator[list[CellResult]]:
    """Results of distinct cells, a list for each stack of models that was trained together; stores nothing.

    Cells of one company are trained by one call of `empirical.training.train_members`; its lists come when that call is over
    (`compute_into` delivers every one as soon as it is finished). A cell that can't be computed gives a failed result with the
    reason; the others of its company are computed all the same. A diverged model is a result.
    """
    for company in companies(cells):
        found: list[list[CellResult]] = []
        compute_into(company, found.append)
        yield from found


def compute_into(cells: Iterable[Cell], deliver: Deliver, report: Report | None = None) -> None:
    """As `compute`, with every list handed to `deliver` in the caller's thread as soon as its stack is finished.

    What `deliver` raises ends the call, and so does Ctrl-C. `report` is told now and then how much of the call at hand is done.
    """
    for company in companies(cells):
        try:
            task = company[0].task()
        except Exception as error:
            deliver([_failed(cell, error) for cell in company])
            continue
        _Attempt(task, deliver, report).train(company)


def companies(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells by company, in the order given."""
    found: dict[Cell, list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        found.setdefault(cell.company, []).append(cell)
    return list(found.values())


class _Attempt:
    """Trains the cells of one company; where that fails, halves of what is left, down to the cell that is to blame."""

    def __init__(self, task: AssociationTask, deliver: Deliver, report: Report | None) -> None:
        self.task, self.deliver, self.report = task, deliver, report
        self.undelivered = False

    def train(self, cells: Sequence[Cell]) -> None:
        first = cells[0]
        left = {_name(cell.shape, cell.repetition): cell for cell in cells}

        def finished(models: Sequence[training.TrainedModel], seconds: float) -> None:
            mine = [left.pop(_name(model.shape, model.repetition)) for model in models]
            results = [self._measured(cell, model, seconds / len(mine)) for cell, model in zip(mine, models, strict=True)]
            self.undelivered = True
            self.deliver(results)
            self.undelivered = False

        def steps(done: int, total: int, loss: float) -> None:
            if self.report is not None:
                self.report(done / total)

        try:
            training.train_members(
                task=self.task, members=[(cell.shape, cell.repetition) for cell in cells], settings=first.settings,
                variant=first.variant, seed=first.seed, device=first.device, progress=steps, on_models=finished,
            )  # fmt: skip
            if left:
                raise RuntimeError(f"{len(left)} models were not delivered")
        except Exception as error:
            if self.undelivered:  # the store's trouble, not the cells'
                raise
            rest = list(left.values())
            if len(rest) <= 1:
                for cell in rest:
                    self._deliver_failed(cell, error)
                return
            # Those that were trained together with the one to blame are tried without it.
            self.train(rest[: len(rest) // 2])
            self.train(rest[len(rest) // 2 :])

    def _deliver_failed(self, cell: Cell, error: Exception) -> None:
        self.undelivered = True
        self.deliver([_failed(cell, error)])
        self.undelivered = False

    def _measured(self, cell: Cell, model: training.TrainedModel, seconds: float) -> CellResult:
        start = time.perf_counter()
        try:
            counts: dict[str, Any] = {
                "nominal_parameters": model.nominal_parameters,
                "effective_parameters": model.effective_parameters,
            }
            if model.diverged:
                return CellResult(cell, "done", diverged=True, reason=model.reason, seconds=seconds, **counts)
            found = measure(model.to_transformer(), self.task, cross_entropy=False, **counts)
            return CellResult(
                cell, "done", draw_accuracy=model.notebook_accuracy, accuracy=found.accuracy, held=found.held,
                memory=found.memory, margin_min=found.margin_min, final_loss=model.final_loss,
                seconds=seconds + time.perf_counter() - start, **counts,
            )  # fmt: skip
        except Exception as error:
            return _failed(cell, error)


def _failed(cell: Cell, error: BaseException) -> CellResult:
    return CellResult(cell, "failed", reason=reason_of(error), seconds=math.nan)


def reason_of(error: BaseException) -> str:
    """Type and first words of an error, on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:LONGEST_REASON] if said else type(error).__name__


def _name(shape: AttentionShape, repetition: int) -> tuple[int, ...]:
    """What tells a model from the others of its company, whether its shape speaks of layers or not."""
    layers = (shape.num_layers, shape.mlp_width) if isinstance(shape, TransformerShape) else (1, 0)
    return (shape.embed_dim, shape.num_heads, shape.head_dim, *layers, repetition)
