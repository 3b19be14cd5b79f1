"""A storefront belongs to a tenant: whatever it answers, a call ends soon, stays on its host and costs little."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from devstack.processes import free_port
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from provisioning.adapters import outgoing
from provisioning.adapters.shop import (
    ShopAnswerError,
    ShopClient,
    ShopError,
    ShopTimeoutError,
    ShopUnreachableError,
)

_MIB = 1024 * 1024


@pytest.fixture
def shop(httpserver: HTTPServer) -> ShopClient:
    """A client of ``httpserver``, which plays the storefront."""
    return ShopClient(httpserver.url_for("/").rstrip("/"), timeout=timedelta(seconds=2))


@contextmanager
def raw_shop(
    *sent: bytes, then: bytes = b"", timeout: float = 0.5, scheme: str = "http", at_first: bytes = b""
) -> Iterator[ShopClient]:
    """A storefront that sends ``sent`` and then ``then`` ten times a second without end; with neither it hangs.

    ``at_first`` is what it answers to the request before that one, if there is one.
    """
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            if at_first:
                taken, _ = listener.accept()
                with taken:
                    taken.recv(65536)
                    taken.sendall(at_first)
            taken, _ = listener.accept()
            with taken:
                taken.recv(65536)
                for part in sent:
                    taken.sendall(part)
                while (then or not sent) and not ended.wait(0.1):
                    taken.sendall(then)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield ShopClient(f"{scheme}://127.0.0.1:{port}", timeout=timedelta(seconds=timeout))
        finally:
            ended.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # it may still wait for somebody to call
            thread.join()


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_an_answer_of_any_status_is_an_answer(httpserver: HTTPServer, shop: ShopClient, status: int) -> None:
    httpserver.expect_request("/page").respond_with_data("Grüße", status=status, headers={"X-Note": "seen"})

    answer = shop.get("/page")

    assert (answer.path, answer.status, answer.text, answer.headers["x-note"]) == ("/page", status, "Grüße", "seen")


def test_json_is_sent_and_read(httpserver: HTTPServer, shop: ShopClient) -> None:
    def echo(request: Request) -> Response:
        return Response(request.get_data(), headers={"X-Token": request.headers["Cart-Token"]})

    httpserver.expect_request("/cart", method="POST").respond_with_handler(echo)

    answer = shop.post("/cart", json={"id": 1}, headers={"Cart-Token": "mine"})

    assert answer.json() == {"id": 1}
    assert answer.headers["x-token"] == "mine"


def test_an_answer_that_is_no_json_is_refused_where_json_is_wanted(httpserver: HTTPServer, shop: ShopClient) -> None:
    httpserver.expect_request("/cart").respond_with_data("<h1>Fatal error</h1>")

    with pytest.raises(ShopAnswerError, match="/cart did not answer with JSON"):
        shop.get("/cart").json()


def test_an_unknown_encoding_is_read_as_well_as_can_be(httpserver: HTTPServer, shop: ShopClient) -> None:
    httpserver.expect_request("/").respond_with_data(b"caf\xe9", content_type="text/html; charset=no-such-thing")

    assert shop.get("/").text.startswith("caf")


def test_headers_are_read_whatever_they_are_written_in(httpserver: HTTPServer, shop: ShopClient) -> None:
    written = [("X-Note", "Grüße".encode().decode("latin-1")), ("X-Way", "one"), ("X-Way", "two")]
    httpserver.expect_request("/").respond_with_response(Response("", headers=written))

    answer = shop.get("/")

    assert (answer.headers["x-note"], answer.headers["x-way"]) == ("Grüße", "one, two")


def test_a_storefront_that_closes_its_connections_is_asked_again_and_again() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"
    with raw_shop(said + b"two", at_first=said + b"one", timeout=5) as shop:
        assert [shop.get("/").text, shop.get("/").text] == ["one", "two"]


# --- redirects ----------------------------------------------------------------------------------------------------


def test_redirects_on_the_same_host_are_followed(httpserver: HTTPServer, shop: ShopClient) -> None:
    for number in range(3):
        place = {"Location": f"/{number + 1}"}
        httpserver.expect_request(f"/{number}").respond_with_data("", status=302, headers=place)
    httpserver.expect_request("/3").respond_with_data("arrived")

    answer = shop.get("/0")

    assert (answer.path, answer.text) == ("/0", "arrived")


@pytest.mark.parametrize("port", ["", ":1", ":{other}"])
def test_a_redirect_to_another_host_or_port_is_refused_and_not_asked(
    httpserver: HTTPServer, shop: ShopClient, port: str
) -> None:
    """The platform would ask on the tenant's behalf what the tenant cannot reach itself."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        target = "http://localhost" if not port else f"http://127.0.0.1{port.format(other=other.getsockname()[1])}"
        httpserver.expect_request("/").respond_with_data("", status=302, headers={"Location": f"{target}/latest"})

        with pytest.raises(ShopAnswerError, match="redirects to another host"):
            shop.get("/")

        with pytest.raises(TimeoutError):
            other.accept()


def test_a_redirect_to_another_scheme_is_refused(httpserver: HTTPServer, shop: ShopClient) -> None:
    target = httpserver.url_for("/").replace("http:", "ftp:")
    httpserver.expect_request("/").respond_with_data("", status=302, headers={"Location": target})

    with pytest.raises(ShopError):
        shop.get("/")


def test_a_redirect_to_what_is_no_address_is_refused() -> None:
    with (
        raw_shop(b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n") as shop,
        pytest.raises(ShopAnswerError, match="no address"),
    ):
        shop.get("/")


def test_redirects_in_a_circle_end(httpserver: HTTPServer, shop: ShopClient) -> None:
    httpserver.expect_request("/").respond_with_data("", status=302, headers={"Location": "/"})

    with pytest.raises(ShopAnswerError, match="redirects more than 3 times"):
        shop.get("/")

    assert len(httpserver.log) == 4


def test_an_order_is_not_sent_again_as_an_order_by_a_see_other(httpserver: HTTPServer, shop: ShopClient) -> None:
    """A 303 answers a POST with a page to look at; sending the POST there would order twice."""
    httpserver.expect_request("/order", method="POST").respond_with_data(
        "", status=303, headers={"Location": "/thanks"}
    )
    httpserver.expect_request("/thanks", method="GET").respond_with_data("thanks")

    assert shop.post("/order", json={}).text == "thanks"
    assert [request.method for request, _ in httpserver.log] == ["POST", "GET"]


# --- no answer ----------------------------------------------------------------------------------------------------


def test_a_storefront_where_nothing_listens_is_unreachable() -> None:
    with pytest.raises(ShopUnreachableError, match="refused"):
        ShopClient(f"http://127.0.0.1:{free_port()}", timeout=timedelta(seconds=2)).get("/")


@pytest.mark.parametrize("address", ["http://[bad", "http://", "nothing", "http://a b/", "http://host:port/"])
def test_an_address_that_is_none_is_unreachable(address: str) -> None:
    with pytest.raises(ShopUnreachableError):
        ShopClient(address, timeout=timedelta(seconds=2)).get("/")


def test_a_storefront_that_hangs_up_in_the_middle_is_unreachable() -> None:
    with (
        raw_shop(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as shop,
        pytest.raises(ShopUnreachableError),
    ):
        shop.get("/")


def test_a_storefront_that_speaks_no_http_is_unreachable() -> None:
    with raw_shop(b"SSH-2.0-OpenSSH_9.9\r\n") as shop, pytest.raises(ShopUnreachableError):
        shop.get("/")


def test_a_storefront_that_hangs_costs_no_more_than_the_time_out() -> None:
    """It hangs for as long as the block lasts."""
    with raw_shop() as shop, pytest.raises(ShopTimeoutError, match=r"/ took longer than 0\.5 s"):
        shop.get("/")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="body without a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", id="header"),
    ],
)
def test_a_storefront_that_drips_costs_no_more_than_the_time_out(sent: bytes) -> None:
    """A byte now and then is always in time, and there is no end of them; the whole has to be in time."""
    with raw_shop(sent, then=b"x") as shop, pytest.raises(ShopTimeoutError):
        shop.get("/")


def test_a_storefront_that_drips_only_after_a_redirect_costs_no_more_than_the_time_out() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
    with (
        raw_shop(b"HTTP/1.1 200 OK\r\n\r\n", then=b"x", at_first=moved) as shop,
        pytest.raises(ShopTimeoutError),
    ):
        shop.get("/")


def test_a_storefront_that_never_ends_its_greeting_costs_no_more_than_the_time_out() -> None:
    with raw_shop(scheme="https") as shop, pytest.raises(ShopTimeoutError):
        shop.get("/")


def test_what_a_storefront_says_makes_no_error_longer_than_a_line() -> None:
    with raw_shop(b"x" * 10_000 + b"\r\n\r\n") as shop, pytest.raises(ShopUnreachableError) as raised:
        shop.get("/")

    assert len(str(raised.value)) < 250


# --- whom to believe ----------------------------------------------------------------------------------------------


@pytest.fixture
def believed() -> Iterator[None]:
    """The authorities that are believed are read anew, and once more afterwards."""
    outgoing.trusted_authorities.cache_clear()
    yield
    outgoing.trusted_authorities.cache_clear()


@contextmanager
def shop_with_certificate(directory: Path, address: str) -> Iterator[tuple[ShopClient, Path]]:
    """A storefront at 127.0.0.1 with a certificate for ``address``, and the file of that certificate."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = directory / "shop.crt", directory / "shop.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    with HTTPServer(host="127.0.0.1", ssl_context=context) as server:
        server.expect_request("/").respond_with_data("a shop")
        yield ShopClient(server.url_for("/"), timeout=timedelta(seconds=10)), public


@pytest.mark.usefixtures("believed")
def test_a_certificate_of_an_authority_that_is_believed_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop_with_certificate(tmp_path, "127.0.0.1") as (shop, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))

        assert shop.get("/").text == "a shop"


@pytest.mark.usefixtures("believed")
@pytest.mark.parametrize(
    ("address", "is_believed"), [("127.0.0.1", False), ("192.0.2.1", True)], ids=["of nobody known", "of another host"]
)
def test_any_other_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_believed: bool
) -> None:
    with shop_with_certificate(tmp_path, address) as (shop, authority):
        if is_believed:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))

        with pytest.raises(ShopUnreachableError, match="certificate verify failed"):
            shop.get("/")


# --- too much -----------------------------------------------------------------------------------------------------


def test_an_answer_of_one_mebibyte_is_read_and_a_larger_one_refused(httpserver: HTTPServer, shop: ShopClient) -> None:
    httpserver.expect_request("/large").respond_with_data(b"x" * _MIB)
    httpserver.expect_request("/larger").respond_with_data(b"x" * (_MIB + 1))

    assert len(shop.get("/large").text) == _MIB
    with pytest.raises(ShopAnswerError, match="/larger answered with more than 1048576 bytes"):
        shop.get("/larger")


def test_an_answer_without_an_end_is_refused_once_it_is_too_large() -> None:
    with (
        raw_shop(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * _MIB, then=b"x" * _MIB, timeout=5) as shop,
        pytest.raises(ShopAnswerError, match="more than"),
    ):
        shop.get("/")


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(httpserver: HTTPServer, shop: ShopClient) -> None:
    packed = gzip.compress(b"x" * (64 * _MIB))
    httpserver.expect_request("/").respond_with_data(packed, headers={"Content-Encoding": "gzip"})

    with pytest.raises(ShopAnswerError, match="more than"):
        shop.get("/")
