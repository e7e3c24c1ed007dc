"""FHIR servers as sources of patients: SMART backend services, bulk exports, and screening by search.

client     requests to one server, and what an OperationOutcome says
smart      access tokens: backend services (private_key_jwt) and a token from the environment
export     a Bulk Data export: kick-off, status, manifest
download   the files of an export, each whole or not at all
folder     the folder that an export is written into: its state and its manifest
search     one search with all its pages
patients   patients by search, page by page, as compartments

May not know: criteria beyond what they read, verdicts, outputs. What a server left out or broke off is missing, and never taken for absent.
Start with `client.py`, then `search.py` and `patients.py`.
"""
