"""The bar of every long command: on stderr, gone afterwards, and absent where stderr is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn


@contextmanager
def progress_bar(*columns: str | ProgressColumn) -> Iterator[Progress]:
    """A bar with these columns while the context is open."""
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        yield bar
