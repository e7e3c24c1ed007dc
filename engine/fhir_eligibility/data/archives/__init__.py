"""Archives of images over DICOMweb: search (QIDO-RS), retrieve (WADO-RS), store (STOW-RS), and whether a study is held.

May not know: criteria, verdicts, outputs. What did not answer is never called absent, and no UID is made up.
Start with `presence.py` (the question), then `qido.py` and `client.py`.

"""
