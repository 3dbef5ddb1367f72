"""`threading.local`: each actor has its own values, fresh in each execution.

`Local` stands in for the class; instances made before get a `Local` around them (see `adoption`), and subclasses defined
before have their attribute access replaced in place. The main actor starts with the values of the OS thread that explores, as
the main thread would. Outside a simulation a genuine local holds the values.
"""

from __future__ import annotations

import _thread
import gc
from collections.abc import Iterator
from typing import Any

from simharness.engine.actors import ROOT
from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import RUNNING
from simharness.errors import Misuse
from simharness.runtimes.patching import Patches
from simharness.runtimes.workers import identity_seen

_genuine_local: Any = _thread._local
_MISSING = object()
Namespace = dict[str, Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_NO_ARGUMENTS: Arguments = ((), {})


def space_of(kernel: Kernel) -> dict[Any, Any]:
    """Return the running actor's own storage; set-up, checks and the root actor share the main thread's."""
    actor = kernel.actor
    if kernel.phase != RUNNING or actor is None or actor.host.name == ROOT:
        space: dict[Any, Any] = kernel.context.setdefault("main thread", {})
        return space
    identity_seen(kernel)
    return actor.locals


def _enter(kernel: Kernel, local: Any, native: Namespace, arguments: Arguments, made_now: bool) -> Namespace:
    """Give the running actor its namespace of a local; as for threads, `__init__` is called for each except the maker's."""
    space = space_of(kernel)
    is_main = space is kernel.context.get("main thread")
    namespace: Namespace = dict(native) if is_main else {}
    space[id(local)] = local, namespace
    kernel.notice(touched=kernel.phase == RUNNING)
    cls = type(local)
    if not made_now and not namespace and cls.__init__ is not object.__init__:
        try:
            cls.__init__(local, *arguments[0], **arguments[1])
        except TypeError as error:
            if arguments is not _NO_ARGUMENTS:
                raise
            what = f"a {cls.__name__} (a threading.local) made before the simulation"
            raise Misuse(f"{what} has an __init__ with arguments, which are not known: {error}") from error
    return namespace


def _get(local: Any, namespace: Namespace, name: str) -> Any:
    """Look up an attribute as `object.__getattribute__` does, in this namespace."""
    if name == "__dict__":
        return namespace
    cls = type(local)
    attribute = _in_class(cls, name)
    kind = type(attribute)
    if attribute is not _MISSING and hasattr(kind, "__get__") and (hasattr(kind, "__set__") or hasattr(kind, "__delete__")):
        return kind.__get__(attribute, local, cls)
    if name in namespace:
        return namespace[name]
    if attribute is _MISSING:
        shown = "_thread._local" if cls is Local else cls.__name__
        raise AttributeError(f"'{shown}' object has no attribute '{name}'", name=name, obj=local)
    return kind.__get__(attribute, local, cls) if hasattr(kind, "__get__") else attribute


def _put(local: Any, namespace: Namespace, name: str, value: Any) -> None:
    if name == "__dict__":
        raise AttributeError(f"'{type(local).__name__}' object attribute '__dict__' is read-only")
    attribute = _in_class(type(local), name)
    if attribute is not _MISSING and hasattr(type(attribute), "__set__"):
        type(attribute).__set__(attribute, local, value)
    else:
        namespace[name] = value


def _delete(local: Any, namespace: Namespace, name: str) -> None:
    attribute = _in_class(type(local), name)
    if attribute is not _MISSING and hasattr(type(attribute), "__delete__"):
        type(attribute).__delete__(attribute, local)
    elif namespace.pop(name, _MISSING) is _MISSING:
        raise AttributeError(name, name=name, obj=local)


def _in_class(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return _MISSING


class Local:
    """Stands in for `threading.local`."""

    __slots__ = ("__weakref__", "_simharness_arguments", "_simharness_genuine", "_simharness_ready")

    def __new__(cls, /, *args: Any, **kwargs: Any) -> Local:
        """Make a local; `__init__` gets these arguments in every thread."""
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        self = cls._wrap(_genuine_local(), (args, kwargs))
        kernel = current()
        if kernel is not None:
            _enter(kernel, self, {}, (args, kwargs), made_now=True)
        else:
            object.__getattribute__(self, "_simharness_ready").done = True
        return self

    @classmethod
    def _wrap(cls, genuine: Any, arguments: Arguments) -> Local:
        self = object.__new__(cls)
        object.__setattr__(self, "_simharness_arguments", arguments)
        object.__setattr__(self, "_simharness_genuine", genuine)
        object.__setattr__(self, "_simharness_ready", _genuine_local())
        return self

    @classmethod
    def around(cls, genuine: Any) -> Local:
        """Return a stand-in for a genuine local; outside a simulation it uses that local."""
        return cls._wrap(genuine, _NO_ARGUMENTS)

    def __getattribute__(self, name: str) -> Any:
        return _get(self, _namespace(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        _put(self, _namespace(self), name, value)

    def __delattr__(self, name: str) -> None:
        _delete(self, _namespace(self), name)


def _namespace(local: Local) -> Namespace:
    native = object.__getattribute__(local, "_simharness_genuine")
    kernel = current()
    if kernel is not None:
        entry = space_of(kernel).get(id(local))
        if entry is not None:
            own: Namespace = entry[1]
            return own
        return _enter(kernel, local, native.__dict__, object.__getattribute__(local, "_simharness_arguments"), made_now=False)
    ready = object.__getattribute__(local, "_simharness_ready")
    cls = type(local)
    if cls.__init__ is not object.__init__ and not getattr(ready, "done", False):
        ready.done = True
        args, kwargs = object.__getattribute__(local, "_simharness_arguments")
        cls.__init__(local, *args, **kwargs)
    namespace: Namespace = native.__dict__
    return namespace


# Subclasses of the genuine class that were defined before: the same, on a genuine instance.


def _namespace_of_genuine(kernel: Kernel, local: Any) -> Namespace:
    entry = space_of(kernel).get(id(local))
    if entry is not None:
        namespace: Namespace = entry[1]
        return namespace
    known = kernel.context.get("arguments of locals", {}).get(id(local))
    native = {} if known else _genuine_local.__getattribute__(local, "__dict__")
    return _enter(kernel, local, native, known or _arguments_of(local), made_now=False)


def _arguments_of(local: Any) -> Arguments:
    """Return the arguments that made a genuine local; it keeps them for each thread's `__init__`, so its referents include them."""
    referents = gc.get_referents(local)
    positional = next((held for held in referents if type(held) is tuple), ())
    keywords = next((held for held in referents if type(held) is dict and held and all(type(key) is str for key in held)), {})
    return (positional, keywords) if positional or keywords else _NO_ARGUMENTS


def _new(cls: Any, /, *args: Any, **kwargs: Any) -> Any:
    local = _genuine_local.__new__(cls, *args, **kwargs)
    kernel = current()
    if kernel is not None:
        kernel.context.setdefault("arguments of locals", {})[id(local)] = (args, kwargs)
        _enter(kernel, local, {}, (args, kwargs), made_now=True)
    return local


def _getattribute(self: Any, name: str) -> Any:
    kernel = current()
    if kernel is None:
        return _genuine_local.__getattribute__(self, name)
    return _get(self, _namespace_of_genuine(kernel, self), name)


def _setattr(self: Any, name: str, value: Any) -> None:
    kernel = current()
    if kernel is None:
        _genuine_local.__setattr__(self, name, value)
    else:
        _put(self, _namespace_of_genuine(kernel, self), name, value)


def _delattr(self: Any, name: str) -> None:
    kernel = current()
    if kernel is None:
        _genuine_local.__delattr__(self, name)
    else:
        _delete(self, _namespace_of_genuine(kernel, self), name)


def _subclasses(cls: type) -> Iterator[type]:
    children: list[type] = cls.__subclasses__()
    for child in children:
        yield child
        yield from _subclasses(child)


def install(patches: Patches) -> None:
    """Plan the replacements."""
    patches.everywhere(_genuine_local, Local)
    for child in _subclasses(_genuine_local):
        if child.__new__ is _genuine_local.__new__:
            patches.attribute(child, "__new__", staticmethod(_new))
        for name, replacement in {"__getattribute__": _getattribute, "__setattr__": _setattr, "__delattr__": _delattr}.items():
            if name not in vars(child):
                patches.attribute(child, name, replacement)
