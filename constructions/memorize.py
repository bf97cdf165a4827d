"""One door to all constructions: name a task and a shape, get weights that hold as much of it as the method promises."""

import inspect
from collections.abc import Callable

from constructions import block_staircase, column_generation, generic, planar, readout, scalar, staircase
from constructions.construction import Construction
from theory.memorization import repaired_associations
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

Builder = Callable[..., Construction]
METHODS: dict[str, Builder] = {
    "staircase": staircase.build,
    "generic": generic.build,
    "planar": planar.build,
    "scalar": scalar.build,
    "readout": readout.build,
    "block_staircase": block_staircase.build,
    "column_generation": column_generation.build,
}
COMMON = frozenset({"task", "embed_dim", "head_dim", "num_heads", "seed", "check"})


def memorize(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    method: str = "auto",
    seed: int = 0,
    check: bool = True,
    **options: object,
) -> Construction:
    """Build an attention-only transformer that holds a task's associations.

    Args:
        task: the associations; sequences of any length S.
        embed_dim: d >= 2.
        head_dim: d_h, from 1 to d.
        num_heads: H >= 0; None for as few as the method needs to hold everything.
        method: which construction. That of Corollary 1, every sequence given a target: "staircase" (S = 2, any number of
            associations) or "generic" (any S, up to a few thousand associations); "auto" takes the staircase for S = 2, unless it
            holds less than H d_h + min(d, K) and the generic construction holds more, and the latter for any other S. Beyond
            it, d H + min(d, K) associations on nearly all tasks: "planar" (d_h = 2 is enough) and "scalar" (d_h = 1). With only
            the argmax asked for, more for as many heads, but slower: "readout" (heads frozen), "block_staircase" and
            "column_generation" (S = 2).
        seed: of everything random in the method; the same arguments give the same weights.
        check: run the model on what it holds in float64 and float32 (a sample of it when there is very much to run).
        options: of the method's own; see `constructions.<method>.build`.

    Returns:
        The model with the associations that it holds, its margin, and the number formats in which running it was right.

    Raises:
        ValueError: an unknown method or option, or arguments that the method excludes.

    Source: Dana, Pydi and Chevaleyre 2025, Corollary 1, in the repaired form of `theory.memorization.repaired_associations`;
    what goes beyond it is derived here.
    """
    if not isinstance(task, AssociationTask):
        raise ValueError(f"task = {task!r}: must be an AssociationTask")
    seed = checked_integer("seed", seed, 0)
    if not isinstance(method, str) or (method != "auto" and method not in METHODS):
        raise ValueError(f"method = {method!r}: 'auto', {', '.join(map(repr, METHODS))} are legal")
    _check_options(method, options)

    def build(name: str) -> Construction:
        return METHODS[name](
            task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, check=check, **options
        )

    if method != "auto":
        return build(method)
    if task.seq_len != 2:
        return build("generic")
    built = build("staircase")
    most = repaired_associations(built.num_heads, head_dim, embed_dim, task.num_last_tokens, task.num_associations)
    if built.num_held == most:  # with a target of width d for each sequence no construction holds more
        return built
    try:
        planned = generic.plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    except ValueError:  # too many associations: the staircase has accepted all other arguments
        return built
    if planned.num_held <= built.num_held:
        return built
    other = build("generic")
    return other if other.num_held > built.num_held else built


def _check_options(method: str, options: dict[str, object]) -> None:
    legal = [] if method == "auto" else [name for name in inspect.signature(METHODS[method]).parameters if name not in COMMON]
    for name in options:
        if name not in legal:
            what = ", ".join(legal) if legal else "none"
            raise ValueError(f"{name} = {options[name]!r}: is no option of method = {method!r}; legal are {what}")
