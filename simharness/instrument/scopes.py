"""Which variables of a module can change while other actors can see them: the rules of Python's scopes, applied to a syntax tree.

A global counts if it is assigned by something other than an import, a `def` or a `class`, at module level or under a `global` statement. A
closure variable counts unless it is bound once, outside loops, before the first function that captures it is defined: then no other actor
can see it change. List, set and dict comprehensions and generator expressions belong to the function around them.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Position = tuple[int, int]
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

UNTOUCHED = frozenset(
    {"super", "issubclass", "locals", "globals", "dir", "eval", "exec", "range", "callable", "property"}
    | {"staticmethod", "classmethod", "open", "chr", "ord", "abs", "breakpoint", "__import__"}
)
"""Builtins whose calls read no container, or inspect the calling frame."""
RUNNING = frozenset({"eval", "exec"})
"""Those that run code that is not instrumented."""


@dataclass
class Binding:
    """A place that binds a name: its kind, its position, and whether it is in a loop."""

    kind: str
    position: Position
    loop: bool


@dataclass
class Scope:
    """A function, class or module: the names it binds, those it declares global or nonlocal, and the functions within.

    `used` holds the names that it mentions, `class_name` is the class that mangles private names.
    """

    node: ast.AST
    parent: Scope | None
    class_name: str
    bound: dict[str, list[Binding]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    children: list[Scope] = field(default_factory=list)

    @property
    def is_function(self) -> bool:
        """Whether it is a function: functions within can see its variables."""
        return isinstance(self.node, Function)

    def path(self) -> str:
        """Return its dotted path: the names of the functions and classes around it, and its own."""
        names: list[str] = []
        scope: Scope | None = self
        while scope is not None and not isinstance(scope.node, ast.Module):
            names.append(getattr(scope.node, "name", "lambda"))
            scope = scope.parent
        return ".".join(reversed(names))

    def owner(self, name: str) -> Scope | None:
        """Return the function whose closure or local variable `name` means here; None when it means a global."""
        scope: Scope | None = self
        while scope is not None:
            if scope.is_function or scope is self:
                if name in scope.globals:
                    return None
                if scope.is_function and name in scope.bound and name not in scope.nonlocals:
                    return scope
            scope = scope.parent
        return None

    def captures(self, name: str) -> bool:
        """Whether this scope or one within mentions the variable of that name of a function around it."""
        if self.is_function and name in self.bound and name not in self.nonlocals:
            return False
        if name in self.globals:
            return False
        return name in self.used or any(child.captures(name) for child in self.children)

    def changing(self, name: str) -> bool:
        """Whether a function within could see this function's variable of that name change."""
        capturing = [child for child in self.children if child.captures(name)]
        if not capturing:
            return False
        if any(_rebinds(child, name) for child in capturing):
            return True
        bindings = self.bound[name]
        if len(bindings) != 1:
            return True
        (binding,) = bindings
        if binding.kind != "assignment":
            return False
        first = min((child.node.lineno, child.node.col_offset) for child in capturing)  # type: ignore[attr-defined]  # no module is a child
        return binding.loop or binding.position >= first


def _rebinds(scope: Scope, name: str) -> bool:
    if name in scope.nonlocals and name in scope.bound:
        return True
    return any(_rebinds(child, name) for child in scope.children if child.captures(name))


def mangled(name: str, class_name: str) -> str:
    """Return the name that a private name becomes inside a class."""
    stripped = class_name.lstrip("_")
    if not stripped or not name.startswith("__") or name.endswith("__"):
        return name
    return f"_{stripped}{name}"


class Scopes(ast.NodeVisitor):
    """The scopes of a module; `of` maps a function or class to its scope.

    `variables` are the globals that are seen to change. A name that the module never binds, and that is no builtin, must be bound in
    another way, such as through `globals()`; a module that calls that may bind all of its globals.
    """

    def __init__(self, module: ast.Module) -> None:
        self.module = self._scope = Scope(module, None, "")
        self.of: dict[ast.AST, Scope] = {}
        self.variables: set[str] = set()
        self._by_name = False
        self._loops = 0
        self._hidden: list[set[str]] = []
        for statement in module.body:
            self.visit(statement)
        for name, bindings in self.module.bound.items():
            if any(binding.kind == "assignment" for binding in bindings):
                self.variables.add(name)
        for scope in self.of.values():
            self.variables |= {name for name in scope.globals if name in scope.bound}

    def may_change(self, name: str) -> bool:
        """Whether a global can change while several actors run."""
        if name in self.variables or (self._by_name and name in self.module.bound):
            return True
        return name not in self.module.bound and not hasattr(builtins, name) and not name.startswith("__")

    # Binding and mentioning

    def _bind(self, name: str, node: ast.AST, kind: str = "assignment") -> None:
        scope = self._scope
        position = getattr(node, "lineno", 0), getattr(node, "col_offset", 0)
        scope.bound.setdefault(mangled(name, scope.class_name), []).append(Binding(kind, position, self._loops > 0))

    def visit_Name(self, node: ast.Name) -> None:
        """Record that a name is mentioned, and perhaps bound."""
        if any(node.id in hidden for hidden in self._hidden):
            return
        self._scope.used.add(mangled(node.id, self._scope.class_name))
        self._by_name = self._by_name or node.id == "globals"
        if not isinstance(node.ctx, ast.Load):
            self._bind(node.id, node)

    def visit_Global(self, node: ast.Global) -> None:
        """Record names of the module."""
        self._scope.globals.update(mangled(name, self._scope.class_name) for name in node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        """Record names of an enclosing function."""
        names = {mangled(name, self._scope.class_name) for name in node.names}
        self._scope.nonlocals |= names
        self._scope.used |= names

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self._bind(alias.asname or alias.name.split(".")[0], node, "import")

    visit_Import = visit_ImportFrom = _imported

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """`except … as name` binds, and unbinds at its end."""
        if node.name:
            self._bind(node.name, node)
        self.generic_visit(node)

    def _matched(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name:
            self._bind(name, node)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _matched

    # Loops and comprehensions

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        self._loops += 1
        self.generic_visit(node)
        self._loops -= 1

    visit_For = visit_AsyncFor = visit_While = _loop

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        self._hidden.append(targets_of(node))
        self._loops += 1
        for number, generator in enumerate(node.generators):
            if number:
                self.visit(generator.iter)
            for condition in generator.ifs:
                self.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self._loops -= 1
        self._hidden.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """`name := value` binds in the enclosing function, also within a comprehension."""
        self._scope.used.add(mangled(node.target.id, self._scope.class_name))
        self._bind(node.target.id, node.target)
        self.visit(node.value)

    # Functions and classes

    def _function(self, node: Function) -> None:
        arguments = node.args
        if not isinstance(node, ast.Lambda):
            self._bind(node.name, node, "definition")
            for decorator in node.decorator_list:
                self.visit(decorator)
        for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
            self.visit(default)
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        self._within(node, self._scope.class_name, body, [argument for argument in every if argument is not None])

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A class binds its name; names bound in its body stay within it."""
        self._bind(node.name, node, "definition")
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self._within(node, node.name, list(node.body), [])

    def _within(self, node: Function | ast.ClassDef, class_name: str, body: list[ast.AST], parameters: list[ast.arg]) -> None:
        outside, loops, hidden = self._scope, self._loops, self._hidden
        scope = self.of[node] = self._scope = Scope(node, outside, class_name)
        outside.children.append(scope)
        self._loops, self._hidden = 0, []
        if hidden:
            self._hidden = [set().union(*hidden)] if isinstance(node, ast.Lambda) else []
        for parameter in parameters:
            for names in self._hidden:
                names.discard(parameter.arg)
            self._bind(parameter.arg, parameter, "parameter")
        for part in body:
            self.visit(part)
        self._scope, self._loops, self._hidden = outside, loops, hidden


def targets_of(node: Comprehension) -> set[str]:
    """Return the names that a comprehension binds for itself."""
    return {name.id for generator in node.generators for name in ast.walk(generator.target) if isinstance(name, ast.Name)}


def names_of(target: ast.AST) -> list[ast.Name]:
    """Return the names among what an assignment stores to."""
    if isinstance(target, ast.Name):
        return [target]
    if isinstance(target, ast.Tuple | ast.List):
        return [name for element in target.elts for name in names_of(element)]
    return names_of(target.value) if isinstance(target, ast.Starred) else []
