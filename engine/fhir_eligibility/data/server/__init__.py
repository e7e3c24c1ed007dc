"""FHIR servers as sources of patients: what is asked of one, SMART backend services, bulk exports, and screening by search.

client     one server: its requests over `data/http/`, where credentials may go, what an OperationOutcome says
smart      access tokens: backend services (private_key_jwt), and credentials that lie somewhere
export     a Bulk Data export: kick-off, status, manifest
download   the files of an export, each whole or not at all
folder     the folder that an export is written into: its state and its manifest
search     one search with all its pages
patients   patients by search, page by page, as compartments

May not know: criteria beyond what they read, verdicts, outputs. What a server left out or broke off is missing, and never taken for absent.
Start with `client.py`, then `search.py` and `patients.py`.
"""
