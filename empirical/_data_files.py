"""Which files of a folder of Python sources make up a corpus, and in what order.

Taken: every file *.py that is not empty. Left out: packages installed beside the standard library, tests, and files that the
build of an interpreter or the owner of a machine writes (their content is about that machine). The order is that of the SHA-256
of the relative paths: the same on every machine, and unrelated to what the files are about, so any beginning of the corpus is a
sample of its files.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

INSTALLED_FOLDERS = frozenset({"site-packages", "dist-packages", "lib-dynload", "__pycache__", "_bundled"})
TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
MACHINE_FILES = frozenset({"sitecustomize.py", "usercustomize.py", "_distutils_system_mod.py"})
MACHINE_PREFIXES = ("_sysconfigdata",)
MACHINE_FOLDER_PREFIXES = ("config-",)


@dataclass(frozen=True)
class CorpusFile:
    """One file of a corpus: its path below the folder (with /), its size in bytes, and the SHA-256 of its content in
    hexadecimal."""

    path: str
    size: int
    sha256: str


def source_paths(folder: Path) -> list[str]:
    """The paths (with /, relative to `folder`) that belong to a corpus, in its order; empty files are still among them.

    Raises ValueError for a folder in it that cannot be read: a text without it would be another one.
    """

    def refused(error: OSError) -> NoReturn:
        raise ValueError(f"folder = {str(folder)!r}: {error.filename} cannot be read ({error.strerror})") from None

    found = []
    for where, folders, names in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if _is_wanted_folder(name)]
        base = Path(where).relative_to(folder)
        found += [(base / name).as_posix() for name in names if _is_wanted_file(name)]
    return sorted(found, key=lambda path: path_key("order", path))


def path_key(purpose: str, path: str) -> bytes:
    """A fixed pseudo-random key of a path, another one for every purpose."""
    return hashlib.sha256(f"{purpose}:{path}".encode("utf-8", "surrogateescape")).digest()


def _is_wanted_folder(name: str) -> bool:
    return name not in INSTALLED_FOLDERS and name not in TEST_FOLDERS and not name.startswith((*MACHINE_FOLDER_PREFIXES, "."))


def _is_wanted_file(name: str) -> bool:
    return name.endswith(".py") and name not in MACHINE_FILES and not name.startswith((*MACHINE_PREFIXES, "."))


def read_sources(folder: Path, limit_bytes: int | None) -> tuple[list[CorpusFile], bytes]:
    """The files of a corpus and their contents one after the other, bytes as they are.

    With `limit_bytes`, whole files in the corpus' order, as long as they fit; one that does not is passed over. Raises ValueError
    where a file or a folder cannot be read, and where nothing is left.
    """
    files: list[CorpusFile] = []
    contents: list[bytes] = []
    room = limit_bytes
    for path in source_paths(folder):
        try:
            content = (folder / path).read_bytes()
        except OSError as error:
            raise ValueError(f"folder = {str(folder)!r}: {path} cannot be read ({error.strerror})") from None
        if not content or (room is not None and len(content) > room):
            continue
        if room is not None:
            room -= len(content)
        files.append(CorpusFile(path, len(content), hashlib.sha256(content).hexdigest()))
        contents.append(content)
    if not files:
        asked = "" if limit_bytes is None else f" of at most {limit_bytes} bytes"
        raise ValueError(f"folder = {str(folder)!r}: must hold a Python source file{asked} that is no test and not empty")
    return files, b"".join(contents)
