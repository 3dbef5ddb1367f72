"""Refuses calls that no runtime controls: in a simulation they raise `Refused`, which names call and line, and end the exploration.

Both ends are guarded: the calls that users know (`subprocess.Popen`, `asyncio.run`), so that nothing is left half done, and
the calls beneath them (`fork_exec`, `epoll`), for modules that are imported later. Catching a refusal does not hide it: it
ends the exploration nevertheless. Outside a simulation everything works as always.
"""

from __future__ import annotations

import _thread
import importlib
import importlib.util
import os
import signal
import sys
from contextlib import nullcontext
from types import CoroutineType, FrameType
from typing import Any, NamedTuple, NoReturn

from simharness.engine.interrupts import INTERRUPTS
from simharness.engine.kernel import Kernel, current
from simharness.errors import Refused
from simharness.places import is_foreign, place_of
from simharness.runtimes.patching import Patches
from simharness.runtimes.randomness import virtual_pid

_LOOP = "there is no runtime for asyncio: test the code beneath it with threads"
_PROCESS = "a simulation is one process: declare the work as actors, world.actor(…, process=…), or put a stub in its place"
_EXIT = "it would end the exploration too: return from the actor, or raise SystemExit"
_NETWORK = "real I/O cannot be scheduled: put a stub in its place"
_SIGNAL = "real signals and timers cannot be scheduled: use a threading.Timer, or an actor that sleeps"
_THREAD = "only threads of the threading module are controlled: start a threading.Thread"
_GUEST = "there is no runtime for the loop that hosts it: call trio.run"


class Door(NamedTuple):
    """Attributes of a module, or of a class in it, that are refused, and what to do instead."""

    module: str
    owner: str
    names: tuple[str, ...]
    instead: str


_RECEIVE = ("accept", "bind", "listen", "recv", "recv_into", "recvfrom", "recvmsg")
_SEND = ("connect", "connect_ex", "send", "sendall", "sendmsg", "sendto")
_LOOKUPS = ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo", "socketpair")
_CHILDREN = ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve", "wait", "waitpid", "killpg")

METHODS = (
    Door("asyncio.base_events", "BaseEventLoop", ("__init__", "run_forever", "run_until_complete"), _LOOP),
    Door("asyncio.runners", "Runner", ("__init__", "run"), _LOOP),
    Door("concurrent.futures.process", "ProcessPoolExecutor", ("__init__", "submit"), _PROCESS),
    Door("multiprocessing.managers", "BaseManager", ("start", "connect"), _PROCESS),
    Door("multiprocessing.pool", "Pool", ("__init__", "_check_running"), _PROCESS),
    Door("multiprocessing.process", "BaseProcess", ("start",), _PROCESS),
    Door("selectors", "DevpollSelector", ("select",), _NETWORK),
    Door("selectors", "EpollSelector", ("select",), _NETWORK),
    Door("selectors", "KqueueSelector", ("select",), _NETWORK),
    Door("selectors", "PollSelector", ("select",), _NETWORK),
    Door("selectors", "SelectSelector", ("select",), _NETWORK),
    Door("socket", "socket", ("__init__", *_RECEIVE, *_SEND), _NETWORK),
    Door("subprocess", "Popen", ("__init__", "communicate", "wait"), _PROCESS),
)
FUNCTIONS = (
    Door("_multiprocessing", "", ("SemLock",), _PROCESS),
    Door("_posixsubprocess", "", ("fork_exec",), _PROCESS),
    Door("_thread", "", ("start_new_thread", "start_new", "start_joinable_thread"), _THREAD),
    Door("asyncio", "", ("run", "new_event_loop"), _LOOP),
    Door("os", "", _CHILDREN, _PROCESS),
    Door("os", "", ("_exit", "abort"), _EXIT),
    Door("select", "", ("select", "poll", "epoll", "kqueue"), _NETWORK),
    Door("signal", "", ("alarm", "setitimer", "pause", "sigwait", "sigwaitinfo", "sigtimedwait", "pthread_kill"), _SIGNAL),
    Door("socket", "", _LOOKUPS, _NETWORK),
    Door("trio", "", ("open_signal_receiver",), _SIGNAL),
    Door("trio", "", ("run_process",), _PROCESS),
    Door("trio.lowlevel", "", ("open_process",), _PROCESS),
    Door("trio.lowlevel", "", ("start_guest_run",), _GUEST),
)
_ALWAYS = ("_multiprocessing", "_posixsubprocess", "_thread", "select", "signal", "socket", "subprocess")
"""Modules to load, because they cost little and a later import of them would escape; the others lead to these."""
_INERT = {"asyncio.base_events.BaseEventLoop": ("_closed", True), "multiprocessing.pool.Pool": ("_state", "CLOSE")}
"""The attributes that the finalisers of these classes read, for objects whose construction was refused."""


class Refusal:
    """Stands in for a function, or a class written in C: refuses in a simulation and delegates outside it.

    An object with slots, because `Patches.everywhere` would replace the original in a closure's cell too.
    """

    __slots__ = ("__name__", "called", "genuine", "instead")

    def __init__(self, called: str, genuine: Any, instead: str) -> None:
        self.__name__ = called.rpartition(".")[2]
        self.called = called
        self.genuine = genuine
        self.instead = instead

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Refuse or delegate."""
        kernel = current()
        if kernel is not None:
            refuse(kernel, self.called, self.instead, sys._getframe(1), arguments)
        return self.genuine(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.genuine, name)

    def __instancecheck__(self, thing: object) -> bool:
        return isinstance(thing, self.genuine)


def _method(called: str, genuine: Any, instead: str) -> Any:
    """Return the stand-in for a method: a function, which binds to instances."""

    def refused(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None:
            if called in _INERT:
                setattr(arguments[0], *_INERT[called])
            refuse(kernel, called, instead, sys._getframe(1), arguments)
        return genuine(*arguments, **options)

    refused.__name__ = called.rpartition(".")[2]
    return refused


def refuse(kernel: Kernel, called: str, instead: str, frame: FrameType, arguments: tuple[Any, ...] = ()) -> NoReturn:
    """Raise `Refused`.

    Args:
        called: the refused call; if the standard library made it, the error names the function that the user called.
        frame: of the caller.

    Raises:
        Refused: the kernel keeps it, too, so that catching it does not hide it.
    """
    outer: FrameType | None = frame
    door = None
    while outer is not None and is_foreign(outer.f_code.co_filename) and not _of_harness(outer):
        door, outer = outer, outer.f_back
    if door is not None:
        called = f"{door.f_globals.get('__name__')}.{door.f_code.co_qualname}".removesuffix(".__init__")
    for argument in arguments:
        if isinstance(argument, CoroutineType):
            argument.close()
    actor = kernel.actor.name if kernel.actor is not None else "a check"
    error = Refused(f"{place_of(frame) or 'code without a file'}: {actor} called {called}, which a simulation refuses: {instead}")
    kernel.give_up(error)
    raise error


def _of_harness(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("simharness.")


def refuse_io(kernel: Kernel, called: str) -> NoReturn:
    """Raise `Refused` for real I/O that `called` asks for."""
    refuse(kernel, called, _NETWORK, sys._getframe(1))


# Other processes' life: virtual ids, so no real signals

_kill: Any = os.kill


def virtual_kill(pid: int, number: int, /) -> None:
    """Report whether a virtual process lives (signal 0); refuse real signals, which could hit an unrelated process with that id."""
    kernel = current()
    if kernel is None:
        _kill(pid, number)
        return
    if number != 0:
        refuse(kernel, "os.kill", _SIGNAL, sys._getframe(1))
    if pid != virtual_pid("main") and all(pid != virtual_pid(actor.process) for actor in kernel.cast.live):
        raise ProcessLookupError(3, "No such process")


_raise_signal: Any = signal.raise_signal
_interrupt_main: Any = _thread.interrupt_main


def virtual_raise_signal(number: int, /) -> None:
    """Send a signal to this process; in a simulation it is the code under test that interrupts itself."""
    with INTERRUPTS.expected() if current() is not None else nullcontext():
        _raise_signal(number)


def virtual_interrupt_main(*number: int) -> None:
    """Do the same, from another function."""
    with INTERRUPTS.expected() if current() is not None else nullcontext():
        _interrupt_main(*number)


def install(patches: Patches) -> None:
    """Plan the refusals, except of calls that another runtime has planned to replace."""
    for name in _ALWAYS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    for door in METHODS:
        owner = getattr(sys.modules.get(door.module), door.owner, None)
        for name in door.names:
            genuine = getattr(owner, name, None)
            if owner is not None and genuine is not None:
                called = f"{door.module}.{door.owner}.{name}".removesuffix(".__init__")
                patches.attribute(owner, name, _method(called, genuine, door.instead))
    for door in FUNCTIONS:
        module = sys.modules.get(door.module)
        for name in door.names:
            genuine = getattr(module, name, None)
            if genuine is not None and not patches.planned(genuine):
                patches.everywhere(genuine, Refusal(f"{door.module}.{name}", genuine, door.instead))
    patches.everywhere(_kill, virtual_kill)
    patches.everywhere(_raise_signal, virtual_raise_signal)
    patches.everywhere(_interrupt_main, virtual_interrupt_main)
