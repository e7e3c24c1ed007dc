"""The one client for HTTP, under FHIR servers and archives: where credentials may go, redirects, repeated requests, TLS, proxies, limits.

May not know: FHIR, DICOM. It needs the package urllib3.
Start with `client.py`; the words of its failures are in `failure.py`.
"""
