"""Arguments for calls that nobody has written: from strategies, doctests, defaults and type hints, few, and the same for all operations.

Values of one type are shared by all operations, so that calls meet on the same key. What nothing is known about is 0 and 1.
"""

from __future__ import annotations

import ast
import collections.abc
import doctest
import enum
import inspect
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from simharness.authoring.scenario import is_drawn
from simharness.check.values import in_words
from simharness.errors import Misuse

FEW = 3
"""Values of a parameter at most."""
_VALUES: dict[Any, tuple[Any, ...]] = {
    int: (0, 1),
    float: (0.0, 1.0),
    complex: (0j, 1j),
    bool: (False, True),
    str: ("a", "b"),
    bytes: (b"a", b"b"),
    object: (0, 1),
    type(None): (None,),
}
_MADE: dict[Any, Callable[[tuple[Any, ...]], tuple[Any, ...]]] = {
    list: lambda inner: ([], list(inner[:1])),
    tuple: lambda inner: ((), tuple(inner[:1])),
    set: lambda inner: (set(), set(inner[:1])),
    frozenset: lambda inner: (frozenset(), frozenset(inner[:1])),
    collections.abc.Sequence: lambda inner: ((), tuple(inner[:1])),
    collections.abc.Iterable: lambda inner: ((), tuple(inner[:1])),
    collections.abc.Collection: lambda inner: ((), tuple(inner[:1])),
}
_BY_NAME = {"timeout": (1.0,), "timeout_seconds": (1.0,), "seconds": (1.0,), "delay": (1.0,)}
"""Parameters for which there is a usual value, where no hint says more."""
CAPACITY = 2
"""What a constructor gets for a number that it needs: a capacity is soon full."""
FUNCTIONS = frozenset({"callback", "creator", "factory", "fn", "func", "function", "handler", "listener", "loader"})
"""Names of parameters that take a function."""
PATHS = frozenset({"cache_dir", "database", "db_path", "dir", "directory", "file", "file_name", "filename", "folder", "path"})
"""Names of parameters that take the path of a file or a folder."""
Names = Mapping[str, Any]
"""What an argument may use in an execution: `path`, which returns the path of a file that is new there, and functions to pass."""


class Given:
    """An argument that each execution makes anew: a value that can change must not be shared between executions.

    Attributes:
        text: the argument as it is shown.
        others: values that may be tried in its place, as nothing is known about the parameter.
    """

    def __init__(self, value: Any, others: tuple[Given, ...] = ()) -> None:
        self._value = value
        self.text = _source(value)
        self.others = others

    def make(self, names: Names) -> Any:
        """Return the value for one call."""
        value = self._value
        if value is a_function or value is another_function:
            return names.get(self.text, value)
        return value.copy() if isinstance(value, list | dict | set) else value


class Made(Given):
    """An argument that a function makes in each execution."""

    def __init__(self, text: str, made: Callable[[Names], Any]) -> None:
        super().__init__(None)
        self.text = text
        self._made = made

    def make(self, names: Names) -> Any:
        """Make it."""
        return self._made(names)


def _source(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return str(value)
    if inspect.isroutine(value) or isinstance(value, type):
        return str(getattr(value, "__name__", value))
    return in_words(value)


def a_function(*arguments: Any, **keywords: Any) -> int:
    """Stand for a function that is passed: it returns 0."""
    return 0


def another_function(*arguments: Any, **keywords: Any) -> int:
    """Stand for another function that is passed: it returns 1."""
    return 1


def functions() -> dict[str, Any]:
    """Return these functions as one execution has them: what is made in it has an `id` that is the same in each."""
    return {each.__name__: types.FunctionType(each.__code__, each.__globals__, each.__name__) for each in (a_function, another_function)}


def _unknown() -> tuple[Given, ...]:
    """Return values for a parameter about which nothing is known: 0 and 1, unless every call with them raises a TypeError."""
    kinds = (("a", "b"), (a_function, another_function), ([(0, 1)], [(1, 0)]))
    return tuple(Given(number, tuple(Given(kind[number]) for kind in kinds)) for number in (0, 1))


def values_of(hint: Any, within: tuple[type[Any], ...] = ()) -> tuple[Any, ...] | None:
    """Return a few values of a type; None if nothing is known about it.

    Args:
        within: the classes that are being built: of a class, an object is built if something is known about its arguments.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _VALUES if isinstance(hint, collections.abc.Hashable) else False:
        return _VALUES[hint]
    if origin is typing.Literal:
        return tuple(inner[:FEW])
    if origin is typing.Annotated:
        return values_of(inner[0], within)
    if origin in (typing.Union, types.UnionType):
        known = [values_of(each, within) for each in inner]
        return tuple(itertools.chain.from_iterable(each[:2] for each in known if each is not None))[:FEW] or None
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(hint)[:FEW]
    if origin is collections.abc.Callable or hint in (collections.abc.Callable, typing.Callable):
        return a_function, another_function
    if isinstance(hint, typing.TypeVar):
        return (
            (hint.__constraints__ and values_of(hint.__constraints__[0]))
            or (values_of(hint.__bound__) if hint.__bound__ else None)
            or (0, 1)
        )
    container = origin or hint
    if hint is typing.Any or container is collections.abc.Hashable:
        return 0, 1
    if container in _MADE:
        of_inner = values_of(inner[0], within) if inner else None
        return _made_of(container, of_inner or (0, 1))
    if container in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
        keys = (values_of(inner[0]) if inner else None) or (0, 1)
        values = (values_of(inner[1]) if len(inner) > 1 else None) or (0, 1)
        return ({keys[0]: values[0]},)
    return _built(hint, within) if isinstance(hint, type) else None


def _made_of(container: Any, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an empty container, and one with a value; of objects that are built in each execution, the latter only."""
    first = inner[0]
    if not isinstance(first, Given):
        return _MADE[container](inner)
    return (
        Made(f"[{first.text}]", lambda names: (container if container in (list, tuple, set, frozenset) else list)([first.make(names)])),
    )


def _built(cls: type[Any], within: tuple[type[Any], ...]) -> tuple[Any, ...] | None:
    """Return an object of a class that is built in each execution; None if nothing is known about an argument."""
    if cls in within or inspect.isabstract(cls) or getattr(cls, "_is_protocol", False) or cls.__module__ in ("builtins", "typing"):
        return None
    try:
        positional, keywords = of_constructor(cls, (*within, cls))
    except (Misuse, TypeError, ValueError):
        return None
    said = ", ".join([*(each.text for each in positional), *(f"{name}={each.text}" for name, each in keywords.items())])

    def made(names: Names) -> Any:
        return cls(*(each.make(names) for each in positional), **{name: each.make(names) for name, each in keywords.items()})

    return (Made(f"{cls.__name__}({said})", made),)


def of_constructor(cls: type[Any], within: tuple[type[Any], ...] = ()) -> tuple[list[Given], dict[str, Given]]:
    """Return arguments for a class that must have some: 2 for numbers (a capacity is soon full), else a value of the type.

    Raises:
        Misuse: nothing is known about one. TypeError, ValueError: the class does not say what it takes.
    """
    hints = hints_of(cls)
    positional: list[Given] = []
    keywords: dict[str, Given] = {}
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.default is not parameter.empty or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = hint_of(parameter, hints)
        of_hint = () if hint is None else values_of(hint, within)
        if parameter.name in PATHS and _takes_path(hint):
            known: Sequence[Any] = (Made("path()", lambda names: names["path"]()),)
        elif not of_hint and parameter.name in FUNCTIONS:
            known = (a_function,)
        else:
            known = (CAPACITY,) if hint in (None, int, float, Any) else of_hint or ()
        if not known:
            shown = getattr(hint, "__name__", str(hint))
            raise Misuse(f"nothing is known about {parameter.name}: {shown}")
        value = known[-1] if isinstance(known[-1], Given) else Given(known[-1])
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = value
        else:
            positional.append(value)
    return positional, keywords


def _takes_path(hint: Any) -> bool:
    return hint in (None, str) or str in typing.get_args(hint) or "PathLike" in str(hint)


def of_signature(
    function: Callable[..., Any], named: str, given: Mapping[str, Any] | None = None, draw: Any = None
) -> list[tuple[list[Given], dict[str, Given]]]:
    """Return the arguments of a few calls, without the first parameter (`self`) if the function is a method's.

    Args:
        named: the function's name, for errors.
        given: for some parameters, values or a strategy to draw them from.
        draw: returns values that a strategy draws.

    Raises:
        Misuse: nothing is known about a parameter's values.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise Misuse(f'{named}: its parameters cannot be found out: give calls, --op "{named}(…)"') from None
    hints = hints_of(function)
    choices: list[tuple[inspect.Parameter, list[Given]]] = []
    for parameter in parameters:
        values = _values(parameter, hint_of(parameter, hints), named, dict(given or {}), draw)
        if values is not None:
            choices.append((parameter, [value if isinstance(value, Given) else Given(value) for value in values]))
    unknown = set(given or {}) - {parameter.name for parameter in parameters}
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise Misuse(f"{named} has no parameter {', '.join(sorted(unknown))}: @operation names the parameters that it gives values for")
    calls = []
    for chosen in _combined([values for _, values in choices]):
        positional, keywords = [], {}
        for (parameter, _), value in zip(choices, chosen, strict=True):
            if parameter.kind is parameter.KEYWORD_ONLY:
                keywords[parameter.name] = value
            else:
                positional.append(value)
        calls.append((positional, keywords))
    return calls


def _combined(choices: Sequence[Sequence[Given]]) -> Iterator[Sequence[Given]]:
    """Yield all combinations of two parameters; of more, those in which each value occurs."""
    if len(choices) <= 2:
        yield from itertools.product(*choices)
        return
    for number in range(max(map(len, choices))):
        yield [values[min(number, len(values) - 1)] for values in choices]


def _values(parameter: inspect.Parameter, hint: Any, named: str, given: Mapping[str, Any], draw: Any) -> Sequence[Any] | None:
    """Return values for a parameter; None if it is left out."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    if parameter.name in given:
        value = given[parameter.name]
        if is_drawn(value):
            return tuple(draw(value))
        return list(value) if isinstance(value, list | tuple) else (value,)
    if parameter.default is not parameter.empty:
        return None
    if hint is not None:
        known = values_of(hint)
        if known is None and parameter.name in FUNCTIONS:
            return (a_function,)
        if known is None:
            shown = getattr(hint, "__name__", str(hint))
            raise Misuse(
                f'{named}: no values are known for {parameter.name}: {shown}; give calls, --op "…", or @operation({parameter.name}=…)'
            )
        return known
    if parameter.name in FUNCTIONS:
        return (a_function,)
    return _BY_NAME[parameter.name] if parameter.name in _BY_NAME else _unknown()


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters, as far as they can be found."""
    target = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]  # its own __init__, to be read only
    try:
        return typing.get_type_hints(target, include_extras=False)
    except Exception:  # a hint may name what only a type checker knows
        return {}


def hint_of(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    """Return a parameter's type; None if there is no hint; the hint's text where it names what cannot be found."""
    return hints.get(parameter.name, None if parameter.annotation is parameter.empty else parameter.annotation)


Example = tuple[str, list[Any], dict[str, Any]]
"""What an example calls: a name, and literal arguments."""


def of_doctests(cls: type[Any]) -> list[Example]:
    """Return the calls in the examples of a class's docstrings whose arguments are literals."""
    texts = [inspect.getdoc(cls) or "", *(inspect.getdoc(each) or "" for each in vars(cls).values() if inspect.isroutine(each))]
    found: list[Example] = []
    for text in texts:
        try:
            examples = doctest.DocTestParser().get_examples(text)
        except ValueError:
            continue
        for example in examples:
            try:
                tree = ast.parse(example.source)
            except SyntaxError:
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    call = literal_call(node)
                    if call is not None and call not in found:
                        found.append(call)
    return found


def literal_call(node: ast.Call) -> Example | None:
    """Return what a call calls, and its arguments, if these are literals."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    try:
        positional = [ast.literal_eval(each) for each in node.args]
        keywords = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords if each.arg}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (name, positional, keywords) if name and len(keywords) == len(node.keywords) else None
