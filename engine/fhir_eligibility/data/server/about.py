"""What a server has about patients: a search for each type and some patients at once, where the server is proved to take lists.

A server may read `patient=1,2` as one value, or look at the first only, and find nothing without a word. So a list is believed for a type
and parameter only after the same resources came with a patient who has some at its end and elsewhere in it; until then patients are asked
about one by one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.references import RESTFUL
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.search import FoundResource, SearchAnswer, SearchError, every_page

DENIED = (401, 403)
COUNT = ("_count", "200")
# Search parameters that find what an element path links to a patient, where they are not called like the path's last
# step.
_NAMED = {"deliverTo": "subject", "candidate": "subject", "for": "subject", "member.entity": "member"}
_NAMED |= {"agent.who": "agent", "entity.what": "entity"}
_ELEMENTS = {"vaccine-code": "vaccineCode"}
_COMMA = re.compile(r"(?<!\\),")
Narrowing = tuple[str, str]


class Batch(Struct):
    """Some patients, by id, and a type: what is about them, and for whom it could not be had whole, and why.

    `partial` are records, by name, that came before a search failed.
    `warnings` are words of the server, `notes` pairs of a code and a sentence about how it was asked.
    """

    type: str
    patients: list[str]
    found: list[FoundResource] = field(default_factory=list)
    failed: dict[str, ServerError] = field(default_factory=dict)
    partial: dict[str, FoundResource] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


class AboutPatients:
    """Searches for what is about patients. `narrowed` holds (parameter, value) by type: enough for whoever asks, but no must.

    Safe to use from several threads. What a server was found to take is kept.
    """

    def __init__(self, server: Server, model: Model, types: Iterable[str], narrowed: Mapping[str, Narrowing]) -> None:
        self.server = server
        self.model = model
        self.narrowed = narrowed
        self._choice: dict[str, str] = {}
        # By type: up to how many patients at once the server is proved to take, 0 where it does not take several.
        self._lists: dict[str, int] = {}
        # Whether the narrowing of a type finds what it should.
        self._narrows: dict[str, bool] = {}
        self._locks = {name: threading.Lock() for name in types}

    def fill(self, job: Batch) -> Batch:
        """Ask about a batch. Raises ServerError where the server does not accept the credentials."""
        with self._locks[job.type]:  # one batch finds out what the others then use
            if not self._decided(job):
                return self._filled(job)
        return self._filled(job)

    def _decided(self, job: Batch) -> bool:
        count = len(job.patients)
        lists = self._lists.get(job.type)
        return job.type in self._choice and (count == 1 or lists == 0 or (lists is not None and lists >= count))

    def _filled(self, job: Batch) -> Batch:
        known = self._choice.get(job.type)
        last: ServerError | None = None
        for name in [known] if known is not None else self._candidates(job.type):
            try:
                job.found = self._found(job, name)
            except ServerError as error:
                if error.status in DENIED:
                    raise
                last = error
                if not _another_way(error):
                    break
            else:
                self._choice.setdefault(job.type, name)
                return job
        if last is not None:
            job.failed = dict.fromkeys(job.patients, last)
        return job

    def _candidates(self, resource_type: str) -> list[str]:
        names = ["patient"]
        for path in self.model.patient_paths(resource_type) or ("subject", "patient"):
            name = _NAMED.get(path) or _hyphenated(path.rpartition(".")[2])
            if name not in names:
                names.append(name)
        return names

    def _found(self, job: Batch, name: str) -> list[FoundResource]:
        if len(job.patients) == 1:
            return self._narrowly(job, name, job.patients)
        if not self._decided(job) and self._lists.get(job.type) != 0:
            return self._proving(job, name)
        if self._lists.get(job.type):
            try:
                return self._narrowly(job, name, job.patients)
            except SearchError as error:
                if not _another_way(error):
                    raise
        return self._each(job, name)

    # -- lists of patients

    def _proving(self, job: Batch, name: str) -> list[FoundResource]:
        """A list in two orders, or one by one where nothing tells that the server reads it as alternatives."""
        found: list[FoundResource] = []
        refused: SearchError | None = None
        try:
            found = self._asked(job, name, job.patients)
            witness = self._last_with_any(job, found)
            if witness is not None:
                others = [patient for patient in job.patients if patient != witness]
                turned = [witness, *others] if job.patients[-1] == witness else [*others, witness]
                if _names(self._asked(job, name, turned)) == _names(found):
                    self._lists[job.type] = len(job.patients)
                    return self._compare(job, name, job.patients, found)
        except SearchError as error:
            if not _another_way(error):
                raise
            refused = error
        each = self._each(job, name)
        if refused is not None or _names(found) or _names(each):
            self._lists[job.type] = 0
            message = f"{job.type}?{name}= does not take several patients at once; they are asked about one by one"
            job.notes.append(("search-one-by-one", f"the server's search by {message}"))
        return each

    def _last_with_any(self, job: Batch, found: list[FoundResource]) -> str | None:
        """The last patient of a batch whom something was found about."""
        about = {reference for item in found if _of_type(item, job.type) for reference in self._patients_of(item)}
        return next((patient for patient in reversed(job.patients) if f"Patient/{patient}" in about), None)

    def _each(self, job: Batch, name: str) -> list[FoundResource]:
        """One patient after the other; whoever cannot be asked about is noted in the batch."""
        found: dict[str, FoundResource] = {}
        for index, patient in enumerate(job.patients):
            try:
                some = self._narrowly(job, name, [patient])
            except SearchError as error:
                if job.type not in self._choice and not found and _another_way(error):
                    raise  # it may be another parameter that the type has
                job.failed[patient] = error
            except ServerError as error:
                if error.status in DENIED:
                    raise
                job.failed.update(dict.fromkeys(job.patients[index:], error))  # no answer: the others would wait too
                break
            else:
                found.update((item.name, item) for item in some)
        return list(found.values())

    # -- codes

    def _narrowly(self, job: Batch, name: str, patients: Sequence[str]) -> list[FoundResource]:
        """What is about some patients, narrowed where that is known, or not known not, to lose nothing."""
        narrowing = self.narrowed.get(job.type)
        works = self._narrows.get(job.type)
        if narrowing is None or works is False:
            return self._asked(job, name, patients)
        if works is None and len(_values(narrowing[1])) > 1:
            return self._compare(job, name, patients, self._asked(job, name, patients))
        try:
            return self._asked(job, name, patients, narrowing)
        except SearchError as error:
            if error.status is None or error.status >= 500:
                raise
            # The narrowing is not needed; what is left over is not looked at.
            found = self._asked(job, name, patients)
            self._narrows[job.type] = False
            return found

    def _compare(
        self, job: Batch, name: str, patients: Sequence[str], whole: list[FoundResource]
    ) -> list[FoundResource]:
        """What is left of a type that was read whole: what a search by the codes of the narrowing finds, where it finds what it should.

        Codes are asked for in two orders; where none of them is there, nothing can be told.
        """
        narrowing = self.narrowed.get(job.type)
        if narrowing is None or job.type in self._narrows:
            return whole
        parameter, value = narrowing
        values = _values(value)
        plain = {_unescaped(one).rpartition("|")[2]: one for one in values}
        element = _ELEMENTS.get(parameter, parameter)
        coded = {item.name: code for item in whole for code in _codes(item.resource.get(element)) if code in plain}
        if not coded:
            return whole
        last = plain[next(iter(coded.values()))]
        others = [one for one in values if one != last]
        found: list[FoundResource] = []
        for order in ([*others, last], [last, *others]) if others else ([last],):
            try:
                found = self._asked(job, name, patients, (parameter, ",".join(order)))
            except SearchError as error:
                if error.status is None or error.status >= 500:
                    return whole
                self._narrows[job.type] = False
                return whole
            if not coded.keys() <= _names(found):
                self._narrows[job.type] = False
                message = f"{job.type}?{parameter}= does not find all records with the codes; all of the type are read"
                job.notes.append(("search-without-codes", f"the server's search by {message}"))
                return whole
        self._narrows[job.type] = True
        return found

    # -- one search

    def _asked(
        self, job: Batch, name: str, patients: Sequence[str], narrowing: Narrowing | None = None
    ) -> list[FoundResource]:
        """The resources about the patients. Raises SearchError where the server did not look for these patients."""
        value = ",".join(_escaped(p if name == "patient" else f"Patient/{p}") for p in patients)
        parameters = [*([narrowing] if narrowing is not None else []), (name, value), COUNT]
        answer = SearchAnswer()
        asked = {f"Patient/{patient}" for patient in patients}
        came: list[FoundResource] = []
        try:
            found = every_page(self.server, job.type, parameters, answer, came)
        except ServerError:
            about = (i for i in came if _of_type(i, job.type) and not asked.isdisjoint(self._patients_of(i)))
            job.partial.update((item.name, item) for item in about)
            raise
        where = self.server.url(job.type)
        if answer.used is not None and name not in answer.used:
            raise SearchError(f"{where}: the server left out the parameter {name}", 400)
        for item in found:
            if _of_type(item, job.type) and asked.isdisjoint(self._patients_of(item)):
                text = f"{item.name} is about none of the patients that were asked for"
                raise SearchError(f"{where}: {text}; the server did not use the parameter {name}", 400)
        job.warnings.extend(answer.warnings)
        if answer.moved is not None:
            job.notes.append(moved(answer.moved))
        return found

    def _patients_of(self, item: FoundResource) -> Iterator[str]:
        """The patients of a resource, as `Patient/id`."""
        for path in self.model.patient_paths(item.resource["resourceType"]) or ("subject", "patient"):
            for reference in _references(item.resource, path.split(".")):
                yield local(reference)


def moved(written: str) -> tuple[str, str]:
    """The note that next pages are not asked for where the server says."""
    return (
        "next-link-rewritten",
        f"the server names its next pages by another address ({written}); they are asked for at the address that was given",
    )


def local(reference: str) -> str:
    """`Patient/id` of a reference, whatever server it names."""
    match = RESTFUL.fullmatch(reference.partition("/_history/")[0])
    return str(match["path"]) if match is not None else reference


def _another_way(error: ServerError) -> bool:
    """Whether asking in another way may help: the server refuses the question, or its pages are not whole."""
    return isinstance(error, SearchError) and error.status not in DENIED and (error.status or 400) < 500


def _of_type(item: FoundResource, resource_type: str) -> bool:
    return item.match and item.resource["resourceType"] == resource_type


def _names(found: Iterable[FoundResource]) -> frozenset[str]:
    return frozenset(item.name for item in found)


def _hyphenated(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name)


def _escaped(value: str) -> str:
    """A value in a list of values (FHIR: "Escaping Search Parameters")."""
    return re.sub(r"([\\,$|])", r"\\\1", value)


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value)


def _values(value: str) -> list[str]:
    """The values of a list, as they are written in it."""
    return _COMMA.split(value)


def _codes(concept: Any) -> Iterator[str]:
    """The codes of a CodeableConcept, or of several."""
    for one in concept if isinstance(concept, list) else [concept]:
        codings = one.get("coding") if isinstance(one, dict) else None
        for coding in codings if isinstance(codings, list) else ():
            code = coding.get("code") if isinstance(coding, dict) else None
            if isinstance(code, str):
                yield code


def _references(owner: Any, path: list[str]) -> Iterator[str]:
    """The literal references at a path."""
    if isinstance(owner, list):
        for item in owner:
            yield from _references(item, path)
    elif isinstance(owner, dict):
        if path:
            yield from _references(owner.get(path[0]), path[1:])
        elif isinstance(owner.get("reference"), str):
            yield owner["reference"]
