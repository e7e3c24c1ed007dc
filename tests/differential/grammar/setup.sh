#!/bin/sh
# Sets up the grammar oracle: an npm project in DIR with parsers generated from the official grammars, and oracle.mjs.
# Run it again after a change of the grammars or of oracle.mjs. Needs node, npm and java.
#
#   CQL_GRAMMAR_DIR=GRAMMARS setup.sh DIR
#
# GRAMMARS holds `cql.g4` with the `fhirpath.g4` that it imports (HL7/cql, input/images/cql), and
# `fhirpath-standalone/fhirpath.g4` (HL7/FHIRPath, input/images).
set -eu

if [ $# -ne 1 ] || [ -z "${CQL_GRAMMAR_DIR:-}" ]; then
    echo "usage: CQL_GRAMMAR_DIR=GRAMMARS $0 DIR" >&2
    exit 2
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
grammars=$(CDPATH='' cd -- "$CQL_GRAMMAR_DIR" && pwd)
for grammar in cql.g4 fhirpath.g4 fhirpath-standalone/fhirpath.g4; do
    if [ ! -f "$grammars/$grammar" ]; then
        echo "$grammars has no $grammar" >&2
        exit 2
    fi
done
mkdir -p "$1"
directory=$(CDPATH='' cd -- "$1" && pwd)
checkout=$(CDPATH='' cd -- "$here/../../.." && pwd)
case $directory/ in
    "$checkout"/*)
        echo "$directory is in the checkout: node_modules does not belong there" >&2
        exit 2
        ;;
esac

cat > "$directory/package.json" <<'JSON'
{
  "name": "grammar-oracle",
  "private": true,
  "type": "module",
  "dependencies": {
    "antlr4ng": "3.0.16",
    "antlr4ng-cli": "2.0.0",
    "esbuild": "0.28.2"
  }
}
JSON
cd "$directory"
npm install --no-audit --no-fund

# generate LANGUAGE FOLDER: LANGUAGE.g4 of FOLDER -> parsers/LANGUAGE{Lexer,Parser}.js
generate() {
    rm -rf "generated/$1"
    (
        cd "$2"
        "$directory/node_modules/.bin/antlr4ng" -Dlanguage=TypeScript -no-listener -no-visitor \
            -Xexact-output-dir -o "$directory/generated/$1" "$1.g4"
    )
    node_modules/.bin/esbuild "generated/$1/$1Lexer.ts" "generated/$1/$1Parser.ts" \
        --outdir=parsers --format=esm --target=node20 --keep-names --log-level=warning
}
rm -rf parsers
generate cql "$grammars"
generate fhirpath "$grammars/fhirpath-standalone"
cp "$here/oracle.mjs" .
echo "GRAMMAR_ORACLE_DIR=$directory"
