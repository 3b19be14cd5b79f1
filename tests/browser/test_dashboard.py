"""The dashboard walked in real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer
from storeplatform.accounts import tokens
from storeplatform.accounts.models import Scope, User

from provisioning import bookkeeping, breakers, clients, leases, webhooks
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.evidence import Evidence
from provisioning.models import Cluster, Job, Mismatch
from provisioning.outcomes import Done, Wait
from stores.audit import Actor
from stores.models import Store, StoreStatus
from stores.teams import Role
from tests.factories import make_cluster, make_job, make_operator, make_store, make_team

pytestmark = pytest.mark.django_db(transaction=True)
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".state" / "screenshots"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture
def page(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A logged-in operator's page that notes what goes wrong in it or leaves the host."""
    # Playwright runs an event loop in this thread, and Django refuses database calls beside one.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(settings, "FLOWER_URL", "http://127.0.0.1:9/")
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
    found = Done("fine", store={"url": "http://127.0.0.1:9/", "admin_url": "http://127.0.0.1:9/wp-admin/"})
    begun = bookkeeping.begin_step(lease, now=timezone.now())
    while isinstance(begun, tuple):
        begun = bookkeeping.step_done(lease, begun[1], found, now=timezone.now())


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
    Job.objects.filter(store=store).update(
        state="failed", evidence=[{"object": "Job store-setup", "message": "failed", "log": ["the last line"]}], **told
    )
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.PROVISIONING)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.FAILED, **told)

    expect(page.get_by_role("alert")).to_contain_text("The shop's set-up job failed.", timeout=10_000)
    expect(page.get_by_role("alert")).to_contain_text("the last line")
    page.screenshot(path=SCREENSHOTS / "failed.png", full_page=True)
    page.get_by_role("button", name="Retry").click()

    expect(page.get_by_role("status")).to_have_text("Provisioning")


def test_no_page_is_wider_than_a_phone(page: Page) -> None:
    page.goto("/stores/new")
    page.get_by_label("Name", exact=True).fill("a-shop-with-a-rather-long-name")
    page.get_by_role("button", name="Make the store").click()
    expect(page.get_by_role("status")).to_be_visible()
    make_ready(Store.objects.get())
    page.set_viewport_size({"width": 390, "height": 800})

    for address in ("/", "/stores/new", f"/stores/{Store.objects.get().pk}"):
        page.goto(address)
        page.screenshot(path=SCREENSHOTS / f"phone{address.replace('/', '-')[:8]}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, address


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


def fits_a_phone(page: Page, name: str) -> bool:
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 800})
    page.screenshot(path=SCREENSHOTS / f"{name}-phone.png", full_page=True)
    fits: bool = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 1280, "height": 800})
    return fits


def test_a_waiting_store_says_what_the_cluster_said_and_what_happens_next(page: Page) -> None:
    store = make_store(cluster=Cluster.objects.get(), display_name="Waiting Shop")
    job = make_job(store)
    lease = leases.claim(job.pk, holder="test", lease_time=timedelta(seconds=30), now=timezone.now())
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=timezone.now())
    assert isinstance(begun, tuple)
    said = Evidence("Pod store-web-7d9c5b6f4-x2x9k/web", "Back-off pulling image shop:none", ("not found", "again"))
    waits = Wait("IMAGE_PULL", "image shop:none", (said,), patience=timedelta(minutes=2))
    bookkeeping.step_waits(lease, begun[1], waits, recheck=timedelta(minutes=10), now=timezone.now())

    page.goto(f"/stores/{store.pk}")

    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Pod store-web-7d9c5b6f4-x2x9k/web")
    expect(alert).to_contain_text("By itself: The cluster keeps pulling")
    expect(alert).to_contain_text("if nothing changes")
    assert fits_a_phone(page, "waiting")
    page.get_by_role("button", name="Try again now").click()
    expect(page.get_by_text("hurried by operator")).to_be_visible()


def test_an_operator_sees_which_part_is_away_and_when_it_is_back(page: Page) -> None:
    settings.BREAKER_TIME = timedelta(minutes=10)
    name = Cluster.objects.get().name

    def no_answer() -> None:
        raise ClusterUnreachableError("no answer")

    for _ in range(settings.BREAKER_FAILURES):
        with pytest.raises(ClusterUnreachableError):
            breakers.of_cluster(name).call(no_answer, lambda *_: ClusterUnreachableError("left alone"))

    page.get_by_role("link", name="Parts").click()
    row = page.get_by_role("row", name=f"Cluster {name}")
    expect(row).to_contain_text("Left alone")
    expect(row).to_contain_text("tried again in")
    expect(page.get_by_text(f"cluster:{name} was left alone and still is")).to_be_visible()
    assert fits_a_phone(page, "parts")

    breakers.forget()
    expect(row).to_contain_text("closed", timeout=20_000)


def test_an_operator_sees_orphans_looks_again_and_confirms_a_repair(page: Page) -> None:
    cluster = Cluster.objects.get()
    seen = {"first_seen_at": timezone.now(), "seen_at": timezone.now()}
    name = "store-0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
    Mismatch.objects.create(
        cluster=cluster, kind="namespace_without_store", object=name, is_repairable=True,
        detail="its store 0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0 is deleted", **seen,
    )  # fmt: skip
    store = make_store(cluster=cluster, display_name="Drifting Shop", status=StoreStatus.READY)
    Mismatch.objects.create(
        cluster=cluster, kind="extra_object", object="ConfigMap/somebodys", store=store,
        detail="no release has it, and it is not the platform's", **seen,
    )  # fmt: skip

    page.get_by_role("link", name="Drift").click()
    expect(page.get_by_role("heading", name="Orphans and drift")).to_be_visible()
    expect(page.get_by_text("For a person")).to_be_visible()
    assert fits_a_phone(page, "mismatches")
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("status")).to_contain_text("a new look is under way")

    page.get_by_role("button", name="Repair…").click()
    expect(page.get_by_text("The namespace is removed with everything in it.")).to_be_visible()
    assert fits_a_phone(page, "repair")
    page.get_by_role("button", name="Yes, repair it").click()
    expect(page.get_by_text("Being repaired")).to_be_visible()
    Mismatch.objects.all().delete()
    expect(page.get_by_role("heading", name="Nothing is orphaned")).to_be_visible(timeout=10_000)


def test_what_is_set_up_once_fits_a_phone_as_well(page: Page) -> None:
    cluster = make_cluster(
        name="production-frankfurt-2", exposure="ingress", ingress_domain="stores.production-frankfurt-2.example.com"
    )
    team = make_team(admin=User.objects.get(username="operator"))
    store = make_store(
        team=team, cluster=cluster, display_name="A Shop With a Rather Long Name", status=StoreStatus.READY
    )
    actor, now = Actor("operator"), timezone.now()
    hook, _ = webhooks.create_webhook(
        team=team, url="https://hooks.a-rather-long-name.example.com/storeplatform/notifications", events=(),
        rules=clients.webhook_rules(), actor=actor, now=now,
    )  # fmt: skip
    tokens.issue_for_team(
        team=team, name="Deployments of the night", role=Role.VIEWER, scopes=list(Scope), expires_at=None, actor=actor,
        now=now,
    )  # fmt: skip

    pages = {
        "clusters": "/clusters", "kubeconfig": f"/clusters/{cluster.pk}/kubeconfig",
        "values": f"/stores/{store.pk}/values",
        "teams": "/teams", "team": f"/teams/{team.slug}",
        "team-tokens": f"/teams/{team.slug}/tokens", "webhooks": f"/teams/{team.slug}/webhooks",
        "webhook": f"/teams/{team.slug}/webhooks/{hook.pk}", "tokens": "/tokens", "audit": "/audit",
    }  # fmt: skip
    too_wide = []
    for name, address in pages.items():
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        if not fits_a_phone(page, name):
            too_wide.append(address)
    assert too_wide == []
