"""Claims on cells: which process computes what, so that several share the work and a dead one's part is taken up at once."""

import os
import platform
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

from empirical._store_file import connected, transaction

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 60.0
"""A claim whose owner was silent for so long is nobody's."""


def new_owner() -> str:
    """A name for a run of this process, host:pid:random."""
    return f"{_host()}:{os.getpid()}:{secrets.token_hex(8)}"


def take(connection: sqlite3.Connection, keys: Sequence[str], owner: str, retry_failed: bool) -> set[str]:
    """Claim those of the keys that nobody has and that are not finished; inside one transaction."""
    settled = "key = ? AND state = 'done'" if retry_failed else "key = ?"
    insert = f"INSERT OR REPLACE INTO claims SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM cells WHERE {settled})"
    with transaction(connection):
        held = live(connection)
        free = [key for key in keys if key not in held]
        now = time.time()
        connection.executemany(insert, ((key, owner, now, key) for key in free))
        return {row[0] for row in connection.execute("SELECT key FROM claims WHERE owner = ?", (owner,))} & set(free)


def live(connection: sqlite3.Connection) -> dict[str, str]:
    """Owner by key, of all claims whose owner may still be at it."""
    now = time.time()
    rows = connection.execute("SELECT key, CAST(owner AS TEXT), CAST(heartbeat AS REAL) FROM claims").fetchall()
    alive = {owner: _may_be_alive(owner) for owner in {row[1] for row in rows}}
    # A heartbeat from the future is that of a clock put back: it would never expire.
    return {key: owner for key, owner, beat in rows if alive[owner] and abs(now - beat) < EXPIRY_SECONDS}


def release(connection: sqlite3.Connection, owner: str) -> None:
    """Give back all that the owner has claimed."""
    with transaction(connection):
        connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))


class Heartbeat:
    """A thread that says every HEARTBEAT_SECONDS that the owner is still there."""

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self.owner = path, owner
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="headcount-claims", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for a write that is under way."""
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            try:
                with closing(connected(self.path)) as connection:
                    connection.execute("PRAGMA busy_timeout = 1000")
                    connection.execute("UPDATE claims SET heartbeat = ? WHERE owner = ?", (time.time(), self.owner))
            except sqlite3.Error:  # the next one may get through; the run itself meets the same error where it matters
                continue


@cache
def _host() -> str:
    """Name of the space in which process numbers mean something: host and, in a container, its own table of processes."""
    try:
        return f"{platform.node()}/{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    except OSError:
        return platform.node()


def _may_be_alive(owner: str) -> bool:
    """False only for a process of this host that is certainly gone."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != _host() or os.name == "nt" or not rest.isdigit():  # there, asking would end it
        return True
    number = int(rest)
    try:
        os.kill(number, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:  # killed, and its parent has not looked yet
        told = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
        return told.rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return True
