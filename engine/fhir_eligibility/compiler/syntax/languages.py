"""In which language an expression seems to be written, for messages about expressions that say another one, or none."""

from __future__ import annotations

import re

_CQL = re.compile(
    r"\[\s*\"?[A-Z]\w+\"?\s*(?:[:\]])|\b(?:define|such that|starts|ends|overlaps|during|AgeIn\w+|Interval\s*\[|exists\s*\(?\s*\[|return|sort by|let)\b"
    r"|\bexists\s+[\"(\[]|\bfrom\s+\w+\s+\w+\b"
)
_FHIRPATH = re.compile(
    r"\.(?:where|exists|ofType|select|all|empty|not|first|resolve|memberOf|count|iif|trace|hasValue)\(|%(?:resource|context|patient|now|`)|\$this\b"
)


def looks_like(text: str) -> str | None:
    """`CQL` or `FHIRPath` where a text has what only that language has, None where it could be either."""
    cql, fhirpath = bool(_CQL.search(text)), bool(_FHIRPATH.search(text))
    return None if cql is fhirpath else "CQL" if cql else "FHIRPath"


_LANGUAGES = {
    "CQL": "text/cql-expression (or text/cql-identifier for the name of a define)",
    "FHIRPath": "text/fhirpath",
}


def language_advice(language: str, text: str) -> str | None:
    """What to do about an expression that says to be in a language that it seems not to be in, or that is not known; None where it seems right."""
    seems = looks_like(text)
    if language.startswith("text/cql"):
        return f"it looks like FHIRPath: write the language {_LANGUAGES['FHIRPath']}" if seems == "FHIRPath" else None
    if "fhirpath" in language.replace("-", ""):
        return f"it looks like CQL: write the language {_LANGUAGES['CQL']}" if seems == "CQL" else None
    if seems is not None:
        return f"write the language {_LANGUAGES[seems]}: it looks like {seems}"
    return f"write the language: {_LANGUAGES['FHIRPath']}, or {_LANGUAGES['CQL']}"
