"""Verdicts as Parquet tables: patients, criteria, evidence and images, one file each, for those who go on in a data frame.

Written a batch of rows at a time. pyarrow is asked for only here (the extra `parquet`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.output.formats.base import WrittenVerdicts

ROWS = 50_000
Row = dict[str, Any]
LISTS = frozenset(("deciding", "instances"))
WHO = ("patient", "artifact", "artifact_version")
TABLES: dict[str, tuple[str, ...]] = {
    "verdicts": (*WHO, "artifact_title", "verdict", "deciding"),
    "criteria": (
        *(*WHO, "criterion", "combination", "title", "kind", "outcome", "reason", "detail"),
        "plain_cql",
    ),
    "evidence": (
        *(*WHO, "criterion", "resource", "role", "value", "unit", "date", "code", "display"),
        *("failed", "note", "file"),
    ),
    "images": (
        *(*WHO, "criterion", "role", "resource", "study", "series", "modality", "description"),
        *("instances", "started", "accession", "url"),
    ),
}


class ParquetTables:
    """The tables as an output format."""

    name = "parquet"
    help = "write verdicts, criteria, evidence and images as Parquet too (needs pyarrow, which the extra `parquet` installs)"
    files = tuple(f"{table}.parquet" for table in TABLES)

    def check(self) -> None:
        """Raises ValueError where pyarrow is not installed."""
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise ValueError("--parquet needs the package pyarrow: pip install pyarrow") from None

    def write(self, verdicts: WrittenVerdicts, folder: OutputFolder) -> None:
        """Write a file a table. Raises OSError."""
        _write_tables(verdicts, folder)


FORMAT = ParquetTables()


def _write_tables(verdicts: WrittenVerdicts, folder: OutputFolder) -> None:
    import pyarrow
    import pyarrow.parquet

    with ExitStack() as files:
        tables = {}
        for name, columns in TABLES.items():
            kinds = [
                (column, pyarrow.list_(pyarrow.string()) if column in LISTS else pyarrow.string()) for column in columns
            ]
            schema = pyarrow.schema(kinds)
            stream = folder.stage(f"{name}.parquet").stream
            writer = files.enter_context(pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd"))
            tables[name] = (schema, writer)
        held: dict[str, list[Row]] = {name: [] for name in TABLES}

        def flush(name: str) -> None:
            schema, writer = tables[name]
            if held[name]:
                writer.write_table(pyarrow.Table.from_pylist(held[name], schema=schema))
                held[name].clear()

        for verdict in verdicts:
            for name, row in rows_of(verdict):
                held[name].append(row)
                if len(held[name]) >= ROWS:
                    flush(name)
        for name in TABLES:
            flush(name)


def rows_of(verdict: Row) -> Iterator[tuple[str, Row]]:
    """The rows of a verdict, each with the name of its table."""
    who = {name: verdict.get(name) for name in WHO}
    yield "verdicts", verdict
    for criterion, combination in _criteria(verdict["criteria"], None):
        name = {**who, "criterion": criterion["id"]}
        yield "criteria", {**criterion, **name, "combination": combination}
        for evidence in criterion["evidence"]:
            yield "evidence", {**evidence, **name}
    for link in verdict["imaging"]:
        study = {key: link.get(key) for key in ("criterion", "role", "resource", "study", "started", "accession")}
        for series in link["series"] or [{}]:
            yield (
                "images",
                {
                    **who,
                    **study,
                    "series": series.get("uid"),
                    "modality": series.get("modality"),
                    "description": series.get("description"),
                    "instances": series.get("instances", []),
                    "url": series.get("url") or link.get("url"),
                },
            )


def _criteria(criteria: list[Row], combination: str | None) -> Iterator[tuple[Row, str | None]]:
    for criterion in criteria:
        yield criterion, combination
        yield from _criteria(criterion["members"], criterion["id"])
