"""The closed list of reasons why a criterion is unknown for a patient."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a criterion is unknown. The list is closed: whoever leaves a criterion undecided names one of these."""

    NO_DATA = "no-data"
    """There is no record of that kind at all."""
    MISSING_VALUE = "missing-value"
    """A record is there, but an element that the criterion needs is not recorded."""
    IMPRECISE_DATE = "imprecise-date"
    """A date is known, but not precisely enough to decide."""
    UNIT_NOT_COMPARABLE = "unit-not-comparable"
    """Units cannot be converted into each other, or are not computable."""
    MISSING_UNIT = "missing-unit"
    """A number has no unit although the criterion compares one with a unit."""
    NOT_COMPUTABLE = "not-computable"
    """The criterion, or a value it meets, has no truth value here."""
    NEEDS_REVIEW = "needs-review"
    """A person has to read the criterion: text only, or a code that maps to no record."""
    UNRESOLVED_REFERENCE = "unresolved-reference"
    """The criterion refers to an artifact, a characteristic or a resource that was not found."""
    MISSING_VALUESET = "missing-valueset"
    """The criterion needs a value set that was not given."""
    OTHER_CODE_SYSTEM = "other-code-system"
    """Records of the kind are there, but their codes are of other code systems than those that the criterion asks for."""
    DATA_INCOMPLETE = "data-incomplete"
    """Records of a type that the criterion reads are missing from the data or damaged, and more of them could change the answer."""
    OTHER_FHIR_VERSION = "other-fhir-version"
    """A record is written in another version of FHIR than the data is read as."""
    CONFLICTING_RECORDS = "conflicting-records"
    """A record stands in the data with different content, and which of it counts cannot be told."""
    UNKNOWN_MODIFIER = "unknown-modifier"
    """A record has a modifier extension, or follows rules, that are not known: it may mean something else than it says."""
    PARTIAL_RECORD = "partial-record"
    """A record is marked as a part of what there is (SUBSETTED), and lacks an element that the criterion reads."""
    IMAGES_UNCONFIRMED = "images-unconfirmed"
    """The archive did not confirm images that the answer depends on (only where images are required)."""
    ERROR = "error"
    """Evaluation failed on this patient's data; the detail says where."""
