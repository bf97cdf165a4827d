"""One plain line for a user's mistake, a traceback for our own: the group of commands that tells the two apart."""

import sys
from traceback import walk_tb
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

PROGRAM = "headcount"
OWN_PACKAGES = ("theory", "constructions", "empirical", "headcount")
BAD_INPUT = 2
INTERRUPTED = 130


class PlainGroup(TyperGroup):
    """Commands whose errors end in one line on stderr and exit code 2; Ctrl-C in one line and 130.

    A user's mistake is a usage error of typer, a ValueError that one of our packages raised, an OSError, or a request
    for more memory than there is. All else is a bug, and keeps its traceback.
    """

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run a command and leave the process with its exit code."""
        try:
            result = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            _refuse(error.format_message().replace("Value error, ", "") + _see_help(error))  # the words are pydantic's
        except typer.Abort:
            _say("interrupted")
            sys.exit(INTERRUPTED)
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            _refuse(f"{where}{error.strerror or error}")
        except MemoryError as error:
            _refuse(f"not enough memory ({error})" if str(error) else "not enough memory")
        except ValueError as error:
            if not _raised_by_us(error):
                raise
            _refuse(str(error))
        if result == INTERRUPTED:  # typer's exit code for Ctrl-C
            _say("interrupted; files already there are as they were, none is half-written")
        sys.exit(result if isinstance(result, int) else 0)


def _say(message: str) -> None:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)


def _refuse(message: str) -> NoReturn:
    _say(message)
    sys.exit(BAD_INPUT)


def _see_help(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context is not None else ""


def _raised_by_us(error: ValueError) -> bool:
    """Whether the raise stands in one of our packages; a ValueError out of a library is a bug of ours."""
    *_, (frame, _line) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in OWN_PACKAGES
