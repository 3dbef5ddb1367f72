"""Rewrites a module so that its reads and writes of shared memory are announced just before they happen.

Each access keeps its own syntax; the object that it concerns passes through a hook of `simharness.runtimes.memory.hooks`, which announces
the access and returns the same object, or a stand-in that announces it when it happens:

    self.n                  attr(self, "n").n
    self.n = v              store(self, "n").n = v
    self.n += v             update(self).n += v
    d[k], d[k] = v          on(d)[k], on(d)[k] = v
    k in d, d == e, d | e   k in compared(d), compared(d) == e, compared(d) | e
    f(x)                    function(f)(x)
    for x in items          for x in walk(items)
    with m:                 with managed(m):
    yield x, lambda: x      yield passing(x), lambda: passing(x)
    n (a global)            variable("n", __name__) or n
    n (of a closure)        variable("n", lambda: n) or n
    @cache                  entered(), at the beginning of its body
    class C:                @hashed, in functions only

So evaluation order, exceptions and the meaning of `super()`, `locals()` and `__class__` stay what they are; nodes keep their
positions. Outside a simulation every hook returns its argument. Only the bodies of functions are rewritten: module level and class bodies
run when no other actor does. The lambda is never called: through its closure a function gets hold of its own cell.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TypeVar

from simharness.instrument.marks import HOOKS
from simharness.instrument.scopes import RUNNING, UNTOUCHED, Comprehension, Function, Scope, Scopes, mangled, names_of, targets_of
from simharness.instrument.shapes import constant, enter, explains_an_assert, is_flat, is_remembered, may_be_container, name_it, one_by_one

CELL = "@cell"
"""The parameter that marks the lambdas that serve only as a closure."""
_COMBINING = ast.Add | ast.Sub | ast.Mult | ast.BitOr | ast.BitAnd | ast.BitXor
N = TypeVar("N", bound=ast.AST)


def rewrite(source: str | bytes, filename: str) -> ast.Module:
    """Return the syntax tree of a module with its accesses announced."""
    tree = ast.parse(source, filename)
    return instrumented(tree)


def instrumented(tree: ast.Module) -> ast.Module:
    """Rewrite a module's syntax tree, which may have been rewritten for other purposes already."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr) and getattr(node, "end_lineno", None) is None:
            node.end_lineno, node.end_col_offset = node.lineno, node.col_offset
    _Rewriter(tree).visit(tree)
    position = 0
    for statement in tree.body:
        text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
        if not (text and position == 0) and not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
            break
        position += 1
    line = tree.body[0].lineno if tree.body else 1
    hooks = ast.alias("simharness.runtimes.memory.hooks", HOOKS)
    imported = ast.Import([hooks], lineno=line, col_offset=0, end_lineno=line, end_col_offset=0)
    tree.body.insert(position, imported)
    return ast.fix_missing_locations(tree)


class _Rewriter(ast.NodeTransformer):
    """`_scope` is the function whose body is being rewritten, None at the module's level and in class bodies."""

    def __init__(self, tree: ast.Module) -> None:
        self._scopes = Scopes(tree)
        self._scope: Scope | None = None
        self._hidden: list[set[str]] = []

    # Building

    def _hook(self, name: str, at: ast.AST, *arguments: ast.expr) -> ast.Call:
        hooks = ast.copy_location(ast.Name(HOOKS, ast.Load()), at)
        call = ast.Call(ast.copy_location(ast.Attribute(hooks, name, ast.Load()), at), list(arguments), [])
        for argument in arguments:
            if not hasattr(argument, "lineno"):
                ast.copy_location(argument, at)
        return ast.fix_missing_locations(ast.copy_location(call, at))

    def _through(self, name: str, node: ast.expr) -> ast.expr:
        """Pass the expression through a hook, if its value can be a container at all."""
        return self._hook(name, node, node) if self._scope is not None and may_be_container(node) else node

    def _every(self, nodes: Sequence[N]) -> list[N]:
        return [self.visit(node) for node in nodes]

    def _variable(self, name: str, at: ast.AST) -> list[ast.expr]:
        """Return the arguments by which hooks identify the variable of this name; none if the variable cannot change."""
        scope = self._scope
        assert scope is not None
        if any(name in hidden for hidden in self._hidden):
            return []
        full = mangled(name, scope.class_name)
        owner = scope.owner(full)
        if owner is None:
            if not self._scopes.may_change(full):
                return []
            return [ast.Constant(full), ast.Name("__name__", ast.Load())]
        if not owner.changing(full):
            return []
        parameters = ast.arguments([], [], None, [ast.arg(CELL)], [None], None, [])
        cell = ast.Lambda(parameters, ast.Name(name, ast.Load()))
        own = "own" if owner is scope else "of"
        return [ast.Constant(f"{own} {owner.path()}.{full}"), ast.fix_missing_locations(ast.copy_location(cell, at))]

    def _assigned(self, value: ast.expr, targets: Iterable[ast.AST]) -> ast.expr:
        """Announce the writing of the variables among the targets, after the value has been evaluated."""
        variables = [part for target in targets for name in names_of(target) for part in self._variable(name.id, name)]
        return self._hook("assigned", value, value, *variables) if variables else value

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if self._scope is None or not isinstance(node.ctx, ast.Load):
            return node
        variables = self._variable(node.id, node)
        if not variables:
            return node
        return ast.copy_location(ast.BoolOp(ast.Or(), [self._hook("variable", node, *variables), node]), node)

    # Attributes, subscripts, calls

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.visit(node.value)
        if self._scope is not None:
            hook = "attr" if isinstance(node.ctx, ast.Load) else "store"
            node.value = self._hook(hook, node.value, node.value, ast.Constant(mangled(node.attr, self._scope.class_name)))
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value, node.slice = self.visit(node.value), self.visit(node.slice)
        if not constant(node.value):
            node.value = self._through("on", node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        if self._scope is not None and not self._untouched(function):
            node.func = self._hook("function", function, self.visit(function))
        node.args = self._every(node.args)
        if node.args and isinstance(function, ast.Name) and function.id in RUNNING and self._untouched(function):
            node.args[0] = self._hook("executed", node.args[0], node.args[0])
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
            if keyword.arg is None:
                keyword.value = self._through("whole", keyword.value)
        return node

    def _untouched(self, function: ast.expr) -> bool:
        """Whether the called function is a builtin whose calls are not rewritten."""
        scope = self._scope
        if not isinstance(function, ast.Name) or function.id not in UNTOUCHED or scope is None:
            return False
        return scope.owner(function.id) is None and function.id not in self._scopes.module.bound

    # Operators

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        node.left, node.comparators = self.visit(node.left), self._every(node.comparators)
        unlike = (ast.In, ast.NotIn, ast.Is, ast.IsNot)
        for position, (operator, after) in enumerate(zip(node.ops, node.comparators, strict=True)):
            if isinstance(operator, ast.In | ast.NotIn):
                if not constant(after):
                    node.comparators[position] = self._through("compared", after)
            elif not position and not isinstance(operator, ast.Is | ast.IsNot) and not constant(after):
                node.left = self._through("compared", node.left)
            elif position and not isinstance(operator, unlike) and not isinstance(node.ops[position - 1], unlike):
                node.comparators[position - 1] = self._through("compared", node.comparators[position - 1])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node.left, node.right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, _COMBINING) and not constant(node.left):
            if not constant(node.right) or isinstance(node.op, ast.Mult):
                node.left = self._through("compared", node.left)
        elif isinstance(node.op, ast.Mult | ast.Mod):
            node.right = self._through("contents", node.right)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        values = self._every(node.values)
        node.values = [*(self._through("truth", value) for value in values[:-1]), values[-1]]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        node.operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            node.operand = self._through("truth", node.operand)
        return node

    def _tested(self, node: ast.If | ast.While | ast.IfExp | ast.Assert) -> ast.AST:
        self.generic_visit(node)
        node.test = self._through("truth", node.test)
        return node

    visit_While = visit_IfExp = visit_Assert = _tested

    def visit_If(self, node: ast.If) -> ast.AST:
        if explains_an_assert(node):
            node.orelse = self._statements(node.orelse)
            return node
        return self._tested(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        node.value = self._through("contents", node.value)
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        node.value = self.visit(node.value)
        if isinstance(node.ctx, ast.Load):
            node.value = self._through("whole", node.value)
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        node.subject = self._through("contents", self.visit(node.subject))
        for case in node.cases:
            case.guard = self._through("truth", self.visit(case.guard)) if case.guard is not None else None
            case.body = self._statements(case.body)
        return node

    # What makes containers

    def _display(self, node: ast.List | ast.Set | ast.Dict) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.Dict):
            node.values = [
                self._through("whole", value) if key is None else value for key, value in zip(node.keys, node.values, strict=True)
            ]
        if self._scope is None or not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return node
        return self._hook("made", node, node)

    visit_List = visit_Set = visit_Dict = _display

    def _comprehension(self, node: Comprehension) -> ast.AST:
        first = node.generators[0]
        first.iter = self.visit(first.iter)
        self._hidden.append(targets_of(node))
        for number, generator in enumerate(node.generators):
            generator.iter = self.visit(generator.iter) if number else generator.iter
            generator.target = self.visit(generator.target)
            generator.ifs = [self._through("truth", self.visit(condition)) for condition in generator.ifs]
            if not generator.is_async:
                later = isinstance(node, ast.GeneratorExp) and not number
                generator.iter = self._through("iterator" if later else "walk", generator.iter)
        if isinstance(node, ast.DictComp):
            node.key, node.value = self.visit(node.key), self.visit(node.value)
        else:
            node.elt = self.visit(node.elt)
            if isinstance(node, ast.GeneratorExp) and self._scope is not None:
                node.elt = self._passing(node.elt)
        self._hidden.pop()
        return node if self._scope is None or isinstance(node, ast.GeneratorExp) else self._hook("made", node, node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        if self._scope is not None:
            variables = [part for name in names_of(node.target) for part in self._variable(name.id, name)]
            node.iter = self._hook("walk", node.iter, node.iter, *variables) if variables else self._through("walk", node.iter)
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        self.generic_visit(node)
        for item in node.items:
            item.context_expr = self._through("managed", item.context_expr)
        return node

    def _passing(self, node: ast.expr) -> ast.expr:
        """The value goes to code that may be half-way through a call in C."""
        return node if isinstance(node, ast.Constant | ast.Name) and not self._is_method() else self._hook("passing", node, node)

    def _is_method(self) -> bool:
        """Whether this is a method that operators and builtins call."""
        name = getattr(self._scope.node, "name", "") if self._scope is not None else ""
        return name.startswith("__") and name.endswith("__") and name != "__init__"

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None and self._is_method():
            node.value = self._passing(node.value)
        return node

    def visit_Yield(self, node: ast.Yield) -> ast.AST:
        self.generic_visit(node)
        if self._scope is not None:
            node.value = self._passing(node.value or ast.copy_location(ast.Constant(None), node))
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        node.value = self._through("walk", self.visit(node.value))
        return node

    # Assignments

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.AST]:
        node.value, node.targets = self.visit(node.value), self._every(node.targets)
        if self._scope is None:
            return node
        name_it(node.value, node.targets[0])
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple | ast.List) and not isinstance(node.value, ast.Tuple):
            node.value = self._through("whole", node.value)
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Tuple | ast.List) and is_flat(target):
            if any(self._variable(element.id, element) for element in target.elts if isinstance(element, ast.Name)):
                return one_by_one(node, target.elts, self._assigned)
        node.value = self._assigned(node.value, node.targets)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return node
        node.value, node.target = self.visit(node.value), self.visit(node.target)
        if self._scope is not None:
            name_it(node.value, node.target)
            node.value = self._assigned(node.value, [node.target])
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.AST:
        node.value = self.visit(node.value)
        if self._scope is not None:
            node.value = self._assigned(node.value, [node.target])
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | list[ast.AST]:
        node.value = self.visit(node.value)
        target = node.target
        if self._scope is None:
            node.target = self.visit(target)
        elif isinstance(target, ast.Name):
            variables = self._variable(target.id, target)
            now = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            if variables:
                again = self._variable(target.id, target)
                node.value = self._hook("augmented", node.value, now, node.value, *variables)
                return [ast.copy_location(ast.Expr(self._hook("variable", target, *again)), node), node]
            if isinstance(node.op, _COMBINING):
                node.value = self._hook("augmented", node.value, now, node.value)
        else:
            target.value = self._hook("update", target.value, self.visit(target.value))
            if isinstance(target, ast.Subscript):
                target.slice = self.visit(target.slice)
        return node

    def visit_Delete(self, node: ast.Delete) -> ast.AST | list[ast.AST]:
        node.targets = self._every(node.targets)
        if self._scope is None:
            return node
        variables = [part for target in node.targets for name in names_of(target) for part in self._variable(name.id, name)]
        if not variables:
            return node
        announced = self._hook("assigned", node, ast.Constant(None), *variables)
        return [ast.copy_location(ast.Expr(announced), node), node]

    # Functions and classes

    def _function(self, node: Function) -> ast.AST:
        node.args.defaults = self._every(node.args.defaults)
        node.args.kw_defaults = [default if default is None else self.visit(default) for default in node.args.kw_defaults]
        remembered = is_remembered(node)
        if not isinstance(node, ast.Lambda):
            node.decorator_list = self._every(node.decorator_list)
        outside, hidden = self._scope, self._hidden
        self._scope = self._scopes.of[node]
        parameters = set(self._scope.bound)
        self._hidden = [names - parameters for names in hidden] if isinstance(node, ast.Lambda) else []
        if isinstance(node, ast.Lambda):
            node.body = self._passing(self.visit(node.body))
        else:
            body = self._statements(node.body)
            node.body = enter(body, partial(self._hook, "entered")) if remembered else body
        self._scope, self._hidden = outside, hidden
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list, node.bases = self._every(node.decorator_list), self._every(node.bases)
        node.keywords = self._every(node.keywords)
        outside, self._scope = self._scope, None
        node.body = self._statements(node.body)
        self._scope = outside
        if outside is not None:
            node.decorator_list.insert(0, self._hook("hashed", [*node.decorator_list, node][0]).func)
        return node

    def _statements(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for statement in statements:
            visited = self.visit(statement)
            result.extend(visited if isinstance(visited, list) else [visited])
        return result

    def visit_TypeAlias(self, node: ast.AST) -> ast.AST:
        return node
