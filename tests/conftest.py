"""What holds for every test: nothing is kept in the user's cache, nothing is taken from there, and no property test has a deadline."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["FHIR_ELIGIBILITY_CACHE"] = "off"
# how long one example takes says more about the machine than about the program
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
