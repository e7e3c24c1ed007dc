"""Loops nested more deeply than Python allows (20 in one function): the outer ones become generators of their own.

`for a in A: ... for b in B: body` turns into `def outer(): for a in A: ... for b in B: yield` and `for step in outer(): body`: the same
statements in the same order, on the same variables.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

LOOPS = 15  # how many loops are left in one function


def flattened(tree: ast.Module) -> ast.Module:
    """The same module with no more than LOOPS loops in each other within a function."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    fresh = (name for name in (f"outer_{number}" for number in range(1, 10**9)) if name not in names)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        while (found := _deep_loop(function)) is not None:
            _cut(function, *found, fresh)
    return ast.fix_missing_locations(tree)


def _statements(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of a statement that run in the same function."""
    if isinstance(node, (ast.For, ast.If)):
        yield node.body
        if isinstance(node, ast.If):
            yield node.orelse


def _deep_loop(function: ast.FunctionDef) -> tuple[list[ast.stmt], int, ast.For] | None:
    """The block and the index of an outermost loop with too many in each other, and the loop in it whose body is to leave."""
    stack: list[tuple[list[ast.stmt], tuple[tuple[list[ast.stmt], int, ast.For], ...]]] = [(function.body, ())]
    while stack:
        block, around = stack.pop()
        for index, statement in enumerate(block):
            inside = (*around, (block, index, statement)) if isinstance(statement, ast.For) else around
            if len(inside) > LOOPS:
                return inside[0][0], inside[0][1], inside[LOOPS - 1][2]
            stack.extend((inner, inside) for inner in _statements(statement))
    return None


def _cut(function: ast.FunctionDef, block: list[ast.stmt], index: int, last: ast.For, fresh: Iterator[str]) -> None:
    """Put the loop at a place of a block into a generator; what stands in the body of `last` stays in the function."""
    loop = block[index]
    outer, step, leave = next(fresh), next(fresh), next(fresh)
    body, last.body = last.body, []
    bound = sorted({*_bound(loop), leave})
    _returns_are_yielded(loop)
    last.body = _parsed(f"yield\nif {leave}:\n    {leave} = False\n    break", loop)
    _breaks_are_known(body, leave)
    generator = _parsed(f"def {outer}():\n    nonlocal {', '.join(bound)}\n    pass", loop)[0]
    assert isinstance(generator, ast.FunctionDef)
    generator.body[1:] = [loop]
    rows = _parsed(f"for {step} in {outer}():\n    if {step} is not None:\n        return {step}[0]", loop)[0]
    assert isinstance(rows, ast.For)
    rows.body += body
    block[index : index + 1] = [generator, rows]
    own = {argument.arg for argument in function.args.args}
    outside = {name for statement in function.body if isinstance(statement, ast.Nonlocal) for name in statement.names}
    first = [f"{name} = {'False' if name == leave else 'None'}" for name in bound if name not in own | outside]
    function.body[_head(function) : _head(function)] = _parsed("\n".join(first), loop)


def _head(function: ast.FunctionDef) -> int:
    """How many statements of a function have to stay first: its title, and what it shares."""
    count = 0
    for statement in function.body:
        title = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not title and not isinstance(statement, ast.Nonlocal):
            break
        count += 1
    return count


def _parsed(text: str, place: ast.stmt) -> list[ast.stmt]:
    """Statements of ours, at the place of another."""
    found = ast.parse(text)
    for node in ast.walk(found):
        if isinstance(node, (ast.stmt, ast.expr)):
            ast.copy_location(node, place)
    return found.body


def _bound(loop: ast.stmt) -> set[str]:
    """The variables of the function that a statement binds."""
    found: set[str] = set()
    stack: list[ast.AST] = [loop]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ListComp):
            continue
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if not isinstance(node, ast.FunctionDef):
            stack.extend(ast.iter_child_nodes(node))
    return found


def _blocks(block: list[ast.stmt], loops: bool) -> Iterator[list[ast.stmt]]:
    """A block and those in it that run in the same function, with `loops` also those of loops."""
    stack = [block]
    while stack:
        found = stack.pop()
        yield found
        for statement in found:
            if loops or not isinstance(statement, ast.For):
                stack.extend(_statements(statement))


def _returns_are_yielded(loop: ast.stmt) -> None:
    for block in list(_blocks([loop], True)):
        for index, statement in enumerate(block):
            if isinstance(statement, ast.Return):
                value = statement.value if statement.value is not None else ast.Constant(None)
                given = ast.Expr(ast.Yield(ast.Tuple([value], ast.Load())))
                block[index : index + 1] = [
                    ast.copy_location(given, statement),
                    ast.copy_location(ast.Return(), statement),
                ]
                break


def _breaks_are_known(body: list[ast.stmt], leave: str) -> None:
    for block in list(_blocks(body, False)):
        for index, statement in enumerate(block):
            if isinstance(statement, ast.Break):
                block[index : index + 1] = _parsed(f"{leave} = True", statement) + [
                    ast.copy_location(ast.Continue(), statement)
                ]
                break
