#!/bin/sh
# Sets up the reference translator and engine: an npm project in DIR with the scripts of this folder. Run it again
# after a change of a script.
#
#   setup.sh DIR [MODELS]
#
# MODELS: a folder of `<model>-modelinfo-<version>.xml` files, for models other than System and FHIR, and to replace the
# older FHIR model info that comes with cql-exec-fhir.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 DIR [MODELS]" >&2
    exit 2
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
directory=$(node -p 'path.resolve(process.argv[1])' -- "$1")
checkout=$(CDPATH='' cd -- "$here/../../.." && pwd)
case $directory/ in
    "$checkout"/*)
        echo "$directory is in the checkout: node_modules does not belong there" >&2
        exit 2
        ;;
esac

mkdir -p "$directory/models"
cat > "$directory/package.json" <<'JSON'
{
  "name": "cql-reference",
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
cp "$here"/*.mjs "$directory/"
if [ $# -eq 2 ]; then
    cp "$2"/*-modelinfo-*.xml "$directory/models/"
fi
cd "$directory"
npm install --no-audit --no-fund
echo "CQL_REFERENCE_DIR=$directory"
