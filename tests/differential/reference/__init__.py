"""The reference CQL translator and JavaScript engine, to compare our own engine with; a tool of the tests only.

`setup.sh DIR` installs them with npm outside the checkout; with CQL_REFERENCE_DIR=DIR, `Reference.find()` finds them.
Tests that compare are skipped where there are none.
"""
