"""Whether a record has the elements of its type alone, each once, in the form that FHIR's JSON gives them.

A member that stands in an object twice, or whose name is damaged, could hide what a criterion asks for: which value holds, or what the damaged name was,
nobody can tell. A record is decoded with all the elements that some version of FHIR has for it, which drops everything else, and encoded again: where that is as
long as the text was, nothing was dropped. Only where it is not, the members are looked at one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from stringzilla import contains

from fhir_eligibility.artifacts import models
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.json_text import number, whole
from fhir_eligibility.data.records.gaps import EVERY
from fhir_eligibility.data.records.status_codes import CODES

VERSIONS = models.versions_at_hand()
FIRST = VERSIONS[:1]
_versions: dict[str, tuple[str, ...]] = {}
"""Versions that records of a type are looked at by first, where those are not FIRST."""
TWICE = "#twice"
"""Where an object that was decoded by `with_doubles` has the names that stand in it twice with different values: a name that no element has."""
_MEMBER = b'":'
_MARKED = b'"#'
OUT_OF_BOUNDS = "#out of bounds"
_MORE = {str(number): 0 for number in range(9)}
_DEPTH = 5
_ABSENT = msgspec.Raw(b"")
_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9]*")
_OPEN = frozenset("extension modifierExtension contained text meta identifier resource".split())
"""Elements whose own elements are not looked at: those of other resources, and those that hold themselves."""
_JSON: dict[str, Any] = {
    "boolean": bool,
    "integer": int,
    "positiveInt": int,
    "unsignedInt": int,
    "decimal": Any,
    "integer64": str | int,
}

_MOMENTS = frozenset(("date", "dateTime", "instant"))
# Nothing is tried again: what may come next tells itself apart by its first character.
AS_MOMENT = r"^\d{4}(?:-\d\d(?:-\d\d(?:T\d\d(?::\d\d(?::\d\d(?:\.\d++)?+)?+)?+(?:Z|[+-]\d\d:?\d\d)?+)?+)?+)?+$"
_Moment = Annotated[str, msgspec.Meta(pattern=AS_MOMENT)]
_moment = re.compile(AS_MOMENT)
# a text that begins or ends with a blank, and a code that does
_BLANKS = (b':" ', b': " ', b' ",', b' "}', b' "]')
_BLANK_CODE = re.compile(rb'"(?:code|status|intent|gender|criticality|lifecycleStatus)"\s*:\s*"(?: [^"]*|[^"]* )"')


class Oddness(Struct, frozen=True):
    """One thing that is wrong with the members of a record: what, at which element, in words.

    `twice` and `misspelt` leave open what the record says.
    """

    kind: Literal["twice", "misspelt", "unknown", "form"]
    element: str
    message: str

    @property
    def is_damage(self) -> bool:
        """Whether nobody can tell what the record said."""
        return self.kind in ("twice", "misspelt")


DAMAGED = "damaged-record"
DAMAGED_HINT = "the record is not used; mend it, or have it exported again"


def damage_of(odd: Sequence[Oddness]) -> str | None:
    """In words, what leaves open what a record says; None where nothing does."""
    damage = [one.message for one in odd if one.is_damage]
    return "; ".join(damage[:3]) if damage else None


def oddness_of(kind: str, text: bytes | memoryview) -> tuple[Oddness, ...]:
    """What is wrong with the members of a record that is whole. `kind` is its type, as it stands first in its text. Raises BAD_JSON where it has a number that is not read."""
    versions = _versions.get(kind, FIRST)
    if _is_usual(kind, text, versions):
        return ()
    if versions is FIRST and _is_usual(kind, text, VERSIONS):
        _versions[kind] = VERSIONS  # written in another version: others of the type will be, too
        return ()
    whole(text)
    return tuple(_looked_at(kind, bytes(text)))


TYPE = b'"resourceType"'


def states_another_type(kind: str, text: bytes | memoryview) -> bool:
    """Whether a record whose text names a type first names another one behind it."""
    try:
        return bool(_head(text).resourceType != kind)
    except (msgspec.DecodeError, RecursionError):
        return True


def of_any_type(named: Mapping[str, str]) -> dict[str, str]:
    """What a text tells of a record, without what hangs on its type."""
    return {"type": EVERY, **{name: value for name, value in named.items() if name == "patient"}}


def type_twice(kind: str) -> str:
    """In words, that a record states two types."""
    return f"resourceType stands twice in it, {kind} and another: which holds cannot be told"


def stray(kind: str, expected: str | None, text: bytes) -> str | None:
    """In words, that a record which is of another type than the file's name says has the elements of that type, and not of its own; None where that is not so."""
    if expected is None or kind == expected or not any(load_model(version).has_type(kind) for version in VERSIONS):
        return None
    if _is_usual(kind, text, FIRST) or _is_usual(kind, text, VERSIONS):
        return None
    meant = re.sub(rb'"resourceType"\s*:\s*"[A-Za-z]+"', b'"resourceType":"%s"' % expected.encode(), text, count=1)
    if not _is_usual(expected, meant, VERSIONS):
        return None
    return f"it says that it is a {kind}, and has the elements of a {expected}, which this file is named after"


def _is_usual(kind: str, text: bytes | memoryview, versions: tuple[str, ...]) -> bool:
    """Whether a record has only elements that its type has in some versions, each once and in its form."""
    try:
        found = _decoder(kind, versions)(text)
        again = _encode(found)
    except (msgspec.DecodeError, RecursionError):
        return False
    several = _several(frozenset((kind,)), _DEPTH, versions)
    if several is not None and several(found):
        return False
    for blank in _BLANKS:
        if contains(text, blank):
            if _BLANK_CODE.search(text) is not None:
                return False
            break
    if len(again) != len(text) and again.count(_MEMBER) != bytes(text).count(_MEMBER):
        return False  # else nothing but blanks, escapes, and other ways to write a number
    return not contains(again, _MARKED)


def holds_doubles(text: bytes, value: Any) -> bool:
    """Whether some member may stand twice in an object of a text that was decoded as `value`; False is certain."""
    return _encode(value).count(_MEMBER) != text.count(_MEMBER)


def with_doubles(text: bytes, value: Any) -> Any:
    """What a text was decoded as, with objects in which a name stands twice marked by TWICE."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_float=number, parse_int=_integer)
    except (ValueError, RecursionError):
        return value


def _integer(text: str) -> int | str:
    return int(text) if len(text) < 1000 else text


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = {name for name, value in members if value != found[name]}
        if names:
            found[TWICE] = sorted(names)
    return found


# -- what FHIR has


@cache
def _members(
    type_names: frozenset[str], versions: tuple[str, ...] = VERSIONS
) -> dict[str, tuple[frozenset[str], bool, bool]]:
    """The members of the JSON objects of some types, in any of some versions: their types, whether they may be one value, and whether several."""
    found: dict[str, tuple[frozenset[str], bool, bool]] = {}
    for version in versions:
        model = load_model(version)
        for type_name in type_names:
            for element in model.elements(type_name).values():
                for name, kind in element.json_names:
                    types, one, many = found.get(name, (frozenset(), False, False))
                    found[name] = types | {kind}, one or not element.many, many or element.many
    return found


@cache
def _is_object(kind: str, versions: tuple[str, ...] = VERSIONS) -> bool:
    return any(
        load_model(version).has_type(kind) and load_model(version).kind(kind) != "primitive" for version in versions
    )


def _value_type(name: str, types: frozenset[str], depth: int, versions: tuple[str, ...]) -> Any:
    """The type of one value of a member, for decoding."""
    objects = frozenset(kind for kind in types if _is_object(kind, versions))
    if name in _OPEN or depth == 0 or (objects and objects != types):
        return Any
    if any(kind[:1].isupper() and kind not in objects for kind in types):
        return Any
    if objects:
        return _object_type(objects, depth - 1, versions)
    if types <= _MOMENTS:
        return _Moment
    found: Any = None
    for kind in sorted(types):
        one = _JSON.get(kind, str)
        if one is Any:
            return Any
        found = one if found is None else found | one
    return found


@cache
def _object_type(type_names: frozenset[str], depth: int, versions: tuple[str, ...]) -> Any:
    """The type of the JSON object of some types, for decoding: what it does not name is dropped, what is not there stays away."""
    fields: list[tuple[str, Any, Any]] = []
    if any(name in load_model(version).resource_types for name in type_names for version in versions):
        fields.append(("resourceType", str | UnsetType, UNSET))
    for name, (types, one, many) in _members(type_names, versions).items():
        if name == "instance" and "ImagingStudy.series" in type_names:
            fields.append((name, msgspec.Raw, _ABSENT))  # thousands of them: what is wrong there shows in their UIDs
            continue
        value = _value_type(name, types, depth, versions)
        codes = CODES.get(f"{next(iter(type_names))}.{name}") if len(type_names) == 1 else None
        if codes is not None and value is str:
            value = Literal[tuple(sorted(codes))]
        primitive = not any(_is_object(kind, versions) for kind in types)
        several: Any = list[value | None] if primitive and value is not Any else list[value]  # type: ignore[valid-type]
        if value is not Any:
            form: Any = value | several if one and many else several if many else value
            value = form | UnsetType
        fields.append((name, value, UNSET))
        if primitive:
            fields.append((f"_{name}", Any, UNSET))
    renamed = {f"n{number}": name for number, (name, _, _) in enumerate(fields)}
    numbered: Any = [(f"n{number}", kind, default) for number, (_, kind, default) in enumerate(fields)]
    return msgspec.defstruct(
        "_".join(sorted(type_names)).replace(".", "_"), numbered, rename=renamed, gc=False, omit_defaults=True
    )


_Several = Callable[[Any], bool]


@cache
def _several(type_names: frozenset[str], depth: int, versions: tuple[str, ...]) -> _Several | None:
    """Tells of a decoded object of some types whether values of several types stand in it, or below, where one may (`value[x]`); None where there is no such place."""
    members, decoded = _members(type_names, versions), _object_type(type_names, depth, versions)
    attributes = dict(zip(decoded.__struct_encode_fields__, decoded.__struct_fields__, strict=True))
    choices = [[attributes[name] for name in names] for names in _choices(type_names, versions).values()]
    getters = [(attrgetter(*names), len(names) - 1) for names in choices]
    below: list[tuple[Any, _Several]] = []
    for name, (types, _, _) in members.items():
        value = _value_type(name, types, depth, versions)
        if value.__class__ is type(Struct) and not (name == "instance" and "ImagingStudy.series" in type_names):
            inner = _several(types, depth - 1, versions)
            if inner is not None:
                below.append((attrgetter(attributes[name]), inner))
    if not getters and not below:
        return None

    def several(found: Any) -> bool:
        for get, most in getters:
            if get(found).count(UNSET) < most:
                return True
        for get, inner in below:
            value = get(found)
            if value is not UNSET and any(inner(one) for one in (value if value.__class__ is list else (value,))):
                return True
        return False

    return several


@cache
def _choices(type_names: frozenset[str], versions: tuple[str, ...] = VERSIONS) -> dict[str, list[str]]:
    """The JSON names of one element, of which one alone may stand in an object, by the name of the element."""
    found: dict[str, dict[str, None]] = {}
    for version in versions:
        for type_name in type_names:
            for element in load_model(version).elements(type_name).values():
                if len(element.json_names) > 1:
                    found.setdefault(element.name, {}).update(dict.fromkeys(name for name, _ in element.json_names))
    return {name: list(names) for name, names in found.items()}


def _hook(text: str) -> Any:
    """A decimal; of one that is out of all bounds an object, which shows when it is encoded."""
    found = number(text)
    return {OUT_OF_BOUNDS: {"": found}, **_MORE} if found.__class__ is str else found


@cache
def _decoder(kind: str, versions: tuple[str, ...]) -> Callable[[bytes | memoryview], Any]:
    return msgspec.json.Decoder(_object_type(frozenset((kind,)), _DEPTH, versions), float_hook=_hook).decode


class _Head(msgspec.Struct, gc=False):
    resourceType: str | None = None


_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


# -- looked at one by one


def _looked_at(kind: str, text: bytes) -> Iterator[Oddness]:
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_float=_hook, parse_int=_integer)
    except (ValueError, RecursionError):
        return
    stated = value.get("resourceType")
    if stated != kind:
        yield Oddness("twice", "resourceType", type_twice(kind))
        return
    yield from _in_object(value, frozenset((kind,)), kind, _DEPTH)


def _in_object(value: dict[str, Any], type_names: frozenset[str], path: str, depth: int) -> Iterator[Oddness]:
    known = _members(type_names)
    resource = path in type_names
    for element, names in _choices(type_names).items():
        there = [name for name in names if name in value]
        if len(there) > 1:
            yield Oddness(
                "twice",
                f"{path}.{element}",
                f"{' and '.join(there)} stand in {path}, where one value may: which holds cannot be told",
            )
    for name, item in value.items():
        if name == TWICE:
            for twice in item:
                yield Oddness(
                    "twice",
                    f"{path}.{twice:.40}",
                    f"{twice:.40} stands twice in {path}, with different values: which holds cannot be told",
                )
            continue
        plain = name.removeprefix("_")
        if plain not in known or (plain != name and any(_is_object(kind) for kind in known[plain][0])):
            if resource and name in ("resourceType", "fhir_comments"):
                continue
            yield _unknown(name, known, value, path)
            continue
        if plain == name:
            yield from _in_member(item, name, known[name], f"{path}.{name}", depth)
            if "code" in known[name][0]:
                yield from _in_codes(item, f"{path}.{name}")


def _in_member(
    item: Any, name: str, known: tuple[frozenset[str], bool, bool], path: str, depth: int
) -> Iterator[Oddness]:
    types, one, many = known
    if "Reference" in types and item.__class__ not in (dict, list) or name == "reference":
        return  # odd references are told as such (fhir_eligibility.data.records.subjects)
    if item.__class__ is list:
        if not many and name not in _OPEN:
            yield Oddness("form", path, f"{path} is a list, and should be one value")
        items = item
    else:
        if not one and name not in _OPEN:
            yield Oddness("form", path, f"{path} is one value, and should be a list")
        items = [item]
    objects = frozenset(kind for kind in types if _is_object(kind))
    for each in items:
        if each.__class__ is dict and OUT_OF_BOUNDS in each:
            yield Oddness(
                "form",
                path,
                f"{path} is a number that is out of all bounds, and is not read: {each[OUT_OF_BOUNDS]['']}",
            )
        elif name in _OPEN or depth == 0:
            yield from _doubles_in(each, path)
        elif objects and objects == types:
            if each.__class__ is dict:
                yield from _in_object(each, objects, path, depth - 1)
            else:
                yield Oddness("form", path, f"{path} is {_shown(each)}, and should be an object")
        elif types <= _MOMENTS and each.__class__ is str:
            if not _moment.search(each):
                yield Oddness("form", path, f"{path} is not written as a {' or '.join(sorted(types))}")
        elif not objects and not _fits(each, types) and not (each is None and item.__class__ is list):
            yield Oddness("form", path, f"{path} is {_shown(each)}, and should be {' or '.join(sorted(types))}")


def _in_codes(item: Any, path: str) -> Iterator[Oddness]:
    """What is odd about the codes of an element: blanks around them, and what is none of those that it may have."""
    codes = CODES.get(path)
    for each in item if item.__class__ is list else (item,):
        if each.__class__ is not str:
            continue
        if each != each.strip(" "):
            yield Oddness("form", path, f"{path} is {each!r:.60}, with blanks around the code, and equals no code")
        elif codes is not None and each not in codes:
            yield Oddness("form", path, f"{path} is {each!r:.60}, which is none of the codes that it may have")


def _doubles_in(value: Any, path: str) -> Iterator[Oddness]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if item.__class__ is dict:
            if TWICE in item:
                yield Oddness(
                    "twice",
                    path,
                    f"{item[TWICE][0]:.40} stands twice in {path}, with different values: which holds cannot be told",
                )
            waiting.extend(item.values())
        elif item.__class__ is list:
            waiting.extend(item)


def _fits(value: Any, types: frozenset[str]) -> bool:
    for kind in types:
        wanted = _JSON.get(kind, str)
        if wanted is Any:
            if (
                value.__class__ is not str
                and value.__class__ is not bool
                and not isinstance(value, (list, dict))
                and value is not None
            ):
                return True
        elif isinstance(value, wanted) and (value.__class__ is not bool or wanted is bool):
            return True
        elif kind[:1].isupper():
            return True  # nothing is known of the type
    return False


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}.get(value.__class__, "a number")


def _unknown(name: str, known: dict[str, Any], value: dict[str, Any], path: str) -> Oddness:
    shown = f"{name!r:.60}"
    meant = [other for other in known if other not in value and _is_near(name, other)]
    if meant or not _NAME.fullmatch(name):
        hint = f"; is {meant[0]} meant?" if meant else ", which is not a name that an element can have"
        return Oddness("misspelt", path, f"{path} has no element {shown}{hint}")
    return Oddness("unknown", f"{path}.{name}", f"{path} has no element {shown}; what stands there is not read")


def _is_near(name: str, other: str) -> bool:
    """Whether one character makes the difference, or the case of letters alone."""
    if name.lower() == other.lower():
        return True
    if abs(len(name) - len(other)) > 1 or min(len(name), len(other)) < 3:
        return False
    start = 0
    while start < min(len(name), len(other)) and name[start] == other[start]:
        start += 1
    rest, others = name[start:], other[start:]
    return (
        rest[1:] == others[1:]
        or rest[1:] == others
        or rest == others[1:]
        or (rest[:2] == others[1::-1] and rest[2:] == others[2:])
    )
