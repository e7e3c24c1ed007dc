"""The options of a run, what of them is recorded, and what must be the same for two runs to give the same answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

from fhir_eligibility.data.files.files import FoundFile, files_of
from fhir_eligibility.data.terminology.check import used_value_sets
from fhir_eligibility.evaluation.evaluator import Absent, Options
from fhir_eligibility.evaluation.time_limit import SECONDS
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.output.run_record import InputFile
from fhir_eligibility.runners.screening.criteria import Criteria, PathLike
from fhir_eligibility.runners.screening.large import Means, digest_of, digests_of
from fhir_eligibility.runners.screening.parameters_used import parameters_used
from fhir_eligibility.runners.screening.screening import sha256_of

if TYPE_CHECKING:
    from fhir_eligibility.runners.imaging.confirming import RequiredImages


OptionValue: TypeAlias = "str | bool | int | float | list[str] | None"


class RunOptions(Struct, frozen=True, kw_only=True):
    """Options of a run; see `screen` for what they mean.

    `jobs` are processes (0: one a core), `memory` bytes that the run may use (None: a quarter of the machine), `validate` has every line parsed, `resume` goes
    on with a run that was stopped, `hash_data` records the SHA-256 of data files of any size, `formats` names further outputs (`parquet`), `shared` has outputs readable by
    others than their owner, as the umask says. With `pseudonyms`, outputs carry codes in the place of patients, and `pseudonym_list` is a file that tells whose each
    is. With
    `images`, images count only where archives hold them. With `force_fhir`, data that is written in another version of FHIR than the criteria were compiled
    for is screened all the same; else it is an error. A criterion that takes longer than `criterion_seconds` for a patient is unknown (0: no limit). Of each
    resource type `tolerate` damaged records are tolerated whose patients nobody can tell. With `merge_linked`, linked Patients (Patient.link) are one patient.
    With `keep_fingerprints` a later run can tell whose records did not change; those are taken over from the outputs in the folder `since`, which keeps them too.
    """

    now: str | None = None
    timezone: str = "UTC"
    absent: Absent = "default"
    dicomweb: str | None = None
    parameters: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    strict_cql: bool = False
    parameter_texts: Sequence[str] = ()
    terminology: Mapping[str, str | bool | None] = field(default_factory=dict)
    jobs: int = 1
    memory: int | None = None
    validate: bool = False
    resume: bool = False
    hash_data: bool = False
    formats: Sequence[str] = ()
    images: RequiredImages | None = None
    force_fhir: bool = False
    criterion_seconds: float = SECONDS
    shared: bool = False
    tolerate: int = 0
    pseudonyms: Pseudonyms | None = None
    pseudonym_list: Path | None = None
    merge_linked: bool = False
    keep_fingerprints: bool = False
    since: Path | None = None
    source_options: Mapping[str, OptionValue] = field(default_factory=dict)
    """The options that the source of the patients alone has, by name, as they may be written."""

    @property
    def keeps(self) -> bool:
        """Whether the fingerprints of patients are kept."""
        return self.keep_fingerprints or self.since is not None

    @property
    def means(self) -> Means:
        """What the run may take."""
        return Means(
            jobs=self.jobs,
            memory=self.memory,
            validate=self.validate,
            resume=self.resume,
            tolerate=self.tolerate,
            merge_linked=self.merge_linked,
        )


def input_files(files: Iterable[FoundFile], hashed: bool = True) -> list[InputFile]:
    """Files as they were listed, with size and hash, as run.json has them; one that cannot be read (any more) has no hash."""

    def digest(path: str) -> str | None:
        try:
            return sha256_of(path) if hashed else None
        except OSError:
            return None

    return [
        InputFile(path=found.path, bytes=found.bytes, sha256=digest(found.path))
        for found in files
        if found.changed is not None
    ]


def fingerprint_of(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    found: Sequence[FoundFile],
    options: RunOptions,
) -> dict[str, str]:
    """What must be the same for a run to be resumed, by what it is called in a message; `found` is what was told of the files that are read."""
    settings = recorded(criteria, options)
    used = [found.model_dump_json() for found in parameters_used(criteria, options.parameters)]
    return {
        **digests_of(found),
        "parameters": digest_of(used),
        "criteria": digest_of((found.path, found.sha256) for found in input_files(files_of(criteria_paths))),
        "value sets": digest_of(used_value_sets(criteria.terminology)),
        **{f"--{name.replace('_', '-')}": str(value) for name, value in sorted(settings.items())},
        "--now": str(options.now),
        "--timezone": options.timezone,
    }


def options_of(criteria: Criteria, options: RunOptions, moment: dt.datetime) -> Options:
    return Options(
        now=moment,
        timezone=options.timezone,
        absent=options.absent,
        dicomweb=options.dicomweb,
        parameters=dict(options.parameters),
        value_sets=criteria.terminology,
        strict_cql=options.strict_cql,
        criterion_seconds=options.criterion_seconds,
    )


def recorded(criteria: Criteria, options: RunOptions) -> dict[str, OptionValue]:
    """The options as run.json records them: those that verdicts depend on."""
    found: dict[str, OptionValue] = {
        "absent": options.absent,
        **({"study_start": criteria.study_start} if criteria.study_start is not None else {}),
        "dicomweb": options.dicomweb,
        "strict_cql": options.strict_cql,
        "criterion_seconds": options.criterion_seconds,
        "parameters": list(options.parameter_texts),
        "validate": options.validate,
        "tolerate": options.tolerate,
        "merge_linked": options.merge_linked,
        "require_images": options.images is not None,
        **({} if options.images is None else {"ignore_endpoints": options.images.places.ignore_endpoints}),
        "pseudonyms": None if options.pseudonyms is None else options.pseudonyms.description,
        "pseudonym_list": options.pseudonym_list is not None,
        **options.terminology,
    }
    return {**_of_source(options), **found}


def _of_source(options: RunOptions) -> dict[str, OptionValue]:
    """The options of the source; with pseudonyms as codes, since they may name patients."""
    codes = options.pseudonyms
    return {
        name: value
        if codes is None or value is None or isinstance(value, bool)
        else codes.code("option", f"{name}={value}")
        for name, value in options.source_options.items()
    }
