"""The table of further output formats in docs/outputs.md, from what each says of itself. `python -m tests.docs.formats` writes it."""

from __future__ import annotations

from fhir_eligibility.output.formats.base import output_formats
from tests.docs.folders import BEGIN, END
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "outputs.md"
HEAD = "| option | what it does | files |\n|---|---|---|\n"


def table() -> str:
    """The table of all formats."""
    rows = [
        f"| `--{name}` | {one.help} | {', '.join(f'`{file}`' for file in one.files)} |\n"
        for name, one in output_formats().items()
    ]
    return HEAD + "".join(rows)


def written(page: str) -> str:
    """The page with the table as it has to be."""
    before, begin, rest = page.partition(BEGIN)
    assert begin, "the page has no place for the table"
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def main() -> None:
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
