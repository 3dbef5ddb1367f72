"""What can be said of an expression or statement from its syntax alone."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from simharness.instrument.marks import HOOKS


def constant(node: ast.AST) -> bool:
    """Whether an expression is a constant, or a text that is put together."""
    return isinstance(node, ast.Constant | ast.JoinedStr)


def may_be_container(node: ast.AST) -> bool:
    """Whether the value of an expression can be a container."""
    return not isinstance(node, ast.Constant | ast.JoinedStr | ast.Compare | ast.Lambda) and not (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def explains_an_assert(node: ast.If) -> bool:
    """Whether pytest has inserted this statement to explain why an assert fails: it repeats the reads of the assert."""
    test = node.test.operand if isinstance(node.test, ast.UnaryOp) else None
    return isinstance(test, ast.Name) and test.id.startswith("@py_assert") and isinstance(node.body[-1], ast.Raise)


def name_it(value: ast.expr, target: ast.AST) -> None:
    """Pass the name of the variable or attribute to the hook that receives a new container."""
    name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
    if name and isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "made":
        if isinstance(value.func.value, ast.Name) and value.func.value.id == HOOKS:
            value.args.append(ast.copy_location(ast.Constant(name), value))


def is_flat(target: ast.Tuple | ast.List) -> bool:
    """Whether an assignment to these has several targets, none of which takes several values."""
    return len(target.elts) > 1 and not any(isinstance(element, ast.Tuple | ast.List | ast.Starred) for element in target.elts)


def one_by_one(node: ast.Assign, elements: Sequence[ast.expr], assigned: Callable[..., ast.expr]) -> list[ast.AST]:
    """Unpack a value first, then assign its parts from left to right: each variable is written when its turn has come.

    Args:
        assigned: announces that some targets are assigned a value.
    """
    names = [f"@{number}" for number in range(len(elements))]
    statements: list[ast.stmt] = [ast.Assign([ast.Tuple([ast.Name(name, ast.Store()) for name in names], ast.Store())], node.value)]
    for name, element in zip(names, elements, strict=True):
        held = ast.copy_location(ast.Name(name, ast.Load()), element)
        statements.append(ast.Assign([element], assigned(held, [element])))
    statements.append(ast.Delete([ast.Name(name, ast.Del()) for name in names]))
    return [ast.fix_missing_locations(ast.copy_location(statement, node)) for statement in statements]


def enter(body: list[ast.stmt], entered: Callable[[ast.AST], ast.expr]) -> list[ast.stmt]:
    """Return the body of a function with a call of the hook `entered` at its beginning, after the docstring."""
    first = body[0]
    after = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return [*body[:after], ast.copy_location(ast.Expr(entered(first)), first), *body[after:]]


def is_remembered(node: ast.AST) -> bool:
    """Whether a function's results are kept by `functools.cache` or `lru_cache`, by its decorators."""
    decorators = [getattr(decorator, "func", decorator) for decorator in getattr(node, "decorator_list", ())]
    return any(getattr(each, "attr", getattr(each, "id", "")) in ("cache", "lru_cache") for each in decorators)
