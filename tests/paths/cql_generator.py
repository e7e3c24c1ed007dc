"""Random criteria in CQL over the elements that `patients` fills: retrieves, queries, relations, choices, and logic over these."""

from __future__ import annotations

import random

HEAD = """library Random
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "LOINC": 'http://loinc.org'
codesystem "SCT": 'http://snomed.info/sct'
code "psa": '2857-1' from "LOINC"
code "hb": '718-7' from "LOINC"
code "A": 'A' from "SCT"
code "B": 'B' from "SCT"
context Patient
"""
CODES = {"Observation": ("psa", "hb"), "Condition": ("A", "B"), "Procedure": ("A", "B"), "ImagingStudy": ()}
TEXTS = {
    "Patient": ("gender",), "Observation": ("status",), "Condition": (), "Procedure": ("status",), "ImagingStudy": ("status",),
    "HumanName": ("family", "use"), "Series": (),
}  # fmt: skip
# Moments, as expressions of an alias, by type.
MOMENTS = {
    "Patient": ("{0}.birthDate",),
    "Observation": ("{0}.issued", "({0}.effective as FHIR.dateTime)", "start of ({0}.effective as FHIR.Period)", "end of ({0}.effective as FHIR.Period)"),
    "Condition": ("{0}.recordedDate", "({0}.onset as FHIR.dateTime)", "start of ({0}.onset as FHIR.Period)"),
    "Procedure": ("({0}.performed as FHIR.dateTime)", "start of ({0}.performed as FHIR.Period)"),
    "ImagingStudy": ("{0}.started",),
    "HumanName": ("start of {0}.period", "{0}.period.end"),
    "Series": ("{0}.started",),
}  # fmt: skip
NUMBERS = {
    "ImagingStudy": ("{0}.numberOfSeries",),
    "Series": ("{0}.numberOfInstances",),
    "Observation": ("({0}.value as FHIR.integer)",),
}
BOOLEANS = {
    "Patient": ("{0}.active", "({0}.deceased as FHIR.boolean)"),
    "Observation": ("({0}.value as FHIR.boolean)",),
}
# Lists below an alias: the expression and the type of its elements.
LISTS = {"Patient": (("{0}.name", "HumanName"),), "ImagingStudy": (("{0}.series", "Series"),)}
WORDS = ("'A'", "'B'", "'final'", "'male'", "'completed'", "'available'", "'official'")
DATES = ("@2024", "@2024-05-06", "@2023-12-31", "@1980-02-29", "@2024-05-06T10:00:00.0Z", "Today()", "Now()")


class Generator:
    """Writes one expression."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.names = 0

    def one_of(self, *values: str) -> str:
        return self.chance.choice(values)

    def alias(self) -> str:
        self.names += 1
        return f"X{self.names}"

    def rows(self, depth: int) -> tuple[str, str]:
        """A list of resources, and their type."""
        kind = self.chance.choice(sorted(CODES))
        retrieve = f"[{kind}]"
        if CODES[kind] and self.chance.random() < 0.5:
            retrieve = f'[{kind}: "{self.one_of(*CODES[kind])}"]'
        if depth <= 0 or self.chance.random() < 0.15:
            return retrieve, kind
        return self.query(retrieve, kind, depth), kind

    def query(self, source: str, kind: str, depth: int) -> str:
        name = self.alias()
        text = f"({source} {name}"
        if self.chance.random() < 0.25:
            other, other_kind = self.rows(0)
            second = self.alias()
            text += f" {self.one_of('with', 'without')} {other} {second} such that {self.related((name, kind), (second, other_kind), depth - 1)}"
            if self.chance.random() < 0.4:
                return text + ")"
        return f"{text} where {self.boolean(depth - 1, [(name, kind)])})"

    def related(self, first: tuple[str, str], second: tuple[str, str], depth: int) -> str:
        a, b = (self.one_of(*MOMENTS[kind]).format(name) for name, kind in (first, second))
        found = f"{a} {self.one_of('<', '<=', '>', 'before', 'after')} {b}"
        return (
            found
            if self.chance.random() < 0.6
            else f"({found} {self.one_of('and', 'or')} {self.boolean(depth, [first, second])})"
        )

    def boolean(self, depth: int, about: list[tuple[str, str]] | None = None) -> str:
        roll = self.chance.random()
        if depth > 0 and roll < 0.3:
            return f"({self.boolean(depth - 1, about)} {self.one_of('and', 'and', 'or', 'or', 'implies', 'xor')} {self.boolean(depth - 1, about)})"
        if depth > 0 and roll < 0.4:
            return f"(not {self.boolean(depth - 1, about)})"
        if depth > 0 and roll < 0.45:
            return f"(if {self.boolean(depth - 1, about)} then {self.boolean(depth - 1, about)} else {self.boolean(depth - 1, about)})"
        if roll < 0.5:
            return (
                f"({self.boolean(depth - 1, about)} {self.one_of('is true', 'is false', 'is null', 'is not null')})"
                if depth > 0
                else "true"
            )
        if about is None and roll < 0.85:
            return self.of_rows(depth)
        name, kind = self.chance.choice(about or [("Patient", "Patient")])
        return self.test(name, kind, depth)

    def of_rows(self, depth: int) -> str:
        """A test of a list of resources."""
        return f"({self.listed(depth)})"

    def listed(self, depth: int) -> str:
        rows, kind = self.rows(depth)
        roll = self.chance.randrange(8)
        if roll < 3:
            return f"exists {rows}"
        if roll < 5:
            return f"Count({rows}) {self.one_of('>', '>=', '=', '<')} {self.one_of('0', '1', '2')}"
        if roll == 5:
            other, _ = self.rows(0)
            return f"exists ({rows} {self.one_of('union', 'except', 'intersect')} {rows if self.chance.random() < 0.5 else f'[{kind}]'})"
        if roll == 6 and TEXTS[kind]:
            return f"First({rows}).{self.one_of(*TEXTS[kind])} = {self.one_of(*WORDS)}"
        if roll == 7:
            return f"Count({rows}) in Interval[{self.one_of('0', '1')}, {self.one_of('1', '2')}]"
        return f"not exists {rows}"

    def test(self, name: str, kind: str, depth: int) -> str:
        """A test of an alias."""
        forms = []
        for text in TEXTS[kind]:
            forms += [
                f"{name}.{text} = {self.one_of(*WORDS)}",
                f"{name}.{text} in {{ {self.one_of(*WORDS)}, {self.one_of(*WORDS)} }}",
            ]
            forms += [f"{name}.{text} ~ {self.one_of(*WORDS)}", f"{name}.{text} is null", f"Length({name}.{text}) > 4"]
        for moment in MOMENTS[kind]:
            found = moment.format(name)
            forms += [
                f"{found} {self.one_of('<', '>', '>=', 'before', 'after', 'same or before')} {self.one_of(*DATES)}",
                f"{found} is not null",
            ]
        for number in NUMBERS.get(kind, ()):
            forms += [f"{number.format(name)} {self.one_of('>', '<=', '=')} {self.one_of('1', '2')}"]
        forms += [found.format(name) for found in BOOLEANS.get(kind, ())]
        if kind == "Observation":
            forms += [
                f"({name}.value as FHIR.Quantity) {self.one_of('>', '<', '>=')} {self.one_of('3', '5')} 'ng/mL'"
            ] * 2
            forms += [f"{name}.value is FHIR.string", f"({name}.value as FHIR.string) = 'A'"]
        if CODES.get(kind):
            forms += [f'{name}.code ~ "{self.one_of(*CODES[kind])}"'] * 2
        for text, element in LISTS.get(kind, ()) if depth > 0 else ():
            inner = self.query(text.format(name), element, depth)
            forms += [f"exists {inner}", f"Count({inner}) {self.one_of('=', '>')} {self.one_of('1', '2')}"]
        return f"({self.chance.choice(forms)})"


def expression(seed: int) -> str:
    """A criterion."""
    generator = Generator(random.Random(seed))
    return generator.boolean(generator.chance.choice((1, 2, 2, 3)))
