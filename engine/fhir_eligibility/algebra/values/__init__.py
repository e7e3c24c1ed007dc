"""Values of the System and clinical types: points, intervals, quantities, codes, elements with a type.

May not know: operators, FHIR artifacts, patients.
Start with `element.py` and `quantity.py`.
"""
