"""Dask workers on this machine, in processes of their own that end with the one that asked for them.

The scheduler lives in a process of its own as well (this module, run as a script): with its workers it is one group, which
Ctrl-C in a terminal doesn't reach, and which can be ended at once whatever its members are at.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

WORKERS = 2


@contextmanager
def local_workers() -> Iterator[str]:
    """Address of a scheduler with two worker processes of one thread each, watched over by nannies; all gone at the end.

    Their files are in a temporary folder, gone too. Raises ConnectionError where they don't come up.
    """
    packages = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (packages, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="headcount-dask-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
            )  # fmt: skip
        try:
            assert process.stdin is not None and process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no reason given"]
                raise ConnectionError(f"the dask workers of this machine did not come up ({said[-1]})")
            yield address
        finally:  # what they computed is stored; asked politely, they would finish the chunk they are at
            with suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()
            process.wait()


def _serve(folder: str) -> None:
    """Have workers until standard input ends, which it does with the process that asked for them, however that ends."""
    distributed: Any = import_module("distributed")
    with distributed.LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=folder,
        memory_limit=0,  # a limit of dask's would end workers whose cells are within `MAX_MODEL_BYTES`
        silence_logs=logging.ERROR,
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():  # nobody is left to want what the workers are at
            os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _serve(sys.argv[1])
