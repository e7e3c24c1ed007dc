"""The one client for HTTP, under FHIR servers and archives: where credentials may go, redirects, repeated requests, TLS, proxies, limits.

It knows nothing of FHIR and of DICOM. Start reading in `client.py`; the words of its failures are in `failure.py`. Needs the package urllib3.
"""
