"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_files(*places: Path) -> Iterator[tuple[Path, ...]]:
    """Paths to write in the places' stead, beside them; all go to their places when the context ends well, else none stays.

    They go in the order given: one that vouches for another belongs behind it. Raises ValueError where a place is there and is no
    ordinary file.
    """
    for place in places:
        if place.exists() and not place.is_file():
            raise ValueError(f"{place}: is no ordinary file, and is not replaced")
    places = tuple(place.resolve() for place in places)  # a link stays a link: what it points to is replaced
    partial = tuple(partial_name(place) for place in places)
    try:
        yield partial
        for finished, place in zip(partial, places, strict=True):
            os.replace(finished, place)
    finally:
        for left in partial:
            left.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """A name beside `path` that nobody else uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
