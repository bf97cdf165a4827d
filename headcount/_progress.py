"""The bar of every long command: on stderr, gone afterwards, and absent where stderr is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TimeElapsedColumn


@contextmanager
def progress_bar(*columns: str | ProgressColumn) -> Iterator[Progress]:
    """A bar with these columns while the context is open."""
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        yield bar


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that shows one stage of some work after another: to be called with (stage, done, all)."""
    with progress_bar("{task.description}", BarColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total)
