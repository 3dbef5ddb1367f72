"""Who asks for a file: the code under test, or the harness itself, whose files are no part of an execution."""

from __future__ import annotations

import sys

from simharness.engine.kernel import current
from simharness.runtimes.files.state import Files, files_of

_HELPERS = frozenset(
    {"os", "shutil", "genericpath", "posixpath", "ntpath", "pathlib", "pathlib._local", "tempfile", "codecs", "contextlib"}
    | {f"simharness.runtimes.files.{name}" for name in ("calls", "descriptors", "entries", "install", "process", "streams")}
)
"""Modules that ask on behalf of their callers."""
_HARNESS = (
    "simharness.runtimes.sqlite",
    "simharness.runtimes.randomness",
    "simharness.runtimes.templates",
    "simharness.runtimes.identities",
    "simharness.engine.workspace",
    "simharness.engine.folders",
    "simharness.pytest_plugin",
    "simharness.simulation",
    "simharness.exploring",
    "simharness.incident",
    "simharness.places",
    "simharness.report",
    "simharness.trace",
    "simharness.timeline",
    "simharness.cli",
    "_pytest._io",
    "_pytest.capture",
    "_pytest.debugging",
    "_pytest.terminal",
    "bdb",
    "cmd",
    "pdb",
    "linecache",
    "tokenize",
    "warnings",
    "traceback",
    "importlib",
    "_frozen_importlib",
)
"""Modules whose files are no part of an execution: the harness's own, debuggers', the test runner's terminal, and those that read source
code for messages."""
_known: dict[str, bool] = {}


def asked(depth: int = 2) -> Files | None:
    """Return the files of the execution under way if its code asks for a file; `depth`: of the frame that does."""
    kernel = current()
    if kernel is None:
        return None
    frame = sys._getframe(depth)
    name = frame.f_globals.get("__name__")
    while name in _HELPERS and frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_globals.get("__name__")
    harness = _known.get(name) if isinstance(name, str) else False
    if harness is None:
        assert isinstance(name, str)
        harness = _known[name] = name.startswith(_HARNESS)
    if harness:
        return None
    files = files_of(kernel)
    return None if kernel.actor in files.hidden else files
