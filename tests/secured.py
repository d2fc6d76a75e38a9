"""A Redis that asks for everything: TLS, certificates on both sides, a user with the least rights."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from infra.redis_server import RedisServer
from streams.settings import Settings
from tests.certificates import Authority, Pair

SECURITY = Path(__file__).resolve().parents[1] / "docs" / "security.md"
PASSWORD = "hunter2/:@ and more"  # what must be quoted in a URL, and must never show


def least_rights(namespaces: str, cluster: bool = False) -> str:
    """The ACL rule in docs/security.md, for namespaces that match the pattern and our password's hash."""
    text = SECURITY.read_text()
    (rule,) = [line.strip() for line in text.splitlines() if line.startswith("    user ")]
    if cluster:
        (more,) = re.findall(r"on a cluster also `([^`]+)`", text)
        rule = f"{rule} {more}"
    hashed = "#" + sha256(PASSWORD.encode()).hexdigest()
    return rule.replace(">PASSWORD", hashed).replace("NAMESPACE", namespaces)


def tls_options(authority: Authority, server: Pair) -> dict[str, str]:
    """Redis's options for TLS with certificates on both sides."""
    return {
        "tls-cert-file": str(server.cert),
        "tls-key-file": str(server.key),
        "tls-ca-cert-file": str(authority.ca),
        "tls-auth-clients": "yes",
    }


def acl_option(folder: Path, rules: str) -> Mapping[str, str]:
    """Redis's option for these users and nobody else."""
    path = folder / "users.acl"
    path.write_text(f"user default off\n{rules}\n")
    return {"aclfile": str(path)}


@contextmanager
def secured_server(folder: Path) -> Iterator[Settings]:
    """Settings that are let in by a server of the strictest kind."""
    authority = Authority(folder / "certificates")
    own = authority.issue("client")
    options = tls_options(authority, authority.issue("server")) | acl_option(folder, least_rights("t*"))
    with RedisServer(folder / "redis", options=options) as url:
        yield Settings(
            redis=url,
            redis_username="streamrec",
            redis_password=PASSWORD,
            redis_ca=authority.ca,
            redis_cert=own.cert,
            redis_cert_key=own.key,
        )
