"""The coded forms of characteristics (a code, a code with a value, a data requirement, a combination ...), each to FHIRPath or to a record of parts.

May not know: how text is parsed or emitted. A form that it does not understand needs a person, and is never guessed.
Start with `base.py` (what a form is given and gives), then `coded.py`; `kinds.py` tells among which records a concept is looked for.
"""
