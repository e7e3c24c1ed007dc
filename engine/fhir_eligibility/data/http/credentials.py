"""Where credentials are, in one spelling for FHIR servers, terminology servers and archives; they themselves are never written there.

bearer-env=VARIABLE                  a token in an environment variable
bearer-file=FILE                     a token in a file
user=NAME,password-env=VARIABLE      basic authentication, the password in an environment variable
user=NAME,password-file=FILE         the same, the password in a file
header-env=VARIABLE                  the whole value of the header Authorization, in an environment variable
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path

STATIC = "bearer-env=VARIABLE, bearer-file=FILE, user=NAME with password-env=VARIABLE or password-file=FILE, header-env=VARIABLE"
SHAPE = re.compile(
    r"(bearer|header)-env=[A-Za-z_][A-Za-z0-9_]*|bearer-file=.+"
    r"|user=[^,=]+,password-(env=[A-Za-z_][A-Za-z0-9_]*|file=.+)"
)
"""What the text of a static credential looks like; anything else could be the credential itself."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS = {"bearer": "token", "password": "password", "header": "header"}


def bearer(token: str) -> str:
    """The header value with a token."""
    return f"Bearer {token}"


def basic(user: str, password: str) -> str:
    """The header value of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Secret:
    """The place of a credential: `kind` (bearer, password, header) in an environment variable, or in a file."""

    kind: str
    place: str
    in_file: bool
    user: str = ""

    @property
    def where(self) -> str:
        """The place in words."""
        return f"the file {self.place}" if self.in_file else f"the environment variable {self.place}"

    def header(self) -> str:
        """The header value with what is in the place now. Raises ValueError that names the place."""
        value = self._read()
        noun = _KINDS[self.kind]
        if not value:
            raise ValueError(f"{self.where} holds no {noun}")
        if self.kind == "password":
            return basic(self.user, value)
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{self.where} does not hold one {noun}: it holds what no header can carry")
        if self.kind == "header":
            if " " not in value:
                raise ValueError(f"{self.where} does not hold a whole header value, such as `Bearer ...`")
            return value
        if " " in value:
            raise ValueError(f"{self.where} does not hold one token")
        return bearer(value)

    def _read(self) -> str:
        if not self.in_file:
            value = os.environ.get(self.place, "")
        else:
            try:
                value = Path(self.place).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
                raise ValueError(f"{self.where} cannot be read: {why}") from None
        return value.strip("\r\n") if self.kind == "password" else value.strip()


def parts_of(text: str, known: tuple[str, ...]) -> dict[str, str] | None:
    """`a=x,b=y` as its parts; None where it is something else, which must not be shown: it may be a credential."""
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name.strip() not in known or not equals or not value.strip():
            return None
        given[name.strip()] = value.strip()
    return given


STATIC_PARTS = ("bearer-env", "bearer-file", "header-env", "user", "password-env", "password-file")


def secret_of(given: dict[str, str]) -> Secret | None:
    """The static credential that parts name; None where they name none."""
    for name in ("bearer-env", "bearer-file", "header-env"):
        if set(given) == {name}:
            kind, _, place = name.partition("-")
            return Secret(kind, given[name], place == "file")
    for name in ("password-env", "password-file"):
        if set(given) == {"user", name}:
            return Secret("password", given[name], name == "password-file", given["user"])
    return None


def hint(text: str) -> str:
    """What was probably meant by a text that names no credentials: the bare name of a variable that is set. Nothing else is shown."""
    if _VARIABLE.fullmatch(text) and text in os.environ:
        return f"; the variable {text} is named by bearer-env={text} (a token) or user=NAME,password-env={text} (a password)"
    return ""


def static_credentials(text: str) -> Secret:
    """The place of a credential that needs no server to be had. Raises ValueError with what may be written."""
    found = secret_of(parts_of(text, STATIC_PARTS) or {})
    if found is None:
        raise ValueError(f"expected credentials as {STATIC}{hint(text)}")
    return found
