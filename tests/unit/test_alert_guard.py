"""Which URLs and addresses an alert may go to."""

from ipaddress import ip_address, ip_network

import pytest

from monitors.alerts.guard import Reach, Refused, judge_addresses, place_of, refusal

PUBLIC = ("93.184.215.14", "8.8.8.8", "2606:4700::6810:84e5", "::ffff:8.8.8.8", "64:ff9b::808:808")
KINDS = {
    "127.0.0.1": "loopback",
    "127.9.9.9": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "::ffff:192.168.1.1": "private",
    "fd00:ec2::254": "private",
    "fec0::1": "private",
    "2002:0a00:0001::1": "private",
    "::10.0.0.1": "private",
    "169.254.169.254": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "64:ff9b::a9fe:a9fe": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "private",
    "240.0.0.1": "private",
    "100.64.0.1": "reserved",
    "100.100.100.200": "reserved",
    "168.63.129.16": "a cloud's metadata service",
    "198.18.0.1": "private",
    "192.0.2.1": "private",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_connected_to(address: str) -> None:
    assert refusal(ip_address(address), Reach()) is None


@pytest.mark.parametrize(("address", "kind"), KINDS.items())
def test_every_other_kind_is_refused_by_name(address: str, kind: str) -> None:
    assert refusal(ip_address(address), Reach()) == kind


@pytest.mark.parametrize("address", [a for a, kind in KINDS.items() if kind != "loopback"])
def test_leave_for_the_loopback_is_none_for_another(address: str) -> None:
    assert refusal(ip_address(address), Reach(loopback=True)) is not None


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::5"])
def test_a_listed_network_is_allowed_and_its_neighbour_is_not(address: str) -> None:
    reach = Reach(networks=(ip_network("10.1.2.0/24"), ip_network("fd00::/64")))
    assert refusal(ip_address(address), reach) is None
    assert refusal(ip_address("10.1.3.3"), reach) == "private"


def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    place = place_of("https://hooks.example/x", Reach())
    judge_addresses(place, PUBLIC, Reach())
    with pytest.raises(Refused, match=r"10.0.0.1 is private"):
        judge_addresses(place, [*PUBLIC, "10.0.0.1"], Reach())
    with pytest.raises(Refused, match="no address"):
        judge_addresses(place, [], Reach())


def test_http_is_for_the_loopback_alone_and_only_with_leave() -> None:
    with pytest.raises(Refused, match="only https"):
        place_of("http://127.0.0.1/x", Reach())
    reach = Reach(loopback=True, networks=(ip_network("10.0.0.0/8"),))
    place = place_of("http://hooks.example/x", reach)
    judge_addresses(place, ["127.0.0.1", "::1"], reach)
    for address in ("8.8.8.8", "10.0.0.1"):
        with pytest.raises(Refused, match="not the loopback, and http"):
            judge_addresses(place, [address], reach)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example/x",
        "ftp://hooks.example/x",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://user:hunter2@hooks.example/x",
        "https://hooks.example@10.0.0.1/x",
        "https://hooks.example\\@10.0.0.1/x",
        "https://hooks.example/x#part",
        "https://hooks.example:99999/",
        "https://[::1/",
        "https://hooks.example/\nhost: x",
    ],
)
def test_what_is_no_plain_url_is_refused_without_saying_it_again(url: str) -> None:
    with pytest.raises(Refused) as refused:
        place_of(url, Reach(loopback=True))
    assert "hunter2" not in str(refused.value)


def test_host_and_port_are_read() -> None:
    place = place_of("https://bücher.example/x", Reach())
    assert (place.host, place.port, place.tls) == ("xn--bcher-kva.example", 443, True)
    assert place_of("https://[2606:4700::1]:8443/x", Reach()).port == 8443
