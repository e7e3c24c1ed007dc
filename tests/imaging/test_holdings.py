"""The record of a study beside what archives answer: several archives, series elsewhere, counts, modalities, dates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.presence import Found, Need, StudyPresence
from fhir_eligibility.data.archives.qido import HeldSeries, HeldStudy
from fhir_eligibility.evaluation.confirming import without_missing
from fhir_eligibility.evaluation.holdings import Expected, SeriesPart, expected_of, holding_of, same_day
from fhir_eligibility.evaluation.imaging import imaging_link, merge_links
from fhir_eligibility.evaluation.verdict import Holding, ImagingLink, MissingInstances
from fhir_eligibility.runners.large.bounded import as_they_come, batched, in_order
from fhir_eligibility.ui.commands.cli import main
from tests.shared import reported

Resource = dict[str, Any]


def links(case: dict[str, Any]) -> list[ImagingLink]:
    resources = case["input"]["resources"]
    by_name = {f"{r['resourceType']}/{r['id']}": r for r in resources}
    studies = [r for r in resources if r["resourceType"] == "ImagingStudy"]
    return merge_links([imaging_link(s, criterion="c", role="met", failed=None, resolve=by_name.get) for s in studies])


def whole(need: Need, **study: Any) -> StudyPresence:
    """An archive that has all that is needed."""
    series = {uid: HeldSeries(need.study, uid) for uid in need.series}
    return StudyPresence(
        HeldStudy(need.study, **study), series, {uid: set(wanted) for uid, wanted in need.series.items()}
    )


class Archives:
    """Archives by address; what is not named here is absent. `asked` remembers who was asked."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, base: str, need: Need) -> Found:
        name = base.removeprefix("https://").partition(".")[0]
        self.asked.append(name)
        match self.answers.get(name):
            case "all":
                return whole(need)
            case "down":
                return ArchiveFailure(FailureCause.CONNECTION, f"{base}: no connection")
            case "nothing of it":
                return StudyPresence(HeldStudy(need.study))
            case "another's":
                return whole(need, patient_ids=("X",))
        return None


def judged(case: str, archives: Archives, **places: Any) -> Holding:
    (link,) = links(reported(case))
    return holding_of(expected_of("Patient/p1", [link], ["P"], **places), archives)


@pytest.mark.parametrize(
    ("a", "b", "state", "asked"),
    [
        ("all", "all", "present", ["a"]),
        ("absent", "all", "present", ["a", "b"]),
        ("down", "all", "present", ["a", "b"]),
        ("another's", "all", "present", ["a", "b"]),
        ("absent", "absent", "absent", ["a", "b"]),
        ("down", "absent", "unreachable", ["a", "b"]),
        ("absent", "down", "unreachable", ["a", "b"]),
        ("nothing of it", "absent", "partial", ["a", "b"]),
        ("nothing of it", "down", "unreachable", ["a", "b"]),
        ("another's", "absent", "patient-mismatch", ["a", "b"]),
    ],
)
def test_a_study_in_two_archives(a: str, b: str, state: str, asked: list[str]) -> None:
    archives = Archives(a=a, b=b)
    found = judged("DCM-MULTI-ENDPOINT-TYPES", archives)
    assert (found.state, archives.asked) == (state, asked)


def test_where_no_endpoint_resolves_only_a_given_archive_is_asked() -> None:
    nobody = Archives()
    found = judged("DCM-NO-ENDPOINT", nobody)
    assert (found.state, found.reason, nobody.asked) == ("unreachable", "no-archive", [])
    given = Archives(given="all")
    assert judged("DCM-NO-ENDPOINT", given, dicomweb="https://given.example/rs/").state == "present"


def test_endpoints_can_be_ignored() -> None:
    given = Archives(given="all")
    place = "https://given.example/rs"
    found = judged("DCM-URN-OID-STRIP", given, dicomweb=place, ignore_endpoints=True)
    assert (found.state, found.archive, given.asked) == ("present", place, ["given"])


def test_cancelled_studies_are_not_asked_for() -> None:
    nobody = Archives()
    states = {}
    for link in links(reported("DCM-STATUS-CANCELLED")):
        found = holding_of(expected_of("Patient/p1", [link], [], dicomweb="https://given.example/rs"), nobody)
        states[link.resource] = (found.state, found.detail)
    assert states["ImagingStudy/s1"] == ("unidentified", "cancelled: the images are not linked")
    assert states["ImagingStudy/s3"][0] == "absent"
    assert len(nobody.asked) == 3


def endpoint(name: str) -> Resource:
    kind = {"code": "dicom-wado-rs"}
    return {
        "resourceType": "Endpoint",
        "id": name,
        "status": "active",
        "connectionType": kind,
        "address": f"https://{name}.example/rs",
    }


STUDY: Resource = {
    "resourceType": "ImagingStudy",
    "id": "i",
    "status": "available",
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    "endpoint": [{"reference": "Endpoint/a"}],
    "series": [{"uid": "1.2.3.1"}, {"uid": "1.2.3.2", "endpoint": [{"reference": "Endpoint/b"}]}],
}


@pytest.mark.parametrize(
    ("a", "b", "state", "missing"),
    [
        ("all", "all", "present", []),
        ("all", "absent", "partial", ["1.2.3.2"]),
        ("absent", "all", "partial", ["1.2.3.1"]),
        ("absent", "absent", "absent", []),
        ("all", "down", "unreachable", []),
        ("nothing of it", "all", "partial", ["1.2.3.1"]),
        ("all", "another's", "patient-mismatch", []),
    ],
)
def test_a_series_in_an_archive_of_its_own(a: str, b: str, state: str, missing: list[str]) -> None:
    found = {f"Endpoint/{name}": endpoint(name) for name in "ab"}
    link = imaging_link(STUDY, criterion="c", role="met", failed=None, resolve=found.get)
    expected = expected_of("Patient/p", [link], ["P"])
    assert [part.archives for part in expected.parts] == [("https://a.example/rs",), ("https://b.example/rs",)]
    archives = Archives(a=a, b=b)
    holding = holding_of(expected, archives)
    assert (holding.state, holding.missing_series, archives.asked) == (state, missing, ["a", "b"])


@pytest.mark.parametrize(
    ("record", "held", "difference"),
    [
        ({"series_count": 2}, {"series_count": 2}, None),
        ({"series_count": 2}, {"series_count": 3}, "number of series: the record says 2, the archive has 3"),
        ({"series_count": 2}, {}, None),
        ({"instance_count": 9}, {"instance_count": 8}, "number of instances: the record says 9, the archive has 8"),
        ({"modality": ("MR",)}, {"modalities": ("MR", "SR")}, None),
        ({"modality": ("PT", "CT")}, {"modalities": ("PT",)}, "modality: the record says CT, the archive has PT"),
        ({"modality": ("MR",)}, {}, None),
        ({"started": "2026-01-20"}, {"date": "20260121"}, "date: the record says 2026-01-20, the archive has 20260121"),
    ],
)
def test_differences(record: dict[str, Any], held: dict[str, Any], difference: str | None) -> None:
    expected = Expected("Patient/p", "ImagingStudy/i", "1.2.3", (SeriesPart(("https://a.example",)),), ("P",), **record)
    found = holding_of(expected, lambda base, need: whole(need, patient_ids=("P",), **held))
    assert (found.state, found.differences) == (
        "mismatch" if difference else "present",
        [difference] if difference else [],
    )


@pytest.mark.parametrize(
    ("started", "date", "same"),
    [
        ("2026-01-20T09:00:00Z", "20260120", True),
        ("2026-01-20T23:30:00+01:00", "20260120", True),
        ("2026-01-20T23:30:00Z", "20260121", True),
        ("2026-01-20T13:30:00Z", "20260122", False),
        ("2026-01-20T01:00:00Z", "20260119", True),
        ("2026-01-20T13:00:00Z", "20260119", False),
        ("2026-01-20", "20260121", False),
        ("2026-01", "20260131", True),
        ("2026", "20250131", False),
        (None, "20260120", True),
        ("2026-01-20", None, True),
        ("2026-01-20", "2026.01.20", True),
        ("2026-01-20T09:00:00", "20260121", False),
    ],
)
def test_days(started: str | None, date: str | None, same: bool) -> None:
    assert same_day(started, date) is same


@pytest.mark.parametrize(("ids", "identifiers"), [((), ("P",)), (("P",), ()), (("OTHER", "P"), ("P",))])
def test_patients_that_cannot_or_do_match(ids: tuple[str, ...], identifiers: tuple[str, ...]) -> None:
    expected = Expected("Patient/p", "ImagingStudy/i", "1.2.3", (SeriesPart(("https://a.example",)),), identifiers)
    found = holding_of(expected, lambda base, need: whole(need, patient_ids=ids))
    assert found.state == "present"
    assert (found.detail is None) == (bool(ids) and bool(identifiers))


def test_the_question_is_all_that_the_answer_depends_on() -> None:
    base = Expected("Patient/p", "ImagingStudy/i", "1.2.3", (SeriesPart(("https://a.example",)),), ("P",))
    others = [
        Expected("Patient/q", "ImagingStudy/i", "1.2.3", base.parts, ("P",)),
        Expected("Patient/p", "ImagingStudy/i", "1.2.3", (SeriesPart(("https://b.example",)),), ("P",)),
        Expected("Patient/p", "ImagingStudy/i", "1.2.3", base.parts, ("Q",)),
        Expected("Patient/p", "ImagingStudy/i", "1.2.3", base.parts, ("P",), ("MR",)),
    ]
    questions = [one.question for one in (base, *others)]
    assert len(set(questions)) == 5


# -- what is left of a record


def partial(**missing: Any) -> Holding:
    return Holding(patient="Patient/p", resource="ImagingStudy/i", study="1.2.3", state="partial", **missing)


def test_what_is_left_of_a_study() -> None:
    study: Resource = {
        "resourceType": "ImagingStudy",
        "modality": [{"code": "MR"}, {"code": "CT"}, {"code": "SR"}],
        "numberOfSeries": 3,
        "numberOfInstances": 6,
        "series": [
            {"uid": "urn:oid:1.1", "modality": {"code": "MR"}, "instance": [{"uid": "1.1.1"}, {"uid": "1.1.2"}]},
            {"uid": "1.2", "modality": {"coding": [{"code": "CT"}]}, "instance": [{"uid": "1.2.1"}]},
            {
                "uid": "1.3",
                "modality": {"code": "MR"},
                "instance": [{"uid": "1.3.1"}, {"uid": "1.3.2"}],
            },
        ],
    }
    lacking = [MissingInstances(series="1.3", instances=["1.3.1"])]
    left = without_missing(study, partial(missing_series=["1.2"], missing_instances=lacking))
    assert left is not None
    assert [series["uid"] for series in left["series"]] == ["urn:oid:1.1", "1.3"]
    assert left["series"][1]["instance"] == [{"uid": "1.3.2"}]
    assert [modality["code"] for modality in left["modality"]] == ["MR", "SR"]
    assert (left["numberOfSeries"], left["numberOfInstances"]) == (2, 4)
    assert without_missing(study, partial(missing_series=["1.1", "1.2", "1.3"])) is None
    assert len(study["series"]) == 3 and study["numberOfSeries"] == 3


# -- threads


@pytest.mark.parametrize("run", [in_order, as_they_come])
def test_no_more_is_taken_in_than_the_bound(run: Any) -> None:
    taken = done = 0

    def items() -> Any:
        nonlocal taken
        for number in range(50):
            taken += 1
            assert taken - done <= 5
            yield number

    found = []
    for result in run(lambda number: number * 2, items(), 3, lambda: None):
        done += 1
        found.append(result)
    assert sorted(found) == [number * 2 for number in range(50)]
    assert run is as_they_come or found == sorted(found)


@pytest.mark.parametrize("run", [in_order, as_they_come])
def test_an_error_stops_the_rest(run: Any) -> None:
    stopped = []

    def work(number: int) -> int:
        if number == 3:
            raise RuntimeError("three")
        return number

    with pytest.raises(RuntimeError, match="three"):
        list(run(work, range(1000), 2, lambda: stopped.append(True)))
    assert stopped == [True]


def test_batches() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]


# -- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicomweb-auth", "user=u"], "--dicomweb-auth: expected credentials as bearer-env=VARIABLE, "),
        (["--dicomweb-auth", "password-file=FILE"], "expected credentials as bearer-env=VARIABLE, "),
        (["--dicomweb-auth", "client-id=a,key=FILE"], "expected credentials as bearer-env=VARIABLE, "),
        (["--dicomweb-auth", "bearer-env=NOT_THERE"], "the environment variable NOT_THERE holds no token"),
        (["--dicomweb-auth", "user=u,password-env=NOT_THERE"], "the environment variable NOT_THERE holds no password"),
        (["--dicomweb-auth", "bearer-file=/no/such"], "the file /no/such cannot be read: No such file or directory"),
        (
            ["--user", "u"],
            "unknown option --user; write --dicomweb-auth user=NAME,password-file=FILE (or password-env=",
        ),
        (
            ["--password-file", "f"],
            "unknown option --password-file; write --dicomweb-auth user=NAME,password-file=FILE",
        ),
        (["--token-file", "f"], "unknown option --token-file; write --dicomweb-auth bearer-file=FILE"),
        (["--client-key", "FILE"], "--client-key needs --client-cert"),
        (["--dicomweb-auth", "user=u,password-file=FILE"], "credentials would go there without encryption"),
        (["--dicomweb-auth", "bearer-file=FILE"], "credentials would go there without encryption"),
        (["--credentials-for", "somewhere"], "'somewhere' is not an address"),
        (["--ca", "FILE"], "no certificates in PEM form"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "verdicts.ndjson").write_text("")
    secret = tmp_path / "file"
    secret.write_text("secret\n")
    given = [option if option.startswith("--") else option.replace("=FILE", f"={secret}") for option in options]
    given = [str(secret) if option == "FILE" else option for option in given]
    assert main(["imaging", "verify", str(tmp_path), "--dicomweb", "http://archive.example/rs", *given]) == 2
    shown = capsys.readouterr().err
    assert message in shown and "secret" not in shown


def test_a_variable_that_was_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "verdicts.ndjson").write_text("")
    monkeypatch.setenv("DICOMWEB_TOKEN", "hunter2")
    assert main(["imaging", "verify", str(tmp_path), "--dicomweb", "https://archive.example/rs"]) == 2
    shown = capsys.readouterr().err
    assert "write --dicomweb-auth bearer-env=DICOMWEB_TOKEN, or unset it" in shown and "hunter2" not in shown


def test_options_of_a_connection_that_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["screen", str(tmp_path), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert (
        main(
            [*arguments, "--dicomweb", "https://a.example/rs", "--ignore-endpoints", "--dicomweb-auth", "bearer-env=U"]
        )
        == 2
    )
    assert (
        "--ignore-endpoints, --dicomweb-auth: only with --require-images is an archive asked" in capsys.readouterr().err
    )
