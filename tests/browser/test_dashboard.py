"""The dashboard walked in real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from provisioning import bookkeeping, leases
from provisioning.models import Job
from provisioning.outcomes import Done
from stores.models import Store, StoreStatus
from tests.factories import make_cluster, make_operator

pytestmark = pytest.mark.django_db(transaction=True)
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".state" / "screenshots"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture
def page(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A logged-in operator's page that notes what goes wrong in it or leaves the host."""
    # Playwright runs an event loop in this thread, and Django refuses database calls beside one.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    make_cluster()
    make_operator(username="operator", password="correct horse")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        opened = browser.new_page(base_url=live_server.url)
        complaints: list[str] = []
        opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "request", lambda asked: None if asked.url.startswith(live_server.url) else complaints.append(asked.url)
        )
        opened.goto("/")
        opened.get_by_label("Username").fill("operator")
        opened.get_by_label("Password").fill("correct horse")
        opened.get_by_role("button", name="Log in").click()
        expect(opened.get_by_role("heading", name="Stores", exact=True)).to_be_visible()
        yield opened
        browser.close()
        assert complaints == []


def make_ready(store: Store) -> None:
    """Do what a worker does, without a cluster."""
    job = Job.objects.live().get(store=store)
    lease = leases.claim(job.pk, holder="test", lease_time=timedelta(seconds=30), now=timezone.now())
    assert lease is not None
    while begun := bookkeeping.begin_step(lease, now=timezone.now()):
        found = {"url": "http://127.0.0.1:9/", "admin_url": "http://127.0.0.1:9/wp-admin/"}
        bookkeeping.step_done(lease, begun[1], Done("fine", store=found), now=timezone.now())
    bookkeeping.finish(lease, now=timezone.now())


def test_a_store_is_made_followed_and_deleted(page: Page) -> None:
    page.screenshot(path=SCREENSHOTS / "empty.png")
    page.get_by_role("button", name="Make the first store").click()
    page.get_by_label("Name", exact=True).fill("my-shop")
    page.get_by_label("Display name").fill("My Shop")
    page.screenshot(path=SCREENSHOTS / "create.png", full_page=True)
    page.get_by_role("button", name="Make the store").click()

    expect(page.get_by_role("heading", name="My Shop")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Requested")
    page.screenshot(path=SCREENSHOTS / "requested.png", full_page=True)
    make_ready(Store.objects.get())
    expect(page.get_by_role("status")).to_have_text("Ready", timeout=10_000)
    expect(page.locator("#store[hx-trigger]")).to_have_count(0)
    page.screenshot(path=SCREENSHOTS / "ready.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 800})
    page.screenshot(path=SCREENSHOTS / "phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 1280, "height": 800})

    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Type my-shop to confirm").fill("my-shop")
    page.get_by_role("button", name="Delete the store").click()
    expect(page.get_by_role("status")).to_have_text("Deleting")
    assert Store.objects.get().status == StoreStatus.DELETING


def test_a_failed_store_shows_reason_and_hint_and_can_be_retried(page: Page) -> None:
    page.goto("/stores/new")
    page.get_by_label("Name", exact=True).fill("broken-shop")
    page.get_by_role("button", name="Make the store").click()
    expect(page.get_by_role("heading", name="broken-shop")).to_be_visible()
    store = Store.objects.get()
    told = {"reason": "SETUP_FAILED", "message": "The shop's set-up job failed.", "hint": "Read the log, then retry."}
    Job.objects.filter(store=store).update(state="failed", evidence=["the last line"], **told)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.PROVISIONING)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.FAILED, **told)

    expect(page.get_by_role("alert")).to_contain_text("The shop's set-up job failed.", timeout=10_000)
    expect(page.get_by_role("alert")).to_contain_text("the last line")
    page.screenshot(path=SCREENSHOTS / "failed.png", full_page=True)
    page.get_by_role("button", name="Retry").click()

    expect(page.get_by_role("status")).to_have_text("Provisioning")


def test_filters_change_the_list_and_the_address(page: Page) -> None:
    for name in ("red-shop", "blue-shop"):
        page.goto("/stores/new")
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_role("button", name="Make the store").click()
        expect(page.get_by_role("heading", name=name)).to_be_visible()

    page.goto("/")
    page.screenshot(path=SCREENSHOTS / "list.png")
    page.get_by_label("Search").fill("red")
    expect(page.get_by_role("row", name="blue-shop")).to_have_count(0)
    expect(page.get_by_role("row", name="red-shop")).to_have_count(1)
    assert "q=red" in page.url


def test_the_documentation_pages_ask_nobody_outside(page: Page) -> None:
    page.goto("/api/docs/")
    expect(page.get_by_text("Store Provisioning Platform").first).to_be_visible()
