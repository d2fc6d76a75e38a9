"""The thin edge to HTTP: one request, one answer, nothing followed; only home of aiohttp.

The name is resolved once, each address is judged, and the connection goes to those addresses and no
others. The whole exchange has one deadline, answers are read to a bound, and no proxy, cookie or redirect
takes part.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from monitors.alerts.formats import Post
from monitors.alerts.guard import Reach, Refused, judge_addresses, place_of

__all__ = ["Answer", "Lookup", "send", "system_lookup"]

Outcome = Literal["delivered", "failed", "rejected", "gone", "refused"]
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_ANSWER_BYTES = 4_096
EXCERPT_CHARS = 200
_UNFIT = (400, 413, 422)  # the message itself is not taken


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a delivery went. `said` is in our words; `excerpt` is the receiver's, for people alone."""

    outcome: Outcome
    status: int | None = None
    said: str = ""
    ms: float = 0.0
    retry_after_s: float | None = None
    excerpt: str = ""


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine's resolver gives.

    Raises:
        OSError: the name is not known.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def send(post: Post, reach: Reach, timeout_s: float, lookup: Lookup = system_lookup) -> Answer:
    """Sends one request; whatever happens is an answer."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _exchange(post, reach, lookup)
    except Refused as refused:
        answer = Answer(outcome="refused", said=str(refused))
    except TimeoutError:
        answer = Answer(outcome="failed", said=f"no answer within {timeout_s:g} s")
    except socket.gaierror:
        answer = Answer(outcome="failed", said="the name is not known")
    except aiohttp.ClientConnectorCertificateError:
        answer = Answer(outcome="failed", said="its certificate is not trusted")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Texts of these name hosts, and some the URL.
        answer = Answer(outcome="failed", said=f"no connection or no HTTP ({_cause(error)})")
    return msgspec.structs.replace(answer, ms=round((time.perf_counter() - began) * 1_000, 1))


async def _exchange(post: Post, reach: Reach, lookup: Lookup) -> Answer:
    place = place_of(post.url, reach)
    addresses = await lookup(place.host, place.port)
    judge_addresses(place, addresses, reach)
    connector = aiohttp.TCPConnector(
        resolver=_Pinned(addresses),
        socket_factory=partial(_socket, frozenset(addresses)),
        use_dns_cache=False,
        force_close=True,
        ssl=ssl.create_default_context(cafile=reach.ca) if place.tls else False,
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session,
        session.post(
            post.url, data=post.body, headers=post.headers, allow_redirects=False, proxy=None
        ) as response,
    ):
        said = await response.content.read(MAX_ANSWER_BYTES)
        return _answer(response.status, response.headers.get("retry-after"), said)


def _socket(judged: frozenset[str], info: Any) -> socket.socket:
    """A socket for an address that was judged, and for no other, whatever the client took it from.

    Raises:
        OSError: another one.
    """
    family, kind, protocol, _, address = info
    if str(address[0]) not in judged:
        raise OSError("an address that was not judged")
    return socket.socket(family, kind, protocol)


class _Pinned(AbstractResolver):
    """Gives the addresses that were judged, whatever is asked for."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:  # noqa: ARG002
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


def _answer(status: int, retry_after: str | None, said: bytes) -> Answer:
    text = "".join(c if c.isprintable() else " " for c in said.decode(errors="replace"))
    outcome: Outcome = "failed"
    if 200 <= status < 300:
        outcome, words = "delivered", f"{status}"
    elif 300 <= status < 400:
        words = f"{status}: redirects are not followed"
    elif status == 410:
        outcome, words = "gone", "410: gone"
    elif status in _UNFIT:
        outcome, words = "rejected", f"{status}: the receiver does not take this message"
    else:
        words = f"{status}"
    return Answer(
        outcome=outcome,
        status=status,
        said=words,
        retry_after_s=_seconds(retry_after),
        excerpt=text[:EXCERPT_CHARS],
    )


def _seconds(retry_after: str | None) -> float | None:
    """Seconds from now that a Retry-After asks for: a number of them, or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _cause(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or error
    return type(inner).__name__
