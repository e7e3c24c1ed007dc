"""Python's own syntax nodes from templates of ours: `py("choice({0}, {1})", owner, names)`.

A template is a text of this package with holes, never one that is put together: the architecture tests hold that. It is parsed and checked once, by
`guard.check`, and then makes nodes. What stands in its holes is `Emitted`: a name that this package chose, a plain constant, or another template with its own.
So what an author wrote can only ever be a constant, and what emitted code is can be asked of it: whether it is a name, what it mentions, whether it
asks the environment for something.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import repeat
from sys import intern
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.compiler.emit.guard import COMPONENTS, SYSTEM_ELEMENTS, ForeignCode, check

# Where nodes stand: `lineno`, `col_offset`, `end_lineno`, `end_col_offset`.
Place = dict[str, int]
Build = Callable[[tuple[Any, ...], Place], Any]

ASKS, CHANGES, BINDS = 1, 2, 4  # traits of code
DEEPEST = 200  # templates in each other, as many as Python's own parser takes
# Stems of names that stand for something else in each round of a loop, and of lists, which are filled later.
_CHANGING = frozenset(("i_", "s_", "n", "l", "total", "rows"))
# What can be asked of the environment twice: it gives the same, and keeps no record.
_ASKED_TWICE = frozenset(("recorded", "now", "today", "time_of_day"))
_GIVEN_IT = frozenset(("to_period", "to_interval", "to_value", "once"))


class Template:
    """A Python expression or statement of ours with holes. Called with code for them, an expression gives code."""

    __slots__ = ("text", "build", "times", "size", "traits", "binds", "fixed")

    def __init__(self, text: str, build: Build, times: tuple[int, ...], traits: int, binds: tuple[int, ...]) -> None:
        self.text = text
        self.build = build
        self.times = times
        self.size = len(_HOLE.sub("", text))
        self.traits = traits
        self.binds = binds
        self.fixed: Emitted | None = None

    def __call__(self, *operands: Emitted) -> Emitted:
        """The template with code in its holes. Raises RecursionError for what is nested too deeply."""
        if self.fixed is not None and not operands:
            return self.fixed
        return _made(self, operands, self.times, self.size)

    def __repr__(self) -> str:
        return f"<Template {self.text}>"


class Emitted(Struct, frozen=True, cache_hash=True):
    """An expression of emitted code. Two that are equal are the same expression.

    `size` is how many characters it has as a text, about; where it is a fast path, that of the call that it stands for. `traits` tell that it asks the
    environment for more than can be asked twice, that its value changes where its names do not, or that it binds a name; `depth` is that of its templates.
    """

    template: Template
    operands: tuple[Any, ...]
    size: int
    traits: int = 0
    depth: int = 0

    @property
    def is_name(self) -> bool:
        """Whether it is no more than a name."""
        return self.template is _NAME

    @property
    def is_plain(self) -> bool:
        """Whether it is a name, or null, true or false."""
        return self.template is _NAME or (self.template is _CONSTANT and self.operands[0] in _PLAIN)

    @property
    def is_reusable(self) -> bool:
        """Whether its value may be used again as long as no name in it is bound anew."""
        return not self.traits & (ASKS | CHANGES)

    @property
    def asks(self) -> bool:
        """Whether it asks the environment for more than can be asked twice."""
        return bool(self.traits & ASKS)

    @property
    def binds(self) -> bool:
        """Whether it binds a name where it stands."""
        return bool(self.traits & BINDS)

    def names(self) -> Iterator[str]:
        """The names in it, but those that its templates write."""
        stack = [self]
        while stack:
            code = stack.pop()
            if code.template is _NAME:
                yield code.operands[0]
            elif code.template is not _CONSTANT:
                stack.extend(code.operands)

    def __str__(self) -> str:
        return ast.unparse(self.template.build(self.operands, {}))


def _made(template: Template, operands: tuple[Emitted, ...], times: Iterable[int], size: int) -> Emitted:
    traits, depth = template.traits, 0
    for operand, count in zip(operands, times, strict=True):
        size += operand.size * count
        traits |= operand.traits
        if operand.depth > depth:
            depth = operand.depth
    if depth >= DEEPEST:
        raise RecursionError("too many expressions in each other")
    return Emitted(template, operands, size, traits, depth + 1)


def _build_name(operands: tuple[Any, ...], place: Place) -> ast.expr:
    return ast.Name(operands[0], _LOAD, **place)


def _build_constant(operands: tuple[Any, ...], place: Place) -> ast.expr:
    return ast.Constant(operands[1], None, **place)


_LOAD, _STORE = ast.Load(), ast.Store()
_CONTEXTS = (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop)  # kinds that one node will do for
_HOLE = re.compile(r"\{(\d+)\}")
_PLACEHOLDER = re.compile(r"_(\d+)_")
_DEFINED = re.compile(r"(?:default_)?(?:define|function|parameter|of)_[0-9]+|expression|criterion")
_PLAIN = (type(None), bool)
_ITEM = "x"  # what a comprehension of ours calls an item
_NAME = Template("", _build_name, (), 0, ())
_CONSTANT = Template("", _build_constant, (), 0, ())


# -- leaves


def name_of(stem: str, number: int) -> Emitted:
    """A name: a stem of ours, and a number that nothing else with that stem has."""
    return _name(f"{stem}{number:d}", CHANGES if stem in _CHANGING else 0)


def local(stem: str, number: int) -> Emitted:
    """The name of the variable of a scope that the translator has numbered."""
    return name_of(f"{stem}_", number)


def defined(name: str) -> Emitted:
    """The name of a definition, as the translator has numbered it. Raises ForeignCode for any other name."""
    if _DEFINED.fullmatch(name) is None:
        raise ForeignCode(f"the name {name!r}")
    return _name(name, 0)


def _name(text: str, traits: int) -> Emitted:
    return Emitted(_NAME, (intern(text),), len(text), traits)  # as Python's own parser does, so that code is the same


def literal(value: Any) -> Emitted:
    """A text, an integer, true, false or null as a constant: the only way on which what an author wrote gets into a module.

    Raises TypeError for a value of any other class: such a value is a `constant` with a name.
    """
    kind = value.__class__
    if kind is not str and kind is not int and kind is not bool and value is not None:
        raise TypeError(f"a {kind.__name__} has no literal")
    return Emitted(_CONSTANT, (kind, value), len(repr(value)) + (2 if kind is int and value < 0 else 0))


NONE, TRUE, FALSE = map(literal, (None, True, False))


# -- templates


def py(text: str, *operands: Emitted) -> Emitted:
    """A template with code in its holes `{0}`, `{1}`, ..."""
    return template(text)(*operands)


@cache
def template(text: str) -> Template:
    """The template of an expression. Raises ForeignCode for one that emitted code may not have."""
    tree = ast.parse(_HOLE.sub(r"_\1_", text), mode="eval").body
    found = _template(text, tree)
    if not found.times:
        alone = (
            _name(tree.id, found.traits) if isinstance(tree, ast.Name) else Emitted(found, (), found.size, found.traits)
        )
        found.fixed = alone
    return found


@cache
def statement(text: str) -> Template:
    """The template of a statement without a body."""
    (tree,) = ast.parse(_HOLE.sub(r"_\1_", text)).body
    return _template(text, tree)


@cache
def head(text: str) -> Template:
    """The template of the head of a block: `if`, `elif` or `for`. It makes a statement whose body is empty."""
    whole = text.removeprefix("el") if text.startswith("elif ") else text
    (tree,) = ast.parse(_HOLE.sub(r"_\1_", f"{whole}\n pass")).body
    if not isinstance(tree, (ast.If, ast.For)):
        raise ForeignCode(f"a block of the kind {tree.__class__.__name__}")
    tree.body = []
    return _template(text, tree)


def _template(text: str, tree: ast.AST) -> Template:
    check(tree)
    count = max((int(number) + 1 for number in _HOLE.findall(text)), default=0)
    times = tuple(text.count(f"{{{number}}}") for number in range(count))
    if 0 in times:
        raise ValueError(f"a hole of {text!r} has no number, or none of its own")
    traits, binds = 0, set()
    silent = {id(node) for below in ast.walk(tree) for node in _asked_twice(below)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.List, ast.ListComp, ast.Subscript)):
            traits |= CHANGES
        elif isinstance(node, ast.NamedExpr):
            traits |= BINDS
        elif isinstance(node, ast.Name) and node.id == "ev" and id(node) not in silent:
            traits |= ASKS
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            hole = _PLACEHOLDER.fullmatch(node.id)
            if hole is not None:
                binds.add(int(hole[1]))
            elif node.id != _ITEM:
                raise ForeignCode(f"a meaning for the name {node.id!r}")
    return Template(text, _builder(tree), times, traits, tuple(binds))


def _asked_twice(node: ast.AST) -> Iterator[ast.AST]:
    """The names of the environment where it is asked for no more than what can be asked twice."""
    if isinstance(node, ast.Attribute) and node.attr in _ASKED_TWICE:
        yield node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _GIVEN_IT:
        given = node.args[0]
        yield given.value if isinstance(given, ast.Attribute) else given


def _builder(node: Any) -> Build:
    """A function that makes a node of a template anew, with code in its holes, at a place."""
    if node.__class__ is list:
        parts = tuple(map(_builder, node))
        return lambda operands, place: [part(operands, place) for part in parts]
    if not isinstance(node, ast.AST) or isinstance(node, _CONTEXTS):
        return lambda operands, place: node
    cls: Any = node.__class__
    if isinstance(node, ast.Name):
        hole = _PLACEHOLDER.fullmatch(node.id)
        name, context = node.id, node.ctx
        if hole is None:
            return lambda operands, place: ast.Name(name, context, **place)
        number = int(hole[1])
        if context.__class__ is ast.Store:
            return lambda operands, place: ast.Name(bound_name(operands[number]), _STORE, **place)

        def filled(operands: tuple[Any, ...], place: Place) -> Any:
            code = operands[number]
            return code.template.build(code.operands, place)

        return filled
    fields = tuple(_builder(value) for _, value in ast.iter_fields(node))
    if "lineno" not in node._attributes:
        return lambda operands, place: cls(*[field(operands, place) for field in fields])
    return lambda operands, place: cls(*[field(operands, place) for field in fields], **place)


def bound_name(code: Emitted) -> str:
    """The name that a statement binds. Raises TypeError for code that is no name."""
    if code.template is not _NAME:
        raise TypeError(f"{code} is bound, which is not a name")
    name: str = code.operands[0]
    return name


# -- any number of operands


def _all(operands: Sequence[Emitted], place: Place) -> list[Any]:
    return [operand.template.build(operand.operands, place) for operand in operands]


def _of_many(text: str, traits: int, build: Build) -> Template:
    return Template(text, build, (), traits, ())


_CALL = _of_many(
    "f()", 0, lambda codes, place: ast.Call(_all(codes[:1], place)[0], _all(codes[1:], place), [], **place)
)
_LIST = _of_many("[]", CHANGES, lambda codes, place: ast.List(_all(codes, place), _LOAD, **place))
_TUPLE = _of_many("(,)", 0, lambda codes, place: ast.Tuple(_all(codes, place), _LOAD, **place))
_DICT = _of_many("{}", 0, lambda codes, place: ast.Dict(_all(codes[::2], place), _all(codes[1::2], place), **place))
_OR = _of_many("or", 0, lambda codes, place: ast.BoolOp(ast.Or(), _all(codes, place), **place))
_AND = _of_many("and", 0, lambda codes, place: ast.BoolOp(ast.And(), _all(codes, place), **place))


def _many(template: Template, operands: Sequence[Emitted], between: int, around: int) -> Emitted:
    """A template for any number of operands, with so many characters between and around them."""
    size = around + between * max(len(operands) - 1, 0)
    return _made(template, tuple(operands), repeat(1, len(operands)), size)


def called(function: Emitted, operands: Sequence[Emitted]) -> Emitted:
    """A call."""
    return _many(_CALL, (function, *operands), 2, 2 if not operands else 0)


def listed(operands: Sequence[Emitted]) -> Emitted:
    """A list."""
    return _many(_LIST, operands, 2, 2)


def tupled(operands: Sequence[Emitted]) -> Emitted:
    """A tuple."""
    return _many(_TUPLE, operands, 2, 3 if operands else 2)


def mapped(pairs: Sequence[tuple[Emitted, Emitted]]) -> Emitted:
    """A dict of keys and values."""
    return _many(_DICT, [code for pair in pairs for code in pair], 2, 2)


def any_of(operands: Sequence[Emitted]) -> Emitted:
    """`a or b or ...`; one alone is itself."""
    return operands[0] if len(operands) == 1 else _many(_OR, operands, 4, 0)


def all_of(operands: Sequence[Emitted]) -> Emitted:
    """`a and b and ...`; one alone is itself."""
    return operands[0] if len(operands) == 1 else _many(_AND, operands, 5, 0)


def element_of_value(owner: Emitted, name: str) -> Emitted:
    """An element of a value of a System type, or a component of a point in time. Raises ForeignCode for other names."""
    if name not in SYSTEM_ELEMENTS and name not in COMPONENTS:
        raise ForeignCode(f"the attribute {name!r}")
    return template("{0}." + name)(owner)


# -- traits that are given


def quiet(code: Emitted) -> Emitted:
    """A call of a function that is known to ask the environment for no more than what can be asked twice."""
    traits = code.template.traits & ~ASKS
    for operand in code.operands:
        if operand != EV:
            traits |= operand.traits
    return replace(code, traits=traits)


def fast_path(code: Emitted, call: Emitted) -> Emitted:
    """Code that does for usual values what a call does; lines are broken as they are with the call, so that errors tell the same place."""
    return replace(code, size=call.size)


EV, CONTEXT, MODEL, MISSING = map(py, ("ev", "ctx", "M", "MISSING"))
