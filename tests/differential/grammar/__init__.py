"""The official ANTLR grammars of CQL and FHIRPath, to compare our own parsers with; a tool of the tests only.

`CQL_GRAMMAR_DIR=GRAMMARS setup.sh DIR` generates their parsers with npm outside the checkout; with
GRAMMAR_ORACLE_DIR=DIR, `GrammarOracle.find()` finds them. Tests that compare are skipped where there are none.
"""
