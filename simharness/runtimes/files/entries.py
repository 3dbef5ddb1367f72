"""The functions of `os` that list folders, and that add, remove and move names, each as one system call."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import Any

from simharness.runtimes.files import kinds, undo
from simharness.runtimes.files.asking import asked
from simharness.runtimes.files.calls import changing, looking
from simharness.runtimes.files.kept import genuine
from simharness.runtimes.files.opened import contents_of, known
from simharness.runtimes.files.parts import If, Location, Plan
from simharness.runtimes.files.paths import Found, absolute, find
from simharness.runtimes.files.state import Files

# Folders


def _read_folder(files: Files, path: Any) -> str | None:
    """Make the step of listing a folder; return its canonical path."""
    file = known(files, path) if isinstance(path, int) else None
    text = file.path if file is not None else absolute(files, path)
    if text is None:
        return None
    kernel = files.kernel

    def plan(seen: int) -> Plan:
        found = find(files, text, True, seen)
        touched = list(found.read)
        if found.entry is not None:
            touched.append((found.entry, False))
            if found.entry.bit & ~seen:
                return Plan(touched)
        if found.path:
            touched += files.listing(found.path, kernel.actor)
        return Plan(touched)

    files.turn(kinds.LIST, plan, files.label(text))
    files.report(text)
    return find(files, text, True, -1).path


def _listdir(path: Any = ".") -> list[Any]:
    files = asked()
    if files is not None:
        _read_folder(files, path)
    names: list[Any] = genuine["listdir"](path)
    return names if files is None else sorted(names)


class Entries:
    """What `os.scandir` returns: the folder is read at the first element, in the order of names."""

    def __init__(self, files: Files, path: Any, entries: Any) -> None:
        self._files = files
        self._path = path
        self._entries = entries
        self._read: Iterator[Any] | None = None

    def __iter__(self) -> Entries:
        return self

    def __next__(self) -> Any:
        if self._read is None:
            _read_folder(self._files, self._path)
            self._read = iter(sorted(self._entries, key=lambda entry: entry.name))
        return next(self._read)

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        self._read = iter(())
        self._entries.close()


def _scandir(path: Any = ".") -> Any:
    files = asked()
    if files is None:
        return genuine["scandir"](path)
    text = None if isinstance(path, int) else absolute(files, path)
    if text is not None:
        looking(files, kinds.OPEN, text, True)
    entries = genuine["scandir"](path)
    return Entries(files, path if text is None else text, entries)


def _mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    files = asked()
    text = None if files is None else absolute(files, path, dir_fd)
    if files is None or text is None:
        genuine["mkdir"](path, mode, dir_fd=dir_fd)
        return
    changing(files, kinds.MAKE_FOLDER, text.rstrip("/"), lambda: genuine["mkdir"](path, mode, dir_fd=dir_fd), present=False)


def _rmdir(path: Any, *, dir_fd: int | None = None) -> None:
    files = asked()
    text = None if files is None else absolute(files, path, dir_fd)
    if files is None or text is None:
        genuine["rmdir"](path, dir_fd=dir_fd)
        return
    listing = files.listing

    def also(found: Found, _: int) -> tuple[list[tuple[Location, bool]], list[Location]]:
        return listing(found.path, files.kernel.actor), []

    changing(files, kinds.REMOVE_FOLDER, text.rstrip("/"), lambda: genuine["rmdir"](path, dir_fd=dir_fd), present=True, also=also)


# Names


def _links(files: Files, found: Found) -> list[Location]:
    """Return the location that losing or getting a name writes."""
    inode = contents_of(files, found)
    return [] if inode is None else [inode.links]


def _unlink(path: Any, *, dir_fd: int | None = None) -> None:
    files = asked()
    text = None if files is None else absolute(files, path, dir_fd)
    if files is None or text is None:
        genuine["unlink"](path, dir_fd=dir_fd)
        return
    changing(
        files,
        kinds.UNLINK,
        text,
        lambda: genuine["unlink"](path, dir_fd=dir_fd),
        present=True,
        also=lambda found, _: ([], _links(files, found)),
    )


def _moving(name: str) -> Callable[..., None]:
    def does(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        def call() -> None:
            genuine[name](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        files = asked()
        source = None if files is None else absolute(files, src, src_dir_fd)
        target = None if files is None else absolute(files, dst, dst_dir_fd)
        if files is None or source is None or target is None:
            call()
            return
        _rename(files, source.rstrip("/"), target.rstrip("/"), call)

    does.__name__ = name
    return does


def _rename(files: Files, source: str, target: str, call: Callable[[], None]) -> None:
    def plan(seen: int) -> Plan:
        one, other = find(files, source, False, seen), find(files, target, False, seen)
        touched = [*one.read, *other.read]
        if one.entry is None or other.entry is None:
            return Plan(touched)
        also = [other.entry]
        if not (one.entry.bit | other.entry.bit) & ~seen and one.status is not None:
            also += [*_links(files, other), files.inode(one.path, one.status).links]
            if other.status is not None and stat.S_ISDIR(other.status.st_mode):
                touched += files.listing(other.path, files.kernel.actor)
        return Plan(touched, If(one.entry, True, also))

    files.turn(kinds.RENAME, plan, f"{files.label(source)} to {files.label(target)}")
    files.report(source)
    files.report(target)
    one, other = find(files, source, False, -1), find(files, target, False, -1)
    folder = one.status is not None and stat.S_ISDIR(one.status.st_mode)
    for found in (one, other):
        if found.path:
            undo.save(files, found.path, "os.rename", moved=folder)
    try:
        call()
    finally:
        files.settle(one.entry, other.entry)
    if folder:
        files.moved(one.path, other.path)


def _link(src: Any, dst: Any, **options: Any) -> None:
    def call() -> None:
        genuine["link"](src, dst, **options)

    files = asked()
    source = None if files is None else absolute(files, src, options.get("src_dir_fd"))
    target = None if files is None else absolute(files, dst, options.get("dst_dir_fd"))
    if files is None or source is None or target is None:
        call()
        return

    def plan(seen: int) -> Plan:
        one, other = find(files, source, options.get("follow_symlinks", False), seen), find(files, target, False, seen)
        touched = [*one.read, *other.read]
        if one.entry is None or other.entry is None:
            return Plan(touched)
        also = _links(files, one) if not one.entry.bit & ~seen else []
        return Plan([*touched, (one.entry, False)], If(other.entry, False, also))

    files.turn(kinds.LINK, plan, f"{files.label(source)} as {files.label(target)}")
    files.report(source)
    files.report(target)
    other = find(files, target, False, -1)
    if other.path:
        undo.save(files, other.path, "os.link")
    try:
        call()
    finally:
        files.settle(other.entry)


def _symlink(src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
    files = asked()
    text = None if files is None else absolute(files, dst, dir_fd)
    if files is None or text is None:
        genuine["symlink"](src, dst, target_is_directory, dir_fd=dir_fd)
        return
    changing(
        files,
        kinds.SYMLINK,
        text,
        lambda: genuine["symlink"](src, dst, target_is_directory, dir_fd=dir_fd),
        present=False,
    )


def replacements() -> dict[str, Any]:
    """Return what replaces functions of `os`, by their names."""
    return {
        "listdir": _listdir,
        "scandir": _scandir,
        "mkdir": _mkdir,
        "rmdir": _rmdir,
        "unlink": _unlink,
        "remove": _unlink,
        "rename": _moving("rename"),
        "replace": _moving("replace"),
        "link": _link,
        "symlink": _symlink,
    }
