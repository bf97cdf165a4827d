"""Training runs in processes of their own, so many at a time, that end when whoever started them ends."""

import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Protocol, TypeVar

from empirical.sweep import torch_threads
from theory._messages import first_line

PATIENCE = 10.0
"""Seconds that processes get, once they are asked to end, to come to the end of a step and write a checkpoint."""
TELL_EVERY = 0.3
"""Seconds between two messages of a run."""
THREADS = 1
"""Of torch, for every run: its weights must not depend on how many run side by side."""


@dataclass(frozen=True)
class Message:
    """What a run tells the process that shows it."""

    name: str
    step: int = 0
    loss: float = 0.0
    steps: int = 0
    """In all. A message from the last step always gets through; 0 where that is not known."""
    failure: str = ""
    finished: bool = False


class Run(Protocol):
    """What a process is started for."""

    @property
    def name(self) -> str:
        """Told in messages; no two are alike."""

    @property
    def steps(self) -> int:
        """In all."""


RunT = TypeVar("RunT", bound=Run)
Work = Callable[[RunT, Callable[[Message], None]], object]
"""Trains one run and tells how it goes on; for other processes it must be one that pickle can name."""


def run_side_by_side(runs: Sequence[RunT], work: Work[RunT], jobs: int) -> Iterator[Message]:
    """Start runs in their order as places get free; their messages as they come.

    Whoever stops listening, by an error or Ctrl-C, ends all processes; those that train write a checkpoint first.

    Raises ValueError with the failure of a run, or for a process that ended before its run did.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process whose torch has threads may hang
    messages: Any = context.Queue()
    working: dict[str, SpawnProcess] = {}
    waiting = list(runs)
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.pop(0)
                working[run.name] = context.Process(target=_in_a_process, args=(run, work, messages), daemon=True)
                with _deaf_to_ctrl_c():  # which is inherited: whoever started a process ends it, not the terminal
                    working[run.name].start()
            dead = [name for name, process in working.items() if not process.is_alive()]  # before their last words are heard
            for message in _heard(messages):
                if message.failure:
                    raise ValueError(f"run {message.name}: {message.failure}")
                if message.finished:
                    working.pop(message.name).join()
                else:
                    yield message
            for name in dead:
                if name in working:
                    code = working[name].exitcode
                    raise ValueError(f"run {name}: its process ended with code {code}; it can go on from its last checkpoint")
    finally:
        _end(list(working.values()))
        messages.close()
        messages.join_thread()


def _heard(messages: Any) -> Iterator[Message]:
    """What has arrived, waiting a moment for the first."""
    wait = TELL_EVERY
    while True:
        try:
            yield messages.get(timeout=wait)
        except queue.Empty:
            return
        wait = 0.05


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(processes: Sequence[SpawnProcess]) -> None:
    ends = time.monotonic() + PATIENCE
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(max(0.0, ends - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _in_a_process(run: RunT, work: Work[RunT], messages: Any) -> None:
    told, asked_to_end = 0.0, False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_end
        asked_to_end = True

    def tell(message: Message) -> None:
        nonlocal told
        parent = multiprocessing.parent_process()
        if asked_to_end or parent is None or not parent.is_alive():
            raise KeyboardInterrupt  # between two steps: what is there gets into a checkpoint
        if message.step == message.steps or time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            messages.put(message)

    signal.signal(signal.SIGTERM, end)
    try:
        with torch_threads(THREADS):
            work(run, tell)
        messages.put(Message(run.name, run.steps, finished=True))
    except KeyboardInterrupt:
        messages.cancel_join_thread()  # nobody may be there to read
    except (ValueError, OSError) as error:
        messages.put(Message(run.name, failure=first_line(error)))
