"""What the world outside answers in a simulation: nothing, as on a machine without network and without programs, or what functions say.

The answers are the genuine exceptions of such a machine, at once, and the same in every execution. Linux shows them in a network namespace
without interfaces (`unshare -rn`), with one difference: no address can be bound. What has no answer here is refused.
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.errors import Misuse
from simharness.settings import DOWN, NONE, Outside

OUTSIDE = "outside"
NETWORK, PROGRAMS = "network", "programs"
"""The two parts of the outside that have answers."""
Answer = Callable[..., Any]
_ANSWERED = "_simharness_answered"
_NO_SHELL = 127 << 8
_genuine_getaddrinfo = socket.getaddrinfo


def answer(kernel: Kernel, part: str, called: str, genuine: Any) -> Answer | None:
    """Return the function that answers a call instead of the real outside; None if the call is refused.

    Args:
        part: NETWORK, PROGRAMS, or nothing.
        called: the call, such as `socket.getaddrinfo` or `socket.socket.connect`.
        genuine: the function of that name.
    """
    outside: Outside | None = kernel.context.get(OUTSIDE)
    if outside is None or not part:
        return None
    given = outside.network if part == NETWORK else outside.programs
    if given is None:
        return None
    if given in (DOWN, NONE):
        return _absent(called, genuine)
    if part == NETWORK:
        return genuine if called == "socket.socket" else partial(given, called)
    return _program(called, given, genuine)


def _absent(called: str, genuine: Any) -> Answer | None:
    known = _FAILS.get(called)
    if known is not None:
        return known
    return genuine if called == "socket.socket" else None


# A machine without network


def _fails(number: int) -> Answer:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def _unknown(*arguments: Any, **options: Any) -> Any:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def _unknown_address(*arguments: Any, **options: Any) -> Any:
    raise socket.herror(2, "Host name lookup failure")


def _getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
    """Look up what needs no network: an address in figures, this machine itself."""
    if host in ("localhost", b"localhost"):
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    try:
        return _genuine_getaddrinfo(host, port, family, type, proto, flags | (socket.AI_NUMERICHOST if host is not None else 0))
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME:
            raise
    return _unknown()


def _gethostbyname(host: str) -> str:
    return str(_getaddrinfo(host, None, socket.AF_INET)[0][4][0])


def _connect(made: socket.socket, address: Any) -> Any:
    if made.family == getattr(socket, "AF_UNIX", None):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if isinstance(address, tuple) and address and isinstance(address[0], str):
        _getaddrinfo(address[0], None, made.family)
    raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))


def _connect_ex(made: socket.socket, address: Any) -> int:
    try:
        _connect(made, address)
    except socket.gaierror:
        raise
    except OSError as error:
        return error.errno or 0
    return 0


# Programs


def _no_program(arguments: Any, *others: Any, shell: bool = False, executable: Any = None, **options: Any) -> Any:
    first = arguments if isinstance(arguments, str | bytes | os.PathLike) else next(iter(arguments))
    program = executable or ("/bin/sh" if shell else first)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(program))


def _no_popen(made: Any, args: Any, bufsize: int = -1, executable: Any = None, *others: Any, shell: bool = False, **options: Any) -> Any:
    _no_program(args, executable=executable, shell=shell or (len(others) > 5 and bool(others[5])))


def _no_exec(path: Any, *others: Any) -> Any:
    _no_program(path)


def _no_fork_exec(arguments: Any, *others: Any) -> Any:
    _no_program(arguments)


def _program(called: str, given: Answer, genuine: Any) -> Answer | None:
    """Return what a function says about programs: their exit status, or a `subprocess.CompletedProcess`."""
    if called == "subprocess.Popen":
        return partial(_start, given, inspect.signature(genuine))
    if called == "subprocess.Popen.communicate":
        return _communicate
    if called == "subprocess.Popen.wait":
        return _wait
    if called == "os.system":
        return lambda command: _done(given, command).returncode << 8
    return genuine if called == "shutil.which" else None


def _done(given: Answer, arguments: Any) -> subprocess.CompletedProcess[Any]:
    done = given(arguments)
    if type(done) is int:
        return subprocess.CompletedProcess(arguments, done)
    if not isinstance(done, subprocess.CompletedProcess):
        raise Misuse(f"programs={given!r} returned {done!r} for {arguments!r}: return an exit status or a subprocess.CompletedProcess")
    return done


def _start(given: Answer, signature: inspect.Signature, made: Any, *arguments: Any, **options: Any) -> None:
    """Make a `Popen` of a program that has ended, with what it has written where its caller has asked for a pipe."""
    bound = signature.bind(made, *arguments, **options)
    bound.apply_defaults()
    asked = bound.arguments
    done = _done(given, asked["args"])
    text = bool(asked["text"] or asked["universal_newlines"] or asked["encoding"] or asked["errors"])
    made.args, made.pid, made.returncode, made.text_mode = asked["args"], 0, done.returncode, text
    made.encoding, made.errors = asked["encoding"], asked["errors"]
    out, err = (_bytes(part) for part in (done.stdout, done.stderr))
    if asked["stderr"] == subprocess.STDOUT:
        out += err
    made.stdin = _pipe(b"", text) if asked["stdin"] == subprocess.PIPE else None
    made.stdout = _pipe(out, text) if asked["stdout"] == subprocess.PIPE else None
    made.stderr = _pipe(err, text) if asked["stderr"] == subprocess.PIPE else None
    setattr(made, _ANSWERED, True)


def _bytes(part: Any) -> bytes:
    return part.encode() if isinstance(part, str) else part or b""


def _pipe(written: bytes, text: bool) -> Any:
    return io.TextIOWrapper(io.BytesIO(written), encoding="utf-8") if text else io.BytesIO(written)


def _communicate(made: Any, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
    return tuple(None if pipe is None else pipe.read() for pipe in (made.stdout, made.stderr))  # type: ignore[return-value]  # two


def _wait(made: Any, timeout: float | None = None) -> int:
    return int(made.returncode)


_FAILS: dict[str, Answer] = {
    "socket.socket.connect": _connect,
    "socket.socket.connect_ex": _connect_ex,
    "socket.socket.sendto": _fails(errno.ENETUNREACH),
    "socket.socket.bind": _fails(errno.EADDRNOTAVAIL),
    **dict.fromkeys(("socket.socket.accept", "socket.socket.listen"), _fails(errno.EINVAL)),
    **dict.fromkeys((f"socket.socket.{name}" for name in ("send", "sendall", "sendmsg")), _fails(errno.EPIPE)),
    **dict.fromkeys((f"socket.socket.{name}" for name in ("recv", "recv_into", "recvfrom", "recvmsg")), _fails(errno.ENOTCONN)),
    "socket.getaddrinfo": _getaddrinfo,
    "socket.gethostbyname": _gethostbyname,
    "socket.gethostbyname_ex": lambda host: (host, [], [_gethostbyname(host)]),
    "socket.gethostbyaddr": _unknown_address,
    "socket.getnameinfo": _unknown,
    "subprocess.Popen": _no_popen,
    "_posixsubprocess.fork_exec": _no_fork_exec,
    **dict.fromkeys(("os.posix_spawn", "os.posix_spawnp", "os.execv", "os.execve"), _no_exec),
    "os.system": lambda command: _NO_SHELL,
    **dict.fromkeys(("os.wait", "os.waitpid"), _fails(errno.ECHILD)),
    "shutil.which": lambda *arguments, **options: None,
}
"""What calls do on a machine without network and without programs."""
