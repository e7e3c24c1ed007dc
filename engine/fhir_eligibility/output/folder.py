"""A folder that a command writes its outputs into: it belongs to one run at a time, and its outputs appear together or not at all.

Outputs are written into a folder of their own beside the earlier ones. When all of them are whole, a plan of what takes which place is written; from that moment on
the run has happened: should it be killed, the next command that opens the folder carries the plan out. A marker names what was written, so that the outputs of an
earlier run that the new one does not have are removed, and that none of them is ever read as criteria or data (`fhir_eligibility.artifacts.own_outputs`).

Outputs hold patients' data: files and folders can be read by their owner alone, unless the user shares them. A folder that is there already keeps its mode.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fhir_eligibility.artifacts.own_outputs import MARKER, NEW, PLAN, is_name, recorded_outputs
from fhir_eligibility.output.atomic import BUFFER, note_place, write_text
from fhir_eligibility.output.atomic import owner_only as open_private
from fhir_eligibility.output.earlier_versions import outputs_without_marker
from fhir_eligibility.output.lock import FolderLock

RUN = "run.json"
"""The sign that the outputs of a screening are complete: removed first, written last."""
FORMAT = 1
# What runs that were killed left behind, of versions that wrote outputs beside their places.
_LEFT = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


class Plan(msgspec.Struct):
    """What is to be done when all outputs are whole: which appear, which are removed, which are kept under another name, and what the marker says then."""

    format: int
    appear: list[str]
    remove: list[str]
    aside: dict[str, str]
    outputs: dict[str, list[str]]


class About(NamedTuple):
    """Outputs of a command that are about those of another one, and go when these do; `aside` are files of it that are kept under another name."""

    command: str
    aside: Mapping[str, str]


class StagedFile:
    """One output while it is written. `part` is where it is until then."""

    def __init__(self, part: Path, mode: str, *, private: bool = False) -> None:
        self.part = part
        binary = "b" in mode
        self.stream: Any = open(
            part,
            mode,
            BUFFER,
            encoding=None if binary else "utf-8",
            newline=None if binary else "",
            opener=open_private if private else None,
        )

    def finish(self) -> None:
        """Bring all of it to the disk. Raises OSError."""
        if not self.stream.closed:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()


@contextlib.contextmanager
def owner_only(shared: bool) -> Iterator[None]:
    """Let files and folders that are made meanwhile, here and in processes that are started, be read by their owner alone; with `shared`, go by the umask."""
    if shared:
        yield
        return
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def locked_folder(path: Path, command: str, *, shared: bool) -> Iterator[None]:
    """A folder, made where it is not there, for a command alone; what is made meanwhile is as private as `owner_only` says. Raises FolderInUse, OSError."""
    with owner_only(shared):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is a file, and outputs need a folder; name another place with --out")
        path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(path, command)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()


class OutputFolder:
    """The folder of one run of a command. To be used in a `with`; what was not published when it is left is gone.

    Raises FolderInUse where another run writes into the folder, OSError.
    """

    def __init__(self, path: Path, command: str, *, shared: bool = False) -> None:
        self.path = path
        self.command = command
        self.shared = shared
        self._new = path / NEW
        self._staged: dict[str, StagedFile] = {}
        self._aside: list[StagedFile] = []
        self._held = contextlib.ExitStack()

    def __enter__(self) -> OutputFolder:
        with contextlib.ExitStack() as held:
            held.enter_context(locked_folder(self.path, self.command, shared=self.shared))
            finish_interrupted(self.path)
            self._clean()
            if not recorded_outputs(self.path):
                _mark(self.path, outputs_without_marker(self.path))
            self._held = held.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            note_place(error, self.path)
        with self._held:
            for staged in (*self._staged.values(), *self._aside):
                with contextlib.suppress(OSError):
                    staged.stream.close()
            self._staged.clear()
            if not (self.path / PLAN).exists():
                with contextlib.suppress(OSError):
                    self._clean()

    def _clean(self) -> None:
        """Remove what is left of outputs that were never whole."""
        if self._new.is_dir():
            shutil.rmtree(self._new)
        for path in self.path.glob(".*.part"):
            if _LEFT.fullmatch(path.name) is not None:
                path.unlink()

    def claim(self, *names: str) -> None:
        """Say early which outputs there will be. Raises ValueError where one of these names is that of a file which no command wrote here: it is the user's."""
        written = {name for names in recorded_outputs(self.path).values() for name in names}
        for name in names:
            if name not in written and os.path.lexists(self.path / name):
                raise ValueError(
                    f"{self.path / name} is there already, and is not an output of this program, which would write over it; move it, or name another folder"
                )

    def stage(self, name: str, mode: str = "wb") -> StagedFile:
        """A new output with a name. Raises OSError, and ValueError as `claim` does."""
        assert is_name(name) and name not in self._staged
        self.claim(name)
        self._new.mkdir(exist_ok=True)
        staged = self._staged[name] = StagedFile(self._new / name, mode)
        return staged

    def aside(self) -> StagedFile:
        """A file for something that will not be in the folder, which its owner alone may read. It is gone when the folder is left. Raises OSError."""
        self._new.mkdir(exist_ok=True)
        staged = StagedFile(self._new / f"aside-{len(self._aside)}", "wb", private=True)
        self._aside.append(staged)
        return staged

    def staged(self, name: str) -> StagedFile:
        """An output that is being written."""
        return self._staged[name]

    def write_text(self, name: str, text: str) -> None:
        """A new output that is this text. Raises OSError."""
        self.stage(name, "w").stream.write(text)

    def own(self, *names: str) -> None:
        """Have files that the command writes by itself known as outputs, before they are there. Raises OSError."""
        earlier = recorded_outputs(self.path)
        listed = earlier.get(self.command, [])
        if not set(names) <= set(listed):
            _mark(self.path, {**earlier, self.command: [*dict.fromkeys((*listed, *names))]})

    def publish(self, *, about: About | None = None) -> None:
        """Let all outputs appear; those of the same command that it does not have any more are removed. Raises OSError.

        `about` are the outputs of another command that are about those of this one.
        """
        for staged in self._staged.values():
            staged.finish()
        earlier = recorded_outputs(self.path)
        appear = list(self._staged)
        outputs = {command: names for command, names in earlier.items() if command != self.command}
        gone = earlier.get(self.command, [])
        aside: dict[str, str] = {}
        if about is not None:
            listed = outputs.pop(about.command, [])
            gone += listed
            aside = {name: other for name, other in about.aside.items() if name in listed}
            staying = [name for name in about.aside.values() if name in listed or name in aside.values()]
            if staying:
                outputs[about.command] = staying
        kept = {*appear, *aside, *(name for names in outputs.values() for name in names)}
        outputs[self.command] = appear
        for one in self._aside:
            one.stream.close()
        plan = Plan(FORMAT, appear, [name for name in dict.fromkeys(gone) if name not in kept], aside, outputs)
        write_text(self.path / PLAN, msgspec.json.encode(plan).decode() + "\n")
        self._staged.clear()
        _carry_out(self.path, plan)


def finish_interrupted(folder: Path) -> None:
    """Carry out what a run that was killed had planned. The caller holds the lock. Raises OSError, ValueError where the plan is damaged."""
    try:
        text = (folder / PLAN).read_bytes()
    except FileNotFoundError:
        return
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{folder / PLAN} is damaged ({error}); name another folder, or empty this one") from None
    names = [*plan.appear, *plan.remove, *plan.aside, *plan.aside.values()]
    if plan.format != FORMAT or not all(map(is_name, names)):
        raise ValueError(f"{folder / PLAN} was written by another version; name another folder, or empty this one")
    _carry_out(folder, plan)


def _carry_out(folder: Path, plan: Plan) -> None:
    """Do what a plan says; what is done of it already is passed over."""
    new = folder / NEW
    if (new / RUN).exists():
        (folder / RUN).unlink(missing_ok=True)
    for name, other in plan.aside.items():
        if (folder / name).exists():
            os.replace(folder / name, folder / other)
    for name in plan.remove:
        (folder / name).unlink(missing_ok=True)
    for name in sorted(plan.appear, key=lambda name: name == RUN):
        if (new / name).exists():
            os.replace(new / name, folder / name)
    _mark(folder, plan.outputs)
    (folder / PLAN).unlink(missing_ok=True)
    if new.is_dir():
        shutil.rmtree(new)


def _mark(folder: Path, outputs: Mapping[str, list[str]]) -> None:
    text = json.dumps({"program": "fhir-eligibility", "format": FORMAT, "outputs": outputs}, indent=1)
    write_text(folder / MARKER, text + "\n")
