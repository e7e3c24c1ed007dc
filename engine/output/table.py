"""The table at the end of a run: patients, included, excluded, undetermined, and how many each criterion removed, in order."""

from __future__ import annotations

from collections import Counter

from engine.output.run_record import ArtifactCounts


def summary_table(artifacts: list[ArtifactCounts], patients: int, titles: dict[str, dict[str, str]]) -> str:
    """Plain text; one block an artifact. `titles` maps the key of an artifact and a criterion's id to the criterion's title."""
    same = Counter(counts.title for counts in artifacts)
    lines: list[str] = []
    for counts in artifacts:
        shared = same[counts.title] > 1
        lines.append(f"{counts.title} ({counts.version or counts.artifact})" if shared else counts.title)
        rows = [("patients", patients)]
        for identifier, title in titles.get(counts.key, {}).items():
            removed = counts.removed.get(identifier, 0)
            rows.append((f"  - removed by {identifier}: {_short(title)}", removed))
        rows += [
            ("included", counts.included),
            ("excluded", counts.excluded),
            ("undetermined", counts.undetermined),
        ]
        width = max(len(name) for name, _ in rows)
        number = max(len(f"{value:,}") for _, value in rows)
        lines += [f"  {name:<{width}}  {value:>{number},}" for name, value in rows]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
