"""The coded forms of characteristics (a code, a code with a value, a data requirement, a combination ...), each to FHIRPath or to a record of parts.

May not know: how text is parsed or emitted. A form that it does not understand needs a person, and is never guessed. A module here that has FORMS is a form; it is listed nowhere else.
Start with `base.py` (what a form gives) and `registry.py` (what it is given), then `coded.py`; `kinds.py` tells among which records a concept is looked for.
"""
