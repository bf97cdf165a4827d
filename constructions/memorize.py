"""One door to all constructions: name a task and a shape, get weights that hold as much of it as the method promises."""

from collections.abc import Callable

from constructions import generic, staircase
from constructions.construction import Construction
from theory.memorization import repaired_associations
from theory.tasks import AssociationTask

Builder = Callable[..., Construction]
METHODS: dict[str, Builder] = {"staircase": staircase.build, "generic": generic.build}


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
        task: the associations; sequences of any length S.
        embed_dim: d >= 2.
        head_dim: d_h, from 1 to d.
        num_heads: H >= 0; None for as few as the method needs to hold everything.
        method: "staircase" (`constructions.staircase`: S = 2, any number of associations), "generic" (`constructions.generic`:
            any S, up to a few thousand associations), or "auto": the staircase for S = 2, unless it holds less than H d_h +
            min(d, K) and the generic construction holds more; the generic construction for any other S.
        seed: of everything random in the method; the same arguments give the same weights.
        check: run the model on what it holds in float64 and float32 (a sample of it when there is very much to run).

    Returns:
        The model with the associations that it holds, its margin, and the number formats in which running it was right.

    Raises:
        ValueError: an unknown method, or arguments that the method excludes.

    Source: Dana, Pydi and Chevaleyre 2025, Corollary 1, in the repaired form of `theory.memorization.repaired_associations`.
    """
    if method != "auto" and method not in METHODS:
        raise ValueError(f"method = {method!r}: 'auto', {', '.join(map(repr, METHODS))} are legal")

    def build(name: str) -> Construction:
        return METHODS[name](task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, check=check)

    if method != "auto":
        return build(method)
    if task.seq_len != 2:
        return build("generic")
    built = build("staircase")
    most = repaired_associations(built.num_heads, head_dim, embed_dim, task.num_last_tokens, task.num_associations)
    if built.num_held == most:  # for exact targets no construction holds more
        return built
    try:
        planned = generic.plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    except ValueError:  # too many associations: the staircase has accepted all other arguments
        return built
    if planned.num_held <= built.num_held:
        return built
    other = build("generic")
    return other if other.num_held > built.num_held else built
