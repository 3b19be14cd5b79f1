"""The MedusaJS image's application, run for real: it is set up, sells, and is probed without a trace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from devstack.processes import free_port
from playwright.sync_api import expect, sync_playwright

from provisioning.adapters.shop import ShopClient
from provisioning.engines.base import ProbeSite
from provisioning.engines.medusa import Medusa
from provisioning.engines.medusa_probe import Shopper
from tests.images.medusa_app import ADMIN, PROBE_TOKEN, MedusaApp, built, logged_in

# The first run on a machine builds the application.
pytestmark = pytest.mark.timeout(1800)
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
#: Milliseconds for a page of a shop on a busy machine.
_PATIENCE = 120_000
_BESIDE_ITS_BUTTON = """span => {
  const price = document.createRange()
  price.selectNode(span.firstChild)
  return span.querySelector("button").getBoundingClientRect().left >= price.getBoundingClientRect().right
}"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> MedusaApp:
    """The application, with a database of its own on the run's servers in which no shop is yet."""
    return MedusaApp(
        built(),
        tmp_path_factory.mktemp("medusa"),
        new_database("medusa"),
        urlsplit(os.environ["REDIS_URL"])._replace(path="/9").geturl(),
    )


def new_database(name: str) -> str:
    given = os.environ["DATABASE_URL"]
    with psycopg.connect(given, autocommit=True) as database:
        database.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
    return urlsplit(given)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="module")
def app(empty: MedusaApp) -> MedusaApp:
    """The application after its set-up."""
    if not recorded(empty):
        status, said = empty.set_up()
        assert status == 0, said
    return empty


@pytest.fixture(scope="module")
def client(app: MedusaApp) -> Iterator[httpx.Client]:
    """A client of the running shop."""
    with app.serving() as opened:
        yield opened


@pytest.fixture
def shop(client: httpx.Client) -> ShopClient:
    """The shop as the platform asks it."""
    return ShopClient(str(client.base_url), timeout=timedelta(seconds=60))


def recorded(app: MedusaApp) -> list[str]:
    """The versions of the set-ups that have completed."""
    with psycopg.connect(app.database_url) as database:
        if database.execute("select to_regclass('storeplatform_setup')").fetchone() == (None,):
            return []
        return [version for (version,) in database.execute("select version from storeplatform_setup")]


def rows(app: MedusaApp) -> dict[str, int]:
    """How many rows each table has."""
    with psycopg.connect(app.database_url) as database:
        tables = [name for (name,) in database.execute("select tablename from pg_tables where schemaname = 'public'")]
        counts = {}
        for table in tables:
            query = psycopg.sql.SQL("select count(*) from {}").format(psycopg.sql.Identifier(table))
            counts[table] = int(database.execute(query).fetchone()[0])  # type: ignore[index]
        return counts


def books(app: MedusaApp) -> list[Any]:
    """What a test order might leave in the merchant's books: stock, and the number of the next order."""
    with psycopg.connect(app.database_url) as database:
        stock = "select stocked_quantity, reserved_quantity, raw_reserved_quantity from inventory_level order by id"
        number = "select last_value, is_called from order_display_id_seq"
        return [database.execute(stock).fetchall(), database.execute(number).fetchall()]


def site(shop: ShopClient, mark: str) -> ProbeSite:
    return ProbeSite(shop=shop, credentials={"probe-token": PROBE_TOKEN}, mark=mark, country="DE", currency="EUR")


def buy(shop: ShopClient, mark: str = "") -> dict[str, Any]:
    shopper = Shopper(shop, country="DE", email="shopper@example.com", mark=mark)
    shopper.find_product()
    shopper.fill_cart()
    shopper.choose_shipping()
    shopper.choose_payment()
    return dict(shopper.order())


def test_a_set_up_with_the_wrong_password_ends_at_once_and_says_why(empty: MedusaApp) -> None:
    wrong = re.sub(r"//([^:]+):[^@]+@", r"//\1:wrong@", empty.database_url)

    status, said = empty.set_up(DATABASE_URL=wrong)

    assert status == 1
    assert "the database refuses the shop's password" in said
    assert "wrong" not in said


def test_a_set_up_that_cannot_make_a_shop_fails_and_records_nothing(empty: MedusaApp) -> None:
    status, said = empty.set_up(STORE_COUNTRY="XX")

    assert status == 1, said
    assert recorded(empty) == []


def test_a_migration_finds_its_folder_in_an_image_that_nobody_may_write_to(empty: MedusaApp) -> None:
    # Medusa makes the folder of each module that it migrates, whether the module has migrations or not.
    modules = [*empty.app.glob("node_modules/@medusajs/*/dist"), *empty.app.glob("src/modules/*")]

    assert empty.app / "src/modules/uploads" in modules
    assert [module for module in modules if not (module / "migrations").is_dir()] == []


def test_a_pod_waits_until_the_set_up_of_its_own_image_is_recorded(empty: MedusaApp) -> None:
    with empty.tool("await-set-up") as waiting, empty.tool("await-set-up", STORE_SETUP_VERSION="2") as other:
        try:
            with pytest.raises(TimeoutExpired):
                waiting.wait(timeout=3)

            status, said = empty.set_up()

            assert (status, waiting.wait(timeout=120)) == (0, 0), said
            with pytest.raises(TimeoutExpired):
                other.wait(timeout=3)
        finally:
            waiting.kill()
            other.kill()


def test_the_shop_lives_and_is_ready_and_tells_what_a_storefront_has_to_know(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert (client.get("/ready").status_code, client.get("/ready").text) == (200, "ok\n")
    assert client.get("/store-config").json()["title"] == 'Tea & "Coffee" <b>'
    assert client.get("/store/products").status_code == 400


def test_the_shop_is_not_ready_before_the_set_up_that_it_waits_for(client: httpx.Client, app: MedusaApp) -> None:
    with psycopg.connect(app.database_url, autocommit=True) as database:
        database.execute("update storeplatform_setup set version = 'kept-' || version")
        answer = client.get("/ready")
        database.execute("update storeplatform_setup set version = replace(version, 'kept-', '')")

    assert (answer.status_code, answer.text) == (503, "the set-up has not completed\n")
    assert client.get("/ready").status_code == 200


def test_the_administrator_logs_in_by_session_over_plain_http(client: httpx.Client) -> None:
    client.post("/auth/session", headers=logged_in(client)).raise_for_status()

    user = client.get("/admin/users/me").json()["user"]

    assert user["email"] == ADMIN[0]
    assert client.get("/app/").status_code == 200
    client.delete("/auth/session")
    assert client.get("/admin/users/me").status_code == 401


def test_behind_https_the_session_is_for_https_only(app: MedusaApp, client: httpx.Client) -> None:
    other = replace(app, port=free_port())
    forwarded = {"X-Forwarded-Proto": "https"}

    with other.serving(STORE_SITE_URL="https://shop.example.com", MEDUSA_WORKER_MODE="server") as secure:
        plain = secure.post("/auth/session", headers=logged_in(secure))
        answer = secure.post("/auth/session", headers={**logged_in(secure), **forwarded})

    assert "set-cookie" not in plain.headers
    assert "Secure" in answer.headers["set-cookie"]


def test_a_test_order_is_placed_seen_and_removed_without_a_trace(shop: ShopClient, app: MedusaApp) -> None:
    said = Medusa().check(shop)
    Medusa().probe(site(shop, "first"))  # removes the cart of the check, too
    before = rows(app), books(app)

    report = Medusa().probe(site(shop, "second"))

    assert said == "1 product variant(s) can be bought, payment on delivery is offered"
    assert [(leg.name, leg.reason) for leg in report.legs] == [
        (name, "") for name in ("clean", "catalogue", "cart", "shipping", "payment", "checkout", "admin", "remove")
    ]
    assert rows(app) == before[0]
    assert books(app) == before[1]


def test_a_probe_removes_what_one_that_was_killed_left_and_keeps_what_shoppers_ordered(
    shop: ShopClient, app: MedusaApp, client: httpx.Client
) -> None:
    killed = [leg for leg in Medusa().probe_legs(site(shop, "killed")) if leg.name != "remove"]
    for leg in killed:
        leg.walk()
    ordered = buy(shop)
    forged = buy(shop, mark="killed.0000")

    report = Medusa().probe(site(shop, "later"))

    assert report.legs[0].detail == "1 older test order(s) removed"
    orders = client.get("/admin/orders", headers=logged_in(client)).json()["orders"]
    assert {order["id"] for order in orders} == {ordered["id"], forged["id"]}
    assert buy(shop)["display_id"] == forged["display_id"] + 1


def test_the_route_of_test_orders_is_closed_to_whoever_has_no_token(client: httpx.Client) -> None:
    for headers in ({}, {"X-Store-Probe": ""}, {"X-Store-Probe": "guess"}, dict(logged_in(client))):
        assert client.get("/platform/probe-orders", headers=headers).status_code == 403
        assert client.delete("/platform/probe-orders", headers=headers).status_code == 403


def test_a_shopper_orders_on_the_shops_own_page(client: httpx.Client, tmp_path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        page = browser.new_page(base_url=str(client.base_url))
        strange: list[str] = []
        page.on("pageerror", lambda error: strange.append(str(error)))
        page.on("console", lambda said: strange.append(said.text) if said.type == "error" else None)
        page.on(
            "request", lambda asked: None if asked.url.startswith(str(client.base_url)) else strange.append(asked.url)
        )
        page.goto("/")
        expect(page).to_have_title('Tea & "Coffee" <b>')

        page.get_by_role("button", name="Add to cart").click()
        expect(page.locator("#count")).to_have_text("1", timeout=30_000)
        page.get_by_role("button", name="Cart (1)").click()
        page.set_viewport_size({"width": 390, "height": 844})
        expect(page.get_by_label("Remove Sample Product")).to_be_visible(timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#lines span").evaluate(_BESIDE_ITS_BUTTON)
        page.get_by_label("E-mail").fill("shopper@example.com")
        for label in ("First name", "Last name", "Street and number", "Postal code", "City"):
            page.get_by_label(label).fill("Somewhere 1")
        page.get_by_role("button", name="Place the order").click()

        expect(page.get_by_role("heading", name="Thank you")).to_be_visible(timeout=60_000)
        number = page.locator("#number").inner_text()
        assert "24.99" in page.locator("#paid").inner_text()
        browser.close()
    path = "/admin/orders?order=-display_id&limit=1&fields=display_id,email"
    newest = client.get(path, headers=logged_in(client)).json()["orders"][0]
    assert (f"#{newest['display_id']}", newest["email"]) == (number, "shopper@example.com")
    assert strange == []


def test_the_owner_finds_the_order_on_the_administrations_pages(client: httpx.Client, shop: ShopClient) -> None:
    buy(shop)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        page = browser.new_page(base_url=str(client.base_url))
        page.set_default_timeout(_PATIENCE)
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto("/app/")
        page.locator("input[name=email]").fill(ADMIN[0])
        page.locator("input[name=password]").fill(ADMIN[1])
        page.get_by_role("button", name="Continue with Email").click()
        page.get_by_role("row").filter(has_text="shopper@example.com").first.click()

        expect(page.get_by_text("Sample Product").first).to_be_visible(timeout=_PATIENCE)
        browser.close()
    assert broken == []


def test_the_administrations_pages_are_built_for_production(app: MedusaApp) -> None:
    pages = {path.name: path.read_text() for path in (app.app / "public" / "admin" / "assets").glob("*.js")}

    assert pages
    # React has this check only in what is built for development, which is slower and warns in every console.
    assert [name for name, code in pages.items() if "validateDOMNesting" in code] == []


def test_an_uploaded_picture_stays_where_it_is_when_the_shop_moves(client: httpx.Client) -> None:
    files = {"files": ("a cup.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")}

    answer = client.post("/admin/uploads", files=files, headers=logged_in(client))

    url = answer.json()["files"][0]["url"]
    assert url.startswith("/static/")
    assert client.get(url).content == files["files"][1]


def test_another_set_up_keeps_what_the_owner_decided(app: MedusaApp, client: httpx.Client) -> None:
    admin = logged_in(client)
    product = client.get("/admin/products", headers=admin).json()["products"][0]
    region = client.get("/admin/regions", headers=admin).json()["regions"][0]
    client.post(f"/admin/products/{product['id']}", json={"title": "My tea"}, headers=admin).raise_for_status()
    client.post(f"/admin/regions/{region['id']}", json={"name": "Home"}, headers=admin).raise_for_status()
    before = rows(app)

    status, said = app.set_up(STORE_SETUP_VERSION="2", STORE_TITLE="Another name", STORE_CURRENCY="USD")

    assert status == 0, said
    after = rows(app)
    assert after.pop("storeplatform_setup") == before.pop("storeplatform_setup") + 1
    assert after == before
    assert client.get(f"/admin/products/{product['id']}", headers=admin).json()["product"]["title"] == "My tea"
    assert client.get(f"/admin/regions/{region['id']}", headers=admin).json()["region"]["name"] == "Home"
    assert client.get("/store-config").json()["title"] == 'Tea & "Coffee" <b>'


def test_the_administrator_logs_in_by_the_changed_e_mail_address_and_no_longer_by_the_old_one(
    app: MedusaApp, client: httpx.Client
) -> None:
    def log_in(email: str) -> int:
        answer = client.post("/auth/user/emailpass", json={"email": email, "password": ADMIN[1]})
        return answer.status_code

    status, said = app.set_up(STORE_SETUP_VERSION="renamed", STORE_ADMIN_EMAIL="New@example.com")

    assert status == 0, said
    assert (log_in("new@example.com"), log_in(ADMIN[0])) == (200, 401)
    users = client.get("/admin/users", headers=logged_in(client, email="new@example.com")).json()["users"]
    assert [user["email"] for user in users] == ["new@example.com"]
    # And back, by the address that is known from before.
    status, said = app.set_up(STORE_SETUP_VERSION="renamed")
    assert status == 0, said
    assert (log_in("new@example.com"), log_in(ADMIN[0])) == (401, 200)


def test_an_e_mail_address_that_another_user_has_fails_the_set_up_and_keeps_the_login(
    app: MedusaApp, client: httpx.Client
) -> None:
    with psycopg.connect(app.database_url, autocommit=True) as database:
        database.execute("insert into \"user\" (id, email) values ('user_colleague', 'colleague@example.com')")

        status, said = app.set_up(STORE_SETUP_VERSION="taken", STORE_ADMIN_EMAIL="colleague@example.com")

        database.execute("delete from \"user\" where id = 'user_colleague'")
    assert status != 0
    assert "another user of the shop has the e-mail address colleague@example.com already" in said
    assert client.get("/admin/users/me", headers=logged_in(client)).status_code == 200


def test_helms_test_sees_that_the_shop_sells(app: MedusaApp, client: httpx.Client) -> None:
    test = app.tool("test-store", app.url)

    said, _ = test.communicate()

    assert test.returncode == 0, said
    assert "19.99 eur" in said
