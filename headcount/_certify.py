"""What `certify` and `recheck` do, once their arguments are read."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.progress import BarColumn, TaskProgressColumn, TimeElapsedColumn
from rich.table import Table

from constructions._certificate_files import ARRAYS_SUFFIX, arrays_path, check_place
from constructions.certificate import Certificate, Recheck
from constructions.certificate import certify as certify_model
from constructions.certificate import recheck as recheck_model
from headcount import console
from headcount._inputs import model_and_task
from headcount._output import checked_file
from headcount._progress import progress_bar
from theory.tasks import AssociationTask

SHOWN_DISAGREEMENTS = 10


def certify(
    *, model_file: Path, task_file: Path, output: Path, dtypes: list[str], max_precision: int, rank: bool
) -> None:
    """`headcount certify`: proofs about a saved model and a user's associations, written to a file and told as a table."""
    inputs = {"model": model_file, "task file": task_file}
    checked_file(output, "--output", inputs)
    # Behind a link the arrays go beside the file that it points to.
    arrays = arrays_path(output) if output.is_symlink() else output.with_name(f"{output.name}{ARRAYS_SUFFIX}")
    checked_file(arrays, "--output", inputs)
    check_place(output)
    model, task, _ = model_and_task(model_file, task_file)
    start = time.perf_counter()
    with _progress("certifying") as report:
        found = certify_model(model, task, dtypes=dtypes, max_precision=max_precision, rank=rank, progress=report)
    seconds = time.perf_counter() - start
    found.save(output)
    console.show(_table(f"{model_file.name} on {task_file.name}: {task.num_associations:,} associations", found, seconds))
    console.say(f"certificate {output}")
    console.say(f"arrays {arrays}")


def recheck(*, certificate_file: Path, model_file: Path, task_file: Path) -> int:
    """`headcount recheck`: everything proved again; returns the exit code, 1 when anything disagrees."""
    certificate = Certificate.load(certificate_file)
    model, task, _ = model_and_task(model_file, task_file)
    with _progress("rechecking") as report:
        found: Recheck = recheck_model(certificate, model, task, progress=report)
    for line in found.disagreements[:SHOWN_DISAGREEMENTS]:
        console.say(f"disagrees: {line}")
    if len(found.disagreements) > SHOWN_DISAGREEMENTS:
        console.say(f"disagrees: and {len(found.disagreements) - SHOWN_DISAGREEMENTS:,} more")
    if found.agreed:
        rank = f", rank at least {certificate.rank.rank:,}" if certificate.rank is not None else ""
        console.say(f"agreed: {_counted(found, task)}, statements {', '.join(certificate.statements)}{rank}")
    return 0 if found.agreed else 1


def _counted(found: Recheck, task: AssociationTask) -> str:
    """How many associations were checked, and of how many where that is not all."""
    total = task.num_associations
    some = "" if found.num_checked == total else f"{found.num_checked:,} of "
    return f"{some}{total:,} association{'' if total == 1 else 's'}"


def _table(title: str, found: Certificate, seconds: float) -> Table:
    table = Table(
        title=title,
        caption=_caption(found, seconds),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="none",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("statement", no_wrap=True)
    for heading in ("right", "wrong", "undecided", "least margin", "bits"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, statement in found.statements.items():
        margin = console.number(math.nan if statement.least_margin is None else statement.least_margin, ".3g")
        counts = (f"{count:,}" for count in (statement.num_right, statement.num_wrong, statement.num_undecided))
        label = "exact arithmetic" if name == "exact" else f"run in {name}"
        table.add_row(label, *counts, margin, str(statement.precision.max()))
    return table


def _caption(found: Certificate, seconds: float) -> str:
    lines = ["least margin: proved of all certified right, in logits; bits: the most it took"]
    lines += [f"{name}: {statement.note}" for name, statement in found.statements.items() if statement.note]
    if found.rank is not None:
        lines.append(f"rank of the features: at least {found.rank.rank:,} (proved with {found.rank.precision} bits)")
    return "\n".join([*lines, f"{seconds:.3g} seconds"])


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while the context is open, gone afterwards."""
    with progress_bar("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn()) as bar:
        row = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)
