"""A small cohort written in every form in which FHIR's JSON is found in files."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

Resource = dict[str, Any]
Files = dict[str, bytes]
"""Contents by name."""
BOM = b"\xef\xbb\xbf"


def cohort(prefix: str) -> list[Resource]:
    """Two patients, `PREFIX-a` with the condition WD1 and `PREFIX-b` without; in texts stands what could mislead who looks for braces."""

    def condition(number: int, code: str, patient: str) -> Resource:
        coding = {"system": "http://example.org/cs", "code": code, "display": 'of "it" }\n{ [x], \\'}
        subject = {"reference": f"Patient/{prefix}-{patient}"}
        return {
            "resourceType": "Condition",
            "id": f"{prefix}-c{number}",
            "subject": subject,
            "code": {"coding": [coding]},
        }

    return [
        {
            "resourceType": "Patient",
            "id": f"{prefix}-a",
            "name": [{"family": "Müller\u2028"}],
            "birthDate": "1950-01-01",
        },
        condition(1, "WD2", "a"),
        condition(2, "WD1", "a"),
        {"resourceType": "Patient", "id": f"{prefix}-b", "birthDate": "1960-01-01"},
        condition(3, "WD2", "b"),
        {"resourceType": "Organization", "id": f"{prefix}-o", "name": "X"},
    ]


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def loose(value: Any) -> bytes:
    return json.dumps(value).encode()


def pretty(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def flat(value: Any) -> bytes:
    """Pretty-printed without indentation."""
    return json.dumps(value, indent=0, ensure_ascii=False).encode()


def lines(resources: list[Resource]) -> bytes:
    return b"".join(compact(one) + b"\n" for one in resources)


def url(one: Resource) -> str:
    return f"http://s.example/fhir/{one['resourceType']}/{one['id']}"


def bundle(kind: str, resources: list[Resource], each: Callable[[Resource], Resource] = lambda one: {}) -> Resource:
    return {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"fullUrl": url(one), "resource": one, **each(one)} for one in resources],
    }


def put(one: Resource) -> Resource:
    return {"request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}


def answered(one: Resource) -> Resource:
    return {"response": {"status": "200 OK", "lastModified": "2026-01-01T00:00:00Z", "etag": 'W/"1"'}}


def history(one: Resource) -> Resource:
    return {**put(one), **answered(one)}


def matched(one: Resource) -> Resource:
    return {"search": {"mode": "match" if one["resourceType"] == "Patient" else "include"}}


def searchset(resources: list[Resource]) -> Resource:
    told = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}
    found = bundle("searchset", resources, matched)
    matches = sum(entry["search"]["mode"] == "match" for entry in found["entry"])
    found["entry"].append({"resource": told, "search": {"mode": "outcome"}})
    return {**found, "total": matches, "link": [{"relation": "self", "url": "http://s.example/fhir/Patient?x"}]}


def document(resources: list[Resource], kind: str, head: str) -> Resource:
    subject = {"reference": f"Patient/{resources[0]['id']}"}
    first: Resource = {"resourceType": head, "id": "head"}
    if head == "Composition":
        first |= {"status": "final", "subject": subject}
    return bundle(kind, [first, *resources])


def parameters(resources: list[Resource]) -> Resource:
    return {"resourceType": "Parameters", "parameter": [{"name": "return", "resource": one} for one in resources]}


def nested_parameters(resources: list[Resource]) -> Resource:
    first, *rest = resources
    inner: Resource = {"name": "x", "part": [{"name": "y", "resource": one} for one in rest]}
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "n", "valueInteger": 1},
            {"name": "m", "resource": first, "part": [{"name": "deeper", "part": [inner]}]},
        ],
    }


def reordered(one: Resource) -> Resource:
    """The same with its type behind everything else, as some programs write it."""
    return {**{key: value for key, value in one.items() if key != "resourceType"}, "resourceType": one["resourceType"]}


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as found:
        for name, data in files.items():
            found.writestr(name, data)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def by_type(resources: list[Resource]) -> Files:
    kinds = dict.fromkeys(one["resourceType"] for one in resources)
    return {f"{kind}.ndjson": lines([one for one in resources if one["resourceType"] == kind]) for kind in kinds}


def halves(resources: list[Resource]) -> tuple[list[Resource], list[Resource]]:
    return resources[:3], resources[3:]


Form = Callable[[list[Resource]], Files]
FORMS: dict[str, Form] = {
    # a resource a line
    "a type a file": by_type,
    "lines": lambda r: {"all.ndjson": lines(r)},
    "lines without an end": lambda r: {"all.ndjson": lines(r).removesuffix(b"\n")},
    "lines named json": lambda r: {"all.json": lines(r)},
    "lines named jsonl": lambda r: {"all.JSONL": lines(r)},
    "lines without suffix": lambda r: {"Patient_000": lines(r)},
    "lines named txt": lambda r: {"all.ndjson.txt": lines(r)},
    "lines loosely written": lambda r: {"all.ndjson": b"".join(b"  " + loose(x) + b" \t\n" for x in r)},
    "lines with CRLF": lambda r: {"all.ndjson": lines(r).replace(b"\n", b"\r\n")},
    "lines and blank lines": lambda r: {"all.ndjson": b"\n\r\n" + lines(r).replace(b"\n", b"\n \n\n") + b"\n"},
    "commas behind lines": lambda r: {"all.ndjson": lines(r).replace(b"}\n", b"},\n")},
    "commas and CRLF": lambda r: {"all.json": lines(r).replace(b"}\n", b"} ,\r\n")},
    "commas before lines": lambda r: {"all.ndjson": b"\n,".join(map(compact, r))},
    "a mark before lines": lambda r: {"all.ndjson": BOM + lines(r)},
    "a mark before lines named json": lambda r: {"all.json": BOM + lines(r)},
    "marks amid lines": lambda r: {"all.ndjson": b"".join(BOM + lines(x) for x in halves(r))},
    "the type comes last": lambda r: {"all.ndjson": lines([reordered(x) for x in r])},
    "several on a line": lambda r: {"all.ndjson": b"".join(compact(x) for x in r)},
    "several on a line, named json": lambda r: {"all.json": b" ".join(compact(x) for x in r) + b"\n"},
    "several on some lines": lambda r: {"all.ndjson": b"\n".join(b"".join(map(compact, x)) for x in halves(r))},
    # values one behind the other
    "pretty-printed values": lambda r: {"all.json": b"\n".join(map(pretty, r))},
    "pretty-printed values named ndjson": lambda r: {"all.ndjson": b"\n".join(map(pretty, r)) + b"\n"},
    "pretty-printed values and commas": lambda r: {"all.json": b",\n".join(map(pretty, r))},
    "pretty-printed with CRLF": lambda r: {"all.ndjson": b"\n".join(map(pretty, r)).replace(b"\n", b"\r\n")},
    "flat values": lambda r: {"all.ndjson": b"\n".join(map(flat, r))},
    "a sequence": lambda r: {"all.json": b"".join(b"\x1e" + compact(x) + b"\n" for x in r)},
    "a sequence of pretty-printed": lambda r: {"all.jsonseq": b"".join(b"\x1e" + pretty(x) + b"\n" for x in r)},
    "a sequence without line feeds": lambda r: {"all.ndjson": b"".join(b"\x1e" + compact(x) for x in r)},
    "marks between files put together": lambda r: {"all.json": b"".join(BOM + pretty(x) + b"\n" for x in r)},
    # documents
    "a resource a file": lambda r: {f"{n}.json": compact(x) for n, x in enumerate(r)},
    "a pretty-printed resource a file": lambda r: {f"{n}.json": pretty(x) + b"\n" for n, x in enumerate(r)},
    "a pretty-printed resource a file, named ndjson": lambda r: {f"{n}.ndjson": pretty(x) for n, x in enumerate(r)},
    "a resource a file, with a mark": lambda r: {f"{n}.json": BOM + pretty(x) for n, x in enumerate(r)},
    "an array": lambda r: {"all.json": compact(r)},
    "an array on lines": lambda r: {"all.json": b"[\n" + b",\n".join(map(compact, r)) + b"\n]\n"},
    "a pretty-printed array": lambda r: {"all.json": b"\n\n" + pretty(r)},
    "an array named ndjson": lambda r: {"all.ndjson": pretty(r)},
    "arrays on lines": lambda r: {"all.ndjson": b"".join(compact(x) + b"\n" for x in halves(r) if x)},
    # bundles
    "a collection": lambda r: {"all.json": compact(bundle("collection", r))},
    "a pretty-printed collection": lambda r: {"all.json": pretty(bundle("collection", r))},
    "a pretty-printed collection named ndjson": lambda r: {"all.ndjson": pretty(bundle("collection", r))},
    "an entry a line": lambda r: {
        "all.json": b'{"resourceType":"Bundle","type":"collection","entry":[\n'
        + b",\n".join(compact({"resource": x}) for x in r)
        + b"\n]}"
    },
    "a searchset": lambda r: {"all.json": compact(searchset(r))},
    "pages of a searchset": lambda r: {f"{n}.json": pretty(searchset(x)) for n, x in enumerate(halves(r))},
    "a history": lambda r: {"all.json": compact(bundle("history", r, history))},
    "a transaction": lambda r: {"all.json": compact(bundle("transaction", r, put))},
    "a batch": lambda r: {"all.json": compact(bundle("batch", r, put))},
    "an answer to a transaction": lambda r: {"all.json": compact(bundle("transaction-response", r, answered))},
    "an answer to a batch": lambda r: {"all.json": compact(bundle("batch-response", r, answered))},
    "answers to searches in a batch": lambda r: {
        "all.json": compact(
            {
                "resourceType": "Bundle",
                "type": "batch-response",
                "entry": [{"resource": searchset(x), "response": {"status": "200"}} for x in halves(r)],
            }
        )
    },
    "a document": lambda r: {"all.json": compact(document(r, "document", "Composition"))},
    "a message": lambda r: {"all.json": compact(document(r, "message", "MessageHeader"))},
    "bundles in bundles": lambda r: {
        "all.json": compact({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": bundle("collection", r)}]})
    },
    "bundles on lines": lambda r: {"all.ndjson": b"".join(compact(bundle("searchset", x)) + b"\n" for x in halves(r))},
    "bundles on lines, named json": lambda r: {
        "all.json": b"".join(compact(bundle("searchset", x)) + b"\n" for x in halves(r))
    },
    "pretty-printed bundles": lambda r: {"all.json": b"\n".join(pretty(bundle("batch", x, put)) for x in halves(r))},
    "an array of bundles": lambda r: {"all.json": compact([bundle("searchset", x) for x in halves(r)])},
    # Parameters
    "Parameters": lambda r: {"all.json": pretty(parameters(r))},
    "Parameters with parts": lambda r: {"all.json": compact(nested_parameters(r))},
    "Parameters on lines": lambda r: {"all.ndjson": b"".join(compact(nested_parameters(x)) + b"\n" for x in halves(r) if x)},
    "Parameters with a bundle": lambda r: {"all.json": compact(parameters([bundle("searchset", r)]))},
    "Parameters before lines": lambda r: {
        "1.ndjson": compact({"resourceType": "Parameters", "parameter": [{"name": "header", "valueReference": {"reference": "Patient/x"}}]}) + b"\n" + lines(r)
    },
    # packed
    "gzip": lambda r: {"all.ndjson.gz": gzip.compress(lines(r))},
    "members of gzip": lambda r: {"all.gz": b"".join(gzip.compress(lines(x)) for x in halves(r)) + b"\0" * 100},
    "gzip without a suffix": lambda r: {"all": gzip.compress(compact(bundle("collection", r)))},
    "zstd": lambda r: {"all.ndjson.zst": zstd(lines(r))},
    "frames of zstd": lambda r: {"all.json": b"".join(zstd(lines(x)) for x in halves(r))},
    "bzip2": lambda r: {"all.json.bz2": bz2.compress(pretty(r))},
    "a zip of one": lambda r: {"all.zip": zipped({"x/all.ndjson": lines(r)})},
    "a zip of several": lambda r: {"all.zip": zipped(by_type(r))},
    "a zip that only stores": lambda r: {"all.json": zipped(by_type(r), zipfile.ZIP_STORED)},
    "a zip packed as bzip2": lambda r: {"all.zip": zipped(by_type(r), zipfile.ZIP_BZIP2)},
    "a zip packed as LZMA": lambda r: {"all.zip": zipped(by_type(r), zipfile.ZIP_LZMA)},
    "packed files in a zip": lambda r: {"all.zip": zipped({f"{n}.gz": gzip.compress(x) for n, x in by_type(r).items()})},
}  # fmt: skip


def written(number: int, form: str, resources: list[Resource]) -> Iterator[tuple[str, bytes]]:
    """Files of a form, below a folder of their own."""
    for name, data in FORMS[form](resources).items():
        yield f"{number:02}/{name}", data
