# Everything that one does with a checkout. Each target sets up what it needs in .venv first; nothing else has to be installed
# than Python 3.11 or newer (PYTHON=... names one that is not found by itself) and make.

VENV := .venv
PY := $(VENV)/bin/python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $(name))))
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test servers check bench conformance fuzz docs clean

help:
	@echo 'make demo         screen the example cohort with criteria/flute, and show who is in and why;'
	@echo '                  with DICOMWEB=URL, an archive for trying things out, the whole way to a picture of the images'
	@echo 'make test         the whole test suite, features included'
	@echo 'make servers      install a real FHIR server for the tests that talk to one (they are skipped without it)'
	@echo 'make check        the checks before a commit: format, lint, strict types, fast tests'
	@echo 'make conformance  the official suites of FHIRPath and CQL, and the measures, one line each'
	@echo 'make fuzz         the parsers and the compiler on ten minutes of nonsense, 75,000 definitions of strangers,'
	@echo '                  10,000 damaged lines of an export, and all ways of random criteria for ten more minutes'
	@echo 'make docs         write again what the pages take from the program: docs/operators.md, and what examples print'
	@echo 'make bench        how long compiled expressions, libraries, the import and the screening of a cohort take, beside others'
	@echo 'make clean        remove .venv and everything generated'

# With an archive: its images are put into it, verified, fetched and shown. DICOMWEB_USER and DICOMWEB_PASSWORD where it wants them.
ifdef DICOMWEB
ifdef DICOMWEB_USER
AUTH := --dicomweb-auth 'user=$(DICOMWEB_USER),password-env=DICOMWEB_PASSWORD'
endif
ARCHIVE := --dicomweb '$(DICOMWEB)' $(AUTH)
ELIGIBILITY := $(VENV)/bin/eligibility
demo: $(VENV)/.installed-imaging
	rm -rf build/demo
	$(PY) criteria/flute/images.py build/demo/studies
	$(ELIGIBILITY) imaging store build/demo/studies $(ARCHIVE)
	$(ELIGIBILITY) screen criteria/flute/mr --data criteria/flute/cohort --out build/demo/run --now 2026-06-01 \
		--require-images --ignore-endpoints $(ARCHIVE)
	$(ELIGIBILITY) imaging verify build/demo/run --ignore-endpoints $(ARCHIVE)
	$(ELIGIBILITY) imaging manifest build/demo/run --out build/demo/manifest --held
	$(ELIGIBILITY) imaging fetch build/demo/run --out build/demo/images --ignore-endpoints $(ARCHIVE)
	$(ELIGIBILITY) imaging thumbnails build/demo/run --out build/demo/pictures --ignore-endpoints $(ARCHIVE)
	@echo
	@echo 'open build/demo/pictures/index.html; the UIDs are in build/demo/manifest, the files in build/demo/images'
else
demo: $(VENV)/.installed
	$(VENV)/bin/eligibility screen criteria/flute/mr criteria/flute/any-modality \
		--data criteria/flute/cohort --out build/demo
	@echo
	@$(VENV)/bin/eligibility show build/demo
endif

# A worker a core; tests of one file stay together, because some share a server.
test: $(VENV)/.installed-test
	$(PY) -m pytest -n auto --dist loadfile

servers: .venv-servers/.installed

check: $(VENV)/.installed-test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q -m 'not slow'

bench: $(VENV)/.installed-test
	$(PY) -m tests.benchmarks.fhirpath
	$(PY) -m tests.benchmarks.cql
	$(PY) -m tests.benchmarks.terminology
	$(PY) -m tests.benchmarks.screening
	$(PY) -m tests.benchmarks.dicomweb

# Seconds that all ways of criteria are compared for; FUZZ_SEED chooses other criteria.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.installed-test
	FUZZ_EXAMPLES=12000 $(PY) -m pytest -q tests/compiler/test_cql_fuzz.py
	FUZZ_EXAMPLES=75000 FHIR_ELIGIBILITY_CACHE=off $(PY) -m pytest -q -rP tests/compiler/test_hostile_definitions.py
	DAMAGE_TIMES=20 $(PY) -m pytest -q tests/data/test_damaged_exports.py
	$(PY) -m tests.benchmarks.damage --lines 10000
	$(PY) -m tests.benchmarks.damaged_bundles --bundles 2000
	$(PY) -m tests.benchmarks.examples
	FLIPS=1000 $(PY) -m pytest -q tests/data/test_flipped_bytes.py
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m pytest -q tests/paths/test_fhirpath_ways.py tests/paths/test_cql_ways.py

docs: $(VENV)/.installed-test
	$(PY) -m tests.spec.operator_table
	$(PY) -m tests.docs.folders
	$(PY) -m tests.docs.formats
	$(PY) -m tests.docs.outputs
	$(PY) -m tests.docs.recipes

conformance: $(VENV)/.installed-test
	$(PY) -m tests.spec

clean:
	rm -rf $(VENV) .venv-servers build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An interpreter with pip in .venv; made once, kept when it is there.
$(PY):
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; PYTHON=/path/to/python3 names one.' >&2; exit 1; }
	'$(PYTHON)' -c '$(NEW_ENOUGH)' || { echo '$(PYTHON) is older than Python 3.11.' >&2; exit 1; }
	'$(PYTHON)' -m venv $(VENV) || { rm -f $@; exit 1; }

.venv-servers/.installed: tests/servers/requirements.txt | $(PY)
	$(PY) -m venv .venv-servers
	.venv-servers/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

$(VENV)/.installed: pyproject.toml | $(PY)
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-imaging: pyproject.toml | $(PY)
	$(PIP) --editable '.[imaging]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-test: pyproject.toml | $(PY)
	$(PIP) --editable '.[test]'
	@touch $(VENV)/.installed $@
