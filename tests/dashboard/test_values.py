"""A store's custom values on a page: what the engine's allow-list has, and nothing else."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from provisioning.models import Job, JobKind
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_store, make_team, make_user

pytestmark = pytest.mark.django_db

KEPT = {"php": {"uploadLimit": "64M"}, "networkPolicy": {"allowInternet": False}}


@pytest.fixture
def store() -> Store:
    team = make_team(operator=make_user(), viewer=make_user())
    return make_store(team=team, status=StoreStatus.READY, custom_values=KEPT)


def member(store: Store, role: str) -> Client:
    client = Client()
    client.force_login(store.team.memberships.get(role=role).user)
    return client


@pytest.fixture
def browser(store: Store) -> Client:
    return member(store, "operator")


def form_of(browser: Client, store: Store) -> dict[str, str]:
    """The form as a browser would send it back."""
    page = browser.get(f"/stores/{store.pk}/values").content.decode()
    fields = dict(re.findall(r'<input[^>]* name="([\w.]+)"[^>]* value="([^"]*)"', page))
    for name, options in re.findall(r'<select name="([\w.]+)".*?>(.*?)</select>', page, re.DOTALL):
        [chosen] = re.findall(r'value="([^"]*)" selected', options)
        fields[name] = chosen
    return fields


def test_the_form_shows_what_is_set_and_sent_back_untouched_it_changes_nothing(browser: Client, store: Store) -> None:
    form = form_of(browser, store)
    assert form["php.uploadLimit"] == "64M"
    assert form["networkPolicy.allowInternet"] == "false"

    answer = browser.post(f"/stores/{store.pk}/values", form)

    store.refresh_from_db()
    assert (answer.status_code, store.custom_values, Job.objects.count()) == (302, KEPT, 0)


def test_another_value_starts_an_upgrade_and_an_emptied_one_is_left_to_the_engine(
    browser: Client, store: Store
) -> None:
    form = form_of(browser, store) | {"php.uploadLimit": "128M", "networkPolicy.allowInternet": ""}

    answer = browser.post(f"/stores/{store.pk}/values", form)

    store.refresh_from_db()
    assert answer.status_code == 302
    assert store.custom_values == {"php": {"uploadLimit": "128M"}}
    assert Job.objects.get().kind == JobKind.UPGRADE
    entry = AuditEntry.objects.get(action="store.change")
    assert (entry.before["custom_values"], entry.after["custom_values"]) == (KEPT, store.custom_values)


@pytest.mark.parametrize("wrong", ["a lot", "64M --set image.repository=x", "\uff16\uff14M", "<b>"])
def test_a_mistake_is_told_at_its_field_and_changes_nothing(browser: Client, store: Store, wrong: str) -> None:
    answer = browser.post(f"/stores/{store.pk}/values", form_of(browser, store) | {"php.uploadLimit": wrong})

    page = answer.content.decode()
    assert answer.status_code == 422
    label = page.split("<label>php.uploadLimit")[1].split("</label>")[0]
    assert 'class="error" role="alert"' in label
    assert "<b>" not in label
    assert Store.objects.get().custom_values == KEPT


def test_what_is_not_in_the_list_is_ignored(browser: Client, store: Store) -> None:
    browser.post(f"/stores/{store.pk}/values", form_of(browser, store) | {"image.repository": "attacker/image"})

    assert Store.objects.get().custom_values == KEPT


def test_who_read_an_older_version_overwrites_nobody(browser: Client, store: Store) -> None:
    form = form_of(browser, store) | {"php.uploadLimit": "8M"}
    store.change(display_name="Changed meanwhile")

    answer = browser.post(f"/stores/{store.pk}/values", form)

    assert answer.status_code == 422
    assert "has version 2, not 1" in answer.content.decode()
    assert Store.objects.get().custom_values == KEPT


def test_a_list_is_given_one_a_line() -> None:
    store = make_store(team=make_team(operator=make_user()), engine="medusa", status=StoreStatus.READY)
    browser = member(store, "operator")
    origins = "https://a.example.com\n\nhttps://b.example.com\n"

    browser.post(f"/stores/{store.pk}/values", form_of(browser, store) | {"site.allowedOrigins": origins})

    store.refresh_from_db()
    assert store.custom_values == {"site": {"allowedOrigins": ["https://a.example.com", "https://b.example.com"]}}


def test_a_viewer_has_no_way_there(store: Store) -> None:
    browser = member(store, "viewer")

    assert f"/stores/{store.pk}/values" not in browser.get(f"/stores/{store.pk}").content.decode()
    assert browser.post(f"/stores/{store.pk}/values", {"version": "1"}).status_code == 403
