"""`eligibility cql` and `eligibility compile`: expressions and libraries for those who write CQL."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.numbers_in_words import so_many
from fhir_eligibility.artifacts.libraries import LibraryStore, LibraryText, load_libraries
from fhir_eligibility.artifacts.mistaken_files import mistaken
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.own_outputs import own_names
from fhir_eligibility.compiler.criteria.cache import caching_compiler
from fhir_eligibility.compiler.criteria.library import Compiled
from fhir_eligibility.compiler.elm_json.writer import elm_text
from fhir_eligibility.compiler.runtime.printing import as_json, text_of
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions
from fhir_eligibility.data.patients.versions import guess_version_of_paths
from fhir_eligibility.data.terminology.files import open_terminology
from fhir_eligibility.evaluation.undecided_defines import Undecided
from fhir_eligibility.output.atomic import write_text
from fhir_eligibility.runners.screening.screening import evaluation_time
from fhir_eligibility.ui.commands.cql_repl import converse
from fhir_eligibility.ui.commands.cql_session import (
    EXPRESSION,
    Session,
    SessionAnswer,
    given_parameters,
    parameters_of,
    read_subject,
)
from fhir_eligibility.ui.commands.explained_parts import lines_of_parts
from fhir_eligibility.ui.options.argument_types import PATH
from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.options import (
    add_config_options,
    add_libraries_option,
    add_limit_option,
    add_parameter_options,
    add_time_options,
)
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.options.terminology import add_terminology_options, terminology_options


def add_compile_options(command: CommandParser) -> None:
    """What `eligibility compile` is told."""
    command.add_argument(
        "library",
        type=PATH,
        metavar="LIBRARY",
        help="a .cql file, a FHIR Library with CQL, or ELM JSON; of a folder all libraries",
    )
    group = command.add_argument_group("what is shown and written")
    group.add_argument(
        "--elm",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write it as ELM JSON (- for standard output; a folder for those of a folder)",
    )
    group.add_argument("--show", choices=("python",), help="show the Python that it becomes")
    _reading(command)
    add_config_options(command)
    command.describe(
        "eligibility compile criteria/flute/cql/FluteCriteria.cql",
        "eligibility compile library.cql --libraries common --elm library.json",
        "eligibility compile criteria/flute/cql",
        statuses=STATUSES_OF_TEXT,
        page="operators.md",
    )
    command.set_defaults(run=compile_command)


def add_options(command: CommandParser) -> None:
    """What `eligibility cql` is told."""
    command.add_argument(
        "expression",
        nargs="?",
        metavar="EXPRESSION",
        help="without it: every define of --library, or a conversation where there is no library",
    )
    command.add_argument_group("a conversation").add_argument(
        "-i",
        "--interactive",
        action="store_true",
        help="a conversation with --library and --data too: expressions in, values out, definitions stay",
    )
    group = command.add_argument_group("what the expression is about")
    group.add_argument(
        "--library", type=PATH, metavar="FILE", help="a library whose definitions the expression may name"
    )
    group.add_argument(
        "--data",
        nargs="+",
        type=PATH,
        metavar="PATH",
        help="the record of one patient: a bundle, NDJSON, or resources",
    )
    group.add_argument("--patient", metavar="ID", help="the patient, where the data holds several")
    group.add_argument("--fhir", metavar="VERSION", help="FHIR version of the patient (default: from the data)")
    add_parameter_options(group)
    add_time_options(group)
    add_limit_option(group, "an expression or define")
    add_terminology_options(command, allow_missing=False)
    _reading(command)
    group = command.add_argument_group("what is shown")
    group.add_argument("--show", choices=("python",), help="show the Python that it becomes")
    group.add_argument("--explain", action="store_true", help="show the value of every part of the expression, too")
    group.add_argument("--json", action="store_true", help="values as JSON")
    add_config_options(command)
    command.describe(
        'eligibility cql "AgeInYears() >= 18" --data criteria/flute/cohort/example-01.json',
        "eligibility cql --library criteria/flute/cql/FluteCriteria.cql --data criteria/flute/cohort/example-01.json",
        "eligibility cql --interactive --library criteria/flute/cql/FluteCriteria.cql --data criteria/flute/cohort/example-01.json",
        statuses=STATUSES_OF_TEXT,
        page="operators.md",
    )
    command.set_defaults(run=cql_command)


def _reading(command: CommandParser) -> None:
    group = command.add_argument_group("how CQL is read")
    add_libraries_option(group, "files and folders with the libraries that are included")
    group.add_argument("--list-demotion", action="store_true", help="let a list stand for its one element")
    group.add_argument("--list-promotion", action="store_true", help="let an element stand for a list of it")


def read_library(path: str, more: Iterable[str]) -> tuple[LibraryText, LibraryStore]:
    """A library file, and the store of what stands beside it and in the paths given. Raises FileNotFoundError, ValueError."""
    file = Path(path)
    check_exist(file)
    if file.is_dir():
        raise ValueError(f"{path} is a folder; give the library, a file in it")
    store = load_libraries(more)
    own = load_libraries([file])
    if not own.libraries:
        own.add_text(Source(str(file), _text(file)))
    written = own_names(file.parent)
    listed = (p for p in file.parent.iterdir() if p.suffix in (".cql", ".json", ".xml") and p.name not in written)
    beside = load_libraries(sorted(p for p in listed if p != file))
    for library in (*own.libraries, *beside.libraries):
        store.add(library)
    store.models += [*own.models, *beside.models]
    return own.libraries[0], store


def _text(file: Path) -> str:
    """The text of a file that is to be CQL or ELM JSON. Raises ValueError that says what it is instead."""
    raw = file.read_bytes()
    other = mistaken(raw, f"{file.name}.cql")
    if other is not None:
        raise ValueError(f"{file}: {other[0]}; CQL libraries are .cql files, FHIR Library resources, or ELM JSON")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(f"{file} is not text in UTF-8 (line {line}); save it as UTF-8") from None
    if file.suffix == ".json" and '"resourceType"' in text:
        raise ValueError(f"{file} holds no library with CQL or ELM")
    return text


def _options(options: argparse.Namespace) -> TranslationOptions:
    return TranslationOptions(list_demotion=options.list_demotion, list_promotion=options.list_promotion)


def compile_command(options: argparse.Namespace) -> int:
    """`eligibility compile`"""
    if Path(options.library).is_dir():
        return _compile_folder(options)
    library, store = read_library(options.library, options.libraries)
    compiler = caching_compiler(store.find, _options(options), store.models)
    try:
        compiled = compiler.compile(library.source)
    except DiagnosticError as error:
        _say(error.diagnostics)
        print(f"{options.library}: {_counted(error.diagnostics)}", file=sys.stderr)
        return Status.FAILED
    _say(compiled.diagnostics)
    if options.elm is not None:
        text = elm_text(compiler.typed(library.source))
        if options.elm == "-":
            sys.stdout.write(text)
        else:
            write_text(Path(options.elm), text)
    if options.show == "python":
        sys.stdout.write(compiled.python)
    if options.elm is None and options.show is None:
        print("\n".join(summary(compiled)))
    return Status.OK


def _compile_folder(options: argparse.Namespace) -> int:
    """Every library in a folder, a line each; ELM JSON of each goes into the folder that --elm names."""
    if options.show is not None or options.elm == "-":
        raise ValueError(f"{options.library} is a folder: give one library with --show, and a folder with --elm")
    own, store = load_libraries([options.library]), load_libraries([options.library, *options.libraries])
    _say(own.diagnostics)
    if not own.libraries:
        raise ValueError(f"{options.library} holds no CQL: no .cql file and no FHIR Library")
    compiler = caching_compiler(store.find, _options(options), store.models)
    status = Status.CRITERIA_ERRORS if any(d.severity == "error" for d in own.diagnostics) else Status.OK
    for library in own.libraries:
        try:
            compiled = compiler.compile(library.source)
        except DiagnosticError as error:
            _say(error.diagnostics)
            print(f"{library.source.name}: {_counted(error.diagnostics)}")
            status = Status.CRITERIA_ERRORS
            continue
        _say(compiled.diagnostics)
        version = f" version {compiled.version}" if compiled.version else ""
        defines = f"{len(compiled.defines)} defines; {_counted(compiled.diagnostics)}"
        print(f"{library.source.name}: library {compiled.name}{version}, {defines}")
        if options.elm is not None:
            Path(options.elm).mkdir(parents=True, exist_ok=True)
            name = "-".join(
                filter(
                    None,
                    (file_name(compiled.name or Path(library.source.name).stem), file_name(compiled.version or "")),
                )
            )
            write_text(Path(options.elm) / f"{name}.json", elm_text(compiler.typed(library.source)))
    return status


def file_name(text: str) -> str:
    """A name of a library as part of the name of a file: what is no letter, digit, point, hyphen or underscore becomes an underscore."""
    return re.sub(r"[^\w.-]", "_", text).lstrip(".")


def summary(compiled: Compiled) -> list[str]:
    """A library on one screen: what it includes, its parameters, defines and functions with their types."""
    version = f" version {compiled.version}" if compiled.version else ""
    lines = [f"library {compiled.name}{version}"]
    lines += [f"  includes {x.name} {x.version or ''}".rstrip() for x in compiled.includes.values()]
    lines += [f"  parameter {name}: {exported.type}" for name, exported in compiled.parameters.items()]
    for define in compiled.defines.values():
        notes = [word for word in ("private" if define.private else "", define.context or "unfiltered") if word]
        lines.append(f"  define {define.name!r}: {define.type}  ({', '.join(notes)})")
    for functions in compiled.symbols.functions.values():
        for function in functions:
            lines.append(f"  function {function.name}({', '.join(map(str, function.operands))}): {function.result}")
    lines.append(f"{len(compiled.defines)} defines; {_counted(compiled.diagnostics)}")
    return lines


def _counted(diagnostics: Iterable[Diagnostic]) -> str:
    found = list(diagnostics)
    errors = sum(d.severity == "error" for d in found)
    return f"{so_many(errors, 'error')}, {so_many(len(found) - errors, 'warning')}"


def _say(diagnostics: Iterable[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        print(diagnostic.render(), file=sys.stderr)


def session_of(options: argparse.Namespace) -> Session:
    """The session that the options of `eligibility cql` ask for."""
    store, library = load_libraries(options.libraries), None
    if options.library:
        found, store = read_library(options.library, options.libraries)
        library = found.source
    version = load_model(options.fhir or "r4").version
    session = Session(store, library, options=_options(options), timezone=options.timezone, version=version)
    session.now = evaluation_time(options.now, options.timezone)
    if options.data:
        version = options.fhir or guess_version_of_paths(options.data)
        session.subject = read_subject(options.data, version, options.patient)
    session.given = given_parameters(options.parameters)
    session.parameters = parameters_of(options.parameter, options.now, options.timezone)
    terminology = open_terminology(options.valuesets, terminology_options(options))
    _say(terminology.diagnostics)
    session.value_sets = terminology
    session.seconds = options.criterion_seconds
    session.explained = options.explain
    return session


def cql_command(options: argparse.Namespace) -> int:
    """`eligibility cql`"""
    try:
        if options.explain and options.json:
            raise ValueError("--explain shows text: give it without --json")
        session = session_of(options)
        if options.interactive and options.expression is not None:
            raise ValueError("--interactive is a conversation: give no expression with it")
        if options.interactive or (options.expression is None and session.library is None):
            return converse(session, sys.stdin, sys.stdout)
        if options.expression is None:
            return _every_define(session, options)
        found = _of_data(session)
        answer = session.evaluate(options.expression)
    except DiagnosticError as error:
        _say(error.diagnostics)
        return Status.FAILED
    except EvaluationError as error:
        print(rendered(error), file=sys.stderr)
        return Status.FAILED
    _say(answer.warnings)
    _messages(session)
    _say_undecided(session.undecided(answer.compiled, [EXPRESSION]))
    if options.show == "python":
        sys.stdout.write(answer.compiled.python)
    print("\n".join([_shown(answer, options.json), *lines_of_parts(answer.parts)]))
    return found


def _of_data(session: Session) -> Status:
    """Say what is wrong with the data; gives the status that it means."""
    problems = session.subject.problems if session.subject is not None else ()
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return Status.INCOMPLETE if any(problem.severity == "error" for problem in problems) else Status.OK


def _shown(answer: SessionAnswer, plain: bool) -> str:
    if plain:
        return json.dumps(as_json(answer.value), ensure_ascii=False, default=str)
    return f"{text_of(answer.value)}  ({answer.type})"


def _messages(session: Session) -> None:
    """What Message said while expressions were evaluated, each once."""
    for message in dict.fromkeys(session.messages):
        print(message, file=sys.stderr)
    session.messages.clear()


def _say_undecided(found: Iterable[Undecided]) -> None:
    """Say of which answers a screening would not say the same."""
    for one in found:
        print(f"note: {one}", file=sys.stderr)


def _every_define(session: Session, options: argparse.Namespace) -> int:
    """Every public define of the library, an error in one not stopping the others."""
    assert session.library is not None
    compiled = session.compiler().compile(session.library)
    _say([*compiled.diagnostics, *session.about_value_sets(compiled, compiled.defines)])
    run = session.environment(compiled)
    status, values = _of_data(session), {}
    for define in compiled.defines.values():
        if define.private:
            continue
        try:
            value, parts = session.value_of(compiled, define.name, run)
        except EvaluationError as error:
            print(f"{define.name}: {rendered(error)}", file=sys.stderr)
            status = Status.CRITERIA_ERRORS
            continue
        values[define.name] = as_json(value)
        if not options.json:
            print("\n".join([f"{define.name}: {text_of(value)}", *lines_of_parts(parts)]))
    _messages(session)
    _say_undecided(
        session.undecided(compiled, [define.name for define in compiled.defines.values() if not define.private])
    )
    if options.json:
        print(json.dumps(values, indent=2, ensure_ascii=False, default=str))
    return status


def rendered(error: EvaluationError) -> str:
    """A run-time error with the author's line."""
    where = f" (define {error.define!r})" if error.define else ""
    return Diagnostic(error.code, error.message + where, source=error.source, span=error.span).render()
