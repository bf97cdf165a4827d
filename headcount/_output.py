"""Where results go: places are checked before the work starts."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headcount import console
from theory._whole_files import partial_name, whole_files

if TYPE_CHECKING:
    import pandas as pd


def checked_file(path: Path, name: str, inputs: Mapping[str, Path]) -> Path:
    """`path`, when a file can be put there that is none of the command's `inputs` (what it is -> path).

    Raises ValueError, naming the option `name`: a folder, a missing or unwritable folder above, or an input.
    """
    if path.is_dir():
        raise ValueError(f"{name} {path}: is a folder; the name of a file is legal")
    if path.exists() and not path.is_file():
        raise ValueError(f"{name} {path}: is a device or pipe; an ordinary file is legal")
    if not path.parent.is_dir():
        raise ValueError(f"{name} {path}: there is no folder {path.parent}; a file in an existing folder is legal")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"{name} {path}: the folder {path.parent} cannot be written")
    for what, given in inputs.items():
        if path.exists() and given.exists() and path.samefile(given):
            raise ValueError(f"{name} {path}: is the {what} itself; another file is legal")
    return path


def write_figure(folder: Path, stem: str, table: "pd.DataFrame", draw: Callable[[Path, Path], None]) -> None:
    """A figure as STEM.png and .pdf with its data as STEM.csv, all or none; says where they are.

    Raises ValueError where one of them can't be put into the folder.
    """
    places = [checked_file(folder / f"{stem}.{suffix}", "--out", {}) for suffix in ("csv", "png", "pdf")]
    with whole_files(*places) as (data, png, pdf):
        table.to_csv(data, index=False)
        draw(png, pdf)
    for place in places:
        console.say(f"{place.suffix[1:].upper()} {place}")


@contextmanager
def output_folder(path: Path, name: str) -> Iterator[Path]:
    """The folder at `path`, made if need be and tried out; taken away again if it was made here and stays empty.

    Raises ValueError, naming the option `name`, when it cannot be made or written, or is a file.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{name} {path}: is a file; a folder is legal")
    if not path.parent.is_dir():
        raise ValueError(f"{name} {path}: there is no folder {path.parent} to make it in")
    made = not path.exists()
    try:
        path.mkdir(exist_ok=True)
        trial = partial_name(path / "trial")
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise ValueError(f"{name} {path}: cannot be written ({error.strerror})") from None
    try:
        yield path
    finally:
        if made and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def wanted_folder(path: Path | None, name: str) -> Iterator[Path | None]:
    """`output_folder` with the folders above it made as well, or None where no path was given."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(path, name) as folder:
        yield folder
