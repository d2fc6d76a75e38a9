"""Where an alert may go: public addresses over https, and what the operator listed besides.

A receiver's URL is written by people, its name is resolved by others. Whoever steers either must not get
this process to talk to the machine's neighbours, so each address is judged before a connection goes to
that very address. Pure; the name is resolved by the caller.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import msgspec
from yarl import URL

__all__ = ["Place", "Reach", "Refused", "judge_addresses", "place_of", "refusal"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Public by their block, but answered by the cloud's own host.
METADATA = (ip_address("168.63.129.16"),)
NAT64 = ip_network("64:ff9b::/96")
COMPATIBLE = ip_network("::/96")


class Reach(msgspec.Struct, frozen=True):
    """What the operator allows beyond the public internet, and the authority trusted for it."""

    loopback: bool = False  # also over http
    networks: tuple[Network, ...] = ()
    ca: Path | None = None


class Refused(Exception):
    """Not sent, and why: words of our own, without the URL."""


class Place(msgspec.Struct, frozen=True):
    """What a URL asks for."""

    host: str
    port: int
    tls: bool


def place_of(url: str, reach: Reach) -> Place:
    """Host and port of a URL that may be asked for at all.

    Raises:
        Refused: it is no plain http(s) URL, or http without leave.
    """
    try:
        parts = URL(url)  # as the HTTP client reads it
        host, port = parts.raw_host, parts.port
    except (ValueError, TypeError):
        raise Refused("not a URL") from None
    if parts.scheme not in ("http", "https") or not host or not port or not url.isprintable():
        raise Refused("expected https://host/path")
    if parts.raw_user is not None or parts.raw_password is not None or parts.raw_fragment or "\\" in url:
        raise Refused("a user, a password, a fragment or a backslash in the URL")
    tls = parts.scheme == "https"
    if not tls and not reach.loopback:
        raise Refused("http: only https, or with allow_loopback http to the loopback")
    return Place(host, port, tls)


def judge_addresses(place: Place, addresses: Sequence[str], reach: Reach) -> None:
    """Returns if every address that the name stands for may be connected to.

    One bad address refuses the name: which one a client takes is chance.

    Raises:
        Refused: naming the address and what it is.
    """
    if not addresses:
        raise Refused("the name has no address")
    for text in addresses:
        address = ip_address(text)
        why = refusal(address, reach)
        if why is None and not place.tls and not _inner(address)[-1].is_loopback:
            why = "not the loopback, and http"
        if why is not None:
            raise Refused(f"{address} is {why}")


def refusal(address: Address, reach: Reach) -> str | None:
    """Why an address may not be connected to; None if it may.

    An IPv4 address inside an IPv6 one is judged as such.

    >>> refusal(ip_address("::ffff:169.254.169.254"), Reach())
    'link-local'
    >>> refusal(ip_address("10.1.2.3"), Reach(networks=(ip_network("10.0.0.0/8"),))) is None
    True
    """
    forms = _inner(address)
    if any(form in network for form in forms for network in reach.networks):
        return None
    for form in forms:
        why = _kind(form)
        if why is not None and not (why == "loopback" and reach.loopback):
            return why
    return None


def _inner(address: Address) -> tuple[Address, ...]:
    """The address, or the IPv4 address that it carries and that is reached in the end."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in NAT64 or (address in COMPATIBLE and int(address) > 0xFFFF):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return (address,)


def _kind(address: Address) -> str | None:
    if address in METADATA:
        return "a cloud's metadata service"
    for why, holds in (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("private", address.is_private or getattr(address, "is_site_local", False)),
        ("reserved", address.is_reserved or not address.is_global),
    ):
        if holds:
            return why
    return None
