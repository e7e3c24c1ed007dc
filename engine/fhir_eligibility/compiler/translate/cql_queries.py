"""Queries and retrieves to typed ELM (CQL: "Queries", "Retrieve"; CQL reference, appendix L)."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.models import Retrievable
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import HELPERS, Local, Scope
from fhir_eligibility.compiler.elm.types import ChoiceType, ListType, ModelTypes, Named, TupleType, Type
from fhir_eligibility.compiler.runtime.related import PERSONS
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax.nodes import Expression
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.cql_names import NameTranslator

MEDICATION_USES = ("MedicationRequest", "MedicationAdministration", "MedicationDispense", "MedicationStatement")
# How often the type of an aggregate's total may widen; past that the step does not fit it, and is told so.
_WIDENINGS = 4
_CORE = "http://hl7.org/fhir/StructureDefinition/"


class QueryTranslator(NameTranslator):
    """Queries, retrieves, and what they share with list methods."""

    def query(self, tree: c.QueryExpression, scope: Scope) -> Node:
        sources, aliases = self.query_sources(tree, scope)
        many = any(isinstance(source.node.result, ListType) for source in sources)
        inner = scope.plus(*aliases)
        failed: Abort | None = None
        lets: list[n.QuerySource] = []
        for tree_let in tree.lets:
            try:
                value = self.expression(tree_let.value, inner)
            except Abort as abort:
                failed = abort
                continue
            number = self.new_id()
            lets.append(n.QuerySource(alias=tree_let.name, scope=number, node=value))
            inner = inner.plus(Local(tree_let.name, "QueryLetRef", value.result, number))
        if failed is not None:
            raise failed
        relations = tuple(self.query_relation(relation, inner) for relation in tree.relations)
        where = None
        if tree.where is not None:
            where = self.condition(self.expression(tree.where, inner), "the condition of where")
        element: Type = aliases[0].type if len(aliases) == 1 else TupleType(tuple((a.name, a.type) for a in aliases))
        if tree.aggregate is not None:
            aggregate = self.query_aggregate(tree.aggregate, inner, scope)
            return n.Query(
                sources=tuple(sources),
                lets=tuple(lets),
                relations=relations,
                where=where,
                aggregate=aggregate,
                over_lists=many,
                span=tree.span,
                result=aggregate.target,
            )
        ret, distinct = None, len(aliases) > 1
        if tree.returned is not None:
            ret = self.expression(tree.returned.value, inner)
            distinct = tree.returned.distinct is not False
            element = ret.result
        elif len(aliases) > 1:
            ret = n.NewTuple(
                tuple(self.local(a, tree.span) for a in aliases),
                names=tuple(a.name for a in aliases),
                span=tree.span,
                result=element,
            )
        sort = self.query_sort(tree, element, scope) if tree.sort else None
        return n.Query(
            sources=tuple(sources),
            lets=tuple(lets),
            relations=relations,
            where=where,
            returned=ret,
            distinct=distinct and many,
            sort=sort if many else None,
            over_lists=many,
            span=tree.span,
            result=ListType(element) if many else element,
        )

    def query_sources(self, tree: c.QueryExpression, scope: Scope) -> tuple[list[n.QuerySource], list[Local]]:
        sources: list[n.QuerySource] = []
        aliases: list[Local] = []
        failed: Abort | None = None
        for aliased in tree.sources:
            if any(a.name == aliased.alias for a in aliases):
                raise self.fail("duplicate", f"the alias {aliased.alias!r} is given twice", aliased.alias_span)
            try:
                node = self.expression(aliased.source, scope)
            except Abort as abort:
                failed = abort
                continue
            number = self.new_id()
            sources.append(n.QuerySource(alias=aliased.alias, scope=number, node=node))
            kind = node.result.element if isinstance(node.result, ListType) else node.result
            aliases.append(Local(aliased.alias, "AliasRef", kind, number))
        if failed is not None:
            raise failed
        return sources, aliases

    def query_relation(self, tree: c.RelationClause, scope: Scope) -> n.Relation:
        node = self.expression(tree.source.source, scope)
        number = self.new_id()
        kind = node.result.element if isinstance(node.result, ListType) else node.result
        inner = scope.plus(Local(tree.source.alias, "AliasRef", kind, number))
        condition = self.condition(self.expression(tree.condition, inner), "the condition of such that")
        return n.Relation(
            kind="without" if tree.kind == "without" else "with",
            alias=tree.source.alias,
            scope=number,
            node=node,
            condition=condition,
        )

    def query_aggregate(self, tree: c.Aggregated, scope: Scope, outer: Scope) -> n.Aggregation:
        """The total starts before there is a row: in `starting` no alias has a value."""
        starting = self.expression(tree.starting, outer) if tree.starting is not None else self.null(tree.span)
        number = self.new_id()
        kind = starting.result
        mark = len(self.diagnostics)
        value = self.expression(tree.value, scope.plus(Local(tree.name, "QueryLetRef", kind, number)))
        for _ in range(_WIDENINGS):
            common = self.types.common([kind, value.result])
            if common == kind:
                break
            # the total is of a wider type than it starts with: read the expression again with that type
            del self.diagnostics[mark:]
            kind = common
            value = self.expression(tree.value, scope.plus(Local(tree.name, "QueryLetRef", kind, number)))
        return n.Aggregation(
            alias=tree.name,
            scope=number,
            starting=self.to(starting, kind),
            value=self.to(value, kind),
            distinct=tree.distinct,
            target=kind,
        )

    def query_sort(self, tree: c.QueryExpression, element: Type, scope: Scope) -> tuple[n.SortItem, ...]:
        items: list[n.SortItem] = []
        for item in tree.sort:
            descending = item.direction.startswith("desc")
            if item.key is None:
                self.check_sortable(element, item.span)
                items.append(n.SortItem(key=None, descending=descending))
                continue
            number = self.new_id()
            this = Local("$this", "AliasRef", element, number)
            key = self.expression(item.key, scope.plus(this=this, implicit=this))
            unwrapped = self.types.unwrapped(key.result)
            if unwrapped is not None:
                key = self.to(key, unwrapped)
            self.check_sortable(key.result, item.span)
            items.append(n.SortItem(key=key, descending=descending, scope=number))
        return tuple(items)

    def check_sortable(self, kind: Type, span: Any) -> None:
        kind = self.types.unwrapped(kind) or kind
        if isinstance(kind, (ListType, TupleType, t.IntervalType)) or kind in (t.CODE, t.CONCEPT, t.RATIO):
            raise self.fail("not-sortable", f"values of {kind} have no order", span, "sort by an element: sort by ...")
        for option in kind.options if isinstance(kind, ChoiceType) else ():
            if isinstance(self.types.unwrapped(option), t.IntervalType):
                message = f"the values may be {option}, which has no order: this fails where one is"
                self.report(
                    "not-sortable", message, span, "sort by the start of an interval, or by one type", warning=True
                )

    # -- retrieves

    def retrieve(self, tree: c.RetrieveExpression, scope: Scope) -> Node:
        """`[Type: path in codes]` (CQL: "Retrieve")."""
        kind = self.type_of(tree.type)
        if not isinstance(kind, Named) or kind.name.startswith("System."):
            raise self.fail("retrieve", f"{kind} cannot be retrieved: expected a type of a data model", tree.type.span)
        if tree.context is not None:
            context = self.retrieve_context(tree.context, scope)
            node = self.retrieve(structs.replace(tree, context=None), scope)
            return replace(node, operands=(*node.operands, context), related=True)
        self.needs = self.context
        namespace, _, name = kind.name.partition(".")
        model = self.types.models[namespace]
        found: Retrievable | None = model.retrievable(name)
        if found is None:
            raise self.fail("retrieve", f"{kind} is no resource type, so there are none to retrieve", tree.type.span)
        if tree.template is not None and tree.template != f"{_CORE}{found.resource_type}":
            found = replace(found, profile=tree.template)
        if tree.terminology is None:
            spec = RetrieveSpec(found.resource_type, found.profile)
            return n.ModelRetrieve(target=kind, spec=spec, span=tree.span, result=ListType(kind))
        path = ".".join(tree.path) if tree.path else found.code_path
        if path is None:
            hint = "name the element that holds the code: [Type: element in ...]"
            raise self.fail("retrieve", f"{kind} has no element that is its code", tree.type.span, hint)
        spec = self.coded_spec(kind, found, path, tree.path_span or tree.type.span)
        if tree.comparator is None and any(symbols.name == HELPERS for symbols in self.included.values()):
            spec = self.with_medication(spec, model)
        try:
            codes = self.retrieve_codes(tree, scope)
        except Abort:  # it is reported; what else is wrong shall be, too
            codes = self.null(tree.span, t.CODE)
        comparator = tree.comparator or "in"
        return n.ModelRetrieve(
            (codes,), target=kind, spec=spec, comparator=comparator, span=tree.span, result=ListType(kind)
        )

    def retrieve_context(self, tree: Expression, scope: Scope) -> Node:
        """Whose data is retrieved: a patient or a reference to one (CQL: "Related Context Retrieves"). Reports `related-context`."""
        context = self.expression(tree, scope)
        kind = self.types.unwrapped(context.result) or context.result
        if isinstance(kind, ListType):
            hint = "write singleton from (...), or First(...)"
            raise self.fail("related-context", f"before -> stands one patient, not a list ({kind})", tree.span, hint)
        if not any(self.is_person(option) for option in (kind.options if isinstance(kind, ChoiceType) else [kind])):
            hint = "name a Patient, a RelatedPerson, a Reference to one, or a patient's id"
            raise self.fail("related-context", f"{kind} identifies no patient", tree.span, hint)
        return context

    def is_person(self, kind: Type) -> bool:
        """Whether values of a type can say whose data is meant."""
        if kind in (t.ANY, t.STRING):
            return True
        if not isinstance(kind, Named):
            return False
        namespace, _, name = kind.name.partition(".")
        model = self.types.models.get(namespace)
        return model is not None and (model.fhir_type(name) or name) in (*PERSONS, "Reference")

    def coded_spec(self, kind: Named, found: Retrievable, path: str, span: Span) -> RetrieveSpec:
        """The ways in JSON to the element that holds the codes. Reports `unknown-element`."""
        model = self.types.models[kind.name.partition(".")[0]]
        paths: list[tuple[str, ...]] = [()]
        negated: tuple[Any, ...] = ()
        types = [found.resource_type]
        name = kind.name.partition(".")[2]
        for index, step in enumerate(path.split(".")):
            definitions = [d for d in (model.fhir.element(x, step) for x in types) if d is not None]
            if not definitions:
                raise self.unknown_element(kind, step, span, model.element_names(name))
            names = [key for d in definitions for key, _ in (d.json_names or ((step, ""),))]
            paths = [(*p, key) for p in paths for key in names]
            types = [x for d in definitions for x in d.types]
            if index == 0:
                own = model.element(name, step)
                for _, target in own.targets if own is not None else ():
                    if target.function == "ToValueSet":
                        negated = target.steps
        return RetrieveSpec(found.resource_type, found.profile, path, tuple(paths), negated)

    def with_medication(self, spec: RetrieveSpec, model: ModelTypes) -> RetrieveSpec:
        """A retrieve by code that also takes what refers to a Medication with such a code.

        Where medication[x] may be a reference, `[MedicationRequest: codes]` of a library that includes FHIRHelpers stands for both, as the reference
        translator has it. A comparator (`medication in codes`) means the codes alone.
        """
        if spec.resource_type not in MEDICATION_USES or spec.code_path != "medication":
            return spec
        element = model.fhir.element(spec.resource_type, "medication")
        for name, kind in element.json_names if element is not None else ():
            if kind == "Reference":
                return replace(spec, referenced=(name,), target="Medication")
            if kind == "CodeableReference":
                return replace(spec, referenced=(name, "reference"), target="Medication")
        return spec

    def retrieve_codes(self, tree: c.RetrieveExpression, scope: Scope) -> Node:
        """The terminology of a retrieve: a value set, codes, or one code or concept."""
        assert tree.terminology is not None
        codes = self.expression(tree.terminology, scope)
        kind = self.types.unwrapped(codes.result) or codes.result
        if kind in (t.VALUESET, t.CODE, t.CONCEPT):
            return self.to(codes, kind)
        if isinstance(kind, ListType):
            element = self.types.unwrapped(kind.element) or kind.element
            if element in (t.CODE, t.CONCEPT):
                return self.to(codes, ListType(element))
        if kind == t.STRING:
            hint = "name a value set (valueset \"...\": 'url') or a code"
            raise self.fail("terminology", "a retrieve filters by codes, not by a text", tree.terminology.span, hint)
        raise self.fail("terminology", f"a retrieve cannot filter by {codes.result}", tree.terminology.span)
