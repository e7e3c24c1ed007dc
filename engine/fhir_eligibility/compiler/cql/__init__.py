"""CQL and ELM JSON: text to tree, tree to ELM with types, ELM to Python, and the libraries that criteria name.

May not know: patients, files of data, verdicts. FHIRPath shares the operators and the guard, and nothing here is about one criterion's form.
Start with `compiled.py` (a library from text to functions), then `translator.py` (tree to ELM) and `emitter.py` (ELM to Python).
"""
