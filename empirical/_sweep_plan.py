"""Which cells are computed next and by whom, and how far a run has come."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from empirical._origin import Origin
from empirical.cells import Cell, CellResult
from empirical.store import Store

LEAST_CELLS = 8
"""A chunk has at least so many cells for each thread: about two stacks of five repetitions."""

TASK_CELLS, TASK_WORK = 10, 4e11
"""A chunk for a dask worker has at most so many cells and so much work (see `work_of`; a minute or so of one thread)."""

REFRESH_SECONDS = 0.5
STEP_OVERHEAD = 2e5
"""What a step of one model costs beside its arithmetic, in multiplications; rough, and so is all that rests on it."""


@dataclass(frozen=True)
class SweepState:
    """How far a run is.

    Attributes:
        total: cells that were asked for.
        done: those that are stored as done, diverged ones among them, whoever computed them.
        failed: those that are stored as failed.
        running: those that a living process has claimed, this one or another; not all of them are at work this very moment.
        seconds_left: wall seconds until all are settled, from the rate of this run so far; None until there is one.
        message: what happened last, in one line.
    """

    total: int
    done: int
    failed: int
    running: int
    seconds_left: float | None
    message: str


def work_of(cell: Cell) -> float:
    """Rough number of multiplications that training the cell takes: only ratios count, for shares and for the time left."""
    shape, settings = cell.shape, cell.settings
    rows = min(settings.batch_size, cell.vocab_size**cell.seq_len)
    heads = shape.num_heads * shape.head_dim
    network, tokens = 2 * shape.embed_dim * shape.mlp_width, cell.vocab_size * shape.embed_dim
    layer = 2 * heads * cell.seq_len + 2 * shape.embed_dim * shape.rank + network
    parameters = 2 * tokens + shape.num_layers * (4 * heads * shape.rank + network)
    step = 3 * rows * (tokens + shape.num_layers * layer) + 10 * parameters + STEP_OVERHEAD
    return settings.num_steps * float(step)


class Queue:
    """The cells of a run that are not settled yet, in the order they are taken: of one company, the largest first."""

    def __init__(self, cells: Sequence[Cell], store: Store, retry_failed: bool) -> None:
        self.store, self.retry_failed = store, retry_failed
        self.cells = {cell.key: cell for cell in cells}
        self.work = {key: work_of(cell) for key, cell in self.cells.items()}
        companies: dict[Cell, list[str]] = {}
        for key, cell in self.cells.items():
            companies.setdefault(cell.company, []).append(key)
        for keys in companies.values():  # repetitions of one shape stay together: they share a stack
            keys.sort(key=lambda key: (-self.work[key], repr(self.cells[key].shape), self.cells[key].repetition))
        self._companies = list(companies.values())
        self._attempted: set[str] = set()

    def unsettled(self) -> list[str]:
        """Keys of the cells that are still to be computed, by anyone."""
        states = self.store.states(list(self.cells))
        return [key for key in self.cells if not self._settled(key, states)]

    def take_share(self, threads: int) -> list[Cell]:
        """Claim the next chunk for this process's own threads; empty when nothing is to be had now.

        Large chunks keep all threads busy, small ones leave something for other processes: a chunk is half of what is free,
        shared by the processes at work, and so they become smaller towards the end. For a GPU it is all of one company,
        which fills it.
        """

        def fits(keys: Sequence[str], free: float, work: float, others: int) -> bool:
            if self.cells[keys[0]].device == "cuda":
                return True
            return len(keys) <= LEAST_CELLS * threads or work <= free / (2 * (1 + others))

        return self._take(fits)

    def take_task(self) -> list[Cell]:
        """Claim the next chunk for a dask worker, small enough to be done again by another; empty when nothing is to be had."""

        def fits(keys: Sequence[str], free: float, work: float, others: int) -> bool:
            most = 10 if self.cells[keys[0]].device == "cuda" else 1  # a GPU takes ten times as long to be worth starting
            return len(keys) <= most * TASK_CELLS and (len(keys) == 1 or work <= most * TASK_WORK)

        return self._take(fits)

    def _take(self, fits: Callable[[Sequence[str], float, float, int], bool]) -> list[Cell]:
        states, running = self.store.states(list(self.cells)), self.store.running()
        others = len(set(running.values()))
        for company in self._companies:
            free = [key for key in company if key not in running and not self._settled(key, states)]
            total, work, chosen = sum(self.work[key] for key in free), 0.0, list[str]()
            for key in free:
                work += self.work[key]
                if not fits([*chosen, key], total, work, others):
                    break
                chosen.append(key)
            claimed = self.store.claim(chosen, retry_failed=self.retry_failed) if chosen else set()
            if claimed:
                self._attempted |= claimed
                return [self.cells[key] for key in chosen if key in claimed]
        return []

    def _settled(self, key: str, states: Mapping[str, str]) -> bool:
        """A failed cell is tried again once in a run that was asked to."""
        return key in states and (states[key] == "done" or not self.retry_failed or key in self._attempted)


class Tally:
    """Puts results into the store and tells the caller how far the run is."""

    def __init__(self, queue: Queue, progress: Callable[[SweepState], None] | None) -> None:
        self.queue, self.progress = queue, progress
        self.message = ""
        self._began, self._last = time.monotonic(), -REFRESH_SECONDS  # the first is put right by `begin`
        self._done_here, self._under_way = 0.0, 0.0

    def begin(self) -> None:
        """Say that computing begins now: what came before tells nothing about the time left."""
        self._began = time.monotonic()
        self.tell()

    def put(self, results: Sequence[CellResult], origin: Origin | None = None) -> None:
        """Store finished results, computed elsewhere if `origin` says so."""
        contradicted = self.queue.store.put(results, origin)
        self._done_here += sum(self.queue.work[result.cell.key] for result in results)
        self._under_way = 0.0
        failed = [result for result in results if result.state == "failed"]
        if contradicted:
            self.message = f"{len(contradicted)} cells came out otherwise than they are stored; what is stored stays"
        elif failed:
            self.message = f"failed: {failed[-1].cell.words}: {failed[-1].reason}"
        elif results:
            self.message = f"finished: {results[-1].cell.words}"
        self.tell()

    def under_way(self, work: float) -> None:
        """Say how much of the chunk at hand is computed, beyond what was put."""
        self._under_way = work
        if time.monotonic() - self._last >= REFRESH_SECONDS:
            self.tell()

    def tell(self) -> SweepState:
        """The state now, handed to the caller's callback too."""
        store, keys = self.queue.store, list(self.queue.cells)
        states = store.states(keys)
        unsettled = self.queue.unsettled()
        here, spent = self._done_here + self._under_way, time.monotonic() - self._began
        left = max(0.0, sum(self.queue.work[key] for key in unsettled) - self._under_way)
        state = SweepState(
            total=len(keys),
            done=sum(value == "done" for value in states.values()),
            failed=sum(value == "failed" for value in states.values()),
            running=len(store.running(keys)),
            seconds_left=0.0 if not unsettled else left * spent / here if here > 0 else None,
            message=self.message,
        )
        self._last = time.monotonic()
        if self.progress is not None:
            self.progress(state)
        return state
