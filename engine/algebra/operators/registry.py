"""One operator, one place: the decorator that registers an operator, and the table that everything else derives from.

Overload resolution, the emitter, the operator table in the docs and the conformance matrix read `OPERATORS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

Nulls = Literal["propagate", "handled"]

_SIGNATURE = re.compile(r"\(([^()]*)\)\s*([A-Za-z<>]+\??)")


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature of an operator and the function that computes it.

    `nullable` tells whether the function may answer None for operands that are not. `inline` is a Python expression with
    `{0}`, `{1}` for the operands, used by the emitter in place of a call.
    """

    parameters: tuple[str, ...]
    result: str
    nullable: bool
    function: Callable[..., Any]
    inline: str | None

    @property
    def signature(self) -> str:
        """The signature in the specifications' notation."""
        return f"({', '.join(self.parameters)}) {self.result}"


@dataclass(slots=True)
class Operator:
    """An operator of the languages: its ELM name, surface names, section of the specification, and overloads."""

    name: str
    fhirpath: tuple[str, ...]
    cql: tuple[str, ...]
    section: str
    nulls: Nulls
    overloads: list[Overload] = field(default_factory=list)


OPERATORS: dict[str, Operator] = {}
F = TypeVar("F", bound=Callable[..., Any])


def operator(
    name: str,
    *signatures: str,
    fhirpath: str = "",
    cql: str = "",
    section: str = "",
    nulls: Nulls = "propagate",
    inline: str | None = None,
) -> Callable[[F], F]:
    """Register a function as overload(s) of the operator `name`.

    `signatures` are in the specifications' notation, `(Integer, Integer) Integer`; a `?` behind the result says that it may be
    null although no operand is. `fhirpath` and `cql` list surface names, separated by blanks (symbols and function names).
    With `nulls="propagate"` the function is only called with operands that are not null.
    """

    def register(function: F) -> F:
        entry = OPERATORS.get(name)
        if entry is None:
            entry = OPERATORS[name] = Operator(name, (), (), section, nulls)
        entry.fhirpath = tuple(dict.fromkeys(entry.fhirpath + tuple(fhirpath.split())))
        entry.cql = tuple(dict.fromkeys(entry.cql + tuple(cql.split())))
        entry.section = entry.section or section
        for signature in signatures:
            match = _SIGNATURE.fullmatch(signature.strip())
            if match is None:
                raise ValueError(f"operator {name}: cannot read the signature {signature!r}")
            parameters = tuple(p.strip() for p in match.group(1).split(",") if p.strip())
            result = match.group(2)
            entry.overloads.append(Overload(parameters, result.rstrip("?"), result.endswith("?"), function, inline))
        return function

    return register


def fhirpath_functions() -> dict[str, Operator]:
    """Operators that FHIRPath calls as a function on its input, by function name."""
    return {name: op for op in OPERATORS.values() for name in op.fhirpath if name.isidentifier()}


def fhirpath_symbols() -> dict[str, Operator]:
    """Operators that FHIRPath writes between its operands, by symbol (`+`, `div`, ...)."""
    return {name: op for op in OPERATORS.values() for name in op.fhirpath if not name.isidentifier() or name in _WORDS}


_WORDS = frozenset(("div", "mod"))
