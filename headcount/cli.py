"""The command line: compare, landscape, build, measure, verify, certify, recheck; commands of their own files come at the end.

Slow imports happen when they are needed."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headcount import __version__
from headcount._arguments import at_least, example, head_counts, whole
from headcount._experiment_cli import add_commands
from headcount._hop_cli import hops_app
from headcount._manifold_cli import add_manifold_commands
from headcount._plain_errors import PROGRAM, PlainGroup
from headcount._scaling_cli import scaling_app

app = typer.Typer(
    cls=PlainGroup,
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """Run the command line and leave: 0, 1 when verify or recheck disagrees, 2 for bad input, 130 after Ctrl-C."""
    app(prog_name=PROGRAM)


class _NumberFormat(Enum):
    """Typer takes no list of Literals."""

    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=example("headcount compare --heads 1,5,9 --num-models 5"))
def _headcount(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """How many attention heads does it take to remember? Transformers built by hand from theorems, beside trained ones."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(
    epilog=example(
        "headcount compare",
        "headcount compare --vocab-size 20 --embed-dim 4 --head-dim 4 --heads 1:21:5 --num-models 5",
        "headcount compare --task my_table.csv --heads 1,5,9 --out my_results",
    )
)
def compare(
    task: Annotated[
        Path | None,
        typer.Option("--task", metavar="FILE", help="CSV file, token_1,token_2,target; without it a random table of all pairs."),
    ] = None,
    vocab_size: Annotated[
        int | None, whole("--vocab-size", 2, "N, tokens; 10, or with --task its largest entry + 1.")
    ] = None,
    embed_dim: Annotated[int, whole("--embed-dim", 2, "d, width of the embedding.")] = 2,
    head_dim: Annotated[int, whole("--head-dim", 1, "d_h, width of a head, at most d.")] = 2,
    heads: Annotated[
        Any,  # list[int], which typer would take for an option given several times
        typer.Option("--heads", parser=head_counts, metavar="LIST", help="H: numbers, ranges first:last[:step], commas between."),
    ] = "1:21:4",
    num_models: Annotated[int, whole("--num-models", 1, "Models to train for each number of heads.")] = 20,
    variant: Annotated[
        Literal["notebook", "paper"],
        typer.Option("--variant", help="Model to train: that of the published experiments, or of the theorem."),
    ] = "notebook",
    epochs: Annotated[int, whole("--epochs", 1, "Epochs of training.")] = 64,
    num_batches: Annotated[int, whole("--num-batches", 1, "Batches in an epoch.")] = 64,
    batch_size: Annotated[int, whole("--batch-size", 1, "Associations drawn for a batch.")] = 256,
    table_seed: Annotated[
        int | None, whole("--table-seed", 0, "Seed of the random table; 0 unless given. Not with --task.")
    ] = None,
    seed: Annotated[int, whole("--seed", 0, "Seed of the models, trained and built.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for CSV, PNG and PDF; made if need be.")] = Path(
        "results"
    ),
) -> None:
    """Compare bounds, models built by hand and trained models at several numbers of heads.

    Writes compare.csv, compare.png and compare.pdf. The defaults are experiment 6 of Dana, Pydi and Chevaleyre 2025.
    """
    from headcount import _commands

    _commands.compare(
        task_file=task,
        vocab_size=vocab_size,
        embed_dim=embed_dim,
        head_dim=head_dim,
        heads=heads,
        num_models=num_models,
        variant=variant,
        epochs=epochs,
        num_batches=num_batches,
        batch_size=batch_size,
        table_seed=table_seed,
        seed=seed,
        out=out,
    )


@app.command(
    epilog=example(
        "headcount landscape --quick",
        "headcount landscape --vocab 50 --embed-dim 10",
        "headcount landscape --vocab 20 --embed-dim 4 --fresh --out my_results",
    )
)
def landscape(
    vocab_size: Annotated[
        int | None,
        typer.Option("--vocab", "--vocab-size", parser=at_least(2), metavar="INT", help="N, tokens; 50, with --quick 10."),
    ] = None,
    embed_dim: Annotated[int | None, whole("--embed-dim", 2, "d, width of the embedding; 10, with --quick 2.")] = None,
    head_dim: Annotated[
        int | None, whole("--head-dim", 1, "d_h of solved and trained models, and of built ones that take any; d unless given.")
    ] = None,
    num_tables: Annotated[int, whole("--num-tables", 1, "Label tables, of seeds 0, 1, ..")] = 5,
    num_models: Annotated[int, whole("--num-models", 1, "Models to train for each number of heads, on the first table.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller shape and less than a minute.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Use nothing of the shipped record; compute all, however long it takes.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="With --fresh: add the slow results to this record (CSV).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for CSV, PNG and PDF; made if need be.")] = Path(
        "results"
    ),
) -> None:
    """Draw how many heads every method needs: bounds, built, solved and trained models, and rivals.

    Writes landscape.csv, landscape.png and landscape.pdf. Slow results come from the record that is shipped, where it has
    them; what else there is gets computed as long as five minutes allow. Parts that are done are kept in landscape-cells in the
    folder and used again: after an interruption the same command goes on from there.
    """
    from headcount import _landscape

    _landscape.run(
        vocab_size=vocab_size,
        embed_dim=embed_dim,
        head_dim=head_dim,
        num_tables=num_tables,
        num_models=num_models,
        quick=quick,
        fresh=fresh,
        record_file=record,
        out=out,
    )


@app.command(
    epilog=example(
        "headcount build my_table.csv --embed-dim 2 --head-dim 2 -o model.safetensors",
        "headcount measure model.safetensors my_table.csv",
    )
)
def build(
    task: Annotated[Path, typer.Argument(metavar="TASK.csv", help="CSV file with the header token_1,..,token_S,target.")],
    embed_dim: Annotated[int, whole("--embed-dim", 2, "d, width of the embedding.")],
    head_dim: Annotated[int, whole("--head-dim", 1, "d_h, width of a head, at most d.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model to write (safetensors).")],
    num_heads: Annotated[
        int | None, whole("--num-heads", 0, "H; without it as few as hold all associations.")
    ] = None,
    vocab_size: Annotated[
        int | None, whole("--vocab-size", 2, "N, tokens; without it the file's largest entry + 1.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="auto (staircase or generic), planar, scalar, readout, block_staircase or column_generation."
        ),
    ] = "auto",
    seed: Annotated[int, whole("--seed", 0, "Seed of what is random in the construction.")] = 0,
) -> None:
    """Build a transformer by hand that holds your associations, and save it.

    Too few heads for all of them is no error: the model then holds as many as it can, and the output says which it does not.
    """
    from headcount import _commands

    _commands.build(
        task_file=task,
        embed_dim=embed_dim,
        head_dim=head_dim,
        output=output,
        num_heads=num_heads,
        vocab_size=vocab_size,
        method=method,
        seed=seed,
    )


@app.command(
    epilog=example(
        "headcount measure model.safetensors my_table.csv",
        "headcount measure model.safetensors my_table.csv --json numbers.json",
    )
)
def measure(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="A model that headcount saved.")],
    task: Annotated[Path, typer.Argument(metavar="TASK.csv", help="CSV file with the header token_1,..,token_S,target.")],
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there as well.")] = None,
) -> None:
    """Measure how much of a table of associations a model holds, each association counted once."""
    from headcount import _commands

    _commands.measure(model_file=model, task_file=task, json_file=json_file)


@app.command(
    epilog=example(
        "headcount verify --paper dana2025",
        "headcount verify dana2025/corollary-1 dana2025/lemma-2 --effort standard",
        "headcount verify --show corollary-1",
    )
)
def verify(
    claims: Annotated[
        list[str] | None, typer.Argument(metavar="[CLAIM ...]", help="Names of claims; without one, all.")
    ] = None,
    paper: Annotated[
        str | None, typer.Option("--paper", metavar="KEY", help="Only claims of one paper: dana2025, kaplan2020 and so on.")
    ] = None,
    effort: Annotated[
        Literal["quick", "standard", "exhaustive"],
        typer.Option("--effort", help="How hard to look, for a whole paper: a minute, ten minutes, hours."),
    ] = "quick",
    show: Annotated[
        list[str] | None, typer.Option("--show", metavar="CLAIM", help="Check this claim and print all there is to say of it.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write verdicts and evidence there.")] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Add the verdicts to this file of records; made if need be.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="List the claims and check nothing.")] = False,
    seed: Annotated[int, whole("--seed", 0, "Seed of all that is random in the checks.")] = 0,
    jobs: Annotated[
        int | None, whole("--jobs", 1, "Processes, at most one per core; 1 at effort quick and 2 above it unless given.")
    ] = None,
) -> None:
    """Check the claims of the papers: proved, held, measured, refuted, or in need of an assumption, on what evidence.

    Exit code 1 when a verdict differs from the one on record at the same effort, or a check crashed.
    """
    from headcount import _verify
    from headcount.claims import Effort

    code = _verify.verify(
        names=claims or [],
        paper=paper,
        effort=Effort(effort),
        json_file=json_file,
        show=show or [],
        record=record,
        list_only=list_only,
        seed=seed,
        jobs=jobs,
    )
    raise typer.Exit(code)


@app.command(
    epilog=example(
        "headcount certify model.safetensors my_table.csv -o model.cert.json",
        "headcount certify model.safetensors my_table.csv -o model.cert.json --dtype float32 --rank",
    )
)
def certify(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="A model that headcount saved.")],
    task: Annotated[Path, typer.Argument(metavar="TASK.csv", help="CSV file with the header token_1,..,token_S,target.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="CERT", help="Certificate to write: JSON; its arrays in CERT.safetensors.")
    ],
    dtype: Annotated[
        list[_NumberFormat] | None,
        typer.Option(
            "--dtype",
            metavar="NAME",
            help="Also prove what a forward pass in float64, float32, bfloat16 or float16 computes; the first two if not given.",
        ),
    ] = None,
    max_precision: Annotated[
        int, whole("--max-precision", 53, "Bits of ball arithmetic to go up to where float64 does not decide.")
    ] = 4096,
    rank: Annotated[bool, typer.Option("--rank", help="Also prove a lower bound on the rank of the features.")] = False,
) -> None:
    """Prove which associations a model holds: in exact arithmetic with its weights, and in a forward pass.

    Three verdicts each: right, wrong, undecided. The exit code is 0 whatever they are.
    """
    from headcount import _certify

    _certify.certify(
        model_file=model,
        task_file=task,
        output=output,
        dtypes=[chosen.value for chosen in dtype or (_NumberFormat.float64, _NumberFormat.float32)],
        max_precision=max_precision,
        rank=rank,
    )


@app.command(epilog=example("headcount recheck model.cert.json model.safetensors my_table.csv"))
def recheck(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="A certificate that headcount certify wrote.")],
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="The model that it is about.")],
    task: Annotated[Path, typer.Argument(metavar="TASK.csv", help="The table that it is about.")],
) -> None:
    """Prove everything in a certificate again, believing nothing in it; exit code 1 when anything disagrees."""
    from headcount import _certify

    code = _certify.recheck(certificate_file=certificate, model_file=model, task_file=task)
    if code:
        raise typer.Exit(code)


add_commands(app)
app.add_typer(hops_app)
app.add_typer(scaling_app)
add_manifold_commands(app)
