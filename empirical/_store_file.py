"""The SQLite file of a store: how it is opened and checked, and what its errors are called."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APPLICATION_ID = 0x48434E54  # "HCNT": by it, and not by its name, a file is known as a store
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
PAGE_BYTES = 8192  # a row of some 1,000 bytes, up to 2,000, shares a page with others
MAGIC = b"SQLite format 3\x00"
RESCUE = "move it away and run again, or save what is left with sqlite3's .recover"

# WITHOUT ROWID: the rows themselves are ordered by key, so no separate index can disagree with them.
SCHEMA = (
    """CREATE TABLE cells (
        key TEXT NOT NULL PRIMARY KEY, spec TEXT NOT NULL, state TEXT NOT NULL,
        draw_accuracy REAL, accuracy REAL, held INTEGER, memory REAL, margin_min REAL, final_loss REAL,
        nominal_parameters INTEGER, effective_parameters INTEGER, diverged INTEGER NOT NULL, reason TEXT NOT NULL, seconds REAL,
        device TEXT NOT NULL, dtype TEXT NOT NULL, date TEXT NOT NULL, versions TEXT NOT NULL, git_revision TEXT NOT NULL,
        machine TEXT NOT NULL, digest TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE claims (
        key TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, heartbeat REAL NOT NULL
    ) WITHOUT ROWID""",
)


class StoreError(ValueError):
    """A store that can't be used: one line with the file, what is wrong with it, and what to do."""


def opened(path: Path, *, create: bool) -> sqlite3.Connection:
    """A checked connection to the store at `path`, which is made where it is not there and `create` allows it.

    Raises StoreError for anything but a whole store of this version that can be written.
    """
    _check_place(path, create)
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            with named_errors(path):
                return _opened(path)
        except StoreError as error:
            # Two processes that turn a new file into a store at the same moment: SQLite does not wait for that lock by itself.
            if not _is_busy(error.__cause__) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def connected(path: Path) -> sqlite3.Connection:
    """A connection to a store that was opened before, for another thread; transactions are begun and ended by hand."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")  # what is told as finished survives a power failure
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements inside happen, or none; no other process writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """SQLite's errors inside become a StoreError that says in one line what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a store that was closed, or is used in another thread: no fault of the file
        raise
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_what_to_do(error)}") from error


def damaged(path: Path, what: str) -> StoreError:
    """The error of a damaged store."""
    return StoreError(f"{path}: is damaged ({what}); {RESCUE}")


def _check_place(path: Path, create: bool) -> None:
    """What can be said without SQLite, which would say it less plainly."""
    try:
        if path.is_dir():
            raise StoreError(f"{path}: is a folder; name a file in it")
        if not path.exists():
            if not create:
                raise StoreError(f"{path}: there is no store here yet; a run makes it")
            if not path.parent.is_dir():
                raise StoreError(f"{path}: its folder {path.parent} is not there; make it first")
            return
        if not path.is_file():
            raise StoreError(f"{path}: is no ordinary file; name another")
        with path.open("rb") as file:
            start = file.read(100)
    except OSError as error:
        what = f"cannot be read ({error.strerror}); give yourself the right to, or name another file"
        raise StoreError(f"{path}: {what}") from error
    if start and not start.startswith(MAGIC):
        raise StoreError(f"{path}: is no store of results (not an SQLite file); name another file")
    if start and len(start) < 100:
        raise damaged(path, "cut off within its first 100 bytes")


def _opened(path: Path) -> sqlite3.Connection:
    connection = connected(path)
    try:
        _check_kind(path, connection)
        _check_pages(path, connection)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a file that is made now
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):  # also finds out whether it may be written at all
            if not _tables(connection):
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        if mode != "wal":
            raise StoreError(f"{path}: its file system has no room for SQLite's write-ahead log; name a file on a local disk")
        return connection
    except BaseException:
        connection.close()
        raise


def _check_kind(path: Path, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION_ID and version != SCHEMA_VERSION:
        other = "a newer" if version > SCHEMA_VERSION else "another"
        raise StoreError(
            f"{path}: was written by {other} version of headcount (format {version}, this one reads {SCHEMA_VERSION}); "
            "use that version, or name another file"
        )
    if application != APPLICATION_ID and (application or version or _tables(connection)):
        raise StoreError(f"{path}: is an SQLite file of another program; name another file")


def _check_pages(path: Path, connection: sqlite3.Connection) -> None:
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise damaged(path, " ".join(found.split())[:200])


def _tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0


def _is_busy(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _what_to_do(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    said = " ".join(str(error).split())
    kept = "what was stored before is kept"
    for start, text in {
        "SQLITE_FULL": f"the disk is full ({said}); make room and run again: {kept}",
        "SQLITE_IOERR": f"the disk does not read or write ({said}, {name}); look at disk and quota and run again: {kept}",
        "SQLITE_READONLY": f"cannot be written ({said}); give yourself the right to write file and folder, or name another file",
        "SQLITE_CANTOPEN": f"cannot be opened ({said}); give yourself the right to write file and folder, or name another file",
        "SQLITE_PERM": f"cannot be opened ({said}); give yourself the right to, or name another file",
        "SQLITE_BUSY": f"another process has kept it locked for {BUSY_SECONDS:.0f} s; end that one, or wait, and run again",
        "SQLITE_LOCKED": f"another process has kept it locked for {BUSY_SECONDS:.0f} s; end that one, or wait, and run again",
    }.items():
        if name.startswith(start):
            return text
    return f"is damaged ({said}); {RESCUE}"
