"""What is checked: a class, how one of it is made, what may be called on it, and what is compared at the end."""

from __future__ import annotations

import ast
import inspect
import itertools
import operator
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simharness.check import arguments
from simharness.check.arguments import Given, Names
from simharness.check.values import in_words
from simharness.errors import Misuse
from simharness.places import words_of
from simharness.visible import shortened

MARK = "_simharness_check"
TRIO, ASYNCIO = "trio", "asyncio"
OPERATION = "_simharness_operation"
OWN = ("state", "invariant", "model")
"""Methods of a decorated class that are no operations."""
_SPECIAL = ("__getitem__", "__setitem__", "__delitem__", "__contains__", "__len__", "__iter__", "__call__", "__next__", "__bool__")
PER_OPERATION = 4
"""Calls of one operation at most, which differ in their arguments."""
MOST_CALLS = 24
"""Calls at most, unless there are more operations."""
MOST_OTHERS = 20
"""Calls with other values that are tried at most, where a call raises a TypeError."""
WITH = "with"
"""The operation of entering a context manager and leaving it."""


class Call:
    """An operation with its arguments.

    Attributes:
        operation: its name.
        text: the call as it is shown, and as tokens name it.
    """

    def __init__(self, operation: str, positional: Sequence[Given] = (), keywords: Mapping[str, Given] | None = None) -> None:
        self.operation = operation
        self._positional = positional
        self._keywords = dict(keywords or {})
        said = [*(each.text for each in positional), *(f"{name}={each.text}" for name, each in self._keywords.items())]
        self.text = f"{operation}({', '.join(said)})"

    def perform(self, subject: Any, names: Names) -> Any:
        """Call the operation; of an attribute that is no method, read it.

        Args:
            names: what its arguments may use in this execution.
        """
        if self.operation == WITH:
            with subject as entered:
                return entered
        member = getattr(subject, self.operation)
        if self._positional or self._keywords or callable(member):
            keywords = {name: each.make(names) for name, each in self._keywords.items()}
            return member(*(each.make(names) for each in self._positional), **keywords)
        return member

    def others(self) -> Iterator[Call]:
        """Yield calls with other values in the place of those about which nothing is known; first those that change few of them."""
        choices = [(each, *each.others) for each in (*self._positional, *self._keywords.values())]
        own = [each[0] for each in choices]
        found = sorted(itertools.product(*choices), key=lambda chosen: sum(map(operator.is_not, chosen, own)))
        for chosen in found[1:MOST_OTHERS]:
            rest = chosen[len(self._positional) :]
            yield Call(self.operation, chosen[: len(self._positional)], dict(zip(self._keywords, rest, strict=True)))

    def __repr__(self) -> str:
        return self.text


@dataclass
class Target:
    """A class under check.

    Attributes:
        name: of the class.
        address: how the command line names it.
        module: the module of the class, whose memory is explored.
        make: returns a new one; it is called with names such as `path`, which returns the path of a new file.
        calls: what is called, at most `PER_OPERATION` for each operation.
        state: returns what is compared at the end; None: the object's attributes.
        invariant: asserts what holds whenever nobody calls.
        model: returns a new object that does serially what the class should do; None: the class itself.
        threads, length: how many actors call at most, and how often each.
        tasks: if its operations are coroutines, the library whose tasks call them: TRIO or ASYNCIO.
        left: operations that are not called, and why.
    """

    name: str
    address: str
    module: str
    make: Callable[[Mapping[str, Any]], Any]
    calls: list[Call]
    state: Callable[[Any], Any] | None = None
    invariant: Callable[[Any], Any] | None = None
    model: Callable[[], Any] | None = None
    threads: int = 0
    length: int = 2
    tasks: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The texts of the calls, and of those that may be tried in their place."""
        return [call.text for call in itertools.chain(self.calls, *(call.others() for call in self.calls))]

    @property
    def operations(self) -> list[str]:
        """The names of the operations that are called."""
        return list(dict.fromkeys(call.operation for call in self.calls))

    def call(self, text: str) -> Call:
        """Return the call with this text.

        Raises:
            Misuse: it is none of the target's, and its arguments are no literals.
        """
        for call in itertools.chain(self.calls, *(call.others() for call in self.calls)):
            if call.text == text:
                return call
        return call_of(text, self)


def call_of(text: str, target: Target | type[Any], names: Mapping[str, Any] | None = None) -> Call:
    """Return the call that a text says.

    Args:
        names: what may occur in its arguments, besides literals.

    Raises:
        Misuse: it is not a call, or not one of an operation.
    """
    named = target.name if isinstance(target, Target) else target.__name__
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if isinstance(tree, ast.Name):
        tree = ast.Call(tree, [], [])
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise Misuse(f"{shortened(text)!r} is not a call: write an operation of {named} with its arguments, as in \"put('k', 1)\"")
    name = tree.func.id
    if isinstance(target, type):
        if not hasattr(target, name) and not _is_set(target, name):
            has = ", ".join(operations_of(target)) or "none"
            raise Misuse(f"{named} has no operation {shortened(name)!r}; it has: {has}")
    elif name not in target.operations:
        raise Misuse(f"{named} has no operation {shortened(name)!r}; it has: {', '.join(target.operations)}")
    literal = arguments.literal_call(tree)
    if literal is not None:
        return Call(name, [Given(each) for each in literal[1]], {key: Given(each) for key, each in literal[2].items()})
    if names is None:
        raise Misuse(f"{shortened(text)}: its arguments must be literals")
    try:
        space = dict(names)
        positional = [_evaluated(each, space) for each in tree.args]
        keywords = {str(each.arg): _evaluated(each.value, space) for each in tree.keywords}
    except Exception as error:
        raise Misuse(f"{shortened(text)}: its arguments cannot be evaluated: {type(error).__name__}: {words_of(error)}") from None
    return Call(name, positional, keywords)


class _Written(Given):
    """An argument that the user has written as an expression."""

    def __init__(self, text: str, names: Mapping[str, Any]) -> None:
        self._names = names
        self._code = compile(text, "<argument>", "eval")
        super().__init__(None)
        self.text = text

    def make(self, names: Names) -> Any:
        """Evaluate the expression."""
        return eval(self._code, {**self._names, **names})


def _evaluated(node: ast.expr, names: Mapping[str, Any]) -> Given:
    written = _Written(ast.unparse(node), names)
    written.make({"path": lambda name="file": "/dev/null", **arguments.functions()})
    return written


def _is_set(cls: type[Any], name: str) -> bool:
    """Whether a method of a class seems to set an attribute of this name, as in `self.name = …`."""
    methods = (member for base in cls.__mro__ for member in vars(base).values() if isinstance(member, types.FunctionType))
    return not name.startswith("_") and any(name in method.__code__.co_names for method in methods)


def operations_of(cls: type[Any]) -> dict[str, Any]:
    """Return what may be called on an object of a class: public methods and properties written in Python, and items and the like."""
    marked = {name: member for name, member in inspect.getmembers(cls) if hasattr(member, OPERATION)}
    if marked:
        return dict(sorted(marked.items(), key=lambda pair: _line(pair[1])))
    found: dict[str, Any] = {}
    native = not any(isinstance(member, types.FunctionType) for base in cls.__mro__ for member in vars(base).values())
    for base in reversed(cls.__mro__):
        if base is object:
            continue
        public = {name: member for name, member in vars(base).items() if not name.startswith("_") or name in _SPECIAL}
        found.update((name, member) for name, member in public.items() if _may_be_called(member, native))
    if hasattr(cls, "__enter__") and hasattr(cls, "__exit__"):
        found[WITH] = None
    decorated = hasattr(cls, MARK)
    return {name: member for name, member in found.items() if not (decorated and name in OWN)}


def _may_be_called(member: Any, native: bool) -> bool:
    """Whether this is an operation; `native`: of a class that is written in C."""
    if isinstance(member, property | types.FunctionType):
        return True
    if native and isinstance(member, types.MethodDescriptorType | types.WrapperDescriptorType):
        return True
    return hasattr(member, "__wrapped__") and callable(member) and not isinstance(member, staticmethod | classmethod | type)


def _line(member: Any) -> int:
    code = getattr(inspect.unwrap(member), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def calls_of(cls: type[Any], draw: Callable[[Any], Sequence[Any]]) -> tuple[list[Call], list[str]]:
    """Return calls of the operations of a class, and which operations are left out, and why.

    Args:
        draw: returns a few values that a Hypothesis strategy draws.
    """
    calls: list[Call] = []
    left: list[str] = []
    examples = arguments.of_doctests(cls)
    operations = operations_of(cls)
    mixed = len({inspect.iscoroutinefunction(member) for member in operations.values() if inspect.isroutine(member)}) > 1
    mixed = mixed and not any(hasattr(member, OPERATION) for member in operations.values())
    most = max(1, min(PER_OPERATION, MOST_CALLS // max(1, len(operations))))
    for name, member in operations.items():
        if isinstance(member, property) or member is None:
            calls.append(Call(name))
            continue
        if mixed and inspect.iscoroutinefunction(member):
            left.append(f"{cls.__name__}.{name}: it is a coroutine, and others are not: check the coroutines alone, with --op")
            continue
        named = f"{cls.__name__}.{name}"
        given = getattr(member, OPERATION, None)
        own = [] if given else [Call(name, *_as_given(positional, keywords)) for called, positional, keywords in examples if called == name]
        try:
            for positional, keywords in arguments.of_signature(_bound(member, named), named, given, draw):
                own.append(Call(name, positional, keywords))
        except Misuse as error:
            if given is not None:
                raise
            if not own:
                left.append(str(error))
        calls += list({call.text: call for call in own}.values())[:most]
    return calls, left


def _as_given(positional: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[list[Given], dict[str, Given]]:
    return [Given(each) for each in positional], {name: Given(each) for name, each in keywords.items()}


def _bound(member: Any, named: str) -> Callable[..., Any]:
    """Return a method as its callers see it: without `self`, with its hints.

    Raises:
        Misuse: it is written in C, and does not say what it takes.
    """
    try:
        signature = inspect.signature(member)
    except ValueError:
        raise Misuse(f'{named}: its parameters are not known: give calls, --op "{named.rpartition(".")[2]}(…)"') from None
    parameters = list(signature.parameters.values())[1:]

    def seen(*arguments: Any, **keywords: Any) -> None: ...

    seen.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect looks for
    seen.__annotations__ = arguments.hints_of(inspect.unwrap(member))
    return seen


def made_by(cls: type[Any], address: str = "") -> tuple[Callable[[Mapping[str, Any]], Any], str]:
    """Return what makes an object of a class whose arguments nobody has given, and how that is written.

    Args:
        address: how the command line names the class.

    Raises:
        Misuse: nothing is known about the arguments.
    """
    for name, positional, keywords in arguments.of_doctests(cls):
        if name == cls.__name__:
            call = Call(name, *_as_given(positional, keywords))
            return _by_call(cls, call), call.text
    try:
        given, named = arguments.of_constructor(cls)
    except (TypeError, ValueError):
        return lambda names: cls(), f"{cls.__name__}()"
    except Misuse as error:
        raise Misuse(f"{cls.__name__} cannot be built: {error}; {_say_how(cls.__name__, address)}") from None
    call = Call(cls.__name__, given, named)
    return _by_call(cls, call), call.text


def _by_call(cls: type[Any], call: Call) -> Callable[[Mapping[str, Any]], Any]:
    space = types.SimpleNamespace(**{cls.__name__: cls})
    return lambda names: call.perform(space, names)


def _say_how(name: str, address: str) -> str:
    return f'say how: "{address.partition(":")[0] or "MODULE"}:{name}(…)"'


def namespace_of(module: str) -> dict[str, Any]:
    """Return the names of a module, for expressions that the user writes."""
    return dict(vars(sys.modules[module])) if module in sys.modules else {}


def not_built(target: Target, error: BaseException) -> Misuse:
    """Return the error for a class that cannot be built."""
    said = shortened(" ".join(words_of(error).split()))
    how = target.options.get("how", target.name)
    what = "check a class that implements it" if "nstantiate" in said else _say_how(target.name, target.address)
    return Misuse(f"{target.name} cannot be built: {how} raises {type(error).__name__}: {said}; {what}")


__all__ = ["Call", "Target", "call_of", "calls_of", "in_words", "made_by", "operations_of"]
