"""Calls to typed ELM: the functions of the language, of libraries, fluent ones, and FHIRPath's (CQL reference; appendix I)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.numbers_in_words import so_many_arguments
from fhir_eligibility.algebra.operators.registry import cql_functions
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.helpers import EXTERNAL, FUNCTIONS
from fhir_eligibility.compiler.elm.helpers import NAMES as HELPER_NAMES
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import HELPERS, ExportedFunction, Scope
from fhir_eligibility.compiler.elm.types import (
    ANY,
    BOOLEAN,
    DATE,
    DATETIME,
    DECIMAL,
    INTEGER,
    STRING,
    TIME,
    ListType,
    Named,
    Type,
)
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.translate.cql_methods import METHODS
from fhir_eligibility.compiler.translate.cql_timing import TimingTranslator

_CONVERSIONS = (
    "Boolean", "Concept", "Date", "DateTime", "Decimal", "Integer", "Long", "Quantity", "Ratio", "String", "Time",
)  # fmt: skip
_AGES = {
    f"{prefix}In{plural}{suffix}": (prefix, plural.lower().removesuffix("s"), bool(suffix))
    for prefix in ("Age", "CalculateAge")
    for plural in ("Years", "Months", "Weeks", "Days", "Hours", "Minutes", "Seconds")
    for suffix in ("", "At")
}
_HELPERS = {
    "ToBoolean": t.BOOLEAN, "ToInteger": t.INTEGER, "ToDecimal": t.DECIMAL, "ToString": t.STRING, "ToDate": t.DATE,
    "ToDateTime": t.DATETIME, "ToTime": t.TIME, "ToQuantity": t.QUANTITY, "ToRatio": t.RATIO, "ToCode": t.CODE,
    "ToConcept": t.CONCEPT,
}  # fmt: skip

_MADE: dict[Named, type[Node]] = {DATETIME: n.NewDateTime, DATE: n.NewDate, TIME: n.NewTime}
_CLOCKS: dict[str, type[Node]] = {kind.__name__: kind for kind in (n.Now, n.Today, n.TimeOfDay)}


class CallTranslator(TimingTranslator):
    """Function calls."""

    def call(self, tree: s.Call, scope: Scope) -> Node:
        if tree.source is None:
            return self.function_call(tree, scope)
        library = self.library_named(tree.source, scope)
        if library is not None:
            return self.library_call(library, tree, scope)
        return self.method_call(tree, scope)

    # -- functions by name

    def function_call(self, tree: s.Call, scope: Scope) -> Node:
        name = tree.name
        own = self.functions_named(name)
        arguments = self.expressions(tree.arguments, scope)
        if own:
            found = self.choose(own, arguments)
            if found is not None:
                return self.invoke(found, None, arguments, tree.span)
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, tree, arguments)
        if name in _AGES:
            return self.age(name, arguments, tree)
        if name.startswith("ConvertsTo") and name[10:] in _CONVERSIONS:
            return self.converts_to(name[10:], arguments, tree)
        operator = cql_functions().get(name)
        if operator is not None:
            return self.op(operator.name, arguments, tree.span, shown=name)
        if own:
            raise self.no_function(name, own, arguments, tree.span)
        known = [*self.symbols.functions, *cql_functions(), *_SPECIAL, *_AGES, *self.function_names()]
        hint = self.nearest(name, known)
        if hint is None and name in METHODS:
            hint = f"{name} is written behind its input: x.{name}(...)"
        raise self.fail("unknown-function", f"there is no function {name!r}", tree.name_span, hint)

    def function_names(self) -> list[str]:
        return []

    def choose(self, functions: list[ExportedFunction], arguments: list[Node]) -> ExportedFunction | None:
        """The cheapest overload of a library's function."""
        found = self.cheapest(functions, arguments)
        if len(found) > 1:
            one, other = (f"({', '.join(map(str, f.operands))})" for f in found[:2])
            message = f"{found[0].name} is meant by several functions: {one} and {other} fit equally well"
            raise self.fail("ambiguous", message, arguments[0].span, "say which type is meant: x as Type")
        return found[0] if found else None

    def cheapest(self, functions: Iterable[ExportedFunction], arguments: list[Node]) -> list[ExportedFunction]:
        """The functions that take some arguments with the least conversion: several where they fit equally well."""
        best: int | None = None
        found: list[ExportedFunction] = []
        for function in functions:
            if len(function.operands) != len(arguments):
                continue
            steps = [self.types.conversion(a.result, o) for a, o in zip(arguments, function.operands, strict=True)]
            if any(step is None for step in steps):
                continue
            cost = sum(step.cost for step in steps if step is not None)
            if best is None or cost < best:
                best, found = cost, [function]
            elif cost == best:
                found.append(function)
        return found

    def choose_among(
        self, places: Sequence[tuple[str | None, list[ExportedFunction]]], arguments: list[Node], tree: s.Call
    ) -> tuple[str | None, ExportedFunction] | None:
        """The best overload of a fluent function, wherever it is defined, with the alias of its library.

        Of those that fit equally well that of this library is meant; reports `ambiguous` where they are of several included ones.
        """
        homes: dict[int, str | None] = {}
        functions: dict[tuple[str, str], ExportedFunction] = {}
        for alias, defined in places:
            for function in defined:  # a library that is included under two names has each of its functions once
                homes.setdefault(id(functions.setdefault((function.owner, function.python), function)), alias)
        found = self.cheapest(functions.values(), arguments)
        found = [function for function in found if homes[id(function)] is None] or found
        if len(found) > 1 and len({homes[id(function)] for function in found}) > 1:
            where = [str(homes[id(function)]) for function in found]
            message = f"{tree.name} is meant by several functions that fit equally well, of {' and '.join(where)}"
            raise self.fail("ambiguous", message, tree.name_span, f"name the library: {where[0]}.{tree.name}(x)")
        chosen = self.choose(found, arguments)
        return None if chosen is None else (homes[id(chosen)], chosen)

    def invoke(
        self,
        function: ExportedFunction,
        library: str | None,
        arguments: list[Node],
        span: Span,
        *,
        fluent: bool = False,
    ) -> Node:
        if function.external:
            message = f"the function {function.name!r} is external: its body is not part of the library"
            raise self.fail("external-function", message, span, "this engine has no way to supply it")
        operands = tuple(self.to(a, o) for a, o in zip(arguments, function.operands, strict=True))
        result = function.result if library is not None else self.function_result(function, span)
        self.require(function.needs, function.name, span)
        return n.FunctionRef(
            operands, name=function.name, library=library, exported=function, fluent=fluent, span=span, result=result
        )

    def function_result(self, function: ExportedFunction, span: Span) -> Type:
        """The result type of a function of this library."""
        raise NotImplementedError

    def no_function(self, name: str, functions: list[ExportedFunction], arguments: list[Node], span: Span) -> Exception:
        given = ", ".join(str(a.result) for a in arguments)
        takes = "; ".join(f"({', '.join(map(str, f.operands))})" for f in functions)
        return self.fail("no-overload", f"{name} cannot take ({given})", span, f"it takes {takes}")

    def library_call(self, library: str, tree: s.Call, scope: Scope) -> Node:
        symbols = self.included[library]
        arguments = self.expressions(tree.arguments, scope)
        functions = symbols.functions.get(tree.name, [])
        if symbols.name == HELPERS and len(arguments) == 1:
            helped = self.helper(tree.name, arguments[0], tree.span)
            if helped is not None:
                return helped
        if symbols.name == HELPERS and tree.name in EXTERNAL and not functions:
            hint: str | None = (
                "what it does is left to the system that runs the library, and this engine has no way to supply it"
            )
            raise self.fail("external-function", f"FHIRHelpers.{tree.name} has no body", tree.name_span, hint)
        if symbols.name == HELPERS and tree.name in HELPER_NAMES and not functions:
            given = ", ".join(str(a.result) for a in arguments)
            raise self.fail("no-overload", f"FHIRHelpers.{tree.name} cannot take ({given})", tree.span)
        if not functions:
            hint = self.nearest(tree.name, HELPER_NAMES if symbols.name == HELPERS else symbols.functions)
            message = f"the library {symbols.name} has no function {tree.name!r}"
            raise self.fail("unknown-function", message, tree.name_span, hint)
        found = self.choose(functions, arguments)
        if found is None:
            raise self.no_function(f"{library}.{tree.name}", functions, arguments, tree.span)
        if found.private:
            raise self.fail("private", f"{tree.name!r} is private to {symbols.name}", tree.name_span)
        return self.invoke(found, library, arguments, tree.span)

    def helper(self, name: str, argument: Node, span: Span) -> Node | None:
        """FHIRHelpers' conversions, which this engine knows by itself."""
        if name == "ToValue":
            return self.to_value(argument, span)
        if name == "ToInterval" and isinstance(argument.result, t.ChoiceType):

            def build(operands: Sequence[Node]) -> Node:
                found = self.helper(name, operands[0], span)
                if found is None:
                    raise self.fail("no-overload", f"{name} cannot take ({operands[0].result})", span)
                return found

            return self.by_alternative((argument,), 0, build, span)
        unwrapped = self.types.unwrapped(argument.result) if name == "ToInterval" else _HELPERS.get(name)
        target = unwrapped if name != "ToInterval" or isinstance(unwrapped, t.IntervalType) else None
        if target is not None and self.types.conversion(argument.result, target) is not None:
            return self.to(argument, target)
        for helper in FUNCTIONS:
            step = self.types.conversion(argument.result, helper.operand) if helper.name == name else None
            if step is not None:
                operand = self.convert(argument, step)
                return n.FhirHelper((operand,), helper=helper, span=span, result=helper.result)
        return None

    def to_value(self, argument: Node, span: Span) -> Node:
        """The System value that a FHIR value stands for, whichever of its types it has; one that stands for none as it is."""
        kind = argument.result
        if not isinstance(kind, t.ChoiceType):
            unwrapped = self.types.unwrapped(kind)
            return argument if unwrapped is None else self.to(argument, unwrapped)
        result = t.choice(*(self.types.unwrapped(option) or option for option in kind.options))
        scope = self.new_id()
        options: list[tuple[Type, Node]] = []
        for option in kind.options:
            current: Node = n.Chosen(scope=scope, span=span, result=option)
            unwrapped = self.types.unwrapped(option)
            if unwrapped is None:
                options.append((option, replace(current, result=result)))
                continue
            if isinstance(option, Named) and self.raw(option):
                current = n.Unbox((current,), span=span, result=option)
            options.append((option, self.to(self.to(current, unwrapped), result)))
        return n.Members((argument,), scope=scope, options=tuple(options), span=span, result=result)

    # -- methods

    def method_call(self, tree: s.Call, scope: Scope) -> Node:
        assert tree.source is not None
        source = self.expression(tree.source, scope)
        fluent = self.fluent(tree, source, scope)
        if fluent is not None:
            return fluent
        method = METHODS.get(tree.name)
        if method is None:
            hint = self.nearest(tree.name, [*METHODS, *self.fluent_names()])
            message = f"there is no fluent function {tree.name!r}"
            raise self.fail("unknown-function", message, tree.name_span, hint)
        return method(self, source, tree, scope)

    def fluent_names(self) -> list[str]:
        own = [f for functions in self.symbols.functions.values() for f in functions]
        included = [f for symbols in self.included.values() for fs in symbols.functions.values() for f in fs]
        return [f.name for f in (*own, *(f for f in included if not f.private)) if f.fluent]

    def fluent(self, tree: s.Call, source: Node, scope: Scope) -> Node | None:
        """A fluent function of this library or an included one (CQL: "Fluent Functions")."""
        places: list[tuple[str | None, list[ExportedFunction]]] = [
            (None, [f for f in self.functions_named(tree.name) if f.fluent])
        ]
        for alias, symbols in self.included.items():
            places.append((alias, [f for f in symbols.functions.get(tree.name, []) if f.fluent and not f.private]))
        if not any(functions for _, functions in places):
            return None
        arguments = [source, *self.expressions(tree.arguments, scope)]
        chosen = self.choose_among(places, arguments, tree)
        if chosen is not None:
            return self.invoke(chosen[1], chosen[0], arguments, tree.span, fluent=True)
        everything = [f for _, functions in places for f in functions]
        if tree.name in METHODS:
            return None
        raise self.no_function(tree.name, everything, arguments, tree.span)

    # -- functions that are no plain operators

    def conversion_to(self, operand: Node, target: Type, span: Span) -> Node:
        """`convert operand to target`."""
        if operand.result == target:
            return operand
        name = target.name.removeprefix("System.") if isinstance(target, Named) else ""
        if name in _CONVERSIONS and f"To{name}" in OPERATORS:
            if self.resolve(OPERATORS[f"To{name}"], [operand]) is not None:
                return self.op(f"To{name}", [operand], span)
        step = self.types.conversion(operand.result, target)
        if step is None or step.kind in ("as",) and not isinstance(operand, n.Null):
            raise self.fail("type", f"there is no conversion from {operand.result} to {target}", span)
        return self.convert(operand, step)

    def converts_to(self, name: str, arguments: list[Node], tree: s.Call) -> Node:
        self.arity(tree, arguments, 1, 1)
        (operand,) = arguments
        if self.resolve(OPERATORS[f"To{name}"], [operand]) is None:
            self.report("type", f"{operand.result} is never converted to {name}", tree.span, warning=True)
            return self.literal(False, BOOLEAN, tree.span)
        converted = self.op(f"To{name}", [operand], tree.span)
        return n.CanConvert((converted,), to=name, span=tree.span, result=BOOLEAN)

    def arity(self, tree: s.Call, arguments: list[Node], low: int, high: int) -> None:
        if not low <= len(arguments) <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            given = len(arguments)
            raise self.fail("arguments", f"{tree.name} takes {so_many_arguments(wanted)}, not {given}", tree.span)

    def constructor(self, kind: Named, limit: int) -> Callable[[s.Call, list[Node]], Node]:
        def build(tree: s.Call, arguments: list[Node]) -> Node:
            self.arity(tree, arguments, 1, limit)
            parts = tuple(
                self.to(a, DECIMAL if index == 7 else INTEGER, f"argument {index + 1} of {tree.name}")
                for index, a in enumerate(arguments)
            )
            return _MADE[kind](parts, span=tree.span, result=kind)

        return build

    def make_datetime(self, tree: s.Call, arguments: list[Node]) -> Node:
        return self.constructor(DATETIME, 8)(tree, arguments)

    def make_date(self, tree: s.Call, arguments: list[Node]) -> Node:
        return self.constructor(DATE, 3)(tree, arguments)

    def make_time(self, tree: s.Call, arguments: list[Node]) -> Node:
        return self.constructor(TIME, 4)(tree, arguments)

    def clock(self, tree: s.Call, arguments: list[Node]) -> Node:
        self.arity(tree, arguments, 0, 0)
        kind = {"Now": DATETIME, "Today": DATE, "TimeOfDay": TIME}[tree.name]
        return _CLOCKS[tree.name](span=tree.span, result=kind)

    def coalesce(self, tree: s.Call, arguments: list[Node]) -> Node:
        if len(arguments) == 1:
            kind = arguments[0].result
            if isinstance(kind, ListType):
                return n.Coalesce((arguments[0],), over_list=True, span=tree.span, result=kind.element)
            if kind == ANY:
                return arguments[0]
        self.arity(tree, arguments, 2, 99)
        result = self.types.common([a.result for a in arguments])
        return n.Coalesce(tuple(self.to(a, result) for a in arguments), span=tree.span, result=result)

    def message(self, tree: s.Call, arguments: list[Node]) -> Node:
        self.arity(tree, arguments, 5, 5)
        source, condition, code, severity, text = arguments
        operands = (
            source,
            self.condition(condition, "the condition of Message"),
            self.to(code, STRING),
            self.to(severity, STRING),
            self.to(text, STRING),
        )
        return n.Message(operands, span=tree.span, result=source.result)

    def age(self, name: str, arguments: list[Node], tree: s.Call) -> Node:
        prefix, precision, at = _AGES[name]
        expected = int(at) + (prefix == "CalculateAge")
        self.arity(tree, arguments, expected, expected)
        if prefix == "Age":
            arguments = [self.birth_date(tree), *arguments]
        operator = "CalculateAgeAt" if at else "CalculateAge"
        return self.op(operator, arguments, tree.span, precision=precision, shown=name)

    def birth_date(self, tree: s.Call) -> Node:
        patient = self.definition("Patient", tree.span)
        if patient is None or (self.context != "Patient" and not (self.in_function and self.context is None)):
            hint = "write 'using FHIR ...' and 'context Patient' before the define"
            raise self.fail("context", f"{tree.name} asks for the patient, and there is none here", tree.span, hint)
        node = self.property(self.reference(patient, None, tree.span), "birthDate", tree.span, tree.span)
        return self.to(node, DATE)

    def indexer(self, tree: s.Call, arguments: list[Node]) -> Node:
        self.arity(tree, arguments, 2, 2)
        return self.op("Indexer", arguments, tree.span)

    def exists_call(self, tree: s.Call, arguments: list[Node]) -> Node:
        self.arity(tree, arguments, 1, 1)
        if isinstance(arguments[0], n.Null):
            return self.literal(False, BOOLEAN, tree.span)
        return self.op("Exists", arguments, tree.span)

    def length(self, tree: s.Call, arguments: list[Node]) -> Node:
        self.arity(tree, arguments, 1, 1)
        return self.op("Length", arguments, tree.span)

    def power(self, tree: s.Call, arguments: list[Node]) -> Node:
        self.arity(tree, arguments, 2, 2)
        exponent = arguments[1]
        if isinstance(exponent, n.Literal) and exponent.result == INTEGER and exponent.value < 0:
            arguments = [self.to(a, DECIMAL) for a in arguments]
        return self.op("Power", arguments, tree.span)


_SPECIAL: dict[str, Callable[[Any, s.Call, list[Node]], Node]] = {
    "DateTime": CallTranslator.make_datetime,
    "Date": CallTranslator.make_date,
    "Time": CallTranslator.make_time,
    "Now": CallTranslator.clock,
    "Today": CallTranslator.clock,
    "TimeOfDay": CallTranslator.clock,
    "Coalesce": CallTranslator.coalesce,
    "Message": CallTranslator.message,
    "Exists": CallTranslator.exists_call,
    "Power": CallTranslator.power,
}
