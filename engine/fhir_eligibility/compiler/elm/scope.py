"""What names mean while a library is translated: its own definitions, those of included libraries, and the aliases of queries."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from fhir_eligibility.compiler.elm.types import Type

HELPERS = "FHIRHelpers"


class Exported(Struct, frozen=True):
    """A definition as other libraries see it.

    `kind` is the ELM reference: ExpressionRef, ParameterRef, CodeRef, ...; `owner` is the library as `name|version`; `value` is the value
    of what needs no computing, and `context` for the patient of a context.
    """

    name: str
    kind: str
    type: Type
    python: str
    owner: str = ""
    private: bool = False
    context: str | None = None
    value: Any = None


class ExportedFunction(Struct, eq=False):
    """A function as its callers see it; `result` is None until its body has been translated.

    `context` is the one that it was declared in, `needs` the one that its body asks about (None: none, it works anywhere).
    """

    name: str
    operands: tuple[Type, ...]
    result: Type | None
    python: str
    owner: str = ""
    fluent: bool = False
    private: bool = False
    external: bool = False
    context: str | None = None
    operand_names: tuple[str, ...] = ()
    needs: str | None = None


class Symbols(Struct):
    """The definitions of one library."""

    name: str
    version: str | None
    definitions: dict[str, Exported] = field(default_factory=dict)
    functions: dict[str, list[ExportedFunction]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name and version, as one text that no other name and version have."""
        name = self.name.replace("%", "%25").replace("|", "%7C")
        return f"{name}|{self.version}" if self.version else name


class Local(Struct, frozen=True):
    """A name inside an expression: an alias, a let, an operand of a function, or the total of an aggregate."""

    name: str
    kind: str
    type: Type
    scope: int


class Scope(Struct, frozen=True):
    """Names that hold in an expression, the innermost last. `this` is `$this`; `implicit` is what bare names are looked up on."""

    locals: tuple[Local, ...] = ()
    this: Local | None = None
    index: Local | None = None
    total: Local | None = None
    implicit: Local | None = None

    def find(self, name: str) -> Local | None:
        """The innermost meaning of a name."""
        return next((local for local in reversed(self.locals) if local.name == name), None)

    def plus(self, *locals_: Local, **others: Any) -> Scope:
        """This scope with more names."""
        return Scope(
            (*self.locals, *locals_),
            others.get("this", self.this),
            others.get("index", self.index),
            others.get("total", self.total),
            others.get("implicit", self.implicit),
        )
