"""Values of parameters from FHIR, as the type that a library declares has them (Using CQL with FHIR: "FHIR Type Mapping").

A value that is not of the type declared is an error that says which FHIR type would give it. Nothing here knows where values come from.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Severity
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Tuple
from fhir_eligibility.algebra.values.element import SYSTEM_TYPE, Element, to_decimal
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long
from fhir_eligibility.algebra.values.quantity import make
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.compiler.criteria.library import Compiled, compile_expression
from fhir_eligibility.compiler.elm.types import ANY, ChoiceType, IntervalType, ListType, Named, TupleType, Type
from fhir_eligibility.compiler.runtime import fhir_values as fhir
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.printing import text_of
from fhir_eligibility.compiler.runtime.type_tests import TypeOfValue

Json = dict[str, Any]
_EMPTY_LIST = "http://hl7.org/fhir/StructureDefinition/cqf-isEmptyList"
_ABSENT = "data-absent-reason"
_TEXTS = ("string", "code", "uri", "url", "canonical", "id", "markdown", "oid", "uuid")
_WHOLE_NUMBERS = ("integer", "positiveInt", "unsignedInt")
_QUANTITIES = ("Quantity", "Age", "Duration", "Count", "Distance", "SimpleQuantity")
# The FHIR types that give a value of a System type, the usual one first.
_GIVING: dict[str, tuple[str, ...]] = {
    "Boolean": ("boolean",),
    "Integer": _WHOLE_NUMBERS,
    "Long": ("integer64", "string", *_WHOLE_NUMBERS),
    "Decimal": ("decimal", *_WHOLE_NUMBERS),
    "String": _TEXTS,
    "Date": ("date",),
    "DateTime": ("dateTime", "instant", "date"),
    "Time": ("time",),
    "Quantity": (*_QUANTITIES, "decimal", *_WHOLE_NUMBERS),
    "Ratio": ("Ratio",),
    "Code": ("Coding",),
    "Concept": ("CodeableConcept", "Coding"),
}
_MOMENT = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?$")


@dataclass(frozen=True, slots=True)
class GivenParameter:
    """A parameter of a library with the value that evaluation uses, as CQL writes it, and where it comes from."""

    library: str
    name: str
    value: str
    origin: str


class BoundParameters(Struct, frozen=True):
    """Values by library and name, where each comes from, and the names that some library of a criterion has."""

    values: dict[tuple[str, str], Any]
    given: tuple[GivenParameter, ...]
    known: frozenset[str]


NO_PARAMETERS = BoundParameters({}, (), frozenset())


def bind_parameters(
    compiled: Compiled, sources: Iterable[ParameterValue], version: str, place: str, found: list[Diagnostic]
) -> BoundParameters:
    """The values of sources, the first of a name first, for a library and all that it includes.

    Adds to `found`: `parameter-type` for a value or a declaration that does not fit. Names that no library has are left to the caller.
    """
    values: dict[tuple[str, str], Any] = {}
    given: list[GivenParameter] = []
    sources = list(sources)
    known: set[str] = set()
    for library in compiled.closure():
        for name, exported in library.parameters.items():
            known.add(name)
            for source in (s for s in sources if s.name == name and s.library in (None, library.name)):
                try:
                    check_declaration(source, exported.type)
                    if not source.entries or (library.name, name) in values:
                        continue
                    value = converted(source.entries, exported.type, version)
                except ValueError as error:
                    message = f"{source.origin}: the parameter {name!r} of {library.name} is {exported.type}; {error}"
                    if all(message != d.message for d in found):
                        found.append(Diagnostic("parameter-type", message, location=place))
                    continue
                values[library.name, name] = value
                given.append(GivenParameter(library.name, name, text_of(value), source.origin))
    return BoundParameters(values, tuple(given), frozenset(known))


def check_given(compiled: Iterable[Compiled], parameters: Mapping[tuple[str, str], Any]) -> None:
    """Raises ValueError for a value given to a run under a name that no library has, or that is not of its parameter's type."""
    libraries = list(compiled)
    _check_names(libraries, parameters)
    for library in libraries:
        check_parameters(library, parameters)


def check_names(compiled: Compiled, parameters: Mapping[tuple[str, str], Any]) -> None:
    """Raises ValueError for a value given under a name that neither a library nor what it includes declares."""
    _check_names([compiled], parameters)


def check_parameters(compiled: Compiled, parameters: Mapping[tuple[str, str], Any]) -> None:
    """Raises ValueError for a value that is not of its parameter's type, in any library."""
    for library in compiled.closure():
        for name, exported in library.parameters.items():
            for owner in (library.name, ""):
                value = parameters.get((owner, name))
                if value is not None and exported.type != ANY and not TypeOfValue(exported.type)(value):
                    shown = text_of(value)
                    raise ValueError(
                        f"the parameter {name!r} of {library.name} must be {exported.type}, but is {shown}"
                    )


def _check_names(libraries: list[Compiled], parameters: Mapping[tuple[str, str], Any]) -> None:
    declared = {(x.name, name) for library in libraries for x in library.closure() for name in x.parameters}
    names = {name for _, name in declared}
    for owner, name in parameters:
        if name not in names or (owner and (owner, name) not in declared):
            shown = f"{owner}.{name}" if owner else name
            raise ValueError(f"no library has a parameter {shown!r}; there are {', '.join(sorted(names)) or 'none'}")


def used_parameters(
    compiled: Compiled, own: Mapping[tuple[str, str], Any], defaults: Iterable[GivenParameter]
) -> list[GivenParameter]:
    """The parameters of a library and its includes that a value is given for, by the run or else by `defaults`."""
    found: list[GivenParameter] = []
    others = {(given.library, given.name): given for given in defaults}
    for library in compiled.closure():
        for name in library.parameters:
            for key in ((library.name, name), ("", name)):
                if key in own:
                    found.append(GivenParameter(library.name, name, text_of(own[key]), "given to the run"))
                    break
            else:
                if (library.name, name) in others:
                    found.append(others[library.name, name])
    return found


def unknown_names(
    sources: Iterable[ParameterValue], known: Iterable[str], place: str, severity: Severity
) -> list[Diagnostic]:
    """`unknown-parameter` for each name that no library declares."""
    names = sorted(set(known))
    hint = f"they declare {', '.join(map(repr, names))}" if names else "they declare no parameter"
    return [
        Diagnostic(
            "unknown-parameter",
            f"{source.origin}: no library declares a parameter {source.name!r}",
            severity,
            location=place,
            hint=hint,
        )
        for source in sources
        if source.name not in names
    ]


def check_declaration(source: ParameterValue, kind: Type) -> None:
    """Raises ValueError where a ParameterDefinition tells another type than the library."""
    if source.type is None or kind == ANY or not isinstance(kind, (Named, IntervalType)):
        return
    wanted = giving(kind)
    if wanted and source.type not in (*wanted, "Any"):
        raise ValueError(f"the ParameterDefinition says {source.type}, but it takes {' or '.join(wanted)}")


def giving(kind: Type) -> tuple[str, ...]:
    """The FHIR types that give a value of a type; none where it is given as resource, parts or several entries."""
    if isinstance(kind, IntervalType):
        point = str(kind.point)
        return ("Period",) if point in ("Date", "DateTime", "Time") else ("Range",)
    if isinstance(kind, Named):
        namespace, _, name = kind.name.partition(".")
        return _GIVING.get(name, ()) if namespace == "System" else (name,) if namespace == "FHIR" else ()
    return ()


def converted(entries: tuple[Json, ...], kind: Type, version: str) -> Any:
    """The value of entries of one name as a type. Raises ValueError."""
    if isinstance(kind, ListType):
        if len(entries) == 1 and _marked(entries[0], _EMPTY_LIST):
            return []
        return [_single(entry, kind.element, version) for entry in entries]
    if len(entries) > 1:
        raise ValueError(f"expected one value, found {len(entries)}: only a list may be given several times")
    return _single(entries[0], kind, version)


def _marked(entry: Json, suffix: str) -> bool:
    """Whether the place of the value carries an extension instead of one."""
    bearers = [entry, *(value for key, value in entry.items() if key.startswith("_value") and isinstance(value, dict))]
    return any(str(e.get("url", "")).endswith(suffix) for b in bearers for e in b.get("extension") or ())


def _single(entry: Json, kind: Type, version: str) -> Any:
    if isinstance(kind, ListType):
        return [_single(part, kind.element, version) for part in entry.get("part") or ()]
    if isinstance(kind, TupleType):
        return _tuple(entry, kind, version)
    if isinstance(kind, ChoiceType):
        for option in kind.options:
            try:
                return _single(entry, option, version)
            except ValueError:
                continue
        raise ValueError(f"{_said(entry)} gives none of them")
    if "resource" in entry:
        return _resource(entry["resource"], kind, version)
    written = [(key[5:], value) for key, value in entry.items() if re.match("value[A-Z]", key)]
    if not written:
        if _marked(entry, _ABSENT):
            return None
        raise ValueError("it is given no value")
    name, content = written[0]
    if name == "Expression":
        return _expression(content, kind)
    simple = name[0].lower() + name[1:]
    fhir_type = simple if simple in SYSTEM_TYPE else name
    if kind == ANY:
        return fhir.to_value(Run(), Element(content, fhir_type))
    wanted = giving(kind)
    if fhir_type not in wanted:
        usual = " or ".join(f"value{w[0].upper()}{w[1:]}" for w in wanted[:2]) or "--parameter NAME=CQL"
        raise ValueError(f"{_said(entry)} cannot give it: write {usual}")
    return _value(content, fhir_type, kind)


def _value(content: Any, fhir_type: str, kind: Type) -> Any:
    if isinstance(kind, IntervalType):
        return _interval(content, str(kind.point))
    assert isinstance(kind, Named)
    namespace, _, name = kind.name.partition(".")
    if namespace != "System":
        return content
    text = str(content)
    if name == "Boolean":
        if content.__class__ is not bool:
            raise ValueError(f"{text!r} is neither true nor false")
        return content
    if name in ("Integer", "Long"):
        return (int if name == "Integer" else Long)(_number(content, whole=True))
    if name == "Decimal":
        return _number(content)
    if name == "String":
        return text
    if name in ("Date", "DateTime", "Time"):
        return _point(text, name)
    if name == "Quantity" and fhir_type not in _QUANTITIES:
        return make(_number(content), "1")
    if not isinstance(content, dict):
        raise ValueError(f"expected a {fhir_type}, found {text!r}")
    if name == "Concept" and fhir_type == "Coding":
        content = {"coding": [content]}
    found = {"Quantity": fhir.to_quantity, "Ratio": fhir.to_ratio, "Code": fhir.to_code, "Concept": fhir.to_concept}[
        name
    ](content)
    if found is None:
        raise ValueError(f"the {fhir_type} has no value, or only a bound of it")
    return found


def _number(content: Any, whole: bool = False) -> Decimal:
    found = to_decimal(content) if content.__class__ is not str else _decimal(content)
    if found is None or (whole and found != found.to_integral_value()):
        raise ValueError(f"expected a {'whole ' if whole else ''}number, found {content!r}")
    return found


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else None


def _point(text: str, name: str) -> Any:
    if name == "Time":
        return Time.parse(text)
    if name == "Date":
        return Date.parse(text)
    return DateTime.parse(text if "T" in text else f"{text}T")


def _interval(content: Any, point: str) -> Interval:
    """A Period or a Range. A Period holds all that its end matches: to the last millisecond of a day (FHIR: Period)."""
    if not isinstance(content, dict):
        raise ValueError(f"expected a Period or a Range, found {content!r}")
    if point in ("Date", "DateTime", "Time"):
        start, end = content.get("start"), content.get("end")
        low = None if start is None else _bound(str(start), point, last=False)
        high = None if end is None else _bound(str(end), point, last=True)
    else:
        bounds = [content.get("low"), content.get("high")]
        found = [None if b is None else fhir.to_quantity(b) for b in bounds]
        if point == "Quantity":
            low, high = found
        else:
            kind = Named(f"System.{point}")
            low, high = (None if q is None else _value(q.value, "decimal", kind) for q in found)
    return Interval(low, high, True, True, point)


def _bound(text: str, point: str, last: bool) -> Any:
    match = _MOMENT.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date or time of FHIR")
    if point == "Time":
        return Time.parse(text.partition("T")[2].rstrip("Z").partition("+")[0])
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    month = month or ("12" if last else "01")
    day = day or (str(calendar.monthrange(int(year), int(month))[1]) if last else "01")
    if point == "Date":
        return Date.parse(f"{year}-{month}-{day}")
    clock = (
        f"{hour or ('23' if last else '00')}:{minute or ('59' if last else '00')}:{second or ('59' if last else '00')}"
    )
    return DateTime.parse(f"{year}-{month}-{day}T{clock}{(fraction or ('.999' if last else '.000'))[:4]}{offset or ''}")


def _tuple(entry: Json, kind: TupleType, version: str) -> Tuple:
    parts: dict[str, list[Json]] = {}
    for part in entry.get("part") or ():
        parts.setdefault(str(part.get("name")), []).append(part)
    wanted = dict(kind.elements)
    unknown = [name for name in parts if name not in wanted]
    if unknown:
        raise ValueError(f"it has no element {unknown[0]!r}")
    return Tuple({n: converted(tuple(parts[n]), t, version) if n in parts else None for n, t in wanted.items()})


def _resource(resource: Any, kind: Type, version: str) -> Any:
    found = resource.get("resourceType") if isinstance(resource, dict) else None
    if isinstance(kind, Named):
        namespace, _, name = kind.name.partition(".")
        model = load_model(version)
        if namespace == "FHIR" and found is not None and (found == name or model.is_subtype(found, name)):
            return resource
    raise ValueError(f"a resource {found} cannot give it")


def _expression(content: Any, kind: Type) -> Any:
    """A value that is written in CQL."""
    language = str((content or {}).get("language") or "")
    if "cql" not in language:
        raise ValueError(f"an expression in {language or 'no language'} cannot give it")
    try:
        value = compile_expression(str(content.get("expression") or "")).evaluate("expression", Run())
    except (DiagnosticError, EvaluationError) as error:
        raise ValueError(f"its expression: {error}") from None
    if value is not None and kind != ANY and not TypeOfValue(kind)(value):
        raise ValueError(f"its expression gives {text_of(value)}")
    return value


def _said(entry: Json) -> str:
    if "resource" in entry:
        return "a resource"
    return next((key for key in entry if re.match("value[A-Z]", key)), "an entry without a value")
