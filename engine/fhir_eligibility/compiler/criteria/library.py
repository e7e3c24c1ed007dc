"""Compiled libraries: from text to callable definitions, with what they include (CQL: "Libraries").

A `Compiled` library pickles: it holds the emitted code, and what other modules it calls. `LoadedLibrary` turns it, with its includes, into functions.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import getcontext
from functools import partial
from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.collector import uncollected
from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source, Span
from fhir_eligibility.algebra.operators.registry import OverloadReference
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.models.modelinfo import ModelInfo
from fhir_eligibility.compiler.analysis.monotonicity import UNKNOWN, Monotonicity, monotonicity_of
from fhir_eligibility.compiler.analysis.uses import Uses, uses_of
from fhir_eligibility.compiler.elm.helpers import not_used
from fhir_eligibility.compiler.elm.models import CqlModel, FhirTypes, ProfiledTypes
from fhir_eligibility.compiler.elm.scope import HELPERS, Exported, Symbols
from fhir_eligibility.compiler.elm.types import Type
from fhir_eligibility.compiler.elm_json.reader import is_elm, read_elm
from fhir_eligibility.compiler.emit.library import build_module
from fhir_eligibility.compiler.emit.program import (
    compile_module,
    file_name,
    marshalled,
    offset_of,
    position_of,
    run_module,
    unmarshalled,
)
from fhir_eligibility.compiler.emit.sites import Site
from fhir_eligibility.compiler.runtime.cql import Run, once
from fhir_eligibility.compiler.runtime.names import NAMES
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax.cql import parse_library
from fhir_eligibility.compiler.syntax.depth import deep_recursion
from fhir_eligibility.compiler.translate.cql_library import LibraryTranslator, TranslationOptions, TypedLibrary

PRECISION = 46


class Precise:
    """Decimals are computed with PRECISION digits for a while; `decimal.localcontext` would copy a context for every define."""

    __slots__ = ("_context", "_before")

    def __enter__(self) -> None:
        self._context = getcontext()
        self._before = self._context.prec
        self._context.prec = PRECISION

    def __exit__(self, *_: object) -> None:
        self._context.prec = self._before


Finder = Callable[[str, str | None], Source | None]


class CompiledDefine(Struct):
    """A define that can be evaluated. `context` is the type it is about (`Patient`), None where it is about none."""

    name: str
    type: Type
    context: str | None
    private: bool
    python: str
    span: Span


@dataclass(slots=True)
class Compiled:
    """A library as emitted code, whose positions are the author's. `fhir` is the version of FHIR that it uses.

    `printed` gives the code as text, or that of one function.
    """

    source: Source
    name: str
    version: str | None
    symbols: Symbols
    code: types.CodeType = field(repr=False)
    constants: dict[str, Any]
    imports: dict[tuple[str, str], str]
    defines: dict[str, CompiledDefine]
    parameters: dict[str, Exported]
    includes: dict[str, Compiled]
    diagnostics: tuple[Diagnostic, ...]
    sites: tuple[Site, ...] = ()
    uses: dict[str, Uses] = field(default_factory=dict)
    wanted: dict[str, str | None] = field(default_factory=dict)
    monotonicity: dict[str, Monotonicity] = field(default_factory=dict)
    fhir: str | None = None
    printed: Callable[[str | None], str] | None = field(default=None, repr=False, compare=False)

    @property
    def python(self) -> str:
        """The emitted Python as text. It is made anew from the library's own text, for readers. Raises ValueError in another process."""
        return self._python(None)

    def python_of(self, define: str) -> str:
        """The emitted Python of a define, as `python`. Raises LookupError for a name that the library does not define."""
        return self._python(self.defines[define].python)

    def _python(self, function: str | None) -> str:
        if self.printed is None:
            raise ValueError(f"the Python of the library {self.name} can only be shown where it was compiled")
        return self.printed(function)

    @property
    def key(self) -> str:
        """Name and version, as one text."""
        return self.symbols.key

    def reached(self, names: Iterable[str]) -> Iterator[tuple[Compiled, Uses]]:
        """What some defines and functions use, and what the definitions use that they refer to, here and in included libraries."""
        libraries = {library.key: library for library in self.closure()}
        queue = [(self.key, python) for name in names for python in self._named(name)]
        seen: set[tuple[str, str]] = set()
        while queue:
            step = queue.pop()
            if step in seen or step[0] not in libraries:
                continue
            seen.add(step)
            uses = libraries[step[0]].uses.get(step[1])
            if uses is not None:
                yield libraries[step[0]], uses
                queue.extend(uses.calls)

    def _named(self, name: str) -> Iterator[str]:
        """The define and the functions of a name, as Python has them."""
        if name in self.defines:
            yield self.defines[name].python
        for function in self.symbols.functions.get(name, ()):
            yield function.python

    def closure(self) -> Iterator[Compiled]:
        """This library and all that it includes, each once."""
        stack, seen = [self], set()
        while stack:
            library = stack.pop()
            if library.key not in seen:
                seen.add(library.key)
                yield library
                stack.extend(library.includes.values())

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("code", "printed")}
        return _compiled, (marshalled(self.code), values)


def _compiled(code: bytes, values: dict[str, Any]) -> Compiled:
    return Compiled(code=unmarshalled(code), **values)


class Compiler:
    """Compiles libraries; `find(name, version)` gives the text of an included one, None where there is none.

    `traced` code reports the rows that criteria look at, `explained` code the values of all parts of the text.
    """

    def __init__(
        self,
        find: Finder | None = None,
        options: TranslationOptions | None = None,
        model_infos: Iterable[ModelInfo] = (),
        *,
        traced: bool = False,
        explained: bool = False,
    ) -> None:
        self.find = find
        self.traced = traced
        self.explained = explained
        self.model_infos = list(model_infos)
        self._models: dict[tuple[str, str | None], CqlModel] = {}
        self.options = options or TranslationOptions()
        self.compiled_libraries: dict[tuple[str, str | None], Compiled] = {}
        self._open: list[str] = []

    def model(self, name: str, version: str | None) -> CqlModel | None:
        """A data model by its name and version. Raises ValueError for a version of FHIR that is not known."""
        key = (name, version)
        if key not in self._models:
            if name == "FHIR":
                self._models[key] = FhirTypes(load_model(version or "4.0.1"))
            else:
                fitting = [i for i in self.model_infos if i.name == name and version in (None, i.version)]
                if not fitting:
                    return None
                self._models[key] = ProfiledTypes(fitting[-1], load_model("4.0.1"))
        return self._models[key]

    def compile(self, source: Source) -> Compiled:
        """A library from its text. Raises DiagnosticError with all that is wrong in it, errors first."""
        return self.compile_once(source)

    def compile_once(self, source: Source) -> Compiled:
        """The same for a text that is not worth keeping; what it includes may be kept."""
        with deep_recursion():
            compiled = self.compile_tree(*read(source))
        compiled.printed = partial(self.python, source)
        return compiled

    def python(self, source: Source, function: str | None = None) -> str:
        """The Python of a library as text, or that of one function, for readers. Raises DiagnosticError.

        Before it stand the names that it has for definitions of other libraries, each with its name there, and the library as a constant.
        """
        with deep_recursion():
            emitter = build_module(self.typed(source), self.traced, self.explained)
            shown = [one for one in emitter.functions() if function in (None, one.name)]
            text = ast.unparse(ast.Module([*shown], [])).strip("\n") + "\n"
        used = {one.id for function in shown for one in ast.walk(function) if isinstance(one, ast.Name)}
        others = [(name, key) for key, name in emitter.imports.items() if name in used]
        return "".join(f"# {name} is {python} of {owner!r}\n" for name, (owner, python) in others) + text

    def typed(self, source: Source) -> TypedLibrary:
        """A library as typed ELM, whatever is wrong with it (`diagnostics`). Raises DiagnosticError for text that does not parse."""
        with deep_recursion():
            source, tree = read(source)
            return self.translated(source, tree, self.includes(source, tree, []))

    def translated(self, source: Source, tree: c.Library, includes: dict[str, Compiled]) -> TypedLibrary:
        """The typed library of a syntax tree, given what it includes."""
        symbols = {alias: library.symbols for alias, library in includes.items()}
        for include in tree.includes:
            if include.name.rpartition(".")[2] == HELPERS:
                symbols.setdefault(include.alias, Symbols(HELPERS, include.version))
        return LibraryTranslator(source, tree, symbols, self.options, self.model).translate()

    def compile_tree(self, source: Source, tree: c.Library) -> Compiled:
        """A library from its syntax tree."""
        problems: list[Diagnostic] = []
        includes = self.includes(source, tree, problems)
        typed = self.translated(source, tree, includes)
        problems += typed.diagnostics
        if any(d.severity == "error" for d in problems):
            raise DiagnosticError(sorted(problems, key=lambda d: (d.severity, d.span.start if d.span else 0)))
        return emit_library(typed, includes, problems, self.traced, self.explained)

    def includes(self, source: Source, tree: c.Library, problems: list[Diagnostic]) -> dict[str, Compiled]:
        """The compiled includes by local name; what is wrong with one is told at the include."""
        found: dict[str, Compiled] = {}
        seen: set[str] = set()
        for include in tree.includes:
            if include.alias in seen:
                message = f"the name {include.alias!r} stands for another library already"
                problems.append(Diagnostic("duplicate", message, source=source, span=include.span))
            seen.add(include.alias)
            try:
                library = self.included(include)
            except DiagnosticError as error:
                problems.extend(error.diagnostics)
                message = f"the library {include.name} does not compile"
                problems.append(Diagnostic("include", message, source=source, span=include.span))
                continue
            except LookupError as error:
                circular = include.name in self._open
                hint = None if circular else "give the folder that holds it"
                code = "circular" if circular else "include"
                problems.append(Diagnostic(code, str(error), source=source, span=include.span, hint=hint))
                continue
            if library is None and self.find is not None:
                given = self.find(include.name, include.version)
                note = not_used(given, source, include.span) if given is not None else None
                problems += [note] if note is not None else []
            if library is not None:
                found[include.alias] = library
                if include.version not in (None, library.version):
                    message = f"the library {include.name} is there in version {library.version}, not {include.version}"
                    problems.append(Diagnostic("include-version", message, "warning", source, include.span))
        return found

    def included(self, include: c.Include) -> Compiled | None:
        """One included library, None for FHIRHelpers, which this engine knows by itself."""
        key = (include.name, include.version)
        short = include.name.rpartition(".")[2]
        if key in self.compiled_libraries:
            return self.compiled_libraries[key]
        if short == HELPERS:
            return None
        if include.name in self._open:
            raise LookupError(f"the library {include.name} includes itself, directly or through others")
        source = self.find(include.name, include.version) if self.find is not None else None
        if source is None:
            version = f" version {include.version!r}" if include.version else ""
            raise LookupError(f"there is no library {include.name}{version}")
        self._open.append(include.name)
        try:
            compiled = self.compile(source)
        finally:
            self._open.pop()
        self.compiled_libraries[key] = compiled
        return compiled


def read(source: Source) -> tuple[Source, c.Library]:
    """A library text, CQL or ELM in JSON, as syntax, with the source that its spans mean. Raises DiagnosticError."""
    return read_elm(source) if is_elm(source.text) else (source, parse_library(source))


def emit_library(
    typed: TypedLibrary,
    includes: dict[str, Compiled],
    problems: list[Diagnostic],
    traced: bool = False,
    explained: bool = False,
) -> Compiled:
    """Python for a typed library. Raises DiagnosticError `too-deep`."""
    source, symbols = typed.source, typed.symbols
    with uncollected():
        emitter = build_module(typed, traced, explained)
        code = compile_module(emitter.module, source, file_name(source.name))
    uses = {
        d.exported.python: uses_of(d.exported.name, d.node, typed.types) for d in (*typed.parameters, *typed.defines)
    }
    nodes = {d.exported.python: d.node for d in (*typed.parameters, *typed.defines) if d.node is not None}
    nodes |= {f.exported.python: f.node for f in typed.functions}
    monotonicity = monotonicity_of(
        nodes, symbols.key, lambda owner, name: _monotonicity(includes, owner, name), emitter.nullable
    )
    uses |= {f.exported.python: uses_of(f.exported.name, f.node, typed.types) for f in typed.functions}
    definitions = {
        d.exported.name: CompiledDefine(
            d.exported.name, d.exported.type, d.exported.context, d.exported.private, d.exported.python, d.span
        )
        for d in typed.defines
    }
    return Compiled(
        source,
        symbols.name,
        symbols.version,
        symbols,
        code,
        emitter.constants,
        emitter.imports,
        definitions,
        {p.exported.name: p.exported for p in typed.parameters},
        includes,
        tuple(problems),
        tuple(emitter.sites.all),
        uses,
        {include.alias: include.version for include in typed.tree.includes},
        monotonicity,
        next((model.fhir.version for model in typed.types.models.values()), None),
    )


def _monotonicity(includes: dict[str, Compiled], owner: str, python: str) -> Monotonicity:
    for library in includes.values():
        for below in library.closure():
            if below.key == owner:
                return below.monotonicity.get(python, UNKNOWN)
    return UNKNOWN


class LoadedLibrary:
    """A compiled library and its includes as functions. Evaluate defines with `evaluate`."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.libraries: dict[str, Compiled] = {}
        self.sites: list[tuple[Source, Site]] = []
        self._modules: dict[str, dict[str, Any]] = {}
        self._ready: dict[str, tuple[Callable[[Any], Any], bool]] = {}
        self._load(compiled)
        self._of_module = {id(module): self.libraries[key] for key, module in self._modules.items()}

    def _load(self, compiled: Compiled) -> dict[str, Any]:
        known = self._modules.get(compiled.key)
        if known is not None:
            return known
        modules = {library.key: self._load(library) for library in compiled.includes.values()}
        constants = {
            name: value.resolve() if value.__class__ is OverloadReference else value
            for name, value in compiled.constants.items()
        }
        namespace: dict[str, Any] = {**NAMES, **constants}
        first = len(self.sites)
        self.sites.extend((compiled.source, site) for site in compiled.sites)
        namespace |= {f"SITE{index}": first + index for index in range(len(compiled.sites))}
        for (owner, python), local in compiled.imports.items():
            namespace[local] = modules[owner][python]
        run_module(compiled.code, namespace, compiled.source)
        self._modules[compiled.key] = namespace
        self.libraries[compiled.key] = compiled
        return namespace

    def function(self, name: str) -> Callable[[Any], Any]:
        """The function of a define. Raises LookupError."""
        definition = self.compiled.defines.get(name)
        if definition is None:
            raise LookupError(f"the library {self.compiled.name} defines no {name!r}")
        found: Callable[[Any], Any] = self._modules[self.compiled.key][definition.python]
        return found

    def evaluate(self, name: str, environment: Run) -> Any:
        """The value of a define for a patient, or for a run. Raises EvaluationError with library, define and span."""
        ready = self._ready.get(name)
        if ready is None:
            function = self.function(name)
            ready = self._ready[name] = function, self.compiled.defines[name].context is not None
        with Precise():
            try:
                return once(environment if ready[1] else environment.run, ready[0])
            except Exception as error:
                raise self.bind(error) from error

    def parameter(self, key: str, python: str, run: Run) -> Any:
        """The value of a parameter of the library of a key, named as in Python: given to the run, or its default. Raises EvaluationError."""
        with Precise():
            try:
                return once(run, self._modules[key][python])
            except Exception as error:
                raise self.bind(error) from error

    def call(self, name: str, environment: Run, *arguments: Any) -> Any:
        """The value of a function of the library. Raises LookupError, and EvaluationError as `evaluate`."""
        functions = self.compiled.symbols.functions.get(name, ())
        found = next((f for f in functions if len(f.operands) == len(arguments)), None)
        if found is None:
            if not arguments and name in self.compiled.defines:
                return self.evaluate(name, environment)
            raise LookupError(f"the library {self.compiled.name} has no function {name!r} of {len(arguments)} operands")
        function = self._modules[self.compiled.key][found.python]
        with Precise():
            try:
                return function(environment, *arguments)
            except Exception as error:
                raise self.bind(error) from error

    def definition_name(self, library: Compiled, python: str) -> str | None:
        """The define or function that a Python function was made of."""
        for define in library.defines.values():
            if define.python == python:
                return define.name
        for functions in library.symbols.functions.values():
            for function in functions:
                if function.python == python:
                    return function.name
        return None

    def bind(self, error: Exception) -> EvaluationError:
        """An error raised while emitted code ran, with the library, define and span of the innermost emitted statement."""
        library: Compiled | None = None
        span: Span | None = None
        define = None
        step = error.__traceback__
        while step is not None:
            found = self._of_module.get(id(step.tb_frame.f_globals))
            if found is not None:
                place = position_of(step)
                library = found
                if place is not None:
                    span = Span(offset_of(found.source, *place[:2]), offset_of(found.source, *place[2:]))
                define = self.definition_name(found, step.tb_frame.f_code.co_name) or define
            step = step.tb_next
        source = None if library is None else library.source
        if isinstance(error, EvaluationError):
            if error.span is None:
                error.span, error.source, error.define = span, source, define
            return error
        if isinstance(error, RecursionError):
            bound = EvaluationError("too-deep", "the data is nested too deeply for this expression", span)
        elif isinstance(error, (AttributeError, TypeError)) and "Uncertainty" in str(error):
            message = "a value that is only known to lie in a range cannot be computed with here"
            bound = EvaluationError("uncertain", message, span)
        elif isinstance(error, (AttributeError, TypeError, KeyError)):
            message = f"the data does not have the shape its type demands: {error}"
            bound = EvaluationError("malformed-data", message, span)
        else:
            bound = EvaluationError("evaluation", f"{error.__class__.__name__}: {error}", span)
        bound.source, bound.define = source, define
        return bound


def compile_expression(
    text: str, name: str = "expression", prelude: str = "", options: TranslationOptions | None = None
) -> LoadedLibrary:
    """One expression as a library with the define `expression`; `prelude` are definitions that stand before it."""
    head = prelude + ("\n" if prelude else "")
    source = Source(name, f"{head}define expression: {text}")
    return LoadedLibrary(Compiler(options=options).compile(source))
