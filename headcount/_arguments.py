"""What users type on the command line and typer cannot read by itself, and how the help tells them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

MOST_HEAD_COUNTS = 1000


def at_least(least: int) -> Callable[[str], int]:
    """A parser for typer of whole numbers from `least` up, whose complaint shows what was typed."""

    def parse(text: str) -> int:
        number: int | None
        try:
            number = int(text)
        except ValueError:  # also for more digits than Python converts
            number = None
        if number is None or number < least:
            raise typer.BadParameter(f"{_shown(text)} is not a whole number of at least {least}.")
        return number

    return parse


def whole(flag: str, least: int, text: str) -> Any:
    """An option that takes a whole number from `least` up."""
    return typer.Option(flag, parser=at_least(least), metavar="INT", help=text)


def again(words: Sequence[str], options: Mapping[str, tuple[object, object]]) -> str:
    """A command of this program, fit for copying: its words, then those options (flag -> value, usual value) not as usual."""
    given = [word for flag, (value, usual) in options.items() if value != usual for word in (flag, str(value))]
    return shlex.join(["headcount", *words, *given])


def example(*lines: str) -> str:
    """The end of a command's help."""
    # \b keeps the lines of a paragraph as they are.
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def head_counts(text: str) -> list[int]:
    """The numbers of heads in "1,5,9", "1:21:4" (first:last:step, last included) or a mixture, ascending.

    Raises typer.BadParameter for anything else, a number given twice, or more than MOST_HEAD_COUNTS of them.
    """
    found: list[int] = []
    for part in text.split(","):
        more = _range(part.strip(), text)
        if len(found) + len(more) > MOST_HEAD_COUNTS:  # before the range is written out, which could fill the memory
            raise typer.BadParameter(f"{_shown(text)}: more than {MOST_HEAD_COUNTS} numbers of heads; at most so many are legal")
        found.extend(more)
    twice = [heads for heads in found if found.count(heads) > 1]
    if twice:
        raise typer.BadParameter(f"{_shown(text)}: {twice[0]} is there twice; every number once is legal")
    return sorted(found)


def _range(part: str, text: str) -> range:
    numbers = [piece.strip() for piece in part.split(":")]
    if not 1 <= len(numbers) <= 3 or not all(piece.isascii() and piece.isdigit() and len(piece) <= 9 for piece in numbers):
        legal = "whole numbers from 0 to 999999999 and ranges first:last[:step], with commas between, are legal"
        raise typer.BadParameter(f"{_shown(text)}: {part!r} is not a number of heads; {legal}")
    first, last, step = int(numbers[0]), int(numbers[min(1, len(numbers) - 1)]), int(numbers[2]) if len(numbers) == 3 else 1
    if step < 1 or last < first:
        raise typer.BadParameter(f"{_shown(text)}: {part!r} is an empty range; first <= last and a step of at least 1 are legal")
    return range(first, last + 1, step)


def _shown(text: object) -> str:
    """What was typed, short enough for one line."""
    return repr(str(text) if len(str(text)) <= 60 else f"{str(text)[:57]}...")
