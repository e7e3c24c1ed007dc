"""`python -m tests.spec.ecqm_gaps`: writes `gaps-ecqm-files.toml`, the cases of measures whose deck is not what it is published for.

In each some record names another patient than that of the case, which the published counts take for the case's own; a few hold several records of one id.
"""

from __future__ import annotations

import sys

from tests.spec.ecqm_suite import cases, differing, folder, run_files
from tests.spec.gaps import DECKS

LINK = "https://github.com/cqframework/ecqm-content-qicore-2025"


def main() -> int:
    failed = {result.name for result in run_files(folder() / "open") if not result.passed}
    out = ["# Written by `python -m tests.spec.ecqm_gaps`; held by test_ecqm_files.py.\n"]
    for path in sorted(p for p in (folder() / "open").iterdir() if p.is_dir()):
        for case in cases(path):
            if f"{path.name}.{case['case']}" in failed:
                out.append(
                    f'[[gap]]\nsuite = "ecqm-files"\ntest = "{path.name}.{case["case"]}"\nkind = "invalid-test"\n'
                    f'reason = "{differing(case)}"\nlink = "{LINK}"\n'
                )
    DECKS.write_text("\n".join(out), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
