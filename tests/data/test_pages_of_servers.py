"""Pages of searches: totals that are estimates, next links behind proxies, circles, empty pages, and any mixture of these.

Whatever a server does, either the same records come, or it is told that they do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.server import search as search_module
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.pages import next_page, own_names
from fhir_eligibility.data.server.patients import SearchPlan, ServerPatients
from fhir_eligibility.data.server.search import Incomplete, SearchAnswer, SearchError, every_page
from fhir_eligibility.ui.commands.cli import main
from tests.servers.stub import Reply, Request, Stub, outcome, running_stub

QUICK = Patience(attempts=2, first=0.001, most=0.001)
Resource = dict[str, Any]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running_stub() as running:
        yield running


def condition(name: str, kind: str = "Condition") -> Resource:
    return {"resourceType": kind, "id": name}


class Pages:
    """Gives the pages of a list of records as a test says: what each holds, its total, its links."""

    def __init__(self, stub: Stub, pages: list[list[str]], *, kind: str = "Condition") -> None:
        self.stub = stub
        self.kind = kind
        self.pages = pages
        self.totals: list[int | None] = [None] * len(pages)
        self.next = f"{stub.base}/{kind}?cursor={{}}"
        self.own = f"{stub.base}/{kind}?patient=1"
        stub.on(f"/fhir/{kind}", self)
        stub.on("/fhir", self)

    def __call__(self, request: Request) -> Reply:
        number = int(request.value("cursor") or 0)
        entries = [{"resource": condition(name, self.kind), "search": {"mode": "match"}} for name in self.pages[number]]
        links = [{"relation": "self", "url": self.own}] if self.own else []
        if number + 1 < len(self.pages):
            links.append({"relation": "next", "url": self.next.format(number + 1)})
        bundle = {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}
        if self.totals[number] is not None:
            bundle["total"] = self.totals[number]
        return Reply(200, bundle)


def found(stub: Stub, answer: SearchAnswer | None = None, kind: str = "Condition", **options: Any) -> list[str]:
    with Server(stub.base, patience=QUICK, **options) as server:
        items = every_page(server, kind, [("patient", "1")], answer or SearchAnswer())
    return [str(item.resource["id"]) for item in items]


# -- totals


@pytest.mark.parametrize(
    "totals",
    [(9, 7, 3), (1, 2, 3), (None, None, 3), (3, None, None), (3, 3, 3), (None, None, None), (0, 0, 2), (99, 99, 3)],
    ids=str,
)
def test_the_total_of_the_last_page_counts(stub: Stub, totals: tuple[int | None, ...]) -> None:
    pages = Pages(stub, [["a"], ["b"], ["c"]])
    pages.totals = list(totals)
    answer = SearchAnswer()
    assert found(stub, answer) == ["a", "b", "c"]
    assert answer.total == next((total for total in reversed(totals) if total is not None), None)


@pytest.mark.parametrize("totals", [(3, 3, 4), (None, None, 5), (4, None, None)], ids=str)
def test_fewer_records_than_the_last_total(stub: Stub, totals: tuple[int | None, ...]) -> None:
    pages = Pages(stub, [["a"], ["b"], ["c"]])
    pages.totals = list(totals)
    with pytest.raises(Incomplete, match=f"the server counts {max(t for t in totals if t)}, but its pages hold 3"):
        found(stub)


def test_a_patient_list_with_estimates(stub: Stub) -> None:
    pages = Pages(stub, [["a"], ["b"]], kind="Patient")
    pages.totals = [70, 2]
    problems: list[Problem] = []
    with Server(stub.base, patience=QUICK) as server:
        source = ServerPatients(server, load_model("r4"), SearchPlan(()))
        assert [c.id for c in source.compartments(problems.append)] == ["a", "b"]
    assert problems == []


# -- next links


BASES = {
    "another host": "http://inside.example:8080/fhir",
    "another host and prefix": "http://inside.example/hapi/r4",
    "no prefix": "http://10.0.0.7:8080",
    "https": "https://{host}/fhir",
    "another port": "http://{name}:9/fhir",
}


@pytest.mark.parametrize("place", BASES)
@pytest.mark.parametrize("shape", ["{base}/Condition?cursor={{}}", "{base}?cursor={{}}"])
def test_next_links_of_a_server_behind_a_proxy(stub: Stub, place: str, shape: str) -> None:
    """The server calls itself so: its next pages are asked for where it was reached, and nowhere else."""
    inner = BASES[place].format(host=urlsplit(stub.base).netloc, name=urlsplit(stub.base).hostname)
    pages = Pages(stub, [["a"], ["b"], ["c"]])
    pages.own = f"{inner}/Condition?patient=1"
    pages.next = shape.format(base=inner)
    answer = SearchAnswer()
    assert found(stub, answer) == ["a", "b", "c"]
    assert answer.moved is not None and answer.moved.startswith(inner) and "cursor" not in answer.moved


@pytest.mark.parametrize("place", ["another host", "another host and prefix", "no prefix"])
def test_next_links_that_lead_elsewhere_are_refused(stub: Stub, place: str) -> None:
    """The server calls itself by the given address: another host is another server."""
    pages = Pages(stub, [["a"], ["b"]])
    pages.next = BASES[place] + "/Condition?cursor={}"
    with pytest.raises(SearchError, match=r"on another server .*--rewrite-next-links"):
        found(stub)
    assert len(stub.requests) == 2  # each of two attempts, and no page


def test_next_links_are_rewritten_where_that_is_asked_for(stub: Stub) -> None:
    pages = Pages(stub, [["a"], ["b"]])
    pages.own = ""
    pages.next = BASES["another host"] + "/Condition?cursor={}"
    with pytest.raises(SearchError, match="on another server"):
        found(stub)
    assert found(stub, rewrite_next_links=True) == ["a", "b"]
    pages.next = BASES["another host and prefix"] + "/Condition?cursor={}"
    with pytest.raises(SearchError, match="its path is not below the path of the given address"):
        found(stub, rewrite_next_links=True)


def test_full_urls_tell_how_a_server_calls_itself() -> None:
    bundle = {
        "resourceType": "Bundle",
        "link": [{"relation": "next", "url": "http://inside.example/r4/Condition?cursor=2"}],
        "entry": [{"fullUrl": "http://inside.example/r4/Condition/1"}],
    }
    with Server("https://outside.example/api/fhir") as server:
        names = own_names(bundle, "Condition")
        assert names == {"http://inside.example/r4"}
        asked = next_page(server, bundle, "https://outside.example/api/fhir/Condition", names)
        assert asked is not None
        assert asked.url == "https://outside.example/api/fhir/Condition?cursor=2"
        assert asked.written == "http://inside.example/r4/Condition?..."


@pytest.mark.parametrize(
    "link",
    [
        "http://inside.example/r4/../secrets?x",
        "http://inside.example/r4/%2e%2e/secrets",
        "http://inside.example/r4evil/Condition",
        "http://user:pw@elsewhere.example/r4/Condition",
        "ftp://inside.example/r4/Condition",
        "http://[bad/Condition",
        "https://outside.example:444/other/Condition",
    ],
)
def test_links_that_are_never_followed(link: str) -> None:
    with Server("https://outside.example/api/fhir") as server:
        with pytest.raises(ServerError):
            next_page(
                server,
                {"link": [{"relation": "next", "url": link}]},
                "https://outside.example/api/fhir/Condition",
                {"http://inside.example/r4"},
            )


@given(
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["outside.example", "OUTSIDE.example", "inside.example", "outside.example.evil.example"]),
    st.sampled_from(["", ":443", ":80", ":8443", ":65536", ":x"]),
    st.text("/.%2efhrapiv4\\?#@:", max_size=20),
    st.booleans(),
)
@settings(deadline=None)
def test_no_next_link_leads_to_another_server(scheme: str, host: str, port: str, path: str, rewrite: bool) -> None:
    """Whatever a link says, what is asked for is on the given origin, and credentials go nowhere else."""
    base = "https://outside.example/api/fhir"
    with Server(base, rewrite_next_links=rewrite) as server:
        bundle = {"link": [{"relation": "next", "url": f"{scheme}://{host}{port}/{path}"}]}
        try:
            asked = next_page(server, bundle, f"{base}/Condition", {"http://inside.example/api"})
        except ServerError:
            return
        assert asked is not None and server.same_origin(asked.url)
        assert asked.written is None or asked.url.startswith(base)


def test_the_port_of_the_scheme_is_no_other_server() -> None:
    with Server("https://h.example/fhir") as server:
        for link in ("https://h.example:443/fhir?x", "https://H.EXAMPLE/fhir?x"):
            asked = next_page(server, {"link": [{"relation": "next", "url": link}]}, "https://h.example/fhir", ())
            assert asked == (link, None)


# -- pages that do not end


def test_empty_pages_for_ever(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some empty pages may come between others; a hundred one after the other are no way to the end."""
    pages = Pages(stub, [["a"], [], [], ["b"], []])
    assert found(stub) == ["a", "b"]
    monkeypatch.setattr(search_module, "EMPTY_PAGES", 5)
    pages.pages, pages.totals = [["a"], *([[]] * 50), ["b"]], [None] * 52
    with pytest.raises(SearchError, match="5 pages one after the other hold nothing"):
        found(stub)


def test_a_page_that_names_itself(stub: Stub) -> None:
    pages = Pages(stub, [["a"], ["b"], ["c"]])
    pages.next = f"{stub.base}/Condition?cursor=1"
    with pytest.raises(SearchError, match="holds only what earlier pages held|lead in a circle"):
        found(stub)


# -- what else goes wrong in the middle


@pytest.mark.parametrize("code", ["incomplete", "suppressed", "timeout", "too-costly", "throttled"])
def test_a_warning_that_the_answer_is_not_whole(stub: Stub, code: str) -> None:
    note = {"resource": outcome(code, "some shards did not answer", "warning"), "search": {"mode": "outcome"}}
    stub.on("/fhir/Condition", Reply(200, {"resourceType": "Bundle", "type": "searchset", "entry": [note]}))
    with pytest.raises(Incomplete, match="the answer is not whole: some shards did not answer"):
        found(stub)


def test_a_page_that_is_busy_comes_later(stub: Stub) -> None:
    waits: list[float] = []
    pages = Pages(stub, [["a"], ["b"]])
    stub.on(
        "/fhir/Condition",
        pages,
        Reply(429, b"", {"Retry-After": "7"}),
        Reply(503, b"", {"Retry-After": "3"}),
        pages,
    )
    with Server(stub.base, patience=Patience(attempts=3), wait=waits.append) as server:
        items = every_page(server, "Condition", [], SearchAnswer())
    assert [item.resource["id"] for item in items] == ["a", "b"] and waits == [7, 3]


def test_a_page_whose_connection_breaks_comes_again(stub: Stub) -> None:
    pages = Pages(stub, [["a"], ["b"]])
    cut = Reply(200, b"{" + b" " * 1000, cut=20)
    stub.on("/fhir/Condition", pages, cut, pages)
    with Server(stub.base, patience=QUICK) as server:
        assert [i.resource["id"] for i in every_page(server, "Condition", [], SearchAnswer())] == ["a", "b"]


class Token:
    """Credentials that the server stops to accept."""

    def token(self, server: Server) -> str:
        return "secret"

    def renew(self, rejected: str) -> bool:
        return False


def test_credentials_that_expire_on_the_way(stub: Stub) -> None:
    """Whoever was screened before keeps a verdict; that others were not reached is told, without the token."""
    pages = Pages(stub, [["a", "b"], ["c", "d"], ["e"]], kind="Patient")
    stub.on("/fhir/Patient", pages, pages, Reply(401, outcome("login", "the token has expired")))
    stub.on("/fhir/Observation", Reply(200, {"resourceType": "Bundle", "type": "searchset"}))
    problems: list[Problem] = []
    with Server(stub.base, patience=QUICK, credentials=Token()) as server:
        source = ServerPatients(server, load_model("r4"), SearchPlan(("Observation",)))
        assert [c.id for c in source.compartments(problems.append)] == ["a", "b", "c", "d"]
    (problem,) = problems
    assert (problem.code, problem.severity) == ("patients-missing", "error")
    assert "broke off after 4" in problem.message and "they have probably expired" in problem.message
    assert "secret" not in problem.message


def test_credentials_that_expire_between_a_patient_and_the_records(stub: Stub) -> None:
    pages = Pages(stub, [["a"], ["b"]], kind="Patient")
    nothing = Reply(200, {"resourceType": "Bundle", "type": "searchset"})
    stub.on("/fhir/Patient", pages)
    stub.on("/fhir/Observation", nothing, Reply(401, outcome("login", "expired")))
    problems: list[Problem] = []
    with Server(stub.base, patience=QUICK) as server:
        source = ServerPatients(server, load_model("r4"), SearchPlan(("Observation",)))
        assert [c.id for c in source.compartments(problems.append)] == ["a"]
    assert [p.code for p in problems] == ["patients-missing"]
    stub.on("/fhir/Observation", Reply(401, outcome("login", "who are you")))
    with Server(stub.base, patience=QUICK) as server:
        source = ServerPatients(server, load_model("r4"), SearchPlan(("Observation",)))
        with pytest.raises(ServerError, match="401"):
            list(source.compartments(problems.append))


# -- any mixture


@st.composite
def servers(draw: st.DrawFn) -> dict[str, Any]:
    names = [f"r{n}" for n in range(draw(st.integers(0, 12)))]
    pages: list[list[str]] = []
    rest = list(names)
    while rest:
        size = draw(st.integers(0, 5))
        page, rest = rest[:size], rest[size:]
        if page and pages and draw(st.booleans()):
            page = [*page, draw(st.sampled_from([n for p in pages for n in p] or page))]  # one that came before
        pages.append(page)
        if len(pages) > 20:
            pages.append(rest)
            rest = []
    pages = pages or [[]]
    totals = draw(st.lists(st.none() | st.integers(0, 15), min_size=len(pages), max_size=len(pages)))
    if draw(st.booleans()):
        totals[-1] = len(names)
    return {
        "names": names,
        "pages": pages,
        "totals": totals,
        "stop": draw(st.none() | st.integers(0, len(pages))),
        "fail": draw(st.none() | st.integers(0, len(pages))),
        "link": draw(st.sampled_from(["given", "inner", "relative", "elsewhere"])),
    }


@given(servers())
@settings(deadline=None, max_examples=60)
def test_the_same_records_or_told(shared_stub: Stub, server: dict[str, Any]) -> None:
    """Pages of any size, with repeats and gaps, wrong totals, foreign links, pages that fail or are left out."""
    pages = Pages(shared_stub, server["pages"])
    pages.totals = server["totals"]
    inner = "http://inside.example/r4"
    if server["link"] == "inner":
        pages.own, pages.next = f"{inner}/Condition?patient=1", inner + "/Condition?cursor={}"
    elif server["link"] == "relative":
        pages.next = "Condition?cursor={}"
    elif server["link"] == "elsewhere":
        pages.next = "http://elsewhere.example/fhir/Condition?cursor={}"
    if server["stop"] is not None:  # the pages end early; that can be noticed by a total only
        pages.pages = pages.pages[: server["stop"]] or [[]]

    def answer(request: Request) -> Reply:
        if server["fail"] is not None and int(request.value("cursor") or 0) == server["fail"]:
            return Reply(500, outcome("exception", "broken"))
        return pages(request)

    shared_stub.on("/fhir/Condition", answer)
    early = len({name for page in pages.pages for name in page}) < len(server["names"])
    last = next((t for t in reversed(pages.totals[: len(pages.pages)]) if t is not None), None)
    try:
        records = found(shared_stub)
    except ServerError as error:
        assert str(error)
        return
    assert len(records) == len(set(records)) and set(records) <= set(server["names"])
    if not early:
        assert sorted(records) == sorted(server["names"])
    else:
        assert last is None or last <= len(records)


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[Stub]:
    with running_stub() as running:
        yield running


def test_the_option(stub: Stub, tmp_path: Path) -> None:
    """`--rewrite-next-links` on the command line; the rewriting itself is a warning, which changes no status."""
    patients = Pages(stub, [["a"], ["b"]], kind="Patient")
    patients.own = ""
    patients.next = BASES["another host"] + "/Patient?cursor={}"
    stub.on("/fhir/metadata", Reply(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}))
    for kind in ("Observation", "Procedure", "ImagingStudy"):
        stub.on(f"/fhir/{kind}", Reply(200, {"resourceType": "Bundle", "type": "searchset"}))
    arguments = ["screen", "criteria/flute/mr", "--data", stub.base, "--now", "2026-06-01", "--quiet", "--out"]
    main([*arguments, str(tmp_path / "a")])
    assert "--rewrite-next-links" in (tmp_path / "a" / "problems.ndjson").read_text()
    assert main([*arguments, str(tmp_path / "b"), "--rewrite-next-links"]) == 0
    assert len((tmp_path / "b" / "verdicts.ndjson").read_text().splitlines()) == 2
    assert "next-link-rewritten" in (tmp_path / "b" / "problems.ndjson").read_text()
