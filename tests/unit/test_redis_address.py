"""Redis's address: what it says, and what is refused without a word of its secrets."""

import pytest

from streams.redis_address import redis_address

NODE = (("a", 6379),)


@pytest.mark.parametrize(
    ("url", "cluster", "tls", "nodes", "rest"),
    [
        ("redis://a", False, False, NODE, (0, None, None)),
        ("redis://a:7/3", False, False, (("a", 7),), (3, None, None)),
        ("rediss://ann:b%40d@a:7/0", False, True, (("a", 7),), (0, "ann", "b@d")),
        ("redis://:pw@[::1]:7", False, False, (("::1", 7),), (0, None, "pw")),
        ("redis-cluster://a,b:8", True, False, (("a", 6379), ("b", 8)), (0, None, None)),
        ("rediss-cluster://u:p@a:7,b:8/0", True, True, (("a", 7), ("b", 8)), (0, "u", "p")),
    ],
)
def test_an_address_says(
    url: str, cluster: bool, tls: bool, nodes: tuple[tuple[str, int], ...], rest: tuple[object, ...]
) -> None:
    address = redis_address(url)
    assert address[:3] == (cluster, tls, nodes)
    assert address[3:] == rest
    assert redis_address(repr(address))[:4] == address[:4]


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hunter2@a:1",
        "u:hunter2@a:1",
        "rediss://u:hunter2@a:port/0",
        "redis://u:hunter2@:1/0",
        "redis://u:hunter2@a:1/x",
        "redis://u:hunter2@a:1,b:2",
        "redis://u:hunter2@a:1/0?ssl_cert_reqs=none",
        "redis-cluster://u:hunter2@a:1/1",
        "redis-cluster://u:hunter2@a:1,",
        "redis://u:hunter2@a:99999",
    ],
)
def test_another_one_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as failure:
        redis_address(url)
    assert "hunter2" not in str(failure.value)
