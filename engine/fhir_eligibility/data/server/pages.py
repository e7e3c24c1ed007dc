"""Where the next page of a search is asked for: at the address that was given, whatever host the server names.

Servers behind a proxy write their inner address into next links. Such a link is asked for at the given address only where
it can be told to mean the same place; a request, and with it credentials, never goes to another host.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from fhir_eligibility.artifacts.references import root_of
from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.server.client import Server, ServerError, origin_of

Resource = dict[str, Any]


class NextPage(NamedTuple):
    """The address to ask for a next page, and what the server wrote instead, fit for messages (None: the same)."""

    url: str
    written: str | None = None


class OtherServer(ServerError):
    """A next link leads to another server, or cannot be told to lead to this one."""


def link_of(bundle: Resource, relation: str) -> str | None:
    """The address of a link of a bundle."""
    links = bundle.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == relation and isinstance(link.get("url"), str):
            return str(link["url"])
    return None


def own_names(bundle: Resource, resource_type: str) -> set[str]:
    """The base addresses by which a server calls itself in a page: in its self link, and in the fullUrls of entries."""
    out = set()
    link = link_of(bundle, "self")
    path = urlsplit(link).path.rstrip("/").removesuffix("/_search") if link is not None else ""
    if link is not None and path.endswith(f"/{resource_type}"):
        parts = urlsplit(link)
        out.add(urlunsplit((parts.scheme, parts.netloc, path.removesuffix(resource_type).rstrip("/"), "", "")))
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        full_url = entry.get("fullUrl") if isinstance(entry, dict) else None
        root = root_of(full_url) if isinstance(full_url, str) else None
        if root is not None:
            out.add(root.rstrip("/"))
    return out


def next_page(server: Server, bundle: Resource, here: str, names: Iterable[str]) -> NextPage | None:
    """Where to ask for the next page, None at the end. `names` are base addresses by which the server calls itself.

    A link to another origin than the given one is taken for the same place below the given address where its path is at or below the
    given base and its host is the given one, or where it is at or below one of `names`; with `server.rewrite_next_links`, wherever its
    path is at or below the given base. Raises OtherServer for all others.
    """
    link = link_of(bundle, "next")
    if not link:
        return None
    try:
        following = urljoin(here, link)
        if server.same_origin(following):
            return NextPage(following)
        scheme, host, _ = origin_of(following)
    except ValueError:
        raise OtherServer("the address of the next page is none") from None
    base = urlsplit(server.base)
    trusted = [urlsplit(name).path for name in names if _same_place(name, following)]
    if server.rewrite_next_links or host == (base.hostname or "").lower():
        trusted.append(base.path)
    parts = urlsplit(following)
    for prefix in sorted(trusted, key=len, reverse=True):
        rest = _below(parts.path, prefix.rstrip("/"))
        if rest is not None:
            place = (base.scheme, base.netloc, base.path.rstrip("/") + rest, parts.query, "")
            return NextPage(urlunsplit(place), shown(following))
    hint = (
        "its path is not below the path of the given address"
        if server.rewrite_next_links
        else "give the address that the server calls its own, or --rewrite-next-links if that is the same server behind a proxy"
    )
    raise OtherServer(f"the next page is said to be on another server ({shown(following)}); {hint}")


def _same_place(name: str, following: str) -> bool:
    try:
        return origin_of(name) == origin_of(following)
    except ServerError:
        return False


def _below(path: str, prefix: str) -> str | None:
    """What of a path is behind a prefix; None where it is not below it, or climbs out of it."""
    if ".." in unquote(path).replace("\\", "/").split("/"):
        return None
    return path[len(prefix) :] if path == prefix or path.startswith(prefix + "/") else None
