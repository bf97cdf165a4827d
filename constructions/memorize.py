"""One door to all constructions: name a task and a shape, get weights that hold as much of it as the method promises."""

from collections.abc import Callable

from constructions import staircase
from constructions.construction import Construction
from theory.tasks import AssociationTask

Builder = Callable[..., Construction]
METHODS: dict[str, Builder] = {"staircase": staircase.build}


def memorize(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    method: str = "auto",
    seed: int = 0,
    check: bool = True,
) -> Construction:
    """Build an attention-only transformer that holds a task's associations.

    Args:
        task: the associations; the methods so far need sequences of S = 2 tokens.
        embed_dim: d >= 2.
        head_dim: d_h, from 1 to d.
        num_heads: H >= 0; None for as few as the method needs to hold everything.
        method: "staircase" (`constructions.staircase`), or "auto" for the method that holds the most.
        seed: of everything random in the method; the same arguments give the same weights.
        check: run the model on what it holds in float64 and float32 (a sample of it when there is very much to run).

    Returns:
        The model with the associations that it holds, its margin, and the number formats in which running it was right.

    Raises:
        ValueError: an unknown method, or arguments that the method excludes.

    Source: Dana, Pydi and Chevaleyre 2025, Corollary 1, in the repaired form of `theory.memorization.repaired_associations`.
    """
    name = "staircase" if method == "auto" else method
    if name not in METHODS:
        raise ValueError(f"method = {method!r}: 'auto', {', '.join(map(repr, METHODS))} are legal")
    return METHODS[name](task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, check=check)
