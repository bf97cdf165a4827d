"""The commands for functions on manifolds: build, train, figure; and the one that measures the dimension of a cloud of points."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from headcount._arguments import at_least, example, whole
from headcount._scaling_cli import OutOption, SeedOption, TierOption, positive, share

RESULTS = Path("results") / "manifold"
MOST_POINTS = 100_000
Function = Literal["smooth", "weierstrass"]
Metric = Literal["euclidean", "cosine"]


def smoothness(text: str) -> float:
    """A parser for typer of numbers above 0 and up to 100."""
    number = positive(text)
    if number > 100:
        raise typer.BadParameter(f"{text[:60]!r} is not a number above 0 and up to 100.")
    return number


manifold_app = typer.Typer(
    name="manifold", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Functions on manifolds: transformers built for them, trained on them, and the exponents that theory promises.",
)  # fmt: skip


@manifold_app.command(
    epilog=example(
        "headcount manifold build circle --grid 64 -o circle.safetensors",
        "headcount manifold build torus --grid 16 --ambient-dim 6 -o torus.safetensors",
        "headcount manifold build sphere --function weierstrass --beta 0.5 --degree 0 -o rough.safetensors",
    )
)
def build(
    manifold: Annotated[
        str, typer.Argument(metavar="MANIFOLD", help="circle, sphere, sphere-3, torus, torus-3, swiss-roll, 'circle x sphere' ..")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the network goes (safetensors).")],
    function: Annotated[
        Function, typer.Option("--function", help="What to approximate: a smooth function, or Weierstrass', rough everywhere.")
    ] = "smooth",
    beta: Annotated[
        float, typer.Option("--beta", parser=share, metavar="SHARE", help="Hoelder exponent of Weierstrass' function.")
    ] = 0.5,
    grid: Annotated[int, whole("--grid", 2, "N, cells on each axis of a chart.")] = 32,
    degree: Annotated[int, whole("--degree", 0, "Of local polynomials: 0 constants, 1 hats, more for smooth functions.")] = 1,
    ambient_dim: Annotated[
        int | None, typer.Option("--ambient-dim", parser=at_least(2), metavar="INT", help="D; as small as it goes if not given.")
    ] = None,
    points: Annotated[
        int, whole("--points", 100, f"Random points at which the error is measured, at most {MOST_POINTS:,}.")
    ] = 1500,
    seed: SeedOption = 0,
) -> None:
    """Write a transformer's weights for a function on a manifold, and measure its error.

    Havrilla and Liao 2024's construction: as many blocks for any accuracy, tokens and heads in proportion to N^d.
    """
    from headcount import _manifold

    _manifold.build(
        manifold=manifold, output=output, function=function, beta=beta, grid=grid, degree=degree, ambient_dim=ambient_dim,
        points=points, seed=seed,
    )  # fmt: skip


@manifold_app.command(
    epilog=example("headcount manifold train --tier smoke", "headcount manifold train --tier quick --jobs 2")
)
def train(
    names: Annotated[list[str] | None, typer.Argument(metavar="[CELL]...", help="Cells of the tier; all if not given.")] = None,
    tier: TierOption = "quick",
    jobs: Annotated[
        int | None, typer.Option("--jobs", parser=at_least(1), metavar="INT", help="Cells side by side; else one per core.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="List the cells and end.")] = False,
    out: OutOption = RESULTS,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text", metavar="FOLDER",
            help="Runs of headcount scaling train, for the part on text; those missing are trained there. Without it "
            "results/scaling if that is there, else the folder scaling in --out.",
        ),
    ] = None,
) -> None:
    """Train small transformers on functions on manifolds, fit exponents; then the dimension of text models' embeddings.

    Interrupt at any time: the same command goes on where it was.
    """
    from headcount import _manifold_training

    _manifold_training.train(names=names or [], tier=tier, jobs=jobs, list_only=list_only, out=out, corpus_results=text)


@manifold_app.command(
    epilog=example("headcount manifold figure circle sphere", "headcount manifold figure all --tier quick")
)
def figure(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="reach, circle, sphere, bias, scales, data, model, text, identity, or all."),
    ],
    tier: TierOption = "quick",
    seed: SeedOption = 0,
    out: OutOption = RESULTS,
) -> None:
    """Draw figures: PNG, PDF, and their data as CSV."""
    from headcount import _manifold_figures

    _manifold_figures.figures(names=names, tier=tier, seed=seed, out=out)


def dimension(
    path: Annotated[
        Path, typer.Argument(metavar="EMBEDDINGS.npy", help="One point a row: numbers as .npy, or a table with a header as .csv.")
    ],
    methods: Annotated[
        list[str] | None,  # typer takes no list of Literals
        typer.Option(
            "--method", metavar="NAME",
            help="levina_bickel, two_nn, gride, local_pca, correlation_dimension; any number of times, all if not given.",
        ),
    ] = None,
    neighbours: Annotated[int, whole("--neighbours", 3, "k of the estimators that look at k nearest neighbours.")] = 20,
    metric: Annotated[
        Metric, typer.Option("--metric", help="cosine: points are scaled to length 1 first, distances stay Euclidean.")
    ] = "euclidean",
    beta: Annotated[
        float,
        typer.Option("--beta", parser=smoothness, metavar="NUMBER", help="Smoothness that predictions assume, at most 100."),
    ] = 1.0,
    points: Annotated[int, whole("--points", 100, "Most points that are looked at, drawn at random.")] = 3600,
    resamples: Annotated[int, whole("--resamples", 0, "For intervals, at least 20; 0 does without.")] = 200,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Also write tables (CSV) and figures (PNG, PDF) there.")
    ] = None,
) -> None:
    """Estimate the intrinsic dimension of a cloud of points, say how biased that is, and what exponents it would predict."""
    from headcount import _dimension

    _dimension.dimension(
        path=path, methods=methods or [], neighbours=neighbours, metric=metric, beta=beta, points=points, resamples=resamples,
        seed=seed, out=out,
    )  # fmt: skip


def add_manifold_commands(app: typer.Typer) -> None:
    """`headcount manifold ..` and `headcount dimension`."""
    app.add_typer(manifold_app)
    app.command(
        epilog=example(
            "headcount dimension embeddings.npy",
            "headcount dimension embeddings.npy --metric cosine --method levina_bickel --out results/dimension",
        )
    )(dimension)
