"""Random FHIRPath criteria over the elements that `patients` fills: paths of all kinds, tests of their items, and logic over these.

The same seed gives the same text. Expressions are well typed where that is known from the path; some do not compile all the same, and are passed over.
"""

from __future__ import annotations

import random

MANY = True
# Elements by type: their type (several for a choice) and whether they repeat.
ELEMENTS: dict[str, dict[str, tuple[str, bool]]] = {
    "Patient": {
        "gender": ("code", False), "birthDate": ("date", False), "active": ("boolean", False), "deceased": ("boolean|dateTime", False),
        "multipleBirth": ("boolean|integer", False), "maritalStatus": ("CodeableConcept", False), "name": ("HumanName", MANY),
        "contact": ("Patient.contact", MANY), "extension": ("Extension", MANY),
    },
    "HumanName": {"family": ("string", False), "given": ("string", MANY), "use": ("code", False), "period": ("Period", False)},
    "Patient.contact": {"name": ("HumanName", False), "gender": ("code", False)},
    "Period": {"start": ("dateTime", False), "end": ("dateTime", False)},
    "CodeableConcept": {"coding": ("Coding", MANY), "text": ("string", False)},
    "Coding": {"system": ("uri", False), "code": ("code", False)},
    "Extension": {"url": ("uri", False), "value": ("string|code", False)},
    "Observation": {
        "status": ("code", False), "code": ("CodeableConcept", False), "issued": ("instant", False), "effective": ("dateTime|Period", False),
        "value": ("Quantity|string|CodeableConcept|integer|boolean|dateTime", False), "component": ("Observation.component", MANY),
    },
    "Observation.component": {"code": ("CodeableConcept", False), "value": ("Quantity|string", False)},
    "Condition": {
        "code": ("CodeableConcept", False), "clinicalStatus": ("CodeableConcept", False), "onset": ("dateTime|Period|string", False),
        "recordedDate": ("dateTime", False),
    },
    "Procedure": {"status": ("code", False), "code": ("CodeableConcept", False), "performed": ("dateTime|Period", False)},
    "ImagingStudy": {
        "status": ("code", False), "started": ("dateTime", False), "numberOfSeries": ("unsignedInt", False), "modality": ("Coding", MANY),
        "series": ("ImagingStudy.series", MANY),
    },
    "ImagingStudy.series": {
        "modality": ("Coding", False), "started": ("dateTime", False), "numberOfInstances": ("unsignedInt", False),
        "instance": ("ImagingStudy.series.instance", MANY),
    },
    "ImagingStudy.series.instance": {"number": ("unsignedInt", False), "title": ("string", False), "sopClass": ("Coding", False)},
    "Quantity": {"value": ("decimal", False), "unit": ("string", False), "code": ("code", False)},
}  # fmt: skip
RESOURCES = ("Observation", "Condition", "Procedure", "ImagingStudy")
TEXTS = ("'A'", "'B'", "'final'", "'male'", "'completed'", "'MR'", "'2857-1'", "'available'", "'female'")
DATES = (
    "@2024",
    "@2024-05",
    "@2024-05-06",
    "@2023-12-31",
    "@1980-02-29",
    "@2024-05-06T10:00:00Z",
    "@2024-05-06T",
    "today()",
)
LITERALS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("code", "string", "uri"), TEXTS),
    **dict.fromkeys(("date", "dateTime", "instant"), DATES),
    **dict.fromkeys(("integer", "unsignedInt", "decimal"), ("1", "2", "5", "7.5")),
    "boolean": ("true", "false"),
    "Quantity": ("3 'ng/mL'", "5 'ng/mL'", "3000 'pg/mL'", "3 'kg'"),
}
ORDERED = frozenset(("date", "dateTime", "instant", "integer", "unsignedInt", "decimal", "Quantity", "string", "code"))
SYSTEMS = ("'http://loinc.org'", "'http://snomed.info/sct'", "'http://dicom.nema.org/resources/ontology/DCM'")

# What can be asked of the answers of rows to a condition, and of two conditions.
OF_ANSWERS = (
    "{0}.where($this).exists()",
    "{0}.exists($this)",
    "{0}.where($this = false).empty()",
    "{0}.where($this.not()).count() = 1",
    "({0}.count() = 1)",
    "({0}.distinct().count() > 1)",
    "{0}.first()",
    "({0}.last() = false)",
    "{0}.combine(true).allTrue()",
    "{0}.allTrue()",
    "{0}.anyFalse()",
    "{0}.take(2).anyTrue()",
    "({0} contains true)",
    "(false in {0})",
    "{0}.all($this)",
    "{0}.select($this.not()).anyTrue()",
    "{0}.intersect(true).exists()",
    "{0}.exclude(false).empty()",
    "{0}.subsetOf(true)",
    "{0}.isDistinct()",
    "{0}.exists()",
    "{0}.empty()",
    "{0}.aggregate($total and $this, true)",
    "(({0} | true).count() = 1)",
)
OF_TWO = (
    "{a}.where($this).exists()",
    "{a}.combine({b}).allTrue()",
    "(({a} | {b}).count() = 1)",
    "{a}.combine({b}).first()",
    "({a}.combine({b}).count() = 2)",
    "(true in {a}.combine({b}))",
    "{a}.exists()",
    "({a}.count() = 1)",
    "coalesce({a}, {b})",
    "coalesce({a}, false)",
)

# A path: its text, the type of its items (several joined by `|`), and whether there may be several.
Path = tuple[str, str, bool]


class Generator:
    """Writes one expression."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.variables: list[Path] = []
        self.names = 0

    def one_of(self, *values: str) -> str:
        return self.chance.choice(values)

    def likely(self, probability: float) -> bool:
        return self.chance.random() < probability

    # -- paths

    def start(self) -> Path:
        if self.likely(0.4):
            return "Patient", "Patient", False
        if self.likely(0.15):
            first, second = self.chance.sample(RESOURCES, 2)
            return self.one_of(f"({first} | {second})", f"{first}.combine({second})"), f"{first}|{second}", True
        kind = self.chance.choice(RESOURCES)
        return kind, kind, True

    def step(self, path: Path) -> Path | None:
        """An element of a path; None where its type has none."""
        text, kinds, many = path
        kind = self.chance.choice(kinds.split("|"))
        elements = ELEMENTS.get(kind)
        if elements is None:
            return None
        name = self.chance.choice(sorted(elements))
        below, repeats = elements[name]
        shared = {ELEMENTS[other][name][0] for other in kinds.split("|") if name in ELEMENTS.get(other, {})}
        return (
            f"{text}.{name}" if text else name,
            "|".join(sorted(shared)) if len(shared) > 1 else below,
            many or repeats,
        )

    def path(self, depth: int, begin: Path | None = None) -> Path:
        """A path with some functions on its way."""
        found = begin if begin is not None else self.start()
        for _ in range(self.chance.choice((1, 1, 2, 2, 3))):
            below = self.step(found)
            if below is None:
                break
            found = below
            if self.likely(0.35):
                found = self.shaped(found, depth)
        return found

    def same_kind(self, path: Path, depth: int) -> str:
        """A path to items of the types of another, or the path itself shaped anew."""
        for _ in range(6):
            other = self.path(0, None)
            if other[1] == path[1]:
                return other[0]
        return path[0]

    def shaped(self, path: Path, depth: int) -> Path:
        """A path with a function behind it that gives items of the same types, or of one of them."""
        text, kinds, many = path
        if not text:
            return path
        kind = self.chance.choice(kinds.split("|"))
        roll = self.chance.randrange(22)
        if "|" in kinds and self.likely(0.6):
            return f"{text}.ofType({kind})", kind, many
        if roll < 6 and depth > 0:
            return f"{text}.where({self.condition(kinds, depth - 1)})", kinds, many
        if roll == 6:
            return f"{text}.{self.one_of('first()', 'last()')}", kinds, False
        if roll == 7:
            return f"{text}.{self.one_of('tail()', 'skip(1)', 'take(1)', 'distinct()')}", kinds, many
        if roll == 8:
            return f"{text}[{self.one_of('0', '1')}]", kinds, False
        if roll in (9, 10):
            other = self.same_kind(path, depth)
            way = self.one_of(
                "({a} | {b})", "{a}.union({b})", "{a}.combine({b})", "{a}.intersect({b})", "{a}.exclude({b})"
            )
            return way.format(a=text, b=other), kinds, True
        if roll == 11 and depth > 0:
            other = self.same_kind(path, depth)
            return f"iif({self.boolean(depth - 1)}, {text}, {other})", kinds, True
        if roll == 12:
            return f"coalesce({text}, {self.same_kind(path, depth)})", kinds, True
        if roll == 13 and ELEMENTS.get(kind) and "|" not in kinds:
            below = self.step(("$this", kinds, False))
            if below is not None:
                return f"{text}.select({below[0]})", below[1], many or below[2]
        if roll == 14 and "|" not in kinds and not many:
            return f"{text}.single()", kinds, False
        if roll == 15 and kind not in ELEMENTS:
            return (
                f"{text}.extension({self.one_of('%x', repr('http://x'))}).value".replace("%x", "'http://x'"),
                "string|code",
                True,
            )
        if roll == 16:
            self.names += 1
            name = f"v{self.names}"
            self.variables.append((f"%{name}", kinds, many))
            return f"{text}.defineVariable('{name}')", kinds, many
        if roll == 17:
            return f"{text}.trace('x')", kinds, many
        if roll == 18 and "|" not in kinds:
            return f"{text}.aggregate($total | $this, {{}})", kinds, True
        if roll == 19 and kind == "Patient.contact":
            return f"{text}.aggregate($total | $this.name, {{}})", "HumanName", True
        if roll == 20 and ELEMENTS.get(kind) and "|" not in kinds:
            return f"{text}.{self.one_of('children()', 'descendants()')}.ofType(string)", "string", True
        return path

    # -- conditions

    def condition(self, kinds: str, depth: int) -> str:
        """A condition on an item of some types."""
        return self.boolean(depth, ("", kinds, False))

    def boolean(self, depth: int, this: Path | None = None) -> str:
        """A Boolean: about the item at hand where there is one, else about the patient."""
        known = len(self.variables)
        roll = self.chance.random()
        if depth > 0 and roll < 0.3:
            word = self.one_of("and", "and", "or", "or", "xor", "implies")
            found = f"({self.boolean(depth - 1, this)} {word} {self.boolean(depth - 1, this)})"
        elif depth > 0 and roll < 0.4:
            found = f"({self.boolean(depth - 1, this)}).not()"
        elif depth > 0 and roll < 0.44:
            found = f"iif({self.boolean(depth - 1, this)}, {self.boolean(depth - 1, this)}, {self.boolean(depth - 1, this)})"
        else:
            found = self.test(depth, this)
        del self.variables[known:]
        return found

    def of_answers(self, text: str, kinds: str, depth: int) -> str:
        """A question about the answers to a condition: those of rows, or of two conditions."""
        if self.likely(0.3):
            one, other = self.boolean(depth - 1), self.boolean(depth - 1)
            return self.one_of(*OF_TWO).format(a=f"({one})", b=f"({other})")
        return self.one_of(*OF_ANSWERS).format(f"{text}.select({self.condition(kinds, depth - 1)})")

    def test(self, depth: int, this: Path | None) -> str:
        begin = this
        if this is not None and this[1].split("|")[0] not in ELEMENTS:
            begin = ("$this", this[1], False)
        elif this is not None and self.likely(0.1):
            begin = None
        elif self.variables and self.likely(0.3):
            begin = self.chance.choice(self.variables)
        text, kinds, many = begin if begin is not None and begin[0] == "$this" else self.path(depth, begin)
        if not text:
            text = "$this"
        if "|" in kinds and self.likely(0.5):
            kind = self.chance.choice(kinds.split("|"))
            text, kinds = f"{text}.ofType({kind})", kind
        kind = self.chance.choice(kinds.split("|"))
        literal = self.one_of(*LITERALS.get(kind, ("'A'",)))
        if kind == "CodeableConcept" and self.likely(0.7):
            system, code = self.one_of(*SYSTEMS), self.one_of(*TEXTS)
            return f"{text}.coding.exists(system = {system} and code = {code})"
        if kind == "Coding" and self.likely(0.5):
            return f"{text}.where(system = {self.one_of(*SYSTEMS)} and code = {self.one_of(*TEXTS)}).exists()"
        if depth > 0 and self.likely(0.08):
            return self.of_answers(text, kinds, depth)
        roll = self.chance.randrange(17)
        one = f"{text}.first()" if many else text
        simple = kind in LITERALS
        if roll == 0:
            return f"{text}.exists()"
        if roll == 1:
            return f"{text}.empty()"
        if roll == 2:
            return f"{text}.count() {self.one_of('>', '=', '<', '>=')} {self.one_of('0', '1', '2')}"
        if roll == 3 and depth > 0:
            return f"{text}.all({self.condition(kinds, depth - 1)})"
        if roll == 4 and depth > 0:
            return f"{text}.exists({self.condition(kinds, depth - 1)})"
        if roll in (5, 6) and kind in ORDERED:
            return f"{one} {self.one_of('<', '<=', '>', '>=')} {literal}"
        if roll in (7, 8) and simple:
            other = self.one_of(*LITERALS[kind])
            return f"({one if self.likely(0.8) else text} {self.one_of('in')} ({literal} | {other}))"
        if roll == 9 and simple:
            return f"(({literal} | {self.one_of(*LITERALS[kind])}) contains {one})"
        if roll == 10 and simple:
            return f"{text} {self.one_of('=', '!=')} {literal}"
        if roll == 11:
            return self.one_of(
                f"{one}.hasValue()",
                f"{text}.isDistinct()",
                f"{one} is {kind}" if "." not in kind else f"{one}.exists()",
            )
        if roll == 12 and simple:
            return f"{text}.subsetOf({literal} | {self.one_of(*LITERALS[kind])})"
        if roll == 13 and kind in ("string", "code"):
            return self.one_of(
                f"{one}.startsWith('A')",
                f"{one}.upper() = 'A'",
                f"{one}.length() > 1",
                f"{one} ~ 'a'",
                f"{one}.convertsToInteger()",
            )
        if roll == 14 and kind == "boolean":
            return one
        if roll == 15:
            return f"({one}).exists()"
        if simple:
            return f"{one} = {literal}"
        return f"{text}.exists()"


def expression(seed: int) -> str:
    """A criterion."""
    generator = Generator(random.Random(seed))
    return generator.boolean(generator.chance.choice((1, 1, 2, 2, 3)))
