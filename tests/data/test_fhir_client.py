"""The HTTP client of FHIR servers: private authorities, redirects, Retry-After, and what messages show."""

from __future__ import annotations

import datetime as dt
import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.records.outcomes import reason_of
from fhir_eligibility.data.server.client import Server, ServerError
from tests.servers.stub import Reply, outcome, running_stub


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate of its own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_a_private_authority(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    with running_stub(pair) as stub:
        stub.on("/fhir/metadata", Reply(200, {"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}))
        with Server(stub.base) as server:
            with pytest.raises(
                ServerError, match="certificate is not trusted.*private authority's certificate can be given"
            ):
                server.fhir_version()
        with Server(stub.base, ca=pair[0]) as server:
            assert server.fhir_version() == "5.0.0"
    with pytest.raises(ServerError, match="no certificates in PEM form"):
        Server("https://host/fhir", ca=pair[1])
    with pytest.raises(FileNotFoundError, match="nothing.pem does not exist"):
        Server("https://host/fhir", ca="nothing.pem")


def test_https_is_not_left_by_a_redirect(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    with running_stub(pair) as stub, running_stub() as plain:
        stub.on("/fhir/metadata", Reply(302, headers={"Location": f"{plain.root}/x"}))
        with Server(stub.base, ca=pair[0]) as server:
            with pytest.raises(ServerError, match="redirected from https to plain http; not followed"):
                server.fhir_version()
        assert plain.requests == []


def test_redirects_end() -> None:
    with running_stub() as stub:
        stub.on("/fhir/metadata", Reply(302, headers={"Location": "/fhir/metadata"}))
        with Server(stub.base) as server, pytest.raises(ServerError, match="redirected more than 5 times"):
            server.fhir_version()


def test_nobody_answers() -> None:
    with running_stub() as stub:
        gone = stub.base
    waits: list[float] = []
    with Server(gone, patience=Patience(attempts=3, first=2.0), wait=waits.append) as server:
        with pytest.raises(ServerError, match="no connection: Connection refused"):
            server.fhir_version()
    assert len(waits) == 2 and 1.5 <= waits[0] <= 2 and 3 <= waits[1] <= 4


def test_what_messages_show() -> None:
    assert shown("https://user:pass@store.example/a/b?sig=secret") == "https://store.example/a/b?..."
    assert reason_of(b'{"resourceType": "OperationOutcome", "issue": [{"details": {"text": "a\\nb"}}]}') == "a b"
    assert reason_of(b"<html>proxy</html>") == ""
    assert reason_of(b"\x1b[31mred") == "[31mred"
    with running_stub() as stub:
        stub.on("/fhir/metadata", Reply(403, outcome("forbidden", "x" * 1000)))
        with Server(stub.base) as server, pytest.raises(ServerError) as error:
            server.fhir_version()
        assert len(str(error.value)) < 500 and error.value.status == 403


def test_without_urllib3_the_package_to_install_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['urllib3'] = None\n"
        "from fhir_eligibility.ui.commands.cli import main\n"
        f"sys.exit(main(['export', 'https://host/fhir', '--out', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert done.stderr == "eligibility: requests over HTTP need the package urllib3: pip install urllib3\n"
