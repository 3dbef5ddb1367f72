"""How commands end: exceptions become one line on stderr and an exit status."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

import typer

from simharness.cli.signals import INCONCLUSIVE, say
from simharness.errors import HarnessBug, Lacking, SimharnessError, scarcity
from simharness.places import words_of


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
        traceback.print_exc()
        raise typer.Exit(HarnessBug.exit_status) from None
