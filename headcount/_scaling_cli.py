"""The commands for scaling laws: laws, fit, allocate, powerlaw, train, figure."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from headcount._arguments import at_least, example, whole

Tier = Literal["smoke", "quick", "paper"]
Form = Literal["hoffmann", "tied", "no-floor", "kaplan", "kaplan-parameters", "kaplan-data", "kaplan-compute"]
RESULTS = Path("results") / "scaling"

TierOption = Annotated[Tier, typer.Option("--tier", help="Sizes: seconds, minutes on two cores, or larger (for a GPU).")]
OutOption = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of results; made if need be.")]
SeedOption = Annotated[int, whole("--seed", 0, "Seed of all that is random.")]


def positive(text: str) -> float:
    """A parser for typer of finite numbers > 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise typer.BadParameter(f"{text[:60]!r} is not a finite number > 0.")
    return number


def budget(text: str) -> float:
    """A parser for typer of numbers of FLOP or tokens for which a law means anything."""
    number = positive(text)
    if not 1e6 <= number <= 1e40:
        raise typer.BadParameter(f"{text[:60]!r} is not a number from 1e6 to 1e40.")
    return number


def share(text: str) -> float:
    """A parser for typer of numbers between 0 and 1, both excluded."""
    number = positive(text)
    if number >= 1:
        raise typer.BadParameter(f"{text[:60]!r} is not a number between 0 and 1.")
    return number


scaling_app = typer.Typer(
    name="scaling", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Scaling laws: fit tables of (N, D, loss) with uncertainty, allocate compute, judge power laws, train small models.",
)  # fmt: skip


@scaling_app.command(epilog=example("headcount scaling laws", "headcount scaling laws hoffmann2022 besiroglu2024"))
def laws(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Published laws; all if not given.")] = None,
) -> None:
    """List published laws: formula, constants, units, source."""
    from headcount import _scaling

    _scaling.laws(names or [])


@scaling_app.command(
    epilog=example(
        "headcount scaling fit points.csv",
        'headcount scaling fit points.csv --columns "N=Model Size,C=Training FLOP,L=loss" --flops 5.76e23',
        "headcount scaling fit points.csv --units N=millions,D=billions --law tied --out results/fit",
    )
)
def fit(
    points: Annotated[Path, typer.Argument(metavar="POINTS.csv", help="One model a row: parameters, tokens or FLOP, loss.")],
    law: Annotated[
        Form, typer.Option("--law", help="What to fit: E + A/N^alpha + B/D^beta, a form of it, or one of Kaplan et al.")
    ] = "hoffmann",
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="ROLE=NAME,..",
            help="Which column is N (parameters), D (tokens), C (FLOP), L (loss), run; two of N, D, C are enough.",
        ),
    ] = None,
    units: Annotated[
        str | None, typer.Option("--units", metavar="ROLE=UNIT,..", help="N=millions, D=billions, C=PF-days, L=bits and so on.")
    ] = None,
    counts: Annotated[
        Literal["total", "non-embedding", "not stated"], typer.Option("--counts", help="Which parameters N counts.")
    ] = "not stated",
    bootstraps: Annotated[int, whole("--bootstraps", 0, "Resamples for intervals; 0 does without.")] = 500,
    level: Annotated[float, typer.Option("--level", parser=share, metavar="SHARE", help="Level of confidence.")] = 0.95,
    delta: Annotated[
        float, typer.Option("--delta", parser=positive, metavar="NUMBER", help="Where the Huber loss of log L turns linear.")
    ] = 1e-3,
    cut: Annotated[
        float | None,
        typer.Option("--cut", parser=positive, metavar="FLOP", help="Back-test: fit below, predict above; chosen if not given."),
    ] = None,
    flops: Annotated[
        list[float] | None,
        typer.Option("--flops", parser=positive, metavar="FLOP", help="Budget to allocate, any number of times."),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Fit what would be refused, with the reasons as warnings.")] = False,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Also write tables (CSV) and figures (PNG, PDF) there.")
    ] = None,
) -> None:
    """Fit a scaling law to a table, and say how far to trust it.

    Parameters with intervals, convergence, identifiability, influence of single points, a back-test against rival forms, the
    allocation of compute, and Hoffmann et al.'s other two approaches from the same table. Exit code 1 when the fit is refused.
    """
    from headcount import _scaling

    raise typer.Exit(_scaling.fit(
        path=points, law=law, columns=columns, units=units, counts=counts, bootstraps=bootstraps, level=level, delta=delta,
        cut=cut, flops=flops or [], anyway=anyway, seed=seed, out=out,
    ))  # fmt: skip


@scaling_app.command(
    epilog=example(
        "headcount scaling allocate --flops 5.76e23",
        "headcount scaling allocate --flops 5.76e23 --law besiroglu2024 --inference-tokens 1e13",
        'headcount scaling allocate --flops 1e21 --constants "E=1.69,A=406.4,B=410.7,alpha=0.34,beta=0.28"',
    )
)
def allocate(
    flops: Annotated[float, typer.Option("--flops", parser=budget, metavar="FLOP", help="Training compute, 1e6 to 1e40.")],
    law: Annotated[
        list[str] | None,
        typer.Option("--law", metavar="NAME", help="Published law, any number of times; all that allocate if not given."),
    ] = None,
    constants: Annotated[
        str | None, typer.Option("--constants", metavar="E=..,A=..,B=..,alpha=..,beta=..", help="Constants of your own.")
    ] = None,
    inference_tokens: Annotated[
        float | None,
        typer.Option(
            "--inference-tokens", parser=budget, metavar="TOKENS",
            help="Tokens to be served: the model of equal loss with the least training and inference compute.",
        ),
    ] = None,
) -> None:
    """Split a budget of training compute into parameters and tokens, by one law or by all published ones side by side."""
    from headcount import _scaling

    _scaling.allocate(flops=flops, names=law or [], constants=constants, inference_tokens=inference_tokens)


@scaling_app.command(
    epilog=example(
        "headcount scaling powerlaw counts.csv",
        "headcount scaling powerlaw words.csv --column count --bootstraps 2500 --out results/words",
    )
)
def powerlaw(
    values: Annotated[Path, typer.Argument(metavar="COUNTS.csv", help="Numbers > 0, one a row: counts, sizes, singular values.")],
    column: Annotated[
        str | None, typer.Option("--column", metavar="NAME", help="Column to read; the only one of numbers if not given.")
    ] = None,
    kind: Annotated[
        Literal["discrete", "continuous"] | None,
        typer.Option("--kind", help="Whether values are whole numbers by nature; if not given, those without a fraction are."),
    ] = None,
    x_min: Annotated[
        float | None, typer.Option("--x-min", parser=positive, metavar="NUMBER", help="Where the tail begins; else found.")
    ] = None,
    bootstraps: Annotated[int, whole("--bootstraps", 10, "Replicates of the goodness of fit; p is known to 1/(2 sqrt n).")] = 500,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Also write the figure and its data there.")
    ] = None,
) -> None:
    """Does the tail of some numbers follow a power law? Verdict: power law, not distinguishable from a rival, or rejected."""
    from headcount import _scaling

    _scaling.powerlaw(path=values, column=column, kind=kind, x_min=x_min, bootstraps=bootstraps, seed=seed, out=out)


@scaling_app.command(
    epilog=example("headcount scaling train --tier smoke", "headcount scaling train --tier quick --jobs 2")
)
def train(
    names: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs of the tier; all if not given.")] = None,
    tier: TierOption = "quick",
    jobs: Annotated[
        int | None, typer.Option("--jobs", parser=at_least(1), metavar="INT", help="Runs side by side; else one per core.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="List the runs and end.")] = False,
    out: OutOption = RESULTS,
) -> None:
    """Train small transformers and LSTMs on Python's standard library, then fit their losses.

    Interrupt at any time: the same command goes on from the last checkpoints.
    """
    from headcount import _scaling_training

    _scaling_training.train(names=names or [], tier=tier, jobs=jobs, list_only=list_only, out=out)


@scaling_app.command(
    epilog=example("headcount scaling figure counting", "headcount scaling figure all --tier quick")
)
def figure(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="counting, ranks, tail, spectra, runs, positions, or all.")
    ],
    tier: TierOption = "quick",
    seed: SeedOption = 0,
    out: OutOption = RESULTS,
) -> None:
    """Draw figures that need no table of yours: PNG, PDF, and their data as CSV."""
    from headcount import _scaling_figures

    _scaling_figures.figures(names=names, tier=tier, seed=seed, out=out)
