"""Which lines an exploration ran, and so which scheduling points it never reached in the functions that ran.

A branch that no ordering takes (the loser's retreat, the retry) is a sign that a scenario does not exercise what it is about. Points are
recognised in the source: `with` on a name, and calls of the methods that kinds of steps name (`Kind.calls`). A name that many classes share
(`get`, `join`, `start`) counts only where it is called as primitives are. Lines are seen by `sys.monitoring`, where Python has it, else by
`sys.settrace`; where another tool traces, nothing is reported.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Container, Iterator, Sequence
from types import CodeType, FrameType, TracebackType
from typing import Any

from simharness.engine.kinds import called
from simharness.places import Place, is_foreign

_TOOL = "simharness"
_elsewhere = ("site-packages", "dist-packages")
_monitoring: Any = getattr(sys, "monitoring", None)


class Reached:
    """Use as a context around explorations, as many as there are; then call `missing`."""

    def __init__(self) -> None:
        self._lines: dict[CodeType, set[int]] = {}
        self._known: set[CodeType] = set()
        self._tool = -1
        self.watched = False

    def __enter__(self) -> Reached:
        if _monitoring is not None:
            self._tool = next((number for number in (4, 3) if _monitoring.get_tool(number) is None), -1)
            if self._tool >= 0:
                events = _monitoring.events.LINE
                _monitoring.use_tool_id(self._tool, _TOOL)
                _monitoring.register_callback(self._tool, events, self._line)
                _monitoring.set_events(self._tool, events)
                _monitoring.restart_events()
                self.watched = True
        elif sys.gettrace() is None:
            sys.settrace(self._called)
            self.watched = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if _monitoring is None:
            if sys.gettrace() == self._called:
                sys.settrace(None)
        elif self._tool >= 0:
            _monitoring.set_events(self._tool, 0)
            _monitoring.register_callback(self._tool, _monitoring.events.LINE, None)
            _monitoring.free_tool_id(self._tool)

    def _line(self, code: CodeType, line: int) -> Any:
        """Note a line, and ask for no further event of it."""
        if not _left_out(code):
            self._lines.setdefault(code, set()).add(line)
        return _monitoring.DISABLE

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Note the lines of a call, unless there is nothing more to learn from its function."""
        code = frame.f_code
        if code in self._known:
            return None
        seen = self._lines.get(code)
        if seen is None:
            if _left_out(code):
                self._known.add(code)
                return None
            seen = self._lines[code] = set()
        if seen.issuperset(line for _, _, line in code.co_lines() if line):
            self._known.add(code)
            return None

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            seen.add(frame.f_lineno)
            return line

        return line(frame, event, argument)

    def missing(self) -> tuple[str, ...] | None:
        """Return the scheduling points that no execution reached, as `file.py:12 in f: lock.acquire`; None if lines were not seen."""
        if not self.watched:
            return None
        points: dict[Place, str] = {}
        for file in dict.fromkeys(code.co_filename for code in self._lines):
            ran = [code for code in self._lines if code.co_filename == file and not code.co_name.startswith("<")]
            seen = {line for code in ran for line in self._lines[code]}
            firsts = {(code.co_firstlineno, code.co_name) for code in ran}
            for function, text, lines in _points(file):
                if (_first_line(function), function.name) in firsts and not seen & set(lines):
                    points[Place(file, lines[0], function.name)] = text
        return tuple(f"{place} in {place.function}: {text}" for place, text in sorted(points.items()))


def _left_out(code: CodeType) -> bool:
    file = code.co_filename
    return is_foreign(file) or any(part in file for part in _elsewhere)


def _first_line(function: ast.FunctionDef) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _points(file: str) -> Iterator[tuple[ast.FunctionDef, str, Sequence[int]]]:
    """Yield the scheduling points of a file: the function each is in, what it says, its lines."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return
    names, without_arguments = called()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in _own_nodes(function):
                expression = _point(node, names, without_arguments)
                if expression is not None:
                    end = expression.end_lineno or expression.lineno
                    yield function, ast.unparse(expression), range(expression.lineno, end + 1)


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body that are not those of a function inside it."""
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            left.extend(ast.iter_child_nodes(node))


def _point(node: ast.AST, names: Container[str], without_arguments: Container[str]) -> ast.expr | None:
    """Return the part of a node that is a scheduling point: the method that it calls, if among `names`, or the lock that it enters."""
    if isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Name | ast.Attribute):
        return node.context_expr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in names or (name in without_arguments and not node.args):
            return node.func
    return None
