"""How commands end: exceptions become one line on stderr and an exit status. What is printed is visible (`simharness.visible`)."""

from __future__ import annotations

import contextlib
import shutil
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TypeVar

import typer
import typer.core

from simharness.cli.signals import INCONCLUSIVE, say
from simharness.errors import HarnessBug, Lacking, Misuse, SimharnessError, scarcity
from simharness.places import words_of
from simharness.visible import shortened, visible, visible_lines

MOST_SECONDS = 1e9
PIPED_WIDTH = 100
Number = TypeVar("Number", float, float | None)


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turn exceptions into one line on stderr and an exit status."""
    try:
        yield
    except SimharnessError as error:
        say(str(error))
        raise typer.Exit(error.exit_status) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INCONCLUSIVE) from None
    except typer.Exit:
        raise
    except BrokenPipeError:
        raise typer.Exit(0) from None
    except Exception as error:
        lacking = scarcity(error)
        if lacking is not None:
            say(str(Lacking(lacking)))
            raise typer.Exit(Lacking.exit_status) from None
        say(str(HarnessBug(f"unexpected {type(error).__name__}: {words_of(error)}")))
        sys.stderr.write(visible_lines(traceback.format_exc()).rstrip("\n") + "\n")
        raise typer.Exit(HarnessBug.exit_status) from None


class OneLine(typer.core.TyperGroup):
    """Commands whose wrong options, too, end in one line and status 2."""

    def main(self, args: Any = None, prog_name: str | None = None, *others: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run a command; in `standalone_mode` end the process with its status."""
        run: Any = super().main
        if not standalone_mode:
            return run(args, prog_name, *others, standalone_mode=False, **options)
        try:
            status = run(args, prog_name, *others, standalone_mode=False, **options)
        except Exception as error:
            if isinstance(error, typer.Abort) or not hasattr(error, "format_message"):
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()  # type: ignore[attr-defined]  # an exception of Click's, which has several homes
            else:
                say(_mistake(error))
            status = SimharnessError.exit_status
        sys.exit(status or 0)


def _mistake(error: Any) -> str:
    """Return what is wrong with a command line, and where its options are listed."""
    context = getattr(error, "ctx", None)
    advice = f"; see {context.command_path} --help" if context is not None else ""
    return f"{shortened(' '.join(error.format_message().split()).rstrip('.'))}{advice}"


def number(value: Number) -> Number:
    """Return the value of an option that is a number of seconds, or None.

    Raises:
        Misuse: it is not a number, or has no end.
    """
    if value is not None and not abs(value) <= MOST_SECONDS:  # false for what is not a number, too
        raise Misuse(f"{value} is no number of seconds: give one such as 2.5")
    return value


def put(text: str = "", width: int | None = None) -> None:
    """Write one line to stdout, of at most `width` characters."""
    sys.stdout.write(f"{visible(text[:width])[:width]}\n")


def width() -> int:
    """Return the columns of the terminal."""
    return max(60, shutil.get_terminal_size((PIPED_WIDTH, 24)).columns)
