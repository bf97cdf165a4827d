"""The commands for the paper's experiments and sweeps: run, status, figure, table, export."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from headcount._arguments import example, whole

Tier = Literal["smoke", "quick", "paper"]
STORE = Path("results") / "experiments.sqlite"

TierOption = Annotated[
    Tier, typer.Option("--tier", help="How much of the grid: seconds, minutes, or all of it as in the paper.")
]
VariantOption = Annotated[
    Literal["notebook", "paper"], typer.Option("--variant", help="Model: that of the published experiments, or of the theorem.")
]
StoreOption = Annotated[Path, typer.Option("--store", metavar="FILE", help="Where results are kept (SQLite).")]
DeviceOption = Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where models are trained; part of a cell.")]
SeedOption = Annotated[int, whole("--seed", 0, "Seed of the table and of all that is random in training.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands into the application."""
    app.command(
        epilog=example(
            "headcount run exp_6 --tier paper",
            "headcount run exp_1 exp_2 exp_3 --tier paper --variant paper",
            "headcount run my_sweep.toml --store my_results.sqlite",
            "headcount run all --tier paper --engine dask --scheduler tcp://node1:8786",
        )
    )(run)
    app.command(epilog=example("headcount status", "headcount status --store my_results.sqlite"))(status)
    app.command(
        epilog=example("headcount figure exp_1 --tier paper", "headcount figure all --tier quick --out figures")
    )(figure)
    app.command(
        epilog=example(
            "headcount table exp_6 --tier paper",
            "headcount table exp_5 --latex > exp_5.tex",
            "headcount table exp_2 --tier paper --published values.csv",
        )
    )(table)
    app.command(epilog=example("headcount export results.csv", "headcount export results.parquet --store FILE"))(export)


def run(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME ...", help="exp_1 .. exp_6, exp_1_large, exp_1_deep, .., large, deep, all; or a TOML file."),
    ],
    tier: TierOption = "quick",
    variant: VariantOption = "notebook",
    engine: Annotated[
        Literal["local", "dask"], typer.Option("--engine", help="Compute in this process, or with dask.distributed.")
    ] = "local",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Of dask; two workers here unless given.")
    ] = None,
    device: DeviceOption = "cpu",
    threads: Annotated[
        int | None, whole("--threads", 1, "Stacks of models computed side by side; torch's number of threads unless given.")
    ] = None,
    seed: SeedOption = 0,
    store: StoreOption = STORE,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Compute cells anew that failed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do, and do nothing.")] = False,
) -> None:
    """Run experiments of the paper, or sweeps of your own, cell by cell into a store.

    Finished cells are skipped, so the same command again goes on where it was stopped. Prints what every experiment cost and how
    far its published values are off. Exit code 1 when a cell failed.
    """
    from headcount import _experiments

    sources = {name: context.get_parameter_source(name) for name in ("tier", "variant", "device", "seed")}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    code = _experiments.run(
        names=names, given=given, tier=tier, variant=variant,
        engine=engine, scheduler=scheduler, device=device, threads=threads, seed=seed,
        store_file=store, retry_failed=retry_failed, dry_run=dry_run,
    )  # fmt: skip
    raise typer.Exit(code)


def status(store: StoreOption = STORE) -> None:
    """Say what a store holds: cells done, running and failed, with reasons, for every experiment that was begun."""
    from headcount import _experiments

    _experiments.status(store_file=store)


def figure(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME ...", help="Experiments, as for run; effective_parameters; variants; or all."),
    ],
    tier: TierOption = "quick",
    variant: VariantOption = "notebook",
    device: DeviceOption = "cpu",
    seed: SeedOption = 0,
    store: StoreOption = STORE,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for CSV, PNG and PDF; made if need be.")] = Path(
        "results"
    ),
) -> None:
    """Draw the figures of experiments from what the store holds: NAME-TIER-VARIANT.png, .pdf and .csv.

    With `all`, figures without any result are left out and named.
    """
    from headcount import _experiment_output

    _experiment_output.figures(
        names=names, tier=tier, variant=variant, device=device, seed=seed, store_file=store, out=out
    )


def table(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An experiment: exp_1, .., exp_5_deep.")],
    tier: TierOption = "quick",
    variant: VariantOption = "notebook",
    device: DeviceOption = "cpu",
    seed: SeedOption = 0,
    store: StoreOption = STORE,
    latex: Annotated[bool, typer.Option("--latex", help="As LaTeX (booktabs), for a paper.")] = False,
    published: Annotated[
        Path | None,
        typer.Option("--published", metavar="FILE", help="Compare with these values (CSV as empirical/published.csv)."),
    ] = None,
) -> None:
    """Print the results of one experiment: ours beside the published values, on training draws and on the uniform table."""
    from headcount import _experiment_output

    _experiment_output.table(
        name=name, tier=tier, variant=variant, device=device, seed=seed, store_file=store, latex=latex, published_file=published
    )


def export(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: a name that ends in .csv or .parquet.")],
    store: StoreOption = STORE,
) -> None:
    """Write all cells of a store as one tidy table, a row per cell with its full provenance."""
    from headcount import _experiments

    _experiments.export(output=output, store_file=store)
