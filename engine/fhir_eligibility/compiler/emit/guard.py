"""What emitted code may consist of: everything else is refused before it runs, whoever wrote it and however it came to be there.

The emitters write no more than what stands here: a few kinds of Python's syntax nodes, plain constants, names that the module binds itself or
that the runtime declares, and the attributes of values and of the environment. `check` holds each form to that that they write; `run` holds the
names of a module's code to it, also where that was read from a file, and runs it without Python's own builtins.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterator
from typing import Any

from fhir_eligibility.compiler.elm.types import ELEMENTS

# The components of points in time, and the elements of the System class types: attributes of their values.
COMPONENTS = ("year", "month", "day", "hour", "minute", "second", "millisecond")
SYSTEM_ELEMENTS = frozenset(name for elements in ELEMENTS.values() for name in elements)
# What else emitted code asks of values: of JSON objects and lists, points in time, intervals, elements with a type and quantities.
OF_VALUES = frozenset(("append", "calendar", "get", "high", "high_closed", "low", "low_closed", "moment", "type"))
# What emitted code asks of the environment that it is handed.
OF_THE_ENVIRONMENT = frozenset(
    "answered at doubt explained failed member_of message now parameter passed recorded related resolve retrieve retrieve_all run series subject subsumes "
    "time_of_day today trace unknown value_set variables bounded".split()
)
ATTRIBUTES = frozenset((*COMPONENTS, *SYSTEM_ELEMENTS, *OF_VALUES, *OF_THE_ENVIRONMENT))
# Python's own functions and classes that emitted code uses.
BUILTINS: dict[str, Any] = {
    "all": all,
    "any": any,
    "bool": bool,
    "dict": dict,
    "int": int,
    "len": len,
    "list": list,
    "str": str,
}

# The kinds of nodes that are written, with their fields that hold nodes. Those that need a closer look have a check below.
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Assign: ("targets", "value"),
    ast.AugAssign: ("target", "value"),
    ast.Expr: ("value",),
    ast.For: ("target", "iter", "body"),
    ast.If: ("test", "body", "orelse"),
    ast.Return: ("value",),
    ast.Break: (),
    ast.Pass: (),
    ast.Name: (),
    ast.Constant: (),
    ast.Attribute: ("value",),
    ast.Subscript: ("value", "slice"),
    ast.Slice: ("lower", "upper", "step"),
    ast.Call: ("func", "args"),
    ast.Compare: (),
    ast.BoolOp: ("values",),
    ast.BinOp: ("left", "right"),
    ast.UnaryOp: ("operand",),
    ast.IfExp: ("test", "body", "orelse"),
    ast.NamedExpr: ("target", "value"),
    ast.List: ("elts",),
    ast.Tuple: ("elts",),
    ast.Dict: ("keys", "values"),
    ast.ListComp: ("elt", "generators"),
    ast.comprehension: ("target", "iter", "ifs"),
}
_PLAIN = frozenset((str, int, bool, type(None)))


class ForeignCode(Exception):
    """Code that the emitters do not write. The message says what it is."""


def check(tree: ast.AST) -> None:
    """Hold a tree to what emitters write. Raises ForeignCode."""
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        kind = node.__class__
        fields = _FIELDS.get(kind)
        if fields is None:
            raise ForeignCode(f"a node of the kind {kind.__name__}")
        if kind is ast.Constant:
            if node.value.__class__ not in _PLAIN:
                raise ForeignCode(f"a constant of the class {node.value.__class__.__name__}")
        elif kind is ast.Compare:
            stack.extend(_compared(node))
        else:
            closer = _CLOSER.get(kind)
            if closer is not None:
                closer(node)
        for field in fields:
            child = getattr(node, field)
            if child.__class__ is list:
                stack.extend(child)
            elif child is not None:
                stack.append(child)


def _compared(node: ast.Compare) -> Iterator[ast.expr]:
    """The operands of a comparison: here, and nowhere else, the class of a value may stand."""
    for part in (node.left, *node.comparators):
        if isinstance(part, ast.Attribute) and part.attr == "__class__":
            yield part.value
        else:
            yield part


def _attribute(node: Any) -> None:
    if node.attr not in ATTRIBUTES or node.ctx.__class__ is not ast.Load:
        raise ForeignCode(f"the attribute {node.attr!r}")


def _subscript(node: Any) -> None:
    if node.ctx.__class__ is not ast.Load:
        raise ForeignCode("a value that is put into another")


def _call(node: Any) -> None:
    if node.keywords:
        raise ForeignCode("a call that names its operands")


def _loop(node: Any) -> None:
    if node.orelse:
        raise ForeignCode("a loop with an else")


_CLOSER: dict[type[ast.AST], Callable[[Any], None]] = {
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Call: _call,
    ast.For: _loop,
}


def run(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Run the code of a module in its namespace, without Python's builtins. Raises ForeignCode for names that no emitter writes.

    Code that was kept in a file has no syntax tree to look at; its names are looked at here.
    """
    own = {inner.co_name for inner in code.co_consts if inner.__class__ is types.CodeType}
    stack = [code]
    while stack:
        found = stack.pop()
        for name in found.co_names:
            if name not in namespace and name not in own and name not in _ANYWHERE:
                raise ForeignCode(f"the name {name!r}")
        stack.extend(inner for inner in found.co_consts if inner.__class__ is types.CodeType)
    namespace["__builtins__"] = BUILTINS
    exec(code, namespace)


_ANYWHERE = ATTRIBUTES | frozenset(BUILTINS) | {"__class__"}
