"""How the built models of Theorem 4.2 are checked: softmax weights in floating point against the definition.

A case is one model: its layers if it is right at every position of every string tried, infinity if it errs anywhere. Besides all
small strings there are long ones, and certificates, which speak for all strings of a length.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.sanford2024._hop_checks import long_strings
from headcount.claims.sanford2024._printed import hop, in_letters, strings

if TYPE_CHECKING:
    from constructions.hops import HopConstruction

Settings = tuple[tuple[str, str], ...]
"""Encoding and number format of the models."""
BOTH: Settings = (("quadratic", "float64"), ("quadratic", "float32"), ("circle", "float64"), ("circle", "float32"))
Answers = Callable[["HopConstruction", "np.ndarray[Any, np.dtype[np.int64]]"], "np.ndarray[Any, np.dtype[Any]]"]


def predicted(built: "HopConstruction", symbols: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[Any]]":
    """The model's answers."""
    return built.predict(symbols)


def held_exactly(built: "HopConstruction", symbols: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[Any]]":
    """The last coordinate behind the last layer less 1, unrounded: symbols are coded 1, 2, .. there, none by 0."""
    import torch

    model, parts = built.model, []
    tokens = torch.from_numpy(built.task.tokens(symbols, built.task.max_hops))
    for some in tokens.split(4096):
        stream = model.token_embedding[some] + model.position_embedding
        parts.append(model.layers(stream)[:, 1:, -1].detach().numpy() - 1)
    return np.concatenate(parts)


def _wrong(built: "HopConstruction", answers: Answers, tried: list[tuple[int, ...]], num_hops: int) -> str:
    """Where the model errs, for the first string on which it does; empty for none."""
    found = answers(built, np.array(tried))
    for string, answer in zip(tried, found, strict=True):
        if tuple(answer) != hop(string, num_hops):
            return f", wrong on {in_letters(string)}"
    return ""


def _models(inquiry: Inquiry, recipe: str, settings: Settings, answers: Answers) -> Iterator[Case]:
    from constructions import hops

    small = ({2: 5, 3: 4}, {2: 8, 3: 5, 4: 4}, {2: 10, 3: 7, 4: 5})[inquiry.effort.rank]
    most, length, longest = inquiry.pick(5, 8, 10), inquiry.pick(40, 64, 256), inquiry.pick(9, 33, 65)
    plans = [
        *((vocab, size, range(1, most + 1), list(strings(vocab, size))) for vocab, size in small.items()),
        (4, length, range(1, longest + 1, inquiry.pick(4, 2, 1)), long_strings(inquiry, length)),
    ]
    for (vocab, size, all_hops, tried), (encoding, name) in ((plan, setting) for plan in plans for setting in settings):
        for num_hops in all_hops:
            sizes: dict[str, Any] = {"vocab_size": vocab, "seq_len": size, "recipe": recipe, "encoding": encoding}
            built = hops.build(num_hops, **sizes, dtype=hops.DTYPES[name])
            wrong = _wrong(built, answers, tried, num_hops)
            words = f"k = {num_hops}, |Sigma| = {vocab}, N = {size}, {encoding}, {name}, {len(tried):,} strings{wrong}: layers"
            yield Case(words, float("inf") if wrong else built.model.num_layers, inquiry.formula(num_hops))


def _certified(inquiry: Inquiry, recipe: str, settings: Settings) -> Iterator[Case]:
    from constructions import hops

    for encoding, name in settings:
        for vocab, size in ((2, 16), (4, 64), (26, 64))[: inquiry.pick(1, 2, 3)]:
            for num_hops in (1, 3, 4, 7, 16)[:: inquiry.pick(2, 1, 1)]:
                sizes: dict[str, Any] = {"vocab_size": vocab, "seq_len": size, "recipe": recipe, "encoding": encoding}
                built = hops.build(num_hops, **sizes, dtype=hops.DTYPES[name])
                proved = hops.certify_hops(built).proved
                said = "certified" if proved else "not certified"
                words = f"k = {num_hops}, |Sigma| = {vocab}, N = {size}, {encoding}, {name}, {said}: layers"
                yield Case(words, built.model.num_layers if proved else float("inf"), inquiry.formula(num_hops))


def _recipe(inquiry: Inquiry, recipe: str, settings: Settings, answers: Answers) -> tuple[Evidence, Evidence]:
    said = ", ".join(f"{encoding} {name}" for encoding, name in settings)
    sizes = ("|Sigma|^N 2^5 and 3^4, k 1..5", "|Sigma|^N 2^8, 3^5, 4^4, k 1..8", "|Sigma|^N 2^10, 3^7, 4^5, k 1..10")
    length, longest = inquiry.pick(40, 64, 256), inquiry.pick(9, 33, 65)
    run = enumerated(
        inquiry, _models(inquiry, recipe, settings, answers), Method.PROPERTY,
        f"{said}; all strings, {sizes[inquiry.effort.rank]}; an alternation and 3 random strings, N = {length}, k up to "
        f"{longest}",
    )
    certified = enumerated(
        inquiry, _certified(inquiry, recipe, settings), Method.BALL,
        f"{said}; certificates for all strings of a length, N = 16 (and 64 from effort standard), k up to 16",
    )
    return run, certified


def recipe_a(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    return _recipe(inquiry, "A", BOTH, predicted)


def recipe_b(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    return _recipe(inquiry, "B", BOTH, predicted)


def recipe_c(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    return _recipe(inquiry, "C", BOTH[:2], held_exactly)
