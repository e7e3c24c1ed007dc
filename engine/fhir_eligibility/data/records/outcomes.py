"""What a server says went wrong: OperationOutcome, OAuth errors and plain text, in one line fit for a terminal and a
log.
"""

from __future__ import annotations

from typing import Any

import msgspec

MOST = 300
FATAL = frozenset(("error", "fatal"))
# Issue types (http://hl7.org/fhir/issue-type) of failures that pass: the same request may succeed later.
TRANSIENT = frozenset(("transient", "lock-error", "no-store", "timeout", "incomplete", "throttled"))
# Issue types of answers that do not hold all there is, even where the issue is only a warning.
PARTIAL = TRANSIENT | {"suppressed", "too-costly", "exception"}


def issues_of(outcome: Any) -> list[dict[str, Any]]:
    """The issues of an OperationOutcome, none for anything else."""
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return []
    issues = outcome.get("issue")
    return [issue for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []


def issue_text(issue: dict[str, Any]) -> str:
    """One issue in words: its diagnostics, else its details, else its code."""
    details = issue.get("details")
    text = issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else None) or issue.get("code")
    return _line(str(text or "no reason given"))


def is_failure(outcome: Any) -> bool:
    """Whether an OperationOutcome tells of an error, not only of warnings."""
    return any(issue.get("severity") in FATAL for issue in issues_of(outcome))


def leaves_out(outcome: Any) -> bool:
    """Whether a warning of an OperationOutcome says that the answer does not hold all there is."""
    return any(issue.get("severity") == "warning" and issue.get("code") in PARTIAL for issue in issues_of(outcome))


def is_transient(outcome: Any) -> bool:
    """Whether every issue of an OperationOutcome is of a kind that passes."""
    issues = issues_of(outcome)
    return bool(issues) and all(issue.get("code") in TRANSIENT for issue in issues)


def reason_of(body: bytes) -> str:
    """What the body of an answer says about its failure, empty where it says nothing."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:MOST].decode("utf-8", "replace")
        return "" if text.lstrip().startswith("<") else _line(text)
    issues = issues_of(decoded)
    if issues:
        return "; ".join(issue_text(issue) for issue in issues[:3])
    if isinstance(decoded, dict) and "error" in decoded:
        return _line(f"{decoded['error']}: {decoded.get('error_description', '')}".rstrip(": "))
    return ""


def _line(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= MOST else text[: MOST - 3] + "..."
