"""Names to typed ELM: definitions, aliases, properties of values, types, codes (CQL: "Identifier Resolution", "Properties")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Source, Span
from fhir_eligibility.algebra.values.clinical import Code, Concept
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.bound_codes import BOUND_CODES
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import Exported, ExportedFunction, Local, Scope, Symbols
from fhir_eligibility.compiler.elm.types import (
    ANY,
    BOOLEAN,
    SYSTEM_TYPES,
    ChoiceType,
    IntervalType,
    ListType,
    Named,
    TupleType,
    Type,
    TypeSystem,
)
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.nodes import Expression
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.builder import Builder

_LOCALS: dict[str, type[n.Scoped]] = {kind.__name__: kind for kind in (n.AliasRef, n.QueryLetRef, n.OperandRef)}
_DEFINITIONS: dict[str, type[n.DefinitionRef]] = {
    kind.__name__: kind
    for kind in (n.ExpressionRef, n.ParameterRef, n.CodeRef, n.ConceptRef, n.ValueSetRef, n.CodeSystemRef)
}


class NameTranslator(Builder):
    """What names stand for. A library gives `define`, `local_functions` and its symbols."""

    def __init__(self, source: Source, types: TypeSystem, symbols: Symbols, included: dict[str, Symbols]) -> None:
        super().__init__(source, types)
        self.symbols = symbols
        self.included = included
        self.context: str | None = None
        self.in_function = False
        self.needs: str | None = None
        self.unavailable: set[str] = set()

    def expression(self, tree: Expression, scope: Scope) -> Node:
        raise NotImplementedError

    def expressions(self, trees: tuple[Expression, ...], scope: Scope) -> list[Node]:
        raise NotImplementedError

    def conversion_to(self, operand: Node, target: Type, span: Span) -> Node:
        raise NotImplementedError

    def converts_to(self, name: str, arguments: list[Node], tree: s.Call) -> Node:
        raise NotImplementedError

    def definition(self, name: str, span: Span) -> Exported | None:
        """A definition of this library by name, translated first if it has not been."""
        return self.symbols.definitions.get(name)

    def functions_named(self, name: str) -> list[ExportedFunction]:
        """The functions of this library by name."""
        return self.symbols.functions.get(name, [])

    # -- types

    @contextmanager
    def sized(self, span: Span) -> Iterator[None]:
        """Reports `type-size` where a type that is made inside is too large, and raises Abort."""
        try:
            yield
        except t.TypeTooLarge as error:
            raise self.fail("type-size", f"this is too large: {error}", span, t.SMALLER) from None

    def type_of(self, tree: Expression) -> Type:
        """The type that a type specifier names."""
        with self.sized(tree.span):
            return self._type_of(tree)

    def _type_of(self, tree: Expression) -> Type:
        if isinstance(tree, c.ListOf):
            return ListType(self.type_of(tree.element))
        if isinstance(tree, c.IntervalOf):
            return IntervalType(self.type_of(tree.point))
        if isinstance(tree, c.ChoiceOf):
            return t.choice(*(self.type_of(x) for x in tree.choices))
        if isinstance(tree, c.TupleOf):
            return TupleType(tuple((name, self.type_of(x)) for name, x in tree.elements))
        assert isinstance(tree, c.NamedType)
        return self.named_type(tree.names, tree.span)

    def named_type(self, names: tuple[str, ...], span: Span) -> Type:
        if len(names) == 1 and names[0].partition(".")[0] in ("System", *self.types.models):
            names = tuple(names[0].split(".", 1))  # qualified inside the quotes
        if len(names) > 1:
            namespace, name = names[0], ".".join(names[1:])
            if namespace == "System" and name in SYSTEM_TYPES:
                return SYSTEM_TYPES[name]
            model = self.types.models.get(namespace)
            if model is not None and model.has_type(name):
                return Named(f"{namespace}.{name}")
            if namespace == "FHIR" and model is not None and name in BOUND_CODES:
                return Named("FHIR.code")
        name = ".".join(names)
        for namespace, model in self.types.models.items():
            if model.has_type(name):
                return Named(f"{namespace}.{name}")
        if name in SYSTEM_TYPES:
            return SYSTEM_TYPES[name]
        for namespace, model in self.types.models.items():
            labelled = model.labelled(name)
            if labelled is not None:
                return Named(f"{namespace}.{labelled}")
        if "FHIR" in self.types.models and name in BOUND_CODES:
            return Named("FHIR.code")
        if not self.types.models and len(names) == 1 and name[0].isupper():
            hint: str | None = self.nearest(name, SYSTEM_TYPES) or "name its model first: using FHIR version '4.0.1'"
        else:
            known = [*SYSTEM_TYPES, *(n for m in self.types.models.values() for n in m.type_names())]
            hint = self.nearest(name, known)
        raise self.fail("unknown-type", f"there is no type {name!r}", span, hint)

    def is_bound_code(self, tree: Expression) -> bool:
        """Whether a type specifier names codes bound to one value set, which are a FHIR.code here."""
        return (
            isinstance(tree, c.NamedType)
            and tree.names[-1] in BOUND_CODES
            and tree.names[0] in ("FHIR", tree.names[-1])
        )

    # -- names

    def member(self, tree: s.Member, scope: Scope) -> Node:
        if tree.source is None:
            return self.name(tree.name, tree.span, scope)
        library = self.library_named(tree.source, scope)
        if library is not None:
            return self.library_member(library, tree)
        source = self.expression(tree.source, scope)
        return self.property(source, tree.name, tree.name_span, tree.span)

    def library_named(self, tree: Expression, scope: Scope) -> str | None:
        """The alias of an included library, where an expression is just that."""
        if isinstance(tree, s.Member) and tree.source is None and tree.name in self.included:
            if scope.find(tree.name) is None:
                return tree.name
        return None

    def local(self, local: Local, span: Span) -> Node:
        return _LOCALS[local.kind](name=local.name, scope=local.scope, span=span, result=local.type)

    def name(self, name: str, span: Span, scope: Scope) -> Node:
        """A bare name."""
        local = scope.find(name)
        if local is not None:
            return self.local(local, span)
        if scope.implicit is not None:
            source = self.local(scope.implicit, span)
            if self.has_property(source.result, name):
                return self.property(source, name, span, span)
        found = self.definition(name, span)
        if found is not None:
            return self.reference(found, None, span)
        if name in self.unavailable:
            raise Abort  # why it is not there has been told
        if name in self.included:
            message = f'{name} is a library; name what it defines: {name}."..."'
            raise self.fail("unknown-name", message, span)
        known = [x.name for x in scope.locals] + list(self.known_names())
        hint = self.nearest(name, known)
        if hint is None and self.functions_named(name):
            hint = f"{name} is a function: write {name}(...)"
        written = _CODE_TEXT.fullmatch(name)
        if hint is None and written is not None:
            hint = code_hint(written.group(1), written.group(2))
        raise self.fail("unknown-name", f"there is nothing called {name!r} here", span, hint)

    def known_names(self) -> list[str]:
        return list(self.symbols.definitions)

    def reference(self, found: Exported, library: str | None, span: Span) -> Node:
        if found.kind == "ExpressionRef":
            self.require(found.context, found.name, span)
        return _DEFINITIONS[found.kind](name=found.name, library=library, exported=found, span=span, result=found.type)

    def require(self, context: str | None, name: str, span: Span) -> None:
        """See that what is translated is about one of `context`, as `name` is. A function takes the context of its caller.

        Reports `context`.
        """
        if context is None:
            return
        if self.in_function and self.context is None:
            self.context = context
        if context != self.context:
            message = f"{name!r} is about one {context}, but this is not"
            raise self.fail("context", message, span, f"move this define below 'context {context}'")
        self.needs = context

    def library_member(self, library: str, tree: s.Member) -> Node:
        symbols = self.included[library]
        found = symbols.definitions.get(tree.name)
        if found is None:
            hint = self.nearest(tree.name, symbols.definitions)
            message = f"the library {symbols.name} ({library}) defines nothing called {tree.name!r}"
            raise self.fail("unknown-name", message, tree.name_span, hint)
        if found.private:
            raise self.fail("private", f"{tree.name!r} is private to {symbols.name}", tree.name_span)
        return self.reference(found, library, tree.span)

    def special(self, tree: s.Special, scope: Scope) -> Node:
        local = {"this": scope.this, "index": scope.index, "total": scope.total}[tree.name]
        if local is None:
            raise self.fail("unknown-name", f"${tree.name} has no meaning here", tree.span)
        return self.local(local, tree.span)

    def variable(self, tree: s.Variable, scope: Scope) -> Node:
        found = self.definition(tree.name, tree.span)
        if found is not None and found.kind == "ParameterRef":
            return self.reference(found, None, tree.span)
        raise self.fail("unknown-name", f"there is no parameter {tree.name!r}", tree.span, "declare it: parameter ...")

    # -- properties

    def element_type(self, kind: Named, name: str) -> Type | None:
        """The type of an element of a class type, None where it has none of that name."""
        own = t.ELEMENTS.get(kind.name)
        if own is not None:
            return own.get(name)
        namespace, _, short = kind.name.partition(".")
        model = self.types.models.get(namespace)
        definition = model.element(short, name) if model is not None else None
        return None if definition is None else definition.type

    def has_property(self, kind: Type, name: str) -> bool:
        if isinstance(kind, TupleType):
            return kind.element(name) is not None
        if isinstance(kind, ChoiceType):
            return any(self.has_property(o, name) for o in kind.options)
        if isinstance(kind, Named):
            return self.element_type(kind, name) is not None or (name == "value" and self.is_primitive(kind))
        return isinstance(kind, IntervalType) and name in ("low", "high", "lowClosed", "highClosed")

    def is_primitive(self, kind: Named) -> bool:
        namespace, _, short = kind.name.partition(".")
        model = self.types.models.get(namespace)
        return model is not None and model.is_primitive(short)

    def property(self, source: Node, name: str, name_span: Span, span: Span) -> Node:
        """`source.name`."""
        kind = source.result
        if isinstance(source, n.Null) or kind == ANY:
            return n.ElementOf((source,), path=name, owner="any", span=span, result=ANY)
        if isinstance(kind, ListType):
            return self.traversal(source, name, name_span, span)
        if isinstance(kind, TupleType):
            found = kind.element(name)
            if found is None:
                raise self.unknown_element(kind, name, name_span, [n for n, _ in kind.elements])
            return n.ElementOf((source,), path=name, owner="tuple", span=span, result=found)
        if isinstance(kind, IntervalType):
            if name not in ("low", "high", "lowClosed", "highClosed"):
                raise self.unknown_element(kind, name, name_span, ["low", "high", "lowClosed", "highClosed"])
            result = BOOLEAN if name.endswith("Closed") else kind.point
            return n.ElementOf((source,), path=name, owner="interval", span=span, result=result)
        if isinstance(kind, ChoiceType):
            return self.choice_property(source, kind, name, name_span, span)
        assert isinstance(kind, Named)
        if name == "value" and self.is_primitive(kind):
            unwrapped = self.types.unwrapped(kind)
            assert unwrapped is not None
            return n.ModelConversion(
                (source,), source=kind, target=unwrapped, path="value", span=span, result=unwrapped
            )
        found = self.element_type(kind, name)
        if found is None:
            raise self.unknown_element(kind, name, name_span, self.element_names(kind))
        if kind.name in t.ELEMENTS:
            return n.ElementOf((source,), path=name, owner="system", span=span, result=found)
        return self.model_property(source, kind, name, found, span)

    def model_property(self, source: Node, kind: Named, name: str, found: Type, span: Span) -> Node:
        namespace, _, short = kind.name.partition(".")
        element = self.types.models[namespace].element(short, name)
        return n.ModelProperty((source,), path=name, element=element, span=span, result=found)

    def element_names(self, kind: Named) -> list[str]:
        namespace, _, short = kind.name.partition(".")
        model = self.types.models.get(namespace)
        return list(t.ELEMENTS.get(kind.name, {})) if model is None else model.element_names(short)

    def unknown_element(self, kind: Type, name: str, span: Span, known: list[str]) -> Exception:
        hint = self.nearest(name, known)
        return self.fail("unknown-element", f"{kind} has no element {name!r}", span, hint)

    def choice_property(self, source: Node, kind: ChoiceType, name: str, name_span: Span, span: Span) -> Node:
        """An element of a value of one of several types: of those that have it."""
        having = [o for o in kind.options if self.has_property(o, name)]
        if not having:
            raise self.unknown_element(kind, name, name_span, [])
        if len(having) == 1:
            cast = self.as_type(source, having[0], source.span)
            return self.property(cast, name, name_span, span)
        scope = self.new_id()
        options = []
        for option in having:
            current: Node = n.Chosen(scope=scope, span=span, result=option)
            if isinstance(option, Named) and self.raw(option):
                current = n.Unbox((current,), span=span, result=option)
            options.append((option, self.property(current, name, name_span, span)))
        result = self.types.common([value.result for _, value in options])
        options = [(option, self.to(value, result)) for option, value in options]
        return n.Members((source,), scope=scope, options=tuple(options), path=name, span=span, result=result)

    def traversal(self, source: Node, name: str, name_span: Span, span: Span) -> Node:
        """`list.name`: that element of every item, lists among them flattened, nulls left out."""
        scope = self.new_id()
        alias = n.AliasRef(name="$this", scope=scope, span=span, result=source.result.element)
        value = self.property(alias, name, name_span, span)
        present = n.Not((self.op("IsNull", [value], span),), span=span, result=BOOLEAN)
        rows = n.QuerySource(alias="$this", scope=scope, node=source)
        query = n.Query(sources=(rows,), where=present, returned=value, span=span, result=ListType(value.result))
        if isinstance(value.result, ListType):
            return self.op("Flatten", [query], span)
        return query

    # -- codes

    def code_system(self, names: tuple[str, ...], span: Span) -> Any:
        """The value of a code system by its name, perhaps in an included library."""
        found = self.terminology(names, span, "CodeSystemRef", "code system")
        return found.value

    def terminology(self, names: tuple[str, ...], span: Span, kind: str, what: str) -> Exported:
        symbols = self.symbols
        if len(names) > 1:
            if names[0] not in self.included:
                raise self.fail(
                    "unknown-name",
                    f"no library is included as {names[0]!r}",
                    span,
                    self.nearest(names[0], self.included),
                )
            symbols = self.included[names[0]]
        found = symbols.definitions.get(names[-1])
        if found is None or found.kind != kind:
            known = [x.name for x in symbols.definitions.values() if x.kind == kind]
            hint = self.nearest(names[-1], known)
            if hint is None and kind == "CodeSystemRef":
                url = names[-1] if "/" in names[-1] or names[-1].startswith("urn:") else "http://..."
                hint = (
                    f"a code system has a name, which its library declares: codesystem \"LOINC\": '{url}'; without a library, "
                    f"write the whole code: Code {{ code: '...', system: '{url}' }}"
                )
            raise self.fail("unknown-name", f"there is no {what} called {names[-1]!r}", span, hint)
        return found

    def code_selector(self, tree: c.CodeSelector, scope: Scope) -> Node:
        return self.literal(self.code_value(tree), t.CODE, tree.span)

    def code_value(self, tree: c.CodeSelector) -> Code:
        try:
            system = self.code_system(tree.system, tree.system_span)
        except Abort:  # it is reported; what else is wrong shall be, too
            return Code(tree.code, None)
        return Code(tree.code, system.id, system.version, tree.display)

    def concept_selector(self, tree: c.ConceptSelector, scope: Scope) -> Node:
        codes = tuple(self.code_value(x) for x in tree.codes)
        return self.literal(Concept(codes, tree.display), t.CONCEPT, tree.span)


_CODE_TEXT = re.compile(r"([A-Za-z0-9][\w.\-]*)\s*\|\s*(.+)")
_SYSTEM_URLS = {
    "LOINC": "http://loinc.org",
    "SNOMED": "http://snomed.info/sct",
    "SNOMEDCT": "http://snomed.info/sct",
    "SNOMED CT": "http://snomed.info/sct",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
}


def code_hint(code: str, system: str) -> str:
    """What to write in place of a code in double quotes, which stand for the name of a definition."""
    url = _SYSTEM_URLS.get(system.upper(), system if "/" in system else "http://...")
    name = system if "/" not in system else "system"
    return (
        f"double quotes enclose a name. Declare the code in a library: codesystem \"{name}\": '{url}'   "
        f'code "the code": \'{code}\' from "{name}"   and write [Observation: "the code"]; without a library, write '
        f"[Observation: Code {{ code: '{code}', system: '{url}' }}]"
    )


def with_span(node: Node, span: Span) -> Node:
    """The same node at another place in the text."""
    return replace(node, span=span)
