"""Access tokens: SMART Backend Services (private_key_jwt with RS384 or ES384), and credentials that lie somewhere.

SMART App Launch 2.2, "Backend Services" and "Client authentication: asymmetric". Keys and tokens are never written
anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from fhir_eligibility.algebra.arguments import text_of
from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.http.client import may_hold_credentials
from fhir_eligibility.data.http.credentials import STATIC, STATIC_PARTS, Secret, hint, parts_of, secret_of
from fhir_eligibility.data.server.client import Credentials, Server, ServerError, decode, failure, origin_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 240  # seconds that an assertion is valid; five minutes at most are allowed
EARLY = 60.0  # seconds before its end that a token is replaced
UNKNOWN_LIFETIME = 300.0  # what the specification recommends that servers give


class StaticCredentials:
    """A credential in an environment variable or in a file, read anew for each request."""

    def __init__(self, secret: Secret) -> None:
        self.secret = secret

    def token(self, server: Server) -> str:
        """The whole header value. Raises ServerError where the place holds none, or what no header can carry."""
        try:
            return self.secret.header()
        except ValueError as error:
            raise ServerError(str(error)) from None

    def renew(self, rejected: str) -> bool:
        """There is no other, unless the place holds another by now."""
        try:
            return self.secret.header() != rejected
        except ValueError:
            return False


class BackendServices:
    """A client that is known to the authorization server by its public key.

    `key_file` holds the private key: PEM, a JWK, or a JWKS (of which `key_id` chooses; else the first private key
    that can sign). Without `token_url` the server's `.well-known/smart-configuration` names it; without `scope` it is
    `system/*.rs`, or `system/*.read` where the server knows SMART v1 scopes only. Raises ServerError for a key that
    cannot be used.
    """

    def __init__(
        self,
        client_id: str,
        key_file: str | Path,
        *,
        key_id: str | None = None,
        scope: str | None = None,
        token_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client_id = client_id
        self._key, self.algorithm, self.key_id = load_key(Path(key_file), key_id)
        self.scope = scope
        self.token_url = token_url
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._until = 0.0

    def token(self, server: Server) -> str:
        """A token that is valid for some time yet; fetched where there is none. Raises ServerError."""
        with self._lock:
            if self._token is None or self._clock() >= self._until:
                self._token, lifetime = self._fetch(server)
                self._until = self._clock() + max(lifetime - min(EARLY, lifetime / 4), 0.0)
            return self._token

    def renew(self, rejected: str) -> bool:
        """Another token can be had."""
        with self._lock:
            if self._token == rejected:
                self._token = None
        return True

    def _fetch(self, server: Server) -> tuple[str, float]:
        if self.token_url is None or self.scope is None:
            self._discover(server)
        assert self.token_url is not None and self.scope is not None
        origin_of(self.token_url)
        if not may_hold_credentials(self.token_url, server.allow_http):
            raise ServerError(f"{shown(self.token_url)}: the token endpoint is not https")
        form = {
            "grant_type": "client_credentials",
            "scope": self.scope,
            "client_assertion_type": ASSERTION,
            "client_assertion": self._assertion(self.token_url),
        }
        what = f"token endpoint {shown(self.token_url)}"
        response = server.request(
            "POST", self.token_url, form=form, headers={"Accept": "application/json"}, token=False
        )
        if not response.is_success:
            raise failure(response, what)
        answer = decode(response.content, what)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise ServerError(f"{what}: the answer holds no access_token")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise ServerError(
                f"{what}: a token of type {answer['token_type']} cannot be used; a bearer token is needed"
            )
        try:
            lifetime = float(answer.get("expires_in", UNKNOWN_LIFETIME))
        except (TypeError, ValueError):
            lifetime = UNKNOWN_LIFETIME
        return token, lifetime

    def _discover(self, server: Server) -> None:
        url = server.url(".well-known/smart-configuration")
        found = server.json("GET", url, token=False, headers={"Accept": "application/json"})
        if not isinstance(found, dict):
            raise ServerError(f"{shown(url)}: no SMART configuration")
        if self.token_url is None:
            endpoint = found.get("token_endpoint")
            if not isinstance(endpoint, str) or not urlsplit(endpoint).scheme:
                raise ServerError(f"{shown(url)}: it names no token_endpoint; give the address of the token endpoint")
            self.token_url = endpoint
        algorithms = found.get("token_endpoint_auth_signing_alg_values_supported")
        if isinstance(algorithms, list) and algorithms and self.algorithm not in algorithms:
            known = ", ".join(map(str, algorithms))
            raise ServerError(f"{shown(url)}: the server takes {known}, but the key signs with {self.algorithm}")
        if self.scope is None:
            capabilities = found.get("capabilities") or ()
            old = "permission-v1" in capabilities and "permission-v2" not in capabilities
            self.scope = "system/*.read" if old else "system/*.rs"

    def _assertion(self, audience: str) -> str:
        import jwt

        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": audience,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm=self.algorithm, headers={"kid": self.key_id})


def load_key(path: Path, key_id: str | None) -> tuple[PrivateKey, str, str]:
    """Private key, JWS algorithm and key id of a key file. Raises ServerError; no message shows anything of the key."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"the key file {path} does not exist") from None
    if raw.lstrip().startswith(b"{"):
        key, name = _from_jwks(path, raw, key_id)
    else:
        key, name = _from_pem(path, raw), key_id
    algorithm = _algorithm(path, key)
    return key, algorithm, name or _thumbprint(key)


def _from_pem(path: Path, raw: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise _missing() from None
    try:
        return load_pem_private_key(raw, None)
    except TypeError:
        raise ServerError(f"{path}: the key is encrypted; decrypt it into a file that only you can read") from None
    except ValueError:
        raise ServerError(f"{path}: no private key in PEM form, and no JWK or JWKS") from None


def _from_jwks(path: Path, raw: bytes, key_id: str | None) -> tuple[Any, str | None]:
    try:
        import jwt
    except ImportError:
        raise _missing() from None
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ServerError(f"{path}: neither valid JSON (JWK, JWKS) nor PEM") from None
    listed = decoded.get("keys") if isinstance(decoded.get("keys"), list) else [decoded]
    private = [key for key in listed if isinstance(key, dict) and "d" in key and key.get("use", "sig") == "sig"]
    if key_id is not None:
        private = [key for key in private if key.get("kid") == key_id]
    if not private:
        wanted = f" with kid {key_id}" if key_id is not None else ""
        raise ServerError(f"{path}: no private key{wanted} in this JWKS (a public key cannot sign)")
    chosen = private[0]
    try:
        algorithm = "RS384" if chosen.get("kty") == "RSA" else "ES384"
        key = jwt.PyJWK.from_dict(chosen, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        raise ServerError(f"{path}: the key {chosen.get('kid', '')} cannot be read as a JWK of RSA or P-384") from None
    return key, chosen.get("kid")


def _algorithm(path: Path, key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < 2048:
            raise ServerError(f"{path}: an RSA key of {key.key_size} bits is too short; 2048 are needed")
        return "RS384"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
        return "ES384"
    raise ServerError(f"{path}: SMART backend services take RSA keys (RS384) and P-384 keys (ES384), not this one")


def _thumbprint(key: PrivateKey) -> str:
    """RFC 7638 thumbprint of the public key: the name of a key that has none."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm

    if isinstance(key, RSAPrivateKey):
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        members = {name: jwk[name] for name in ("e", "kty", "n")}
    else:
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return base64.urlsafe_b64encode(hashlib.sha256(msgspec.json.encode(members)).digest()).rstrip(b"=").decode()


def _missing() -> ServerError:
    return ServerError("SMART backend services need the package PyJWT: pip install 'PyJWT[crypto]'")


BACKEND_PARTS = ("client-id", "key", "kid", "scope", "token-url")


def credentials_of(text: str) -> Credentials:
    """Credentials as a command line names them. Raises ValueError with what may be written.

    `bearer-env=VARIABLE`, `bearer-file=FILE`, `user=NAME` with `password-env=VARIABLE` or `password-file=FILE`, `header-env=VARIABLE`; or
    `client-id=ID,key=FILE` with `kid=`, `scope=` and `token-url=` where needed.
    """
    given = parts_of(text_of(text, "credentials"), (*STATIC_PARTS, *BACKEND_PARTS))
    if given is None:
        # What was written is not shown: it may be a token.
        expected = f"{STATIC}, or client-id=ID,key=FILE (with kid=, scope=, token-url=)"
        raise ValueError(f"expected credentials as {expected}{hint(text)}")
    secret = secret_of(given)
    if secret is not None:
        return StaticCredentials(secret)
    if not {"client-id", "key"} <= set(given) <= set(BACKEND_PARTS):
        raise ValueError(f"expected credentials as one of {STATIC}, or as both client-id=ID and key=FILE")
    return BackendServices(
        given["client-id"],
        given["key"],
        key_id=given.get("kid"),
        scope=given.get("scope"),
        token_url=given.get("token-url"),
    )
