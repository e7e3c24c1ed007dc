"""Files in changes/ become entries of CHANGELOG.md, each once, in its section."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.changelog import SECTIONS, UNRELEASED, fragments, merged, release
from tests.docs.pages import ROOT

BEFORE = (
    f"# Changes\n\n{UNRELEASED}\n\n### Data\n\n- An old one.\n\n## 0.1.0 (2026-01-01)\n\n### Names\n\n- The first.\n"
)


def test_what_stands_in_the_folder_can_be_read() -> None:
    found = fragments(ROOT / "changes")
    assert set(found) <= set(SECTIONS)
    assert UNRELEASED in (ROOT / "CHANGELOG.md").read_text("utf-8")
    listed = (ROOT / "changes" / "README.md").read_text("utf-8")
    assert f"The sections are {', '.join(SECTIONS[:-1])}, and {SECTIONS[-1]}." in listed


def test_a_release(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(BEFORE)
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").write_text("what this is")
    (tmp_path / "changes" / "b.md").write_text("Data\n\nA new one,\non two lines.\n")
    (tmp_path / "changes" / "a.md").write_text("Python\n\n- Another.\n")
    release(tmp_path, "0.2.0", "2026-06-01")
    assert (tmp_path / "CHANGELOG.md").read_text() == (
        f"# Changes\n\n{UNRELEASED}\n\n## 0.2.0 (2026-06-01)\n\n### Data\n\n- An old one.\n- A new one,\n  on two lines.\n\n"
        "### Python\n\n- Another.\n\n## 0.1.0 (2026-01-01)\n\n### Names\n\n- The first.\n"
    )
    assert [path.name for path in (tmp_path / "changes").iterdir()] == ["README.md"]


def test_the_changelog_survives() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    entries = [line for line in text.splitlines() if line.strip()]
    after = [line for line in merged(text, {}).splitlines() if line.strip()]
    assert sorted(after) == sorted(entries)


@pytest.mark.parametrize(("text", "said"), [("Misc\n\nx", "expected one of Names"), ("Data\n\n", "the entry is empty")])
def test_what_is_not_an_entry(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text(text)
    with pytest.raises(ValueError, match=said):
        fragments(tmp_path)
