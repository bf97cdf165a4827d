"""Checking claims: one outcome each, whatever the check does; a crash is an outcome too."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from headcount.claims.claim import Claim, Effort, Evidence, Inquiry, Verdict, decide

Report = Callable[[float], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one claim at one effort.

    Attributes:
        claim: the claim.
        effort: how hard it was looked at.
        verdict: as decided from the evidence.
        evidence: what the check saw; empty when it was not run or crashed.
        seconds: wall time of the check.
        failure: of a crash or an empty check, one line; None otherwise.
    """

    claim: Claim
    effort: Effort
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    seconds: float
    failure: str | None = None

    @property
    def summary(self) -> str:
        """The evidence in one line: that which decided the verdict first."""
        if self.failure is not None:
            return self.failure
        return summary(self.claim, self.evidence)


def summary(claim: Claim, evidence: Sequence[Evidence]) -> str:
    """One line for several pieces of evidence: violations alone where there are any, else proofs first."""
    kind = claim.comparison
    violations = [piece for piece in evidence if piece.violates(kind)]
    shown = violations or sorted(evidence, key=lambda piece: not piece.complete)
    return "; ".join(dict.fromkeys(piece.text(kind) for piece in shown))


def verify(claim: Claim, effort: Effort, *, seed: int = 0, report: Report = lambda done: None) -> Outcome:
    """Check one claim.

    Args:
        claim: what to check.
        effort: how hard; below the claim's `least_effort` it is not checked.
        seed: of all that is random in the check.
        report: called with the fraction done, where the check says so.

    Returns:
        The outcome. An exception in the check, also SystemExit, makes the verdict `error`, never a pass; only Ctrl-C goes
        through.
    """
    if claim.check is None or effort.rank < claim.least_effort.rank:
        return Outcome(claim, effort, Verdict.NOT_CHECKED, (), 0.0)
    start = time.perf_counter()
    try:
        found = claim.check(Inquiry(claim, effort, seed, report))
        evidence = (found,) if isinstance(found, Evidence) else tuple(found)
        verdict = decide(claim, evidence) if evidence else Verdict.ERROR
    except (Exception, SystemExit) as error:  # whatever a check may raise
        return Outcome(claim, effort, Verdict.ERROR, (), time.perf_counter() - start, _one_line(error))
    failure = "the check saw no case" if verdict is Verdict.ERROR else None
    return Outcome(claim, effort, verdict, evidence, time.perf_counter() - start, failure)


def verify_all(
    claims: Sequence[Claim],
    effort: Effort,
    *,
    seed: int = 0,
    jobs: int = 1,
    report: Callable[[Claim, float], None] = lambda claim, done: None,
) -> Iterator[Outcome]:
    """Check claims, one after the other or in several processes; the outcomes are the same, in the order in which they come.

    Args:
        claims: what to check; with more than one job, claims of the ledger.
        effort: how hard.
        seed: of all that is random.
        jobs: processes; claims that share something costly go to one of them. With 1 all is done in this process.
        report: called with a claim at hand and the fraction done of it.

    When a process dies the others are stopped too, and all claims that were not done have the verdict `error`. On Ctrl-C the
    processes end at once; they also end when this process is gone.
    """
    if jobs == 1:
        for claim in claims:
            report(claim, 0.0)
            yield verify(claim, effort, seed=seed, report=lambda done, claim=claim: report(claim, done))  # type: ignore[misc]
        return
    yield from _in_processes({claim.name: claim for claim in claims}, effort, seed, jobs, report)


def _in_processes(
    claims: Mapping[str, Claim], effort: Effort, seed: int, jobs: int, report: Callable[[Claim, float], None]
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads may hang
    news = context.SimpleQueue()
    groups: dict[str, list[str]] = {}
    for claim in claims.values():
        groups.setdefault(claim.shares or claim.name, []).append(claim.name)
    # Those that share most come first: they take longest.
    ordered = sorted(groups.values(), key=len, reverse=True)
    scratch = tempfile.TemporaryDirectory(prefix="headcount-", ignore_cleanup_errors=True)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(news, jobs, scratch.name))
    try:
        pending = {pool.submit(_checked, names, effort, seed): names for names in ordered}
        while pending:
            finished, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            while not news.empty():
                name, done = news.get()
                report(claims[name], done)
            for future in finished:
                yield from _collected(claims, future, pending.pop(future), effort)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children = multiprocessing.active_children()
        for child in children:
            child.terminate()
        for child in children:
            child.join(2)
            child.kill()
        scratch.cleanup()


def _collected(
    claims: Mapping[str, Claim], future: "Future[list[_Answer]]", names: Sequence[str], effort: Effort
) -> Iterator[Outcome]:
    try:
        for name, verdict, evidence, seconds, failure in future.result():
            yield Outcome(claims[name], effort, verdict, evidence, seconds, failure)
    except Exception as error:  # a process that died, or evidence that cannot travel
        died = isinstance(error, BrokenProcessPool)
        for name in names:
            failure = "not done: a process that checks claims died" if died else _one_line(error)
            yield Outcome(claims[name], effort, Verdict.ERROR, (), 0.0, failure)


# A claim has functions in it, which do not travel between processes; its name does.
_Answer = tuple[str, Verdict, tuple[Evidence, ...], float, str | None]
_NEWS: list[Any] = []


def _start_worker(news: Any, jobs: int, scratch: str) -> None:
    import torch

    from headcount.claims import checks

    checks.SCRATCH = scratch
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    threading.Thread(target=_end_with_the_parent, args=(scratch,), daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    _NEWS.append(news)


def _end_with_the_parent(scratch: str) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(scratch, ignore_errors=True)  # the parent did not live to do it
        os._exit(1)


def _checked(names: Sequence[str], effort: Effort, seed: int) -> list[_Answer]:
    from headcount.claims import ledger

    known = {claim.name: claim for claim in ledger()}
    answers: list[_Answer] = []
    for name in names:
        outcome = verify(known[name], effort, seed=seed, report=lambda done, name=name: _NEWS[0].put((name, done)))  # type: ignore[misc]
        answers.append((name, outcome.verdict, outcome.evidence, outcome.seconds, outcome.failure))
    return answers


def _one_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}, line {frames[-1].lineno})" if frames else ""
    words = " ".join(str(error).split())
    return f"the check crashed: {type(error).__name__}: {words}{where}"
