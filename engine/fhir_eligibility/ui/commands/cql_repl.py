"""The conversation of `eligibility cql`: expressions in, values out; definitions stay; a mistake does not end it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError
from fhir_eligibility.algebra.operators.registry import cql_functions
from fhir_eligibility.compiler.runtime.printing import text_of
from fhir_eligibility.compiler.syntax.cql_words import KEYWORDS, STATEMENT_WORDS
from fhir_eligibility.compiler.translate.cql_methods import METHODS
from fhir_eligibility.ui.commands.cql_session import EXPRESSION, Session
from fhir_eligibility.ui.commands.explained_parts import lines_of_parts
from fhir_eligibility.ui.terminal.visible import plain

HELP = """\
an expression        its value and type          define Name: ...     kept; may be defined again
valueset, code, include, parameter, using ...    kept too, as they stand at the beginning of a library
:type expression     only its type               :python expression   the Python that it becomes
:defines             what is defined             :help                this
:quit                leave (or Ctrl-D)           a line that ends in \\ goes on in the next"""
_DEFINITION = re.compile(
    rf"(?:public\s+|private\s+)?(?:{'|'.join(sorted(STATEMENT_WORDS - {'library', 'context'}))})\s+[\w\"`]"
)


def converse(session: Session, stdin: IO[str], stdout: IO[str]) -> int:
    """Read lines until the end and answer each; returns the exit status: 2 where a line of a script failed."""
    status = 0
    terminal = stdin.isatty()
    if terminal:
        stdout.write("CQL. :help tells what can be written; Ctrl-D leaves.\n")
    for line in _prompted(session) if terminal else _joined(stdin):
        text = line.strip()
        if not text:
            continue
        if text in (":quit", ":q", ":exit"):
            break
        answer, failed = reply(session, text)
        if failed and not terminal:
            status = 2
        stdout.write(answer + "\n")
        stdout.flush()
    return status


def reply(session: Session, text: str) -> tuple[str, bool]:
    """The answer to one line, and whether it is an error."""
    try:
        if text.startswith(":"):
            return _command(session, text), False
        if _DEFINITION.match(text):
            return f"defined {session.define(text)!r}", False
        answer = session.evaluate(text)
        lines = [d.render() for d in answer.warnings]
        lines += [f"note: {one}" for one in session.undecided(answer.compiled, [EXPRESSION])]
        lines += [f"{text_of(answer.value)}  ({answer.type})", *lines_of_parts(answer.parts)]
        return "\n".join(lines), False
    except DiagnosticError as error:
        return "\n".join(d.render() for d in error.diagnostics), True
    except EvaluationError as error:
        return Diagnostic(error.code, error.message, source=error.source, span=error.span).render(), True


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Lines, those that end in a backslash with the next."""
    pending = ""
    for line in lines:
        stripped = line.rstrip("\r\n")
        if stripped.endswith("\\"):
            pending += stripped[:-1] + "\n"
            continue
        yield pending + stripped
        pending = ""
    if pending:
        yield pending


def _command(session: Session, text: str) -> str:
    word, _, rest = text.partition(" ")
    commands: dict[str, Callable[[], str]] = {
        ":help": lambda: HELP,
        ":defines": lambda: "\n".join(names(session)) or "nothing is defined",
        ":type": lambda: str(session.compile(rest).defines["the expression"].type),
        ":python": lambda: session.compile(rest).python.rstrip(),
    }
    found = commands.get(word)
    return found() if found is not None else f"{word} is not a command; :help lists them"


def names(session: Session) -> list[str]:
    """The definitions that an expression may name."""
    compiled = session.compile("null")
    return [f'"{name}"' for name in compiled.defines if name != "the expression"]


def words(session: Session) -> list[str]:
    """What completion offers: keywords, functions, fluent functions, definitions."""
    try:
        own = names(session)
    except DiagnosticError:
        own = []
    return sorted({*KEYWORDS, *cql_functions(), *METHODS, *own})


def history_file() -> Path:
    """Where the lines of earlier conversations are kept."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "fhir-eligibility" / "cql-history"


def _prompted(session: Session, **terminal: Any) -> Iterator[str]:
    """Lines typed at the prompt, with completion and history; Ctrl-C drops the line, Ctrl-D ends."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import FuzzyCompleter, WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.output import create_output

    if "output" not in terminal:
        terminal["output"] = create_output(plain(sys.stdout))
    file = history_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    prompt: Any = PromptSession(history=FileHistory(str(file)), **terminal)
    pending = ""
    while True:
        completer = FuzzyCompleter(WordCompleter(words(session), sentence=False))
        try:
            line = prompt.prompt("... " if pending else "cql> ", completer=completer, complete_while_typing=False)
        except KeyboardInterrupt:
            pending = ""
            continue
        except EOFError:
            return
        if line.endswith("\\"):
            pending += line[:-1] + "\n"
            continue
        yield pending + line
        pending = ""
