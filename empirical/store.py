"""Results of cells on disk: one SQLite file, one row per cell, written whole or not at all, handed out as a pandas table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from empirical import _claims
from empirical._origin import Origin, origin_here
from empirical._store_file import StoreError, damaged, named_errors, opened, transaction
from empirical._store_rows import COLUMNS, is_whole, result_of, row_of, same_numbers, table_of
from empirical.cells import Cell, CellResult
from theory._whole_files import whole_files

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store", "StoreError"]

SELECT = f"SELECT {', '.join(COLUMNS)} FROM cells"
PART = 500  # keys in one statement
INSERT = f"INSERT OR REPLACE INTO cells ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"


class Store:
    """Results by the key of their cell. A context manager; `close` does the same.

    The file is SQLite's in WAL mode (beside it, while it is open, PATH-wal and PATH-shm; nothing else is written). Every call
    is one transaction: a process that is killed leaves what its finished calls wrote, and nothing of the one under way. Several
    processes of one machine may have it open at once. A row carries a SHA-256 of its content; opening checks the structure
    of the file (`PRAGMA quick_check`) and every row (together some 20 to 40 µs a row, 0.04 s for a thousand cells).

    A cell is a pure function of its specification, so the first finished result stays: a later one of the same cell is
    not stored, a failed one is replaced. Rows of other `cells.NUMERICS` have other keys: they are found by `table` alone.

    Use one object in one thread.

    Args:
        path: the file; it is made where it is not there.
        create: False makes a missing file an error.

    Raises:
        StoreError: here and in all methods, in one line with the file, what is wrong and what to do: not a store, damaged, of
            another version, a folder, no permission, a full disk, locked for half a minute by another process.
    """

    def __init__(self, path: Path | str, *, create: bool = True) -> None:
        self.path = Path(path)
        self._owner = _claims.new_owner()
        self._connection = opened(self.path, create=create)
        try:
            for _ in self._iterate():
                pass
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. Any number of times."""
        self._connection.close()

    def finished(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose cell is done (diverged ones are)."""
        return {row["key"] for row in self._rows(keys) if row["state"] == "done"}

    def failed(self, keys: Sequence[str]) -> dict[str, str]:
        """Those of the keys whose cell failed, each with its reason."""
        return {row["key"]: row["reason"] for row in self._rows(keys) if row["state"] == "failed"}

    def results(self, cells: Sequence[Cell]) -> list[CellResult]:
        """Results of those cells that are done or failed, in the order of `cells`."""
        found = {row["key"]: row for row in self._rows([cell.key for cell in cells])}
        return [result_of(found[cell.key], cell) for cell in cells if cell.key in found]

    def put(self, results: Sequence[CellResult], origin: Origin | None = None) -> list[str]:
        """Store results, all or none of them, and give back the claims on their cells.

        Args:
            results: one for each cell; those of cells that are done already are not stored.
            origin: where they were computed; None is this process.

        Returns:
            Keys of the cells that were done already with other numbers, which should never be (seconds don't count).
        """
        date = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [row_of(result, origin or origin_here(result.cell.device), date) for result in results]
        contradicted = []
        with self._transaction():
            there = {row["key"]: row for row in self._rows([row["key"] for row in rows])}
            for row in rows:
                before = there.get(row["key"])
                if before is None or before["state"] == "failed":
                    self._connection.execute(INSERT, row)
                    there[row["key"]] = row
                elif row["state"] == "done" and not same_numbers(before, row):
                    contradicted.append(row["key"])
            self._connection.executemany("DELETE FROM claims WHERE key = ?", ((row["key"],) for row in rows))
        return contradicted

    def absorb(self, other: Path | str) -> list[str]:
        """Take over all rows of another store, of another machine for instance, as they are; done ones of this store stay.

        Returns the keys of cells that are done in both with different numbers.
        """
        with Store(other, create=False) as source:
            rows = source._rows()
        contradicted = []
        with self._transaction():
            there = {row["key"]: row for row in self._rows()}
            for row in rows:
                before = there.get(row["key"])
                if before is None or (before["state"], row["state"]) == ("failed", "done"):
                    self._connection.execute(INSERT, row)
                elif before["state"] == row["state"] == "done" and not same_numbers(before, row):
                    contradicted.append(row["key"])
        return contradicted

    def table(self) -> "pd.DataFrame":
        """All rows as a tidy table, one line per cell, ordered by key.

        Columns: key; every name of `Cell.spec` (lists as JSON text); every field of `CellResult`; date (UTC), versions (JSON),
        git_revision, machine (JSON). Counts that may be missing are Int64, missing numbers NaN.
        """
        return table_of(self._rows())

    def export_csv(self, path: Path | str) -> None:
        """Write `table` as CSV, whole or not at all; floats in full.

        Raises ValueError for a path that is the store itself or no ordinary file, OSError where it can't be written.
        """
        with whole_files(self._checked_export(path)) as (partial,):
            self.table().to_csv(partial, index=False)

    def export_parquet(self, path: Path | str) -> None:
        """Write `table` as Parquet, whole or not at all. Errors as of `export_csv`, and ValueError where pyarrow is missing."""
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise ValueError(
                f"{path}: writing Parquet needs pyarrow, which is not installed; the extra `parquet` brings it: "
                "pip install 'headcount[parquet]'"
            ) from None
        with whole_files(self._checked_export(path)) as (partial,):
            self.table().to_parquet(partial, index=False, engine="pyarrow")

    def claim(self, keys: Sequence[str], *, retry_failed: bool = False) -> set[str]:
        """Claim those of the keys that no living process has claimed and that are not stored; failed ones only to retry them.

        Without `keep_claims` around it a claim lasts for `_claims.EXPIRY_SECONDS`, or as long as this process.
        """
        with named_errors(self.path):
            return _claims.take(self._connection, keys, self._owner, retry_failed)

    def running(self, keys: Sequence[str] | None = None) -> dict[str, str]:
        """Keys that living processes are at, each with its owner (host:pid:run); of all cells, or among `keys`."""
        with named_errors(self.path):
            found = _claims.live(self._connection)
        return found if keys is None else {key: found[key] for key in keys if key in found}

    def states(self, keys: Sequence[str]) -> dict[str, str]:
        """State of those of the keys that are stored: what `finished` and `failed` say, cheaper, without reading whole rows."""
        wanted = set(keys)
        with named_errors(self.path):
            return {key: state for key, state in self._connection.execute("SELECT key, state FROM cells") if key in wanted}

    def release(self) -> None:
        """Give back all that this object has claimed."""
        with named_errors(self.path):
            _claims.release(self._connection, self._owner)

    @contextmanager
    def keep_claims(self) -> Iterator[None]:
        """While it is open, claims of this object stay alive; at its end, however it ends, they are given back."""
        heartbeat = _claims.Heartbeat(self.path, self._owner)
        try:
            yield
        finally:
            heartbeat.stop()
            with suppress(StoreError):  # on a full disk not even this can be written: they expire with the process
                self.release()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with named_errors(self.path), transaction(self._connection):
            yield

    def _rows(self, keys: Sequence[str] | None = None) -> list[Mapping[str, Any]]:
        """Checked rows of the keys, or all of them."""
        if keys is None:
            return list(self._iterate(" ORDER BY key"))
        parts = [list(keys[start : start + PART]) for start in range(0, len(keys), PART)]
        return [row for part in parts for row in self._iterate(f" WHERE key IN ({', '.join('?' * len(part))})", part)]

    def _iterate(self, which: str = "", values: Sequence[str] = ()) -> Iterator[Mapping[str, Any]]:
        with named_errors(self.path):
            for found in self._connection.execute(SELECT + which, values):
                row = dict(zip(COLUMNS, found, strict=True))
                if not is_whole(row):
                    raise damaged(self.path, f"the row of cell {row['key']} is not what was written")
                yield row

    def _checked_export(self, path: Path | str) -> Path:
        place, own = Path(path), self.path.resolve()
        if place.resolve() in (own, own.with_name(f"{own.name}-wal"), own.with_name(f"{own.name}-shm")):
            raise ValueError(f"{path}: is the store itself; name another file to write to")
        return place
