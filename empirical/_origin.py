"""Where a result comes from: versions, git revision and machine of this process."""

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

GIT_SECONDS = 10


@dataclass(frozen=True)
class Origin:
    """What computed a result.

    Attributes:
        versions: JSON object of python, torch, numpy and headcount ("" for one that is not installed as a distribution).
        git_revision: of the checkout that the code was imported from, with "-dirty" behind it where tracked files differ from it;
            empty where there is no checkout, or no git.
        machine: JSON object of platform, processor and the threads that torch was set to; for "cuda" also the GPU's name.
    """

    versions: str
    git_revision: str
    machine: str


def origin_here(device: str) -> Origin:
    """That of this process, for results computed on `device` ("cpu" or "cuda")."""
    machine = {"platform": platform.platform(), "processor": _processor(), "threads": torch.get_num_threads()}
    if device == "cuda" and torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return Origin(_versions(), _git_revision(), json.dumps(machine))


@cache
def _versions() -> str:
    found = {"python": platform.python_version()}
    for name in ("torch", "numpy", "headcount"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # imported from a folder
            found[name] = ""
    return json.dumps(found)


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def _git_revision() -> str:
    """Once per process: a run that lasts hours began with this code, whatever is committed meanwhile."""
    source = Path(__file__).resolve()

    def git(*words: str) -> str:
        quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # `status` would refresh the index, and thereby write
        command = ["git", "-C", str(source.parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, env=quiet, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "cells.py")  # installed inside somebody else's checkout, it is not of that revision
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""
