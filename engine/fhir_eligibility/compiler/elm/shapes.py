"""FHIRPath's collections as types: a collection is a list, items of several possible types are a choice, and nothing is a choice of none.

`*` stands for any type in the names that FHIRPath's rules work with; other names are qualified (`System.Integer`, `FHIR.code`).
"""

from __future__ import annotations

from functools import lru_cache

from fhir_eligibility.compiler.elm.types import ANY, ChoiceType, ListType, Named, Type

ANY_NAME = "*"
NOTHING = ChoiceType(())
"""The type of an empty collection that is written as such: it has no items, of whatever type."""


@lru_cache(maxsize=4096)
def shaped(names: tuple[str, ...], many: bool = False) -> Type:
    """The type of a collection of items of some types (`many`), or of a single value of one of them."""
    kinds: tuple[Type, ...] = tuple(ANY if name == ANY_NAME else Named(name) for name in names)
    item = ANY if ANY in kinds else kinds[0] if len(kinds) == 1 else ChoiceType(kinds)
    return ListType(item) if many else item


@lru_cache(maxsize=4096)
def names_of(kind: Type) -> tuple[str, ...]:
    """The names of the types that a value, or the items of a list, may have; none for nothing."""
    item = kind.element if isinstance(kind, ListType) else kind
    if isinstance(item, ChoiceType):
        return tuple(_name(option) for option in item.options)
    return (_name(item),)


def _name(kind: Type) -> str:
    if kind == ANY:
        return ANY_NAME
    return kind.name if isinstance(kind, Named) else str(kind)


def short_name(kind: Type) -> str:
    """The name of a type without its model: `code` of `FHIR.code`."""
    return kind.name.partition(".")[2] if isinstance(kind, Named) else str(kind)


def namespace_of(kind: Named) -> str:
    """The model of a type: `FHIR` of `FHIR.code`."""
    return kind.name.partition(".")[0]
