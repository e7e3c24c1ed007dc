"""One operator, one place: the decorator that registers an operator, and the table that everything else derives from.

Overload resolution, the emitters, the operator table in the docs and the conformance matrix read `OPERATORS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeVar

from msgspec import Struct, field

Nulls = Literal["propagate", "handled"]
Language = Literal["", "fhirpath", "cql"]

_SIGNATURE = re.compile(r"\(([^()]*)\)\s*([A-Za-z<>]+\??)")


_TYPES = frozenset(
    (
        *(
            "Any",
            "T",
            "Boolean",
            "Integer",
            "Long",
            "Decimal",
            "String",
            "Date",
            "DateTime",
            "Time",
            "Quantity",
            "Ratio",
        ),
        *("Code", "Concept", "CodeSystem", "ValueSet"),
    )
)
"""The types that signatures may name, beside lists and intervals of them; T stands for any one type."""
_OF = re.compile(r"(?:List|Interval)<(.+)>")
_SHARED = frozenset("+ - in".split())
"""What several operators of CQL are written with; their operands tell which is meant."""


class OperatorTraits(Struct, frozen=True):
    """What the analyses and the emitter know of an operator, beside its overloads. What is not said of it is not assumed.

    `symbol` is that of a comparison of two values. `ranges`: it takes a value of which only a range is known (CQL: "Uncertainty"), where others need one
    value; `certain` tells that its own value is one (`always`, or where all operands are: `as operands`). `reports`: where it has no answer, traced code
    tells its operands. `fails`: it can fail on good data.

    `looks` tells what it does with items that are resources: it looks at them as a `whole`, tells them apart by equality (`compares`), or only asks whether and
    how many there are (`counts`). `moves` tells for each operand whether the value moves `up` with it, `down` against it, or `mixed` (one word: all operands).
    `same_value`: it gives the value of its operand in another type, or a part or bound of it.

    `dates` tells where a date as the first operand lies with regard to the second (`later`, `earlier`, `within`, `around`, `same`), `turned` names the
    operator with its operands exchanged. `clock=False`: it asks the environment for something else than the time of evaluation. `tells_codes`: it tells
    what a record is about. `elm` are the names of its operands in ELM where they have any.
    """

    symbol: str = ""
    ranges: bool = False
    certain: Literal["", "always", "as operands"] = ""
    reports: bool = False
    fails: bool = False
    looks: Literal["whole", "compares", "counts"] = "whole"
    moves: str = ""
    same_value: bool = False
    dates: Literal["", "later", "earlier", "within", "around", "same"] = ""
    turned: str = ""
    clock: bool = True
    tells_codes: bool = False
    elm: str = ""


class Overload(Struct, frozen=True):
    """One signature of an operator and the function that computes it.

    `nullable` tells whether the function may answer None for operands that are not. `inline` is a Python expression with
    `{0}`, `{1}` for the operands, used by the emitter in place of a call. `language` is set where only one of the two languages
    has this overload. A function with `context` takes the environment first; one with `precise` takes a precision last.
    """

    operator: str
    parameters: tuple[str, ...]
    result: str
    nullable: bool
    function: Callable[..., Any]
    inline: str | None
    language: Language
    nulls: Nulls
    context: bool
    precise: bool

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its signature, since not every function pickles."""
        return overload_of, (self.operator, self.parameters, self.language)

    @property
    def reference(self) -> OverloadReference:
        """This overload by its signature."""
        return OverloadReference(self.operator, self.parameters, self.language)

    @property
    def signature(self) -> str:
        """The signature in the specifications' notation."""
        return f"({', '.join(self.parameters)}) {self.result}"


class OverloadReference(Struct, frozen=True):
    """The function of an overload by its signature: what emitted code carries, since not every function pickles."""

    operator: str
    parameters: tuple[str, ...]
    language: Language

    def resolve(self) -> Callable[..., Any]:
        """The function itself."""
        return OPERATORS[self.operator].overload(*self.parameters, language=self.language).function


def overload_of(operator: str, parameters: tuple[str, ...], language: Language) -> Overload:
    """The overload of an operator with a signature. Raises LookupError."""
    return OPERATORS[operator].overload(*parameters, language=language)


class Operator(Struct):
    """An operator of the languages: its ELM name, surface names, section of the specification, and overloads.

    A name of several words is written with `_` between them (`start_of`).
    """

    name: str
    fhirpath: tuple[str, ...]
    cql: tuple[str, ...]
    section: str
    overloads: list[Overload] = field(default_factory=list)
    traits: OperatorTraits = OperatorTraits()
    _of: dict[str, tuple[Overload, ...]] = field(default_factory=dict)

    def of(self, language: Language) -> tuple[Overload, ...]:
        """The overloads that a language has."""
        found = self._of.get(language)
        if found is None:
            found = self._of[language] = tuple(o for o in self.overloads if o.language in ("", language))
        return found

    def overload(self, *parameters: str, language: Language = "") -> Overload:
        """The overload with a signature. Raises LookupError."""
        for overload in self.overloads:
            if overload.parameters == parameters and overload.language == language:
                return overload
        raise LookupError(f"{self.name} has no overload ({', '.join(parameters)})")

    def propagates(self, language: Language) -> bool:
        """Whether a null operand always gives null."""
        return all(o.nulls == "propagate" for o in self.of(language))


OPERATORS: dict[str, Operator] = {}


class LanguageForm(Struct, frozen=True):
    """What a language has beside operators on values: a function that takes expressions or types, or works on collections as such.

    It takes `low` to `high` arguments (255: any number). `section` is as in `Operator`; `refused` tells why it is not supported, where it is not.
    """

    name: str
    language: Language
    section: str
    low: int
    high: int
    refused: str = ""


FORMS: dict[tuple[str, str], LanguageForm] = {}


def language_form(
    name: str, language: Language, section: str, low: int = 0, high: int | None = None, refused: str = ""
) -> LanguageForm:
    """Enter a function of a language into the table. Raises ValueError where it stands there already."""
    if (language, name) in FORMS:
        raise ValueError(f"{name} of {language} is registered twice")
    for other in OPERATORS.values():
        if (
            language == "fhirpath" and name in other.fhirpath
        ):  # of CQL these are methods, which are another place for names
            raise ValueError(f"{name} of {language} is registered already, as the operator {other.name}")
    found = FORMS[language, name] = LanguageForm(name, language, section, low, low if high is None else high, refused)
    return found


F = TypeVar("F", bound=Callable[..., Any])


def operator(
    name: str,
    *signatures: str,
    fhirpath: str = "",
    cql: str = "",
    section: str = "",
    nulls: Nulls = "propagate",
    inline: str | None = None,
    language: Language = "",
    context: bool = False,
    precise: bool = False,
    traits: OperatorTraits | None = None,
) -> Callable[[F], F]:
    """Register a function as overload(s) of the operator `name`.

    `signatures` are in the specifications' notation, `(Integer, Integer) Integer`; a `?` behind the result says that it may be
    null although no operand is. `fhirpath` and `cql` list surface names, separated by blanks (symbols and function names).
    With `nulls="propagate"` the function is only called with operands that are not null. `traits` are those of the operator with all its overloads, given
    with one of them.
    """

    def register(function: F) -> F:
        _check_names(name, "fhirpath", fhirpath.split())
        _check_names(name, "cql", cql.split())
        for signature in signatures:
            _check_types(name, signature)
        entry = OPERATORS.get(name)
        if entry is None:
            entry = OPERATORS[name] = Operator(name, (), (), section)
        entry.fhirpath = tuple(dict.fromkeys(entry.fhirpath + tuple(fhirpath.split())))
        entry.cql = tuple(dict.fromkeys(entry.cql + tuple(cql.split())))
        entry.section = entry.section or section
        if traits is not None:
            if entry.traits not in (OperatorTraits(), traits):
                raise ValueError(f"operator {name}: two different traits are given")
            entry.traits = traits
        entry._of.clear()
        for signature in signatures:
            match = _SIGNATURE.fullmatch(signature.strip())
            assert match is not None
            parameters = tuple(p.strip() for p in match.group(1).split(",") if p.strip())
            result = match.group(2)
            if any(o.parameters == parameters and o.language in ("", language) for o in entry.overloads):
                raise ValueError(f"operator {name}: ({', '.join(parameters)}) is registered twice")
            entry.overloads.append(
                Overload(
                    name,
                    parameters,
                    result.rstrip("?"),
                    result.endswith("?"),
                    function,
                    inline,
                    language,
                    nulls,
                    context,
                    precise,
                )
            )
        return function

    return register


def _check_names(operator: str, language: Language, names: list[str]) -> None:
    """Raises ValueError for a name that the language has already, for another operator or for a form of its own."""
    for name in names:
        if language == "fhirpath" and (language, name) in FORMS:
            raise ValueError(f"operator {operator}: {language} has {name!r} already, as a function of the language")
        for other in OPERATORS.values():
            taken = name in (other.fhirpath if language == "fhirpath" else other.cql)
            if taken and other.name != operator and not (language == "cql" and name in _SHARED):
                raise ValueError(f"operator {operator}: {language} has {name!r} already, as the operator {other.name}")


def _check_types(operator: str, signature: str) -> None:
    """Raises ValueError for a signature that cannot be read, or names a type that there is not."""
    match = _SIGNATURE.fullmatch(signature.strip())
    if match is None:
        raise ValueError(f"operator {operator}: cannot read the signature {signature!r}")
    for written in (*match[1].split(","), match[2].rstrip("?")):
        kind = written.strip()
        while (of := _OF.fullmatch(kind)) is not None:
            kind = of[1]
        if kind and kind not in _TYPES:
            known = ", ".join(sorted(_TYPES))
            raise ValueError(
                f"operator {operator}: unknown type {kind!r} in the signature {signature!r}; known are {known}, and List<...> and Interval<...> of them"
            )


def fhirpath_functions() -> dict[str, Operator]:
    """Operators that FHIRPath calls as a function on its input, by function name."""
    return {name: op for op in OPERATORS.values() for name in op.fhirpath if name.isidentifier()}


def fhirpath_symbols() -> dict[str, Operator]:
    """Operators that FHIRPath writes between its operands, by symbol (`+`, `div`, ...)."""
    return {name: op for op in OPERATORS.values() for name in op.fhirpath if not name.isidentifier() or name in _WORDS}


@lru_cache(maxsize=1)
def cql_functions() -> dict[str, Operator]:
    """Operators that CQL calls by name (`Abs(x)`), by that name."""
    return {name: op for op in OPERATORS.values() for name in op.cql if name[0].isupper()}


_WORDS = frozenset(("div", "mod"))
