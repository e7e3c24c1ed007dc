#!/bin/sh
# Sets up the peers that `python -m tests.benchmarks.screening` measures beside us, each in an environment of its own in DIR. One that cannot
# be installed is named and left out, and so is nothing else. Run it again to complete what is missing.
#
#   setup.sh DIR
#
# Needs: python3 with venv for fhirpathpy, fhir4ds-v2 and orjson (the floor); node and npm for cql-execution.
set -u

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
mkdir -p "$1" || exit 2
directory=$(CDPATH='' cd -- "$1" && pwd)
python=${PYTHON:-python3}

# NAME PACKAGE...: a virtual environment with packages
environment() {
    name=$1
    shift
    if [ -f "$directory/$name/.installed" ]; then
        return
    fi
    if "$python" -m venv "$directory/$name" &&
        "$directory/$name/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; then
        touch "$directory/$name/.installed"
    else
        echo "$name cannot be installed; it is left out" >&2
    fi
}

environment floor 'orjson>=3.10,<4'
environment fhirpathpy 'fhirpathpy>=2.2,<3' 'orjson>=3.10,<4'
environment fhir4ds 'fhir4ds-v2==0.0.17' 'pandas>=2,<4'

if [ ! -f "$directory/cql-execution/.installed" ]; then
    mkdir -p "$directory/cql-execution"
    cat > "$directory/cql-execution/package.json" <<'JSON'
{
  "name": "cql-execution-peer",
  "private": true,
  "type": "module",
  "dependencies": {
    "@cqframework/cql": "5.3.0",
    "@lhncbc/ucum-lhc": "7.1.10",
    "cql-exec-fhir": "2.2.0",
    "cql-execution": "3.3.2"
  }
}
JSON
    if (cd "$directory/cql-execution" && npm install --no-audit --no-fund --silent); then
        touch "$directory/cql-execution/.installed"
    else
        echo "cql-execution cannot be installed; it is left out" >&2
    fi
fi
