"""The commands for hops: build, recheck, train, probe, figure."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from headcount._arguments import at_least, example, whole

Tier = Literal["smoke", "quick", "paper"]
RESULTS = Path("results") / "hops"
STRINGS = 400
"""An error of zero on fewer than 368 strings has an interval that reaches beyond 1%."""

TierOption = Annotated[
    Tier, typer.Option("--tier", help="Sizes: seconds, minutes on two cores, or those of the paper (for a GPU).")
]
OutOption = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of results; made if need be.")]
StringsOption = Annotated[int, whole("--strings", 1, "Random strings to try it on, for each k.")]
SeedOption = Annotated[int, whole("--seed", 0, "Seed of the strings.")]

hops_app = typer.Typer(
    name="hops", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Induction heads one after another (k-hop) in logarithmic depth: build, train, probe, draw.",
)  # fmt: skip


@hops_app.command(
    epilog=example(
        "headcount hops build --hops 16 --vocab 4 --length 98 -o hop16.safetensors",
        "headcount hops build --max-hops 15 --recipe B --length 98 -o hops.safetensors --certificate proof.json",
        "headcount hops build --hops 7 --recipe C --dtype float32 --length 30 -o linear.safetensors",
    )
)
def build(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model to write (safetensors).")],
    num_hops: Annotated[int | None, whole("--hops", 1, "k, the one number of hops that the model makes.")] = None,
    max_hops: Annotated[
        int | None, whole("--max-hops", 0, "Instead of --hops: the first token says k, from 0 to this.")
    ] = None,
    vocab_size: Annotated[int, typer.Option("--vocab", parser=at_least(1), metavar="INT", help="Number of symbols.")] = 4,
    seq_len: Annotated[int, whole("--length", 1, "N, symbols in a string.")] = 64,
    recipe: Annotated[
        Literal["A", "B", "C"], typer.Option("--recipe", help="A: one head; B: two, less deep; C: linear attention only.")
    ] = "A",
    encoding: Annotated[
        Literal["quadratic", "circle"], typer.Option("--encoding", help="How positions and symbols are compared.")
    ] = "quadratic",
    dtype: Annotated[Literal["float64", "float32"], typer.Option("--dtype", help="Number format of the weights.")] = "float64",
    scale: Annotated[
        float | None, typer.Option("--scale", help="What scores are multiplied with; large enough to be exact unless given.")
    ] = None,
    looped: Annotated[
        bool, typer.Option("--looped", help="All doubling layers with the same weights (recipe A with --max-hops).")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", help="Also write the proof for all strings (JSON).")
    ] = None,
    strings: StringsOption = 20,
    seed: SeedOption = 0,
) -> None:
    """Write the weights of a transformer that makes k hops, with its margins, a proof for all strings, and a trial.

    Exit code 1 when the trial finds a wrong answer, or the proof fails.
    """
    from headcount import _hops

    raise typer.Exit(_hops.build(
        num_hops=num_hops, max_hops=max_hops, vocab_size=vocab_size, seq_len=seq_len, recipe=recipe, encoding=encoding,
        dtype=dtype, scale=scale, looped=looped, output=output, certificate_file=certificate, strings=strings, seed=seed,
    ))  # fmt: skip


@hops_app.command(epilog=example("headcount hops recheck proof.json hops.safetensors"))
def recheck(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="A proof that hops build wrote.")],
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="The model that it is about.")],
) -> None:
    """Compute everything in a proof again from the model's weights; exit code 1 when anything disagrees."""
    from headcount import _hops

    raise typer.Exit(_hops.recheck(certificate_file=certificate, model_file=model))


@hops_app.command(
    epilog=example(
        "headcount hops train --tier smoke",
        "headcount hops train --tier quick --jobs 2",
        "headcount hops train heads4-depth3 --tier paper --device cuda",
    )
)
def train(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME ...]", help="Runs of the tier, all if none is named; --list names them.")
    ] = None,
    tier: TierOption = "quick",
    jobs: Annotated[
        int | None, whole("--jobs", 1, "Runs side by side, each in a process; the number of cores unless given.")
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where models are trained.")] = "cpu",
    strings: Annotated[int, whole("--strings", 2, "Strings that errors are measured on, for each k.")] = STRINGS,
    seed: SeedOption = 0,
    list_only: Annotated[bool, typer.Option("--list", help="Name the runs and their settings, train nothing.")] = False,
    out: OutOption = RESULTS,
) -> None:
    """Train the paper's models on k hops and measure their errors.

    Interrupt at any time: the same command goes on from the last checkpoint. Finished runs are not trained again.
    """
    from headcount import _hop_training

    _hop_training.train(
        names=names or [], tier=tier, jobs=jobs, device=device, strings=strings, seed=seed, list_only=list_only, out=out
    )


@hops_app.command(
    epilog=example(
        "headcount hops probe hop16.safetensors",
        "headcount hops probe hops.safetensors --hops 7",
        "headcount hops probe results/hops/quick/RUN --hops 3 --csv probe.csv",
    )
)
def probe(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="File of `hops build`, or the folder of a run of `hops train`.")
    ],
    num_hops: Annotated[int | None, whole("--hops", 0, "k; the largest that the model knows unless given.")] = None,
    strings: StringsOption = 20,
    seed: SeedOption = 0,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="All scores of all heads, as CSV.")] = None,
) -> None:
    """Say where the heads of a model look: which hop each follows, and how decidedly."""
    from headcount import _hops

    _hops.probe(model_place=model, num_hops=num_hops, strings=strings, seed=seed, csv=csv)


@hops_app.command(epilog=example("headcount hops figure errors", "headcount hops figure all --tier quick"))
def figure(
    names: Annotated[list[str], typer.Argument(metavar="NAME ...", help="errors, thresholds, maps, slots, or all.")],
    tier: TierOption = "quick",
    strings: Annotated[int, whole("--strings", 2, "Strings that errors of built models are measured on.")] = STRINGS,
    seed: SeedOption = 0,
    out: OutOption = RESULTS,
) -> None:
    """Draw figures from what `hops train` left in the folder of results, beside built models and published errors.

    Writes NAME-TIER.png, .pdf and .csv there.
    """
    from headcount import _hop_figures

    _hop_figures.figures(names=names, tier=tier, strings=strings, seed=seed, out=out)
