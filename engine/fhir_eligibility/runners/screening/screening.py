"""Screen a cohort: every patient of the data against every compiled rule set, in the order of the data.

`screen` is lazy and yields verdicts; `run` drives it into an output folder. What goes wrong with the data becomes problems, and what
goes wrong with one patient never stops the others.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike as PathOfSystem
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct, field

from fhir_eligibility.algebra.arguments import (
    PathLike,
    existing,
    flag,
    found,
    function_of,
    mapping_of,
    named,
    one_of,
    text_of,
)
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.parameters import check_given
from fhir_eligibility.compiler.criteria.reading import ReadPlan, reading_plan
from fhir_eligibility.compiler.criteria.rules import RuleSet, cql_codes
from fhir_eligibility.compiler.runtime.membership import NO_CODES, Codes
from fhir_eligibility.data.archives.address import archive_address
from fhir_eligibility.data.bulk.reading import read_export
from fhir_eligibility.data.bulk.rows import has_row
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.data.patients.several_sources import each_once
from fhir_eligibility.data.patients.versions import check_version, guess_version_of_paths
from fhir_eligibility.evaluation.descriptions import completed
from fhir_eligibility.evaluation.evaluator import Absent, Evaluator, Options
from fhir_eligibility.evaluation.records import decoded
from fhir_eligibility.evaluation.time_limit import SECONDS
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.output.run_record import CriterionErrors
from fhir_eligibility.runners.screening.criteria import Criteria


class PatientsElsewhere(Protocol):
    """Patients that are not in files, such as those of a server: whatever gives their compartments. A run calls it by its `name`, where it has one."""

    def compartments(self, on_problem: Callable[[Problem], None]) -> Iterator[Compartment]:
        """The patients; what cannot be read is told to `on_problem`."""


Data: TypeAlias = "PathLike | PatientsElsewhere | Compartment"
TOGETHER_WITH_IMAGES = (
    "criteria look at other patients' data ([x -> Type]): whether an archive holds the images of these is not asked"
)
MERGED_FILES = "linked patients (Patient.link) are merged where all of them are at hand: export the server's patients first (eligibility export)"
if TYPE_CHECKING:
    from fhir_eligibility.runners.imaging.confirming import RequiredImages


def evaluation_time(now: str | dt.datetime | None, timezone: str) -> dt.datetime:
    """The moment of evaluation, aware: the clock in `timezone` unless given.

    Raises ValueError for text that is no ISO 8601 date or time, and for an unknown time zone.
    """
    text_of(timezone, "timezone")
    if now is not None and not isinstance(now, (str, dt.datetime)):
        raise TypeError(f"now: expected a datetime or a text in ISO 8601, found {found(now)}")
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {timezone!r}; write a name such as Europe/Paris or UTC") from None
    if now is None:
        return dt.datetime.now(zone)
    if isinstance(now, str):
        try:
            now = dt.datetime.fromisoformat(now)
        except ValueError:
            raise ValueError(f"{now!r} is not a date or time; write 2026-03-01 or 2026-03-01T09:00:00+01:00") from None
    return now if now.tzinfo is not None else now.replace(tzinfo=zone)


def screen(
    criteria: Criteria | Sequence[RuleSet],
    data: Data | Iterable[Data],
    *,
    now: str | dt.datetime | None = None,
    timezone: str = "UTC",
    absent: Absent = "default",
    dicomweb: str | None = None,
    variables: Mapping[str, Any] | None = None,
    parameters: Mapping[tuple[str, str], Any] | None = None,
    value_sets: Codes | None = None,
    strict_cql: bool = False,
    criterion_seconds: float = SECONDS,
    images: RequiredImages | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    force_fhir: bool = False,
    tolerate: int = 0,
    merge_linked: bool = False,
) -> Iterator[Verdict]:
    """Screen patients lazily: one Verdict for each patient and rule set, in the order of the data.

    `data` is a path (a bundle, a folder of them, NDJSON, `.gz`), several, the patients of a server, or compartments already read. With `images`,
    images count only where an archive holds them. A criterion that takes longer than `criterion_seconds` for a patient is unknown (0: no limit). `on_problem` is told what could not be read.
    Of each resource type `tolerate` damaged records are tolerated whose patients nobody can tell; more of them leave answers unknown that rest on their absence.
    With `merge_linked`, Patients in files that are linked as one person (Patient.link) are one patient.

    Raises at once TypeError for criteria, data or options of another type, ValueError for values that mean nothing, and FileNotFoundError for data that is
    not there. Raises FhirVersionError, a ValueError, for files whose beginning tells that they are written in another version of FHIR than the criteria were
    compiled for, unless `force_fhir`.
    """
    rules = _rules_of(criteria)
    data = _data_of(data)
    one_of(absent, "absent", ("default", "unknown", "not-met"))
    flag(strict_cql, "strict_cql")
    flag(force_fhir, "force_fhir")
    flag(merge_linked, "merge_linked")
    if tolerate.__class__ is not int or tolerate < 0:
        raise ValueError(f"tolerate: expected a number of records, 0 or more, found {tolerate!r:.40}")
    function_of(on_problem, "on_problem")
    if images is not None and not hasattr(images, "verdicts"):
        raise TypeError(f"images: expected RequiredImages, found {found(images)}")
    if value_sets is not None and not hasattr(value_sets, "get"):
        raise TypeError(f"value_sets: expected a Terminology, or codes by url, found {found(value_sets)}")
    given = criteria.terminology if isinstance(criteria, Criteria) else NO_CODES
    options = Options(
        now=evaluation_time(now, timezone),
        timezone=timezone,
        absent=absent,
        dicomweb=None if dicomweb is None else archive_address(text_of(dicomweb, "dicomweb")),
        variables=named(variables, "variables"),
        parameters=_parameters_of(parameters),
        value_sets=given if value_sets is None else value_sets,
        strict_cql=strict_cql,
        criterion_seconds=criterion_seconds,
    )
    check_given((code.compiled for code in cql_codes(rules)), options.parameters)
    version = criteria.fhir_version if isinstance(criteria, Criteria) else rules[0].model if rules else "r4"
    if not force_fhir:
        check_version(_paths(data), version)
    plan = reading_plan(rules, options.value_sets)
    if images is not None and plan.together:
        raise ValueError(TOGETHER_WITH_IMAGES)
    return _verdicts(rules, data, options, version, plan, images, on_problem, tolerate, merge_linked)


def _verdicts(
    rules: Sequence[RuleSet],
    data: Data | Iterable[Data],
    options: Options,
    version: str,
    plan: ReadPlan,
    images: RequiredImages | None,
    on_problem: Callable[[Problem], None] | None,
    tolerate: int,
    merge_linked: bool,
) -> Iterator[Verdict]:
    whole = [completed(rule_set, options) for rule_set in rules]
    if images is not None:
        patients = compartments(data, version, on_problem, plan.with_instances(), tolerate, merge_linked)
        for _, verdicts in images.verdicts(rules, options, patients):
            for complete, verdict in zip(whole, verdicts, strict=True):
                yield complete(decoded(verdict))
        return
    evaluators = [Evaluator(rule_set, options) for rule_set in rules]
    for compartment in compartments(data, version, on_problem, plan, tolerate, merge_linked):
        for complete, evaluator in zip(whole, evaluators, strict=True):
            yield complete(decoded(evaluator(compartment)))


def _rules_of(criteria: object) -> tuple[RuleSet, ...]:
    """The rule sets of criteria. Raises TypeError for what holds none."""
    if isinstance(criteria, Criteria):
        return criteria.rules
    if isinstance(criteria, (str, Path)):
        raise TypeError(f"criteria: expected what load_criteria gives, found the path {str(criteria)!r}")
    if isinstance(criteria, (list, tuple)) and all(isinstance(item, RuleSet) for item in criteria):
        return tuple(criteria)
    raise TypeError(f"criteria: expected what load_criteria gives, found {found(criteria)}")


def _data_of(data: Any) -> Data | Iterable[Data]:
    """Data, where it is of a type that is read, and there. Raises TypeError, ValueError, FileNotFoundError."""
    if isinstance(data, (list, tuple)):
        return [_datum(item) for item in data]
    return data if isinstance(data, Iterator) else _datum(data)


def _datum(data: Any) -> Data:
    """One source of patients."""
    if isinstance(data, Compartment) or hasattr(data, "compartments"):
        return data  # type: ignore[no-any-return]
    if isinstance(data, str) and data.lower().startswith(("http://", "https://")):
        raise ValueError(f"data: {data} is the address of a server; give server_patients(Server({data!r}), criteria)")
    if isinstance(data, Mapping):
        kind = data.get("resourceType", "mapping")
        raise TypeError(f"data: expected a path or patients, found a {kind} as a dict; give compartments_of([it])")
    if not isinstance(data, (str, PathOfSystem)):
        raise TypeError(f"data: expected a path, a compartment, or the patients of a server, found {found(data)}")
    return existing(data, "data")


def _parameters_of(parameters: object) -> dict[tuple[str, str], Any]:
    """Values by library and name. Raises TypeError."""
    out = mapping_of(parameters, "parameters")
    for key in out:
        if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(part, str) for part in key)):
            raise TypeError(f"parameters: expected keys (library, name), found {key!r:.60}")
    return out


def _paths(data: Data | Iterable[Data]) -> list[PathLike]:
    """The files and folders among some data."""
    if isinstance(data, (str, Path)):
        return [data]
    return [item for item in data if isinstance(item, (str, Path))] if isinstance(data, (list, tuple)) else []


def compartments(
    data: Data | Iterable[Data],
    fhir_version: str,
    on_problem: Callable[[Problem], None] | None = None,
    plan: ReadPlan | None = None,
    tolerate: int = 0,
    merge_linked: bool = False,
) -> Iterator[Compartment]:
    """Patients of some data, whatever form it is given in, each once where they are not at hand; of files no more is read than `plan` asks for. `tolerate` and `merge_linked` are as in `screen`."""
    if isinstance(data, Compartment):
        yield data
        return
    if isinstance(data, (str, Path)) or not isinstance(data, Iterable):
        data = [data]
    paths: list[PathLike] = []
    elsewhere: list[tuple[str, Iterator[Compartment]]] = []
    report = on_problem or (lambda problem: None)
    for item in data:
        if isinstance(item, Compartment):
            if plan is None or has_row(item, plan):
                yield item
        elif isinstance(item, (str, Path)):
            paths.append(item)
        elif hasattr(item, "compartments"):
            if merge_linked:
                raise ValueError(MERGED_FILES)
            elsewhere.append((str(getattr(item, "name", item.__class__.__name__)), item.compartments(report)))
        else:
            kind = item.__class__.__name__
            raise TypeError(f"data is a path, a compartment, or the patients of a server, and not of type {kind}")
    if not paths and not elsewhere:
        return
    model, means = load_model(fhir_version), {"tolerate": tolerate, "merge_linked": merge_linked}
    of_files: Iterator[Compartment] = iter(())
    if paths and plan is not None:
        of_files = read_export(paths, plan, report, tolerate=tolerate, merge_linked=merge_linked)
    elif paths:
        of_files = read_patients(paths, model=model, on_problem=report, **means)  # type: ignore[arg-type]
    if elsewhere and paths:
        elsewhere.append(("files", of_files))
    yield from each_once(elsewhere, model, report) if elsewhere else of_files


class Tally(Struct):
    """Counts of a run: verdicts by the key of an artifact (`url|version`), and how many patients each criterion removed, in order.

    `lacking` are the undetermined verdicts by the types of which records may be missing that an answer rests on, `resting` others that do.
    """

    patients: int = 0
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    removed: dict[str, Counter[str]] = field(default_factory=dict)
    titles: dict[str, dict[str, str]] = field(default_factory=dict)
    lacking: Counter[str] = field(default_factory=Counter)
    resting: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    """Patients who were taken over from an earlier run."""
    failed: dict[str, dict[str, CriterionErrors]] = field(default_factory=dict)
    """Criteria whose evaluation failed, by the key of an artifact and the id of the criterion."""

    @classmethod
    def of(cls, rule_sets: Sequence[RuleSet]) -> Tally:
        """An empty tally of some artifacts."""
        tally = cls()
        for rules in rule_sets:
            tally.verdicts[rules.key] = Counter()
            tally.removed[rules.key] = Counter()
            tally.titles[rules.key] = {rule.id: rule.title or rule.id for rule in rules.rules}
        return tally

    def add(self, artifact: str, verdict: str, deciding: str | None) -> None:
        """Count one verdict; `deciding` is the first criterion that decided."""
        self.verdicts[artifact][verdict] += 1
        if verdict == "excluded" and deciding is not None:
            self.removed[artifact][deciding] += 1

    def fail(self, artifact: str, criterion: str, message: str, patients: int = 1) -> None:
        """Count patients for whom the evaluation of a criterion failed; of the first of them the message is kept."""
        known = self.failed.setdefault(artifact, {})
        before = known.get(criterion)
        first, number = (message, 0) if before is None else (before.message, before.patients)
        known[criterion] = CriterionErrors(criterion=criterion, patients=number + patients, message=first)


def sha256_of(path: str) -> str:
    """SHA-256 of a file, as hexadecimal text. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def version_for(data: Iterable[PathLike], given: str | None) -> str:
    """FHIR version of the patients: as given, or from what the data says (default R4)."""
    return load_model(given).version if given else guess_version_of_paths(list(data))
