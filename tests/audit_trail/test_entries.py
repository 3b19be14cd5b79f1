"""What leaves an entry besides the use cases, and who may read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands
from django.db import IntegrityError, connection
from django.test import Client
from rest_framework.test import APIClient
from storeplatform.accounts.models import User

from stores import audit
from stores.models import AuditEntry, Plan
from tests.conftest import NOON
from tests.factories import make_operator, make_store, make_team, make_user

pytestmark = pytest.mark.django_db


def api(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def entries(**wanted: str) -> list[tuple[str, str, str]]:
    found = AuditEntry.objects.filter(**wanted).order_by("id")
    return [(entry.action, entry.outcome, entry.actor_name) for entry in found]


def test_logins_good_and_bad_leave_entries_that_hold_no_password() -> None:
    user, client = make_user(), Client()

    client.post("/login", {"username": user.username, "password": "wrong word"})
    client.post("/login", {"username": user.username, "password": "correct horse"})
    client.post("/logout")

    assert entries() == [
        ("login.failed", "refused", user.username),
        ("login.done", "done", user.username),
        ("login.ended", "done", user.username),
    ]
    told = str(list(AuditEntry.objects.values()))
    assert "wrong word" not in told
    assert "correct horse" not in told
    assert AuditEntry.objects.first().address == "127.0.0.1"  # type: ignore[union-attr]


def test_a_failed_login_for_a_token_leaves_an_entry() -> None:
    APIClient().post("/api/v1/auth/token", {"username": "nobody", "password": "word"}, format="json")

    assert entries() == [("login.failed", "refused", "nobody")]


def test_an_attempt_on_somebody_elses_store_leaves_an_entry_in_the_platforms_chain_only() -> None:
    user, foreign = make_user(), make_store()

    looked = api(user).get(f"/api/v1/stores/{foreign.pk}")
    deleted = api(user).delete(f"/api/v1/stores/{foreign.pk}")

    assert (looked.status_code, deleted.status_code) == (404, 404)
    assert entries() == [("request.refused", "refused", user.username)] * 2
    last = AuditEntry.objects.order_by("-id")[0]
    assert (last.chain, last.object_type) == ("platform", "api:store")
    assert last.after["method"] == "DELETE"
    assert str(foreign.pk) in last.after["path"]


def test_a_change_of_a_stale_version_leaves_an_entry_and_malformed_input_none() -> None:
    admin = make_user()
    store, client = make_store(team=make_team(admin=admin)), api(admin)

    stale = client.patch(f"/api/v1/stores/{store.pk}", {"display_name": "B"}, format="json", HTTP_IF_MATCH='"9"')
    malformed = client.post("/api/v1/stores", {}, format="json")

    assert (stale.status_code, malformed.status_code) == (412, 400)
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.after["status"], entry.after["code"]) == ("request.refused", 412, "stale_version")


def test_strangers_cannot_fill_the_trail() -> None:
    APIClient().post("/api/v1/stores", {}, format="json")
    Client().get("/nowhere")

    assert entries() == []


def test_a_row_that_an_operator_edits_in_the_admin_leaves_an_entry() -> None:
    client, operator = Client(), make_operator()
    client.force_login(operator)
    AuditEntry.objects.all()
    plan = Plan.objects.get(pk="small")

    client.post(
        "/admin/stores/plan/small/change/",
        {
            "slug": "small",
            "title": "Smaller",
            "description": "",
            "position": "1",
            "spec": str(plan.spec).replace("'", '"'),
        },
    )

    [entry] = AuditEntry.objects.filter(action="admin.change")
    assert (entry.actor_name, entry.role, entry.object_type, entry.object_id) == (
        operator.username,
        "platform operator",
        "stores.plan",
        "small",
    )


def test_admins_read_the_entries_of_their_teams_operators_all_and_others_none() -> None:
    admin, viewer = make_user(), make_user()
    mine, theirs = make_store(team=make_team(admin=admin, viewer=viewer)), make_store()
    for store in (mine, theirs):
        audit.record(audit.PLATFORM, "store.ready", store, at=NOON)

    def seen(user: User) -> set[str]:
        return {row["object_id"] for row in api(user).get("/api/v1/audit").json()["results"]}

    assert seen(admin) == {str(mine.pk)}
    assert seen(viewer) == set()
    assert seen(make_operator()) >= {str(mine.pk), str(theirs.pk)}


def test_the_list_is_filtered_and_refuses_a_filter_that_cannot_be_used() -> None:
    store = make_store()
    for action in ("store.ready", "store.degraded"):
        audit.record(audit.PLATFORM, action, store, at=NOON)
    client = api(make_operator())

    found = client.get("/api/v1/audit", {"action": "store.deg", "object_id": str(store.pk), "since": NOON.isoformat()})
    refused = client.get("/api/v1/audit", {"since": "yesterday"})

    assert [row["action"] for row in found.json()["results"]] == ["store.degraded"]
    assert found.json()["results"][0]["number"] == 2
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "since"


def test_the_page_shows_filtered_entries_and_escapes_what_people_wrote() -> None:
    store, client = make_store(), Client()
    audit.record(audit.PLATFORM, "store.change", store, at=NOON, after={"display_name": "<script>x</script>"})
    client.force_login(make_operator())

    shown = client.get("/audit", {"object_id": str(store.pk)}).content.decode()
    empty = client.get("/audit", {"object_id": "none"}).content.decode()

    assert "store.change" in shown
    assert "&lt;script&gt;x&lt;/script&gt;" in shown
    assert "<script>x" not in shown
    assert "There is no entry" in empty


@pytest.mark.parametrize("rows", [1, 30])
def test_the_page_asks_the_database_as_often_for_many_entries_as_for_one(
    rows: int, django_assert_max_num_queries: object
) -> None:
    store, client = make_store(), Client()
    for _ in range(rows):
        audit.record(audit.PLATFORM, "store.change", store, at=NOON)
    client.force_login(make_operator())

    with django_assert_max_num_queries(5):  # type: ignore[operator]
        assert client.get("/audit").status_code == 200


#: The commands that change something or give something out, with the arguments that do, and the entry. A new command
#: has to be added here or below.
COMMANDS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "audit": (lambda _folder: ["export"], "command.audit.export"),
    "backup": (lambda folder: [str(folder / "backup.tar")], "command.backup"),
    "bootstrap": (lambda _folder: [], "command.bootstrap"),
    "secrets": (lambda _folder: ["rotate"], "command.secrets.rotate"),
}
#: Those whose use case leaves the entry, or that have a test of their own.
BY_USE_CASE = {"adopt", "cluster", "fsck", "kubeconfig", "restore", "totp"}
#: Those that change nothing of a user's by themselves.
WITHOUT = {"check_engine", "migrate", "watch"}


def test_every_command_is_known_to_leave_an_entry_or_to_need_none() -> None:
    ours = {name for name, application in get_commands().items() if application == "storeplatform"}

    assert ours == set(COMMANDS) | BY_USE_CASE | WITHOUT


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_changes_something_or_gives_something_out_leaves_an_entry(command: str, tmp_path: Path) -> None:
    arguments, action = COMMANDS[command]

    call_command(command, *arguments(tmp_path))

    [entry] = AuditEntry.objects.filter(action=action)
    assert (entry.role, entry.outcome) == ("platform operator", "done")
    assert entry.actor_name.endswith(" on a shell")


@pytest.mark.django_db(transaction=True)
def test_no_backup_is_made_that_cannot_be_written_down(tmp_path: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("alter table stores_auditentry add constraint full_disk check (false)")
    try:
        with pytest.raises(IntegrityError):
            call_command("backup", str(tmp_path / "backup.tar"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("alter table stores_auditentry drop constraint full_disk")

    assert list(tmp_path.iterdir()) == []
