"""Options of commands that talk to a FHIR server."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.ui.options.argument_types import PATH

STATIC_HELP = (
    "where the credentials are: bearer-env=VARIABLE (a token in an environment variable) or bearer-file=FILE, user=NAME with "
    "password-env=VARIABLE or password-file=FILE, header-env=VARIABLE (a whole header value)"
)
AUTH_HELP = f"{STATIC_HELP}, or client-id=ID,key=FILE for SMART backend services (PEM, JWK or JWKS; kid=, scope=, token-url= where needed)"


def add_server_options(command: Any, prefix: str = "") -> None:
    """Add --auth, --ca and --allow-http, with a prefix (`data-`) where a command has several servers."""
    command.add_argument(f"--{prefix}auth", metavar="SPEC", dest="server_auth", help=AUTH_HELP)
    command.add_argument(
        f"--{prefix}ca",
        type=PATH,
        metavar="FILE",
        dest="server_ca",
        help="certificate authorities to trust beside the system's, PEM",
    )
    command.add_argument(
        f"--{prefix}allow-http",
        action="store_true",
        dest="server_allow_http",
        help="send credentials over plain http too (without this, to this machine only)",
    )


def add_search_options(command: Any) -> None:
    """Add what is for searches alone: --rewrite-next-links."""
    command.add_argument(
        "--rewrite-next-links",
        action="store_true",
        help="ask for next pages at the address that was given, whatever host the server names (a server behind a proxy)",
    )
