"""SMART backend services: assertions, keys, tokens and when they are replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.smart import ASSERTION, BackendServices, StaticCredentials, credentials_of
from tests.servers.stub import Reply, Request, Stub, running_stub

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP384R1())
SHORT = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running_stub() as running:
        running.on("/fhir/Patient", Reply(200, {"resourceType": "Bundle"}))
        yield running


def pem(key: Any, encryption: Any = None) -> bytes:
    written: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return written


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def jwk(key: Any, kid: str) -> dict[str, Any]:
    algorithm: Any = RSAAlgorithm if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)) else ECAlgorithm
    return {**algorithm.to_jwk(key, as_dict=True), "kid": kid}


def offer(stub: Stub, **configuration: Any) -> None:
    """A SMART configuration, and a token endpoint that counts its tokens."""
    stub.on(
        "/fhir/.well-known/smart-configuration",
        Reply(200, {"token_endpoint": f"{stub.root}/token", "capabilities": ["permission-v2"], **configuration}),
    )
    issued = iter(range(1, 100))

    def token(request: Request) -> Reply:
        return Reply(200, {"access_token": f"t{next(issued)}", "token_type": "bearer", "expires_in": 300})

    stub.on("/token", token, method="POST")


def form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


@pytest.mark.parametrize(
    ("content", "public", "algorithm", "kid"),
    [
        (pem(RSA), RSA.public_key(), "RS384", None),
        (pem(EC), EC.public_key(), "ES384", None),
        (jwks(jwk(RSA.public_key(), "public"), jwk(EC, "mine")), EC.public_key(), "ES384", "mine"),
        (json.dumps(jwk(RSA, "only")).encode(), RSA.public_key(), "RS384", "only"),
    ],
)
def test_the_assertion(
    stub: Stub, tmp_path: Path, content: bytes, public: Any, algorithm: str, kid: str | None
) -> None:
    (tmp_path / "key").write_bytes(content)
    offer(stub)
    server = Server(stub.base, credentials=BackendServices("my-client", tmp_path / "key"))
    server.json("GET", server.url("Patient"))
    (asked,) = stub.seen("/token", "POST")
    sent = form(asked)
    assert sent["grant_type"] == "client_credentials" and sent["client_assertion_type"] == ASSERTION
    assert sent["scope"] == "system/*.rs"
    assert "authorization" not in asked.headers
    claims = jwt.decode(sent["client_assertion"], public, algorithms=[algorithm], audience=f"{stub.root}/token")
    assert claims["iss"] == claims["sub"] == "my-client"
    assert 0 < claims["exp"] - claims["iat"] <= 300 and claims["jti"]
    header = jwt.get_unverified_header(sent["client_assertion"])
    assert header["alg"] == algorithm and header["kid"] and (kid is None or header["kid"] == kid)
    assert stub.seen("/fhir/Patient")[0].headers["authorization"] == "Bearer t1"


def test_a_key_is_chosen_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(jwks(jwk(RSA, "old"), jwk(EC, "new")))
    assert BackendServices("c", tmp_path / "key", key_id="new").algorithm == "ES384"
    assert BackendServices("c", tmp_path / "key").key_id == "old"
    with pytest.raises(ServerError, match="no private key with kid other"):
        BackendServices("c", tmp_path / "key", key_id="other")


def test_a_token_is_replaced_before_it_ends(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(pem(EC))
    offer(stub)
    now = [1000.0]
    credentials = BackendServices("c", tmp_path / "key", clock=lambda: now[0])
    server = Server(stub.base, credentials=credentials)
    for moment in (1000.0, 1239.0, 1241.0):
        now[0] = moment
        server.json("GET", server.url("Patient"))
    assert [r.headers["authorization"] for r in stub.seen("/fhir/Patient")] == ["Bearer t1", "Bearer t1", "Bearer t2"]
    used = [form(request)["client_assertion"] for request in stub.seen("/token", "POST")]
    ids = {jwt.decode(text, options={"verify_signature": False})["jti"] for text in used}
    assert len(ids) == 2
    assert len(stub.seen("/fhir/.well-known/smart-configuration")) == 1


def test_a_token_that_is_refused_is_replaced_once(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(pem(EC))
    offer(stub)
    server = Server(stub.base, credentials=BackendServices("c", tmp_path / "key"))
    stub.on("/fhir/Patient", Reply(401), Reply(200, {"resourceType": "Bundle"}))
    assert server.json("GET", server.url("Patient")) == {"resourceType": "Bundle"}
    stub.on("/fhir/Patient", Reply(401))
    with pytest.raises(ServerError, match="401 Unauthorized"):
        server.json("GET", server.url("Patient"))
    assert len(stub.seen("/token", "POST")) == 3 and len(stub.seen("/fhir/Patient")) == 4


def test_scopes(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(pem(EC))
    for capabilities, given, sent in (
        (["permission-v1"], None, "system/*.read"),
        (["permission-v1", "permission-v2"], None, "system/*.rs"),
        (["permission-v1"], "system/Patient.rs", "system/Patient.rs"),
    ):
        offer(stub, capabilities=capabilities)
        server = Server(stub.base, credentials=BackendServices("c", tmp_path / "key", scope=given))
        server.json("GET", server.url("Patient"))
        assert form(stub.seen("/token", "POST")[-1])["scope"] == sent


def test_what_a_token_endpoint_says(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(pem(EC))
    offer(stub)
    stub.on("/token", Reply(401, {"error": "invalid_client", "error_description": "unknown client"}), method="POST")
    server = Server(stub.base, credentials=BackendServices("c", tmp_path / "key"))
    with pytest.raises(ServerError, match="invalid_client: unknown client"):
        server.json("GET", server.url("Patient"))
    offer(stub, token_endpoint_auth_signing_alg_values_supported=["RS384"])
    server = Server(stub.base, credentials=BackendServices("c", tmp_path / "key"))
    with pytest.raises(ServerError, match="takes RS384, but the key signs with ES384"):
        server.json("GET", server.url("Patient"))
    offer(stub, token_endpoint="http://auth.example/token")
    server = Server(stub.base, credentials=BackendServices("c", tmp_path / "key"))
    with pytest.raises(ServerError, match="the token endpoint is not https"):
        server.json("GET", server.url("Patient"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pem(SHORT), r"RSA keys \(RS384\) and P-384 keys \(ES384\)"),
        (pem(EC, BestAvailableEncryption(b"x")), "the key is encrypted"),
        (b"-----BEGIN NOTHING-----", "no private key in PEM form"),
        (jwks(jwk(RSA.public_key(), "public")), "a public key cannot sign"),
        (b"{not json", "neither valid JSON"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ServerError, match=message):
        BackendServices("c", tmp_path / "key")


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    credentials = credentials_of("bearer-env=THE_TOKEN")
    assert isinstance(credentials, StaticCredentials)
    server = Server(stub.base, credentials=credentials)
    monkeypatch.setenv("THE_TOKEN", "abc")
    server.json("GET", server.url("Patient"))
    assert stub.seen("/fhir/Patient")[0].headers["authorization"] == "Bearer abc"
    monkeypatch.setenv("THE_TOKEN", "abc\nX-Injected: 1")
    with pytest.raises(ServerError, match="does not hold one token"):
        server.json("GET", server.url("Patient"))
    monkeypatch.delenv("THE_TOKEN")
    with pytest.raises(ServerError, match="THE_TOKEN holds no token"):
        server.json("GET", server.url("Patient"))


def test_credentials_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(jwks(jwk(RSA, "a"), jwk(EC, "b")))
    found = credentials_of(
        f"client-id=https://my.app/id,key={tmp_path / 'key'},kid=b,scope=system/Patient.rs system/*.rs"
    )
    assert isinstance(found, BackendServices)
    assert (found.client_id, found.key_id, found.scope) == ("https://my.app/id", "b", "system/Patient.rs system/*.rs")
    for wrong in ("eyJhbGciOi.secret", "client-id=a", "bearer-env=A,key=b", "key=x", "client-id="):
        with pytest.raises(ValueError, match="credentials") as error:
            credentials_of(wrong)
        assert "secret" not in str(error.value)


def test_credentials_over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "abc")
    server = Server("http://fhir.example/base", credentials=credentials_of("bearer-env=THE_TOKEN"))
    with pytest.raises(ServerError, match="credentials are sent over https only"):
        server.json("GET", server.url("Patient"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://user:pass@host/fhir", "credentials do not belong into an address"),
        ("ftp://host/fhir", "is not an address of the form https://host/path"),
        ("https://host/fhir?x=1", "has no query"),
    ],
)
def test_addresses(address: str, message: str) -> None:
    with pytest.raises(ServerError, match=message) as error:
        Server(address)
    assert "pass@" not in str(error.value)
