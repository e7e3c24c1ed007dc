"""Archives that page, list, retrieve and render in their own ways: nothing that is held is called absent, and what cannot be told is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.presence import Need, Presence, StudyPresence
from fhir_eligibility.data.archives.qido import find_instances, find_series, find_studies
from fhir_eligibility.output.transfers import SeriesTransfer
from fhir_eligibility.runners.imaging.confirming import RequiredImages
from fhir_eligibility.runners.imaging.fetch import FetchOptions, SeriesFilter, fetch
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.imaging.thumbnails import thumbnails
from fhir_eligibility.runners.imaging.verify import verify
from tests.imaging.bent import WAYS, Bent, is_series
from tests.imaging.conftest import FLUTE, lines_of, link_of
from tests.imaging.orthanc import Orthanc
from tests.imaging.stub import Answerer, Asked, Reply, Stub, rows
from tests.imaging.test_fetch import multipart

pytestmark = pytest.mark.slow

MakeStub = Callable[[Answerer], Stub]
UNREADABLE = ("lower case", "keywords", "no uids", "empty rows", "no values")
NO_SERIES = tuple(way for way in WAYS if way.startswith("no series"))
NO_PICTURES = tuple(way for way in WAYS if way.startswith("no pictures"))
READABLE = tuple(way for way in WAYS if way not in UNREADABLE)


def access() -> Access:
    return Access(retries=0, backoff=0.001)


def states(run: Path, url: str) -> Counter[tuple[str, str | None]]:
    """States of the studies of a run, each with the reason."""
    with Client(access()) as client:
        verify(run, client, Places(url, True), afresh=True)
    return Counter((line["state"], line.get("reason")) for line in lines_of(run / "archive.ndjson"))


ALL = SeriesFilter()


def fetched(run: Path, out: Path, url: str, chosen: SeriesFilter = ALL) -> list[SeriesTransfer]:
    with Client(access()) as client:
        return list(fetch(run, out, client, FetchOptions(places=Places(url, True), series=chosen)))


# -- a real archive behind what bends its answers


@pytest.mark.parametrize("way", READABLE)
def test_what_is_held_is_present(way: str, run: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    assert states(run, stub(Bent(orthanc, way)).url) == Counter({("present", None): 12})


@pytest.mark.parametrize("way", UNREADABLE)
def test_rows_that_cannot_be_read_make_nothing_absent(way: str, run: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    archive = stub(Bent(orthanc, way))
    assert states(run, archive.url) == Counter({("unreachable", "malformed-answer"): 12})
    (detail,) = {line["detail"].replace(archive.url, "") for line in lines_of(run / "archive.ndjson")}
    assert "no Study Instance UID (0020000D)" in detail or "writes tags in small letters (0020000d)" in detail
    orthanc.remove("Study", link_of(run, "example-01")["study"])
    assert states(run, archive.url)[("absent", None)] == 1  # it answers without rows


@pytest.mark.parametrize("way", READABLE)
def test_what_is_missing_is_told(way: str, run: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    """A study, a series and an instance: named, or where an archive does not let that be told, not reached."""
    orthanc.remove("Study", link_of(run, "example-03")["study"])
    orthanc.remove("Series", link_of(run, "example-01")["series"][1]["uid"])
    orthanc.remove("Instance", link_of(run, "example-02")["series"][0]["instances"][1])
    found = states(run, stub(Bent(orthanc, way)).url)
    blind = ("unreachable", "malformed-answer") if way == "unfiltered" else ("absent", None)
    assert found == Counter({("present", None): 9, ("partial", None): 2, blind: 1})


@pytest.mark.parametrize("way", ["at most 200", "at most 10", "three rows", "unfiltered"])
def test_images_that_are_required(way: str, orthanc: Orthanc, stub: MakeStub) -> None:
    def verdicts(url: str) -> list[str]:
        with Client(access()) as client:
            images = RequiredImages(client, Places(url, True))
            criteria = fhir_eligibility.load_criteria(FLUTE / "mr")
            found = fhir_eligibility.screen(criteria, FLUTE / "cohort", now="2026-06-01", images=images)
            return [str(verdict.verdict) for verdict in found]

    straight = verdicts(orthanc.url)
    assert straight.count("included") == 4
    assert verdicts(stub(Bent(orthanc, way)).url) == straight


def test_the_page_size_of_an_archive_is_remembered(run: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    archive = stub(Bent(orthanc, "at most 50"))
    states(run, archive.url)
    limits = [asked.query["limit"][0] for asked in archive.asked if "limit" in asked.query]
    assert limits[:3] == ["1000", "200", "50"] and set(limits[3:]) <= {"50"}


@pytest.mark.parametrize("way", READABLE)
def test_files(way: str, run: Path, tmp_path: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    archive = stub(Bent(orthanc, way))
    found = fetched(run, tmp_path / "out", archive.url)
    assert Counter(record.state for record in found) == Counter({"complete": 8})
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 16
    note = "the archive gives no series; its instances were asked for one by one"
    if way in NO_SERIES:
        assert {record.detail for record in found} == {note}
        assert sum(map(is_series, archive.asked)) <= 4  # one a thread; it is remembered then
    else:
        assert {record.detail for record in found} == {None}


@pytest.mark.parametrize("way", READABLE)
def test_files_that_the_record_does_not_list(
    way: str, run: Path, tmp_path: Path, orthanc: Orthanc, stub: MakeStub
) -> None:
    """Series and instances are those that the archive lists; where it may have more than it lists, that is told."""
    path = run / "verdicts.ndjson"
    verdicts = lines_of(path)
    for verdict in verdicts:
        for link in verdict["imaging"]:
            link["series"] = []
    path.write_text("".join(json.dumps(verdict) + "\n" for verdict in verdicts))
    found = fetched(run, tmp_path / "out", stub(Bent(orthanc, way)).url)
    here = len(list((tmp_path / "out").rglob("*.dcm")))
    if way == "first row only":
        assert here < 16
        told = [record for record in found if record.reason == "malformed-answer"]
        assert len(told) == 4 and all("there may be more series: " in (record.detail or "") for record in told)
    else:
        assert Counter(record.state for record in found) == Counter({"complete": 8}) and here == 16


@pytest.mark.parametrize("way", NO_SERIES)
def test_images_that_are_not_there_are_not_asked_for_one_by_one(
    way: str, run: Path, tmp_path: Path, empty_orthanc: Orthanc, stub: MakeStub
) -> None:
    archive = stub(Bent(empty_orthanc, way))
    found = fetched(run, tmp_path / "out", archive.url)
    assert {(record.state, record.reason) for record in found} == {("absent", None)}
    assert len(archive.asked) <= 2 * len(found)


@pytest.mark.parametrize("way", NO_PICTURES)
def test_pictures(way: str, run: Path, tmp_path: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    archive = stub(Bent(orthanc, way))
    with Client(access()) as client:
        found = list(thumbnails(run, tmp_path, client, FetchOptions(places=Places(archive.url, True))))
    assert {record.state for record in found} == {"not-retrievable"} and len(found) == 8
    assert all((record.detail or "").startswith("the archive makes no picture of it: ") for record in found)


def test_pictures_of_images_that_are_not_there(
    run: Path, tmp_path: Path, empty_orthanc: Orthanc, stub: MakeStub
) -> None:
    archive = stub(Bent(empty_orthanc, "no pictures 404"))
    with Client(access()) as client:
        found = list(thumbnails(run, tmp_path, client, FetchOptions(places=Places(archive.url, True))))
    assert {record.state for record in found} == {"absent"}
    blind = stub(lambda asked: Reply(404) if asked.path.endswith("rendered") else Reply(500))
    with Client(access()) as client:
        found = list(thumbnails(run, tmp_path / "b", client, FetchOptions(places=Places(blind.url, True))))
    assert {(record.state, record.reason) for record in found} == {("unreachable", "server-error")}


# -- stubs


def test_single_instances_in_one_part(run: Path, tmp_path: Path, files: dict[str, list[Path]], stub: MakeStub) -> None:
    """No series, and no multipart answers: each instance as `application/dicom`."""
    contents = {path.stem: path.read_bytes() for path in files["example-01"]}

    def answer(asked: Asked) -> Reply:
        if "multipart" in asked.headers["accept"]:
            return Reply(406)
        return Reply(200, contents[asked.path.rpartition("/")[2]], "application/dicom")

    archive = stub(answer)
    chosen = SeriesFilter(descriptions=("T2*",))
    record = fetched(run, tmp_path / "out", archive.url, chosen)[0]
    assert (record.state, record.files, record.fetched) == ("complete", 2, 2)
    assert record.detail == "the archive gives no series; its instances were asked for one by one"
    ours = [asked for asked in archive.asked if f"/series/{record.series}" in asked.path]
    accepted = [asked.headers["accept"].partition(";")[0] for asked in ours if "json" not in asked.headers["accept"]]
    assert accepted == ["multipart/related", "multipart/related", "application/dicom", "application/dicom"]


def test_images_that_are_listed_and_not_given(run: Path, tmp_path: Path, orthanc: Orthanc, stub: MakeStub) -> None:
    """The archive lists them and gives none: that is not absent."""
    bent = Bent(orthanc, "straight")
    archive = stub(lambda asked: bent(asked) if "json" in asked.headers["accept"] else Reply(404))
    found = fetched(run, tmp_path / "out", archive.url)
    assert {record.state for record in found} == {"not-retrievable"}
    assert all((record.detail or "").startswith("the archive lists it, but does not give it") for record in found)


def test_a_header_that_names_another_instance(
    run: Path, tmp_path: Path, files: dict[str, list[Path]], stub: MakeStub
) -> None:
    """Files of which only the header names another instance are kept, with a remark."""
    contents = []
    for number, path in enumerate(files["example-01"]):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.9{number}"
        dataset.save_as(tmp_path / path.name)
        contents.append((dataset.SeriesInstanceUID, (tmp_path / path.name).read_bytes()))

    def answer(asked: Asked) -> Reply:
        series = asked.path.rpartition("/")[2]
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        return Reply(200, multipart([content for uid, content in contents if uid == series]), kind)

    record = fetched(run, tmp_path / "out", stub(answer).url, SeriesFilter(descriptions=("T2*",)))[0]
    assert (record.state, record.files, record.rejected) == ("complete", 2, [])
    assert record.detail is not None and "the file's header names instance 2.25.9" in record.detail


@pytest.mark.parametrize("body", [b"", b"  \n", b"null", b'{"0020000D": {}}', b"[[]]", b'"x"'])
def test_an_answer_without_rows_is_204_or_an_empty_list(body: bytes, stub: MakeStub) -> None:
    with Client(access()) as client:
        found = Presence(client).ask(stub(lambda asked: Reply(200, body)).url, [Need("1.2")])["1.2"]
        assert isinstance(found, ArchiveFailure) and found.cause is FailureCause.MALFORMED_ANSWER
        assert Presence(client).ask(stub(lambda asked: Reply(204, b"")).url, [Need("1.2")]) == {"1.2": None}
        assert Presence(client).ask(stub(lambda asked: Reply(200, b"[]")).url, [Need("1.2")]) == {"1.2": None}


@pytest.mark.parametrize("level", ["series", "instances"])
def test_some_rows_that_cannot_be_read(level: str, stub: MakeStub) -> None:
    """What the other rows bring is believed; what none brings is asked for by itself."""
    held = {"1.2.1": ["1.2.1.1", "1.2.1.2"], "1.2.2": ["1.2.2.1"]}

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/studies"):
            return rows({"0020000D": "1.2"})
        if asked.path.endswith("/series"):
            wanted = asked.query.get("0020000E", list(held))
            found: list[dict[str, Any]] = [{"0020000E": uid} for uid in wanted if uid in held]
            odd = level == "series" and "0020000E" not in asked.query
        else:
            series = asked.path.split("/")[-2]
            wanted = asked.query.get("00080018", held[series])
            found = [{"00080018": uid, "0020000E": series} for uid in wanted if uid in held[series]]
            odd = level == "instances" and "00080018" not in asked.query
        if asked.query.get("offset", ["0"]) != ["0"]:
            return rows()
        return rows(*({tag.lower(): v for tag, v in row.items()} if odd and n else row for n, row in enumerate(found)))

    need = Need("1.2", {"1.2.1": ("1.2.1.1", "1.2.1.2"), "1.2.2": ("1.2.2.1",)})
    more = Need("1.2", {**need.series, "1.2.9": ("1.2.9.1",)})
    with Client(access()) as client:
        url = stub(answer).url
        found = Presence(client).ask(url, [need])["1.2"]
        assert isinstance(found, StudyPresence) and not found.lacks(need)
        lacking = Presence(client).ask(url, [more])["1.2"]
        assert isinstance(lacking, StudyPresence) and lacking.lacks(more) and set(lacking.series) == set(held)


def test_an_archive_that_lists_without_end(stub: MakeStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_eligibility.data.archives.qido.MOST", 100)
    archive = stub(lambda asked: rows(*({"0020000E": f"1.{int(asked.query['offset'][0]) + n}"} for n in range(1, 11))))
    with Client(access()) as client, pytest.raises(ArchiveFailure, match="lists more than 100 rows"):
        find_series(client, archive.url, ["1.2"])


# -- any mixture of page sizes, caps, offsets and totals


@st.composite
def archives(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(0, 12))
    return {
        "held": [f"1.2.{n + 1}" for n in range(count)],
        "cap": draw(st.integers(1, 15)),
        "largest": draw(st.sampled_from([5000, 1000, 200, 50, 10])),
        "offset": draw(st.booleans()),
        "filters": draw(st.booleans()),
        "beyond": draw(st.sampled_from(["empty", 204, 400, 404])),
        "total": draw(st.sampled_from([None, "right", "low", "high"])),
        "odd": draw(st.sets(st.integers(0, 11), max_size=2)),
        "wanted": [f"1.2.{n + 1}" for n in draw(st.sets(st.integers(0, 13), min_size=1, max_size=6))],
    }


@pytest.fixture(scope="module")
def shared() -> Any:
    pytest.importorskip("urllib3")
    made = Stub(lambda asked: Reply())
    yield made
    made.close()


def answering(archive: dict[str, Any]) -> Answerer:
    held: list[str] = archive["held"]
    total = {"right": len(held), "low": max(0, len(held) - 2), "high": len(held) + 2}.get(archive["total"])

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/studies"):
            return rows({"0020000D": "1.2", **({"00201206": total} if total is not None else {})})
        if int(asked.query.get("limit", ["1"])[0]) > archive["largest"]:
            return Reply(400, b"")
        found = held
        if archive["filters"] and "0020000E" in asked.query:
            found = [uid for uid in held if uid in asked.query["0020000E"]]
        begin = int(asked.query.get("offset", ["0"])[0]) if archive["offset"] else 0
        if begin and begin >= len(found) and archive["beyond"] != "empty":
            return Reply(archive["beyond"], b"")
        here = found[begin : begin + archive["cap"]]
        return rows(
            *({"0020000e" if int(uid.rpartition(".")[2]) - 1 in archive["odd"] else "0020000E": uid} for uid in here)
        )

    return answer


LISTS_THE_FIRST = {"cap": 1, "largest": 5000, "offset": False, "filters": False, "beyond": "empty", "odd": set()}


@given(archives())
@example({**LISTS_THE_FIRST, "held": ["1.2.1", "1.2.2"], "total": "low", "wanted": ["1.2.1", "1.2.2"]})
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_held_absent_or_not_known(shared: Stub, archive: dict[str, Any]) -> None:
    """Whatever an archive does, no series that it holds is called absent, and none that it does not hold present.

    But for one that gives the same page again, whatever the offset, and counts as many as it lists: its count is believed, and here it is wrong.
    Where such an archive filters, asking for each series by itself would tell; it is not asked.
    """
    listed = [uid for uid in archive["held"][: archive["cap"]] if int(uid.rpartition(".")[2]) - 1 not in archive["odd"]]
    assume(archive["offset"] or archive["total"] != "low" or len(listed) != max(0, len(archive["held"]) - 2))
    shared.answer = answering(archive)
    need = Need("1.2", dict.fromkeys(archive["wanted"], ()))
    with Client(access()) as client:
        found = Presence(client).ask(shared.url, [need])["1.2"]
    if isinstance(found, ArchiveFailure):
        assert found.cause is FailureCause.MALFORMED_ANSWER
        well = archive["offset"] and not archive["odd"] and archive["total"] in (None, "right", "low")
        assert not (well and archive["beyond"] in ("empty", 204))
        return
    assert isinstance(found, StudyPresence)
    assert {uid for uid in need.series if uid in found.series} == set(archive["held"]) & set(need.series)


def test_a_single_study_that_the_answer_is_not_about(stub: MakeStub) -> None:
    with Client(access()) as client:
        with pytest.raises(ArchiveFailure, match="about other studies than the one that was asked for"):
            find_studies(client, stub(lambda asked: rows({"0020000D": "9.9"})).url, ["1.2"])
        foreign = stub(lambda asked: rows({"0020000D": "9.9", "0020000E": "9.9.1", "00080018": "9.9.1.1"}))
        assert find_series(client, foreign.url, ["1.2"]).malformed is not None
        assert find_instances(client, foreign.url, ["1.2"], "1.2.1").malformed is not None
