"""Where calls go whose host a merchant chose: never into our own networks."""

from __future__ import annotations

import ipaddress
import socket
from datetime import timedelta
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from provisioning.adapters.addresses import Reach, is_allowed
from provisioning.adapters.shop import ShopClient, ShopUnreachableError

_TIMEOUT = timedelta(seconds=5)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"),
        *("2002:7f00:1::", "64:ff9b::a00:1", "ff02::1"),
    ],
)
def test_private_and_special_addresses_are_refused(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
def test_public_addresses_are_called(address: str) -> None:
    assert is_allowed(address)


def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(httpserver: HTTPServer) -> None:
    shop = ShopClient(f"http://localhost:{httpserver.port}", timeout=_TIMEOUT, reach=Reach())

    with pytest.raises(ShopUnreachableError, match="not public"):
        shop.get("/")

    assert httpserver.log == []


def test_a_name_that_leads_inside_only_the_second_time_is_refused_too(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = socket.getaddrinfo, iter(["93.184.216.34"])

    def rebinding(_host: Any, *args: Any, **kwargs: Any) -> Any:
        return real(next(answers, "127.0.0.1"), *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    with pytest.raises(ShopUnreachableError, match="not public"):
        ShopClient(f"http://shop.example.com:{httpserver.port}", timeout=_TIMEOUT).get("/")

    assert httpserver.log == []


@pytest.mark.parametrize(
    "reach",
    [
        Reach(hosts=frozenset({"localhost"})),
        Reach(networks=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))),
    ],
)
def test_hosts_of_the_cluster_and_networks_of_ours_are_called(httpserver: HTTPServer, reach: Reach) -> None:
    httpserver.expect_request("/").respond_with_data("a shop")

    answer = ShopClient(f"http://localhost:{httpserver.port}", timeout=_TIMEOUT, reach=reach).get("/")

    assert answer.text == "a shop"


def test_a_shop_below_the_clusters_own_domain_is_called_and_one_beside_it_is_not() -> None:
    reach = Reach(domains=("stores.internal",))

    assert reach.trusts("shop.stores.internal")
    assert not reach.trusts("evilstores.internal")
