"""What holds for every test: nothing is kept in the user's cache, and nothing is taken from there."""

from __future__ import annotations

import os

os.environ["FHIR_ELIGIBILITY_CACHE"] = "off"
