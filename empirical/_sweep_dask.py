"""The dask engine: chunks of cells go to workers as JSON and come back as JSON; this process alone writes to the store."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from empirical._origin import Origin
from empirical._sweep_cluster import local_workers
from empirical._sweep_compute import reason_of
from empirical._sweep_plan import Queue, Tally
from empirical._sweep_worker import compute_chunk
from empirical.cells import Cell, CellResult

Client = Any  # dask's classes have no types

CONNECT_SECONDS = 10
POLL_SECONDS = 0.1
COUNT_SECONDS = 2.0
CHUNKS_EACH = 2  # under way for each thread of the workers: one at work, one at hand


@contextmanager
def workers(scheduler: str | None) -> Iterator[Client]:
    """A client of the scheduler at that address, or of two worker processes on this machine that are gone at the end.

    Raises ValueError where dask is missing, or nobody answers at the address, ConnectionError where the two don't come up.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise ValueError(
            "engine = 'dask': needs dask.distributed, which is not installed; the extra `sweep` brings it: "
            "pip install 'headcount[sweep]'"
        ) from None
    with ExitStack() as stack:
        address = scheduler if scheduler is not None else stack.enter_context(local_workers())
        try:
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # the last two: an address that is none
            raise ValueError(f"scheduler = {scheduler!r}: no dask scheduler answers there ({reason_of(error)})") from None
        stack.callback(client.close, timeout=1)
        yield client


def run_tasks(client: Client, queue: Queue, tally: Tally) -> None:
    """Compute all cells of the queue on the client's workers, a few chunks at a time; results are stored as they come.

    The chunks of a worker that is killed are done by others. A chunk that ends several workers is tried cell by cell, and the
    cell that does so alone fails, with that reason.
    """
    tasks = _Tasks(client)
    tally.begin()
    try:
        while True:
            while tasks.has_room() and (chunk := queue.take_task()):
                tasks.submit(chunk)
            finished = tasks.finished()
            for chunk_over in finished:
                if chunk_over.results is not None:
                    tally.put(chunk_over.results, chunk_over.origin)
                else:
                    for cell in chunk_over.cells:
                        tasks.submit([cell])
            if finished:
                continue
            if not tasks.under_way and not queue.unsettled():
                return
            if not tasks.threads:
                tally.message = f"waiting for workers of {tasks.address}"
            tally.under_way(0.0)
            time.sleep(POLL_SECONDS)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"the dask scheduler at {tasks.address} is gone ({reason_of(error)}); what was finished is stored, "
            "and the same command goes on from there"
        ) from error
    finally:
        tasks.cancel()


@dataclass(frozen=True)
class _Over:
    """A chunk that is over; without results it must be taken apart."""

    cells: list[Cell]
    results: list[CellResult] | None = None
    origin: Origin | None = None


class _Tasks:
    """Chunks that workers are at."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.address = str(client.scheduler.address) if client.scheduler is not None else "?"
        self.under_way: dict[Any, list[Cell]] = {}  # by future
        self.threads, self._counted = 0, -COUNT_SECONDS

    def has_room(self) -> bool:
        """Whether the workers, those that came meanwhile among them, are to be given more."""
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self.threads, self._counted = sum(self.client.nthreads().values()), time.monotonic()
        return len(self.under_way) < CHUNKS_EACH * max(self.threads, 1)

    def submit(self, cells: Sequence[Cell]) -> None:
        """Hand out a chunk."""
        specs = json.dumps([cell.spec for cell in cells])
        future = self.client.submit(compute_chunk, specs, pure=False, retries=2)
        self.under_way[future] = list(cells)

    def finished(self) -> list[_Over]:
        """Chunks that are over since the last call.

        Raises ConnectionError where the scheduler has lost them, ValueError where a worker can't compute at all.
        """
        over = []
        for future in [future for future in self.under_way if future.done()]:
            if future.status not in ("finished", "error"):
                raise ConnectionError(f"a task was {future.status}")
            cells = self.under_way.pop(future)
            error = future.exception() if future.status == "error" else None
            if error is None:
                over.append(_read(future.result(), cells))
            elif type(error).__name__ != "KilledWorker":
                raise ValueError(
                    f"scheduler = {self.address}: a worker could not take up its cells ({reason_of(error)}); "
                    "workers need the same version of headcount"
                )
            elif len(cells) > 1:
                over.append(_Over(cells))
            else:
                reason = f"KilledWorker: {error.allowed_failures + 1} workers ended while they computed it"
                over.append(_Over(cells, [CellResult(cells[0], "failed", reason=reason)]))
        return over

    def cancel(self) -> None:
        """Take back what is still under way."""
        if self.under_way:
            with suppress(Exception):  # where there is no scheduler any more, nothing is under way
                self.client.cancel(list(self.under_way), force=True)
        self.under_way.clear()


def _read(text: str, cells: list[Cell]) -> _Over:
    content, known = json.loads(text), {cell.key: cell for cell in cells}
    results = [CellResult(known.pop(values.pop("key")), **values) for values in content["results"]]
    results += [CellResult(cell, "failed", reason="the worker gave no result for it") for cell in known.values()]
    return _Over(cells, results, Origin(**content["origin"]))
