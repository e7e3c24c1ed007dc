"""The one client for HTTP, under FHIR servers and archives: tries, redirects, credentials, certificates, proxies, limits. Needs the package urllib3.

May not know: FHIR, DICOM. A request that a server may have taken is not sent again, and no message shows a query, which may be signed.
Start with `client.py`; `failure.py` has the words of its failures, `credentials.py` how a command line says where credentials are.
"""
