"""The kinds of steps on files, and the fact that says which locations are shared."""

from __future__ import annotations

from dataclasses import dataclass

from simharness.engine.facts import Fact
from simharness.engine.kinds import Family, Kind, Role, Sends

FILE = Family("file", said=False)
OPEN = Kind(FILE, "open")
CLOSE = Kind(FILE, "close")
READ = Kind(FILE, "read")
WRITE = Kind(FILE, "write")
SEEK = Kind(FILE, "seek")
TRUNCATE = Kind(FILE, "truncate")
LOOK = Kind(FILE, "look_for")
STAT = Kind(FILE, "stat")
LIST = Kind(FILE, "list")
MAKE_FOLDER = Kind(FILE, "mkdir")
REMOVE_FOLDER = Kind(FILE, "rmdir")
UNLINK = Kind(FILE, "unlink")
RENAME = Kind(FILE, "rename")
LINK = Kind(FILE, "link")
SYMLINK = Kind(FILE, "symlink")
READ_LINK = Kind(FILE, "readlink")
CHANGE = Kind(FILE, "change_attributes")
BUFFER = Kind(FILE, "use_buffer", blocked="another thread is in a call on {name}")
LOG_LINE = Kind(FILE, "log")

LOCKS = Family("file lock", said=False)
LOCK = Kind(LOCKS, "lock", Role.OPENS, enabled_by=Sends.HAND_OVER, held="{name} is held by {holder}", blocked="{name} is held by others")
TRY_LOCK = Kind(LOCKS, "try_lock")
UNLOCK = Kind(LOCKS, "unlock", Role.CLOSES)

PROCESS = Family("process", said=False)
GET = Kind(PROCESS, "read")
SET = Kind(PROCESS, "write")


@dataclass(frozen=True)
class SharedFile(Fact, word="file"):
    """Several actors touch this location of the file system, and one of them writes it: it is a scheduling point."""

    location: str
