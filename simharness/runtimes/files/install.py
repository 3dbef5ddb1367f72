"""The entry points of the files' runtime: what it replaces, and what becomes of files at crashes and at the end of an execution."""

from __future__ import annotations

import mmap
import os
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.runtimes.files import calls, descriptors, entries, kinds, locks, opened, process, streams, undo
from simharness.runtimes.files.asking import asked
from simharness.runtimes.files.kept import genuine, looking_genuinely
from simharness.runtimes.files.paths import absolute, text_of
from simharness.runtimes.files.state import FILES, Files, files_of
from simharness.runtimes.patching import Patches

_LOOKS = ("exists", "is_file", "is_dir", "is_symlink")
_Entry: Any = os.DirEntry
_LAZY = {name: vars(_Entry)[name] for name in ("stat", "is_dir", "is_file")}


def install(patches: Patches) -> None:
    """Plan the replacements."""
    made = {**calls.replacements(), **entries.replacements(), **descriptors.replacements(), **process.replacements()}
    for name, replacement in made.items():
        if name in genuine:
            replacement.__name__ = name
            patches.everywhere(genuine[name], replacement)
            for supported in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
                if genuine[name] in supported:
                    patches.change(partial(supported.add, replacement), partial(supported.discard, replacement))
    for name in looking_genuinely:
        patches.everywhere(looking_genuinely[name], calls.looks(name))
    for name in _LOOKS:
        patches.attribute(pathlib.Path, name, _looking(name))
    for name, method in _LAZY.items():
        patches.method(_Entry, name, _of_entry(name, method))
    for name, replacement in process.ENVIRONMENT.items():
        patches.attribute(type(os.environ), name, replacement)
    for function, replacement in descriptors.locking().items():
        patches.everywhere(function, replacement)
    streams.install(patches)
    patches.attribute(mmap, "mmap", _Mapped)


_genuine_mmap = mmap.mmap


class _Mapped(mmap.mmap):
    """A file in memory: what is written there is no step, so the verdict names it."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Map a file, or memory of its own."""
        files = asked()
        if cls is _Mapped and arguments[:1] == (-1,):
            return _genuine_mmap(*arguments, **options)
        if files is not None:
            files.kernel.learned.leaves_out("files mapped by mmap")
        return super().__new__(cls, *arguments, **options)


def _looking(name: str) -> Callable[..., bool]:
    """Return the replacement of a method of `Path` that asks whether something is there: it reads only entries."""
    own: Any = getattr(pathlib.Path, name)

    def does(self: Any, **options: Any) -> bool:
        files = asked()
        text = None if files is None else absolute(files, self)
        if files is None or text is None:
            return bool(own(self, **options))
        calls.looking(files, kinds.LOOK, text, name != "is_symlink" and options.get("follow_symlinks", True))
        with files.quiet(files.kernel.actor):
            return bool(own(self, **options))

    does.__name__ = name
    return does


def _of_entry(name: str, method: Any) -> Callable[..., Any]:
    """Return the replacement of a method of what `os.scandir` yields."""

    def does(self: Any, *, follow_symlinks: bool = True) -> Any:
        files = asked()
        text = None if files is None else text_of(self.path)
        if files is None or text is None or (name != "stat" and not (follow_symlinks and self.is_symlink())):
            return method(self, follow_symlinks=follow_symlinks)
        if text.startswith("/"):
            kind = kinds.STAT if name == "stat" else kinds.LOOK
            calls.looking(files, kind, text, follow_symlinks, inside=name == "stat")
        result = method(self, follow_symlinks=follow_symlinks)
        return calls.virtual_times(files, result) if name == "stat" else result

    does.__name__ = name
    return does


def begin(kernel: Kernel) -> None:
    """An execution begins: have crashes close the files of a process."""
    undo.begin(kernel)
    kernel.movers.when_crashed.append(_crash)


def _crash(dead: str) -> None:
    kernel = current()
    files: Files | None = None if kernel is None else kernel.context.get(FILES)
    if files is not None:
        locks.crashed(files, dead)


def end_execution(kernel: Kernel) -> None:
    """The execution is over: close what it has left open, and put back what it has changed outside its own folders."""
    if FILES in kernel.context:
        opened.end(files_of(kernel))
        del kernel.context[FILES]
    undo.put_back(kernel)


def forget(kernel: Kernel) -> None:
    """The exploration is over."""
    undo.forget(kernel)
