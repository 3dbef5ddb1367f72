"""What the code under test prints while exploring goes to its trace, not over the terminal, where it would stand once for every ordering.

Only the process's own streams are replaced, so what has another stream put in their place (a test's `capsys`, `redirect_stdout`) gets all.
A debugger writes to the terminal.
"""

from __future__ import annotations

import sys
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.runtimes.patching import Patches
from simharness.trace.log_lines import keepers

_DEBUGGERS = frozenset({"pdb", "bdb", "cmd", "code"})
_UNFINISHED = "printed without a line break"
"""In a kernel's context: by stream and actor, what has been printed of a line that has not ended."""


class Printed:
    """Stands in for `sys.stdout` or `sys.stderr`."""

    def __init__(self, genuine: Any, name: str) -> None:
        self._genuine = genuine
        self._name = name

    def write(self, text: str) -> int:
        """Write text; in a simulation, to the trace."""
        kernel = current()
        if kernel is None or sys._getframe(1).f_globals.get("__name__") in _DEBUGGERS:
            return int(self._genuine.write(text))
        if kernel.tracing and not kernel.dying:
            _keep(kernel, self._name, str(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._genuine, name)

    def __iter__(self) -> Any:
        return iter(self._genuine)


def _keep(kernel: Kernel, stream: str, text: str) -> None:
    actor = kernel.actor.name if kernel.actor is not None else ""
    unfinished: dict[tuple[str, str], str] = kernel.context.setdefault(_UNFINISHED, {})
    *lines, rest = (unfinished.pop((stream, actor), "") + text).split("\n")
    if rest:
        unfinished[stream, actor] = rest
    for keeper in keepers():
        for line in lines:
            keeper.printed(f"{stream}: {line}")


def install(patches: Patches) -> None:
    """Plan to replace the process's streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and (stream is getattr(sys, f"__{name}__") or _is_ours(stream)):
            patches.attribute(sys, name, Printed(stream, name))


def _is_ours(stream: Any) -> bool:
    """Whether the command line has put a stream in the place of the process's own."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return type(raw).__module__.startswith("simharness.")
