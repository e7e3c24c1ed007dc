"""What a large run keeps in its workspace of the patients that it takes over from an earlier run."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_eligibility.data.bulk.sifting import Known
from fhir_eligibility.runners.large.kept import Shelved
from fhir_eligibility.runners.large.workspace import Workspace


def put_sifted(workspace: Workspace, sifted: Sequence[Shelved]) -> None:
    """Keep where the records are of those who are not taken over, a file a bucket. Raises OSError."""
    workspace.put_value("sifted", sifted)


def sifted(workspace: Workspace) -> list[Shelved]:
    """The same."""
    found: list[Shelved] = workspace.value("sifted", list[Shelved])
    return found


def put_known(workspace: Workspace, number: int, known: Sequence[Known]) -> None:
    """Keep who of a bucket is taken over by the fingerprint of lines that were set aside. Raises OSError."""
    workspace.put_value(f"known-{number}", known)


def known(workspace: Workspace, number: int) -> list[Known]:
    """The same."""
    found: list[Known] = workspace.value(f"known-{number}", list[Known])
    return found


def put_untouched(workspace: Workspace, groups: bytes, known: Sequence[bytes], pieces: int) -> None:
    """Keep who is taken over without a look at any record (`groups`), so many of them a bucket (`known`), and how many pieces were made of blocks that were read
    again for the sake of others. Raises OSError."""
    workspace.put_value("untouched", (groups, pieces))
    for number, some in enumerate(known):
        workspace.put_value(f"untouched-{number}", some)


def untouched(workspace: Workspace) -> tuple[bytes, int]:
    """The digests of those, one after the other, and how many pieces these are."""
    found: tuple[bytes, int] = workspace.value("untouched", tuple[bytes, int])
    return found


def untouched_of(workspace: Workspace, number: int) -> bytes:
    """Those of a bucket, packed."""
    found: bytes = workspace.value(f"untouched-{number}", bytes)
    return found
