"""The steps of imaging.feature: the example cohort, its images in a real archive, and the command line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from fhir_eligibility.ui.commands.cli import main
from tests.imaging.conftest import (
    FLUTE,
    files,
    lines_of,
    link_of,
    nothing_from_outside,
    running_orthanc,
)
from tests.imaging.orthanc import Orthanc, free_port

pytestmark = pytest.mark.slow
scenarios("imaging.feature")


class Story:
    """What happens in one scenario."""

    def __init__(self, orthanc: Orthanc, folder: Path) -> None:
        self.orthanc = orthanc
        self.folder = folder
        self.run = folder / "run"
        self.url = orthanc.url

    @property
    def archive(self) -> list[str]:
        return ["--dicomweb", self.url, "--ignore-endpoints", "--retries", "0", "--quiet"]

    def screen(self, *more: str) -> None:
        data = ["--data", str(FLUTE / "cohort"), "--out", str(self.run), "--now", "2026-06-01"]
        assert main(["screen", str(FLUTE / "mr"), *data, *more, *([] if more else ["--quiet"])]) == 0

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        return {line["patient"].rpartition("/")[2]: line for line in lines_of(self.run / "verdicts.ndjson")}

    @property
    def holdings(self) -> dict[str, dict[str, Any]]:
        return {line["patient"].rpartition("/")[2]: line for line in lines_of(self.run / "archive.ndjson")}


@pytest.fixture
def story(running_orthanc: Orthanc, files: dict[str, list[Path]], tmp_path: Path) -> Story:
    running_orthanc.hold_only("cohort", (path for found in files.values() for path in found))
    return Story(running_orthanc, tmp_path)


@given("an archive that holds the images of the example cohort")
def _(story: Story) -> None:
    assert story.orthanc.holds == "cohort"


@given("the example cohort is screened with the FLUTE criteria")
def _(story: Story) -> None:
    story.screen()


@given(parsers.parse("the archive has lost {what} of {patient}"))
def _(story: Story, what: str, patient: str) -> None:
    link = link_of(story.run, patient)
    if what == "the study":
        story.orthanc.remove("Study", link["study"])
    elif what == "one series":
        story.orthanc.remove("Series", link["series"][0]["uid"])
    else:
        story.orthanc.remove("Instance", link["series"][0]["instances"][0])


@given(parsers.parse("the record says that {patient} is patient {identifier}"))
def _(story: Story, patient: str, identifier: str) -> None:
    path = story.run / "verdicts.ndjson"
    path.write_text(path.read_text().replace('"value":"EX0001"', f'"value":"{identifier}"'))


@given("the archive is down")
def _(story: Story) -> None:
    story.url = f"http://127.0.0.1:{free_port()}/dicom-web"


@when("the archive comes back")
def _(story: Story) -> None:
    story.url = story.orthanc.url


@when("the archive is asked for the images")
def _(story: Story) -> None:
    assert main(["imaging", "verify", str(story.run), *story.archive]) in (0, 1)


@then(parsers.parse("all {count:d} studies are {state}"))
def _(story: Story, count: int, state: str) -> None:
    assert Counter(holding["state"] for holding in story.holdings.values()) == Counter({state: count})


@then(parsers.parse("the images of {patient} are {state}"))
def _(story: Story, patient: str, state: str) -> None:
    assert story.holdings[patient]["state"] == state


@then(parsers.parse("{count:d} {level} are named as missing"))
def _(story: Story, count: int, level: str) -> None:
    holding = story.holdings["example-01"]
    if level == "series":
        assert len(holding["missing_series"]) == count
    else:
        assert sum(len(item["instances"]) for item in holding["missing_instances"]) == count


@when("the images of the included patients are fetched")
def _(story: Story) -> None:
    assert main(["imaging", "fetch", str(story.run), "--out", str(story.folder / "images"), *story.archive]) == 0


@then(parsers.parse("{count:d} files of {patients:d} patients are there, each under its SOP Instance UID"))
def _(story: Story, count: int, patients: int) -> None:
    found = list((story.folder / "images").rglob("*.dcm"))
    assert (len(found), len({path.parts[-4] for path in found})) == (count, patients)
    included = [name for name, verdict in story.verdicts.items() if verdict["verdict"] == "included"]
    listed = {uid for name in included for series in link_of(story.run, name)["series"] for uid in series["instances"]}
    assert {path.stem for path in found} == listed


@when("pictures of them are asked for")
def _(story: Story) -> None:
    assert main(["imaging", "thumbnails", str(story.run), "--out", str(story.folder / "shown"), *story.archive]) == 0


@then(parsers.parse("there are {count:d} pictures and a page that shows them"))
def _(story: Story, count: int) -> None:
    pictures = list((story.folder / "shown").rglob("*.png"))
    assert len(pictures) == count
    assert (story.folder / "shown" / "index.html").read_text().count("<img") == count


@when("the cohort is screened and images have to be held")
def _(story: Story) -> None:
    story.screen("--require-images", *story.archive)


@then(parsers.re(r"(?P<patient>example-\d+) is (?P<verdict>\w+)"))
def _(story: Story, patient: str, verdict: str) -> None:
    assert story.verdicts[patient]["verdict"] == verdict


@then(parsers.parse("the reason of {patient} is {reason}"))
def _(story: Story, patient: str, reason: str) -> None:
    found = {criterion.get("reason") for criterion in story.verdicts[patient]["criteria"]}
    assert found - {None} == {reason}
