"""The audit trail: chains that nobody changes unseen, entries that no change goes without, months that go whole."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from types import ModuleType
from typing import Any
from uuid import uuid4

import pgtrigger
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import DatabaseError, IntegrityError
from django.utils import timezone
from storeplatform import accounts
from storeplatform.accounts import second_factor, tokens
from storeplatform.accounts.models import ApiToken, Scope
from storeplatform.accounts.totp_keys import totp_keys

import provisioning
import stores
from provisioning import adoption, clients, cluster_access, clusters, services, store_credentials, survey, webhooks
from provisioning.models import Intake, JobState, Mismatch
from provisioning.services import StoreWish
from stores import audit, audit_proof, audit_retention, members
from stores.audit import Actor, Subject
from stores.models import AuditAnchor, AuditChain, AuditEntry, Store, StoreStatus
from stores.teams import Membership, Role, personal_team
from stores.webhook_models import Webhook
from tests.conftest import NOON
from tests.factories import make_cluster, make_job, make_store, make_team, make_user

KEY = "only-for-tests"
SOMEBODY = Actor(name="somebody", user_id=7, address="192.0.2.1", request_id="r-1")
JANUARY, FEBRUARY, MARCH = (datetime(2031, month, 10, tzinfo=UTC) for month in (1, 2, 3))


def write(count: int = 1, *, at: datetime = NOON, **named: Any) -> list[AuditEntry]:
    return [audit.record(SOMEBODY, "test.do", Subject("test", str(n)), at=at, **named) for n in range(count)]


def problems() -> dict[str, str]:
    return {report.chain: report.problem for report in audit_proof.verify(key=KEY)}


def tamper(query: str, *values: Any) -> None:
    """Do as somebody with all rights over the database does."""
    with connection.cursor() as cursor:
        cursor.execute("set local session_replication_role = replica")
        cursor.execute(query, values)
        cursor.execute("set local session_replication_role = origin")


# --- chains -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_each_entry_of_a_team_names_the_one_before_it_and_other_teams_have_chains_of_their_own() -> None:
    mine, theirs = make_store(), make_store()

    first, other, second = (audit.record(SOMEBODY, "store.change", store, at=NOON) for store in (mine, theirs, mine))

    assert (first.number, second.number, other.number) == (1, 2, 1)
    assert second.previous == first.digest
    assert other.previous == ""
    assert problems() == {f"team-{mine.team_id}": "", f"team-{theirs.team_id}": ""}


@pytest.mark.django_db
def test_an_entry_tells_actor_role_object_change_and_place_without_secrets() -> None:
    user, store = make_user(), make_store()
    Membership.objects.create(team=store.team, user=user, role=Role.OPERATOR, created_at=NOON)
    actor = Actor(name=user.username, user_id=user.pk, address="192.0.2.1", request_id="r-1")

    audit.record(
        actor, "store.change", store, at=NOON,
        before={"plan": "small"}, after={"plan": "large", "admin_password": "word", "deep": [{"api_key": "word"}]},
    )  # fmt: skip

    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.role, entry.address, entry.request_id) == (
        user.username,
        "operator",
        "192.0.2.1",
        "r-1",
    )
    assert (entry.object_type, entry.object_id, entry.outcome) == ("stores.store", str(store.pk), "done")
    assert entry.after == {"plan": "large", "admin_password": "[redacted]", "deep": [{"api_key": "[redacted]"}]}


@pytest.mark.django_db(transaction=True)
def test_writers_of_one_chain_take_turns() -> None:
    def work() -> None:
        for _ in range(5):
            with transaction.atomic():
                write()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(AuditEntry.objects.values_list("number", flat=True)) == list(range(1, 31))
    assert problems() == {"platform": ""}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("update stores_auditentry set actor_name = 'nobody' where number = 2", "entry 2 was changed"),
        ("delete from stores_auditentry where number = 2", "entry 3 follows 1"),
        ("delete from stores_auditentry where number = 3", "the chain ends at entry 2, not at its head"),
        ("update stores_auditentry set previous = '' where number = 2", "entry 2 does not name the one before it"),
        ("delete from stores_auditchain", "the chain ends at entry 3, not at its head"),
    ],
)
def test_whatever_was_changed_behind_the_triggers_is_found(query: str, told: str) -> None:
    write(3)
    assert problems() == {"platform": ""}

    tamper(query)

    assert problems() == {"platform": told}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        "team_id = 8", "actor_id = 8", "role = 'x'", "action = 'x'", "outcome = 'refused'", "object_type = 'x'",
        "object_id = 'x'",
        "address = '::1'", "request_id = 'x'", "before = '{}'", "after = '{\"x\": 1}'", "at = at + '1 second'",
    ],
)  # fmt: skip
def test_no_part_of_an_entry_can_be_changed_unnoticed(change: str) -> None:
    write(3, before={"name": "old"}, after={"name": "new"})

    tamper(f"update stores_auditentry set {change} where number = 2")  # noqa: S608 (the test's own words)

    assert problems() == {"platform": "entry 2 was changed"}


@pytest.mark.django_db
def test_the_command_verifies_and_ends_with_status_1_when_a_chain_is_broken() -> None:
    write(2)
    call_command("audit", "verify", stdout=StringIO())

    tamper("update stores_auditentry set action = 'test.other' where number = 1")

    with pytest.raises(CommandError) as raised:
        call_command("audit", "verify", stdout=StringIO())
    assert raised.value.returncode == 1


# --- append-only --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["stores_auditentry", "stores_auditentry_default"])
@pytest.mark.parametrize("query", ["update {} set action = ''", "delete from {}", "truncate {}"])
def test_the_database_refuses_every_change_to_its_own_table_owner(query: str, table: str) -> None:
    write()
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {table} enable trigger audit_no_truncate")

        with pgtrigger.ignore(), pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            cursor.execute(query.format(table))

    assert AuditEntry.objects.count() == 1


# --- no change without its entry ------------------------------------------------------------------------------------


RULES = clients.webhook_rules()
WISH = StoreWish(name="shop", display_name="Shop", engine="woocommerce", plan="small", admin_email="a@example.com")


def _create() -> None:
    make_cluster()
    services.create_store(team=personal_team(make_user(), now=NOON), wish=WISH, actor=SOMEBODY, now=NOON)


def _change() -> None:
    store = make_store()
    services.change_store(store=store, version=1, changes={"display_name": "Other"}, actor=SOMEBODY, now=NOON)


def _delete() -> None:
    services.delete_store(store=make_store(), version=None, actor=SOMEBODY, now=NOON)


def _retry() -> None:
    store = make_store(status=StoreStatus.FAILED)
    job = make_job(store)
    job.change(state=JobState.FAILED)
    services.retry_store(store=store, actor=SOMEBODY, now=NOON)


def _cancel() -> None:
    store = make_store(status=StoreStatus.PROVISIONING)
    make_job(store)
    services.cancel_job(store=store, actor=SOMEBODY, now=NOON)


def _repair() -> None:
    services.repair_store(store=make_store(status=StoreStatus.READY), actor=SOMEBODY, now=NOON)


def _ask_for_repair() -> None:
    row = Mismatch.objects.create(
        cluster=make_cluster(), kind="namespace_without_store", object=f"store-{uuid4()}", is_repairable=True,
        first_seen_at=NOON, seen_at=NOON,
    )  # fmt: skip
    survey.ask_for_repair(row, actor=SOMEBODY, now=NOON)


def _reveal() -> None:
    store = make_store(status=StoreStatus.READY)
    keeper = clients.credential_store()
    keeper.ensure(store.pk, fresh={"admin-password": "word"}, found=lambda: None)
    store_credentials.reveal(store=store, keeper=keeper, actor=SOMEBODY, now=NOON)


def _rotate() -> None:
    store_credentials.rotate(store=make_store(status=StoreStatus.READY), actor=SOMEBODY, now=NOON)


def _adopt() -> None:
    told = ("name", "display_name", "engine", "domain", "admin_email", "currency", "country")
    store = Store(name="lost", display_name="Lost", engine="woocommerce", admin_email="a@example.com")
    card = {name: getattr(store, name) for name in told}
    card |= {"plan": "small", "team": "team-lost", "created_at": NOON.isoformat(), "volumes": {}}
    stray = adoption.Stray(store.pk, f"store-{store.pk}", card)
    adoption.adopt(stray, make_cluster(), actor=SOMEBODY, now=NOON)


def _create_team() -> None:
    members.create_team(slug="team", name="Team", admin=make_user().username, actor=SOMEBODY, now=NOON)


def _rename_team() -> None:
    members.rename_team(team=make_team(), name="Other", actor=SOMEBODY, now=NOON)


def _set_quota() -> None:
    members.set_quota(team=make_team(), quota={"stores": 1}, actor=SOMEBODY, now=NOON)


def _add_member() -> None:
    members.add_member(team=make_team(), username=make_user().username, role=Role.VIEWER, actor=SOMEBODY, now=NOON)


def _a_membership() -> Membership:
    return make_team(admin=make_user(), viewer=make_user()).memberships.get(role=Role.VIEWER)


def _change_role() -> None:
    members.change_role(membership=_a_membership(), role=Role.OPERATOR, actor=SOMEBODY, now=NOON)


def _remove_member() -> None:
    members.remove_member(membership=_a_membership(), actor=SOMEBODY, now=NOON)


def _issue_personal() -> ApiToken:
    token, _ = tokens.issue_personal(
        user=make_user(), name="CI", scopes=[Scope.READ], expires_at=None, actor=SOMEBODY, now=NOON
    )
    return token


def _issue_for_team() -> None:
    tokens.issue_for_team(
        team=make_team(), name="CI", role=Role.VIEWER, scopes=[Scope.READ], expires_at=None, actor=SOMEBODY, now=NOON
    )


def _revoke() -> None:
    tokens.revoke(token=_issue_personal(), actor=SOMEBODY, now=NOON)


def _create_webhook() -> Webhook:
    webhook, _ = webhooks.create_webhook(
        team=make_team(), url="https://example.com/", events=(), rules=RULES, actor=SOMEBODY, now=NOON
    )
    return webhook


def _change_webhook() -> None:
    webhooks.change_webhook(
        webhook=_create_webhook(), changes={"is_enabled": False}, rules=RULES, actor=SOMEBODY, now=NOON
    )


def _rotate_webhook() -> None:
    webhooks.rotate_secret(webhook=_create_webhook(), rules=RULES, actor=SOMEBODY, now=NOON)


def _delete_webhook() -> None:
    webhooks.delete_webhook(webhook=_create_webhook(), actor=SOMEBODY, now=NOON)


def _verify_code() -> None:
    second_factor.verify(user=make_user(), code="000000", keys=totp_keys(), actor=SOMEBODY, now=NOON)


def _reset_second_factor() -> None:
    second_factor.reset(user=make_user(), actor=SOMEBODY, now=NOON)


def _keep_kubeconfig() -> None:
    text = "{clusters: [1], users: [1], contexts: [1]}"
    cluster_access.keep_kubeconfig(cluster=make_cluster(), text=text, sealer=clients.sealer(), actor=SOMEBODY, now=NOON)


def _set_intake() -> None:
    clusters.set_intake(cluster=make_cluster(), intake=Intake.DRAINED, actor=SOMEBODY, now=NOON)


#: How each use case is asked for. A new one has to be added here.
USE_CASES: dict[str, Callable[[], object]] = {
    "provisioning.adoption.adopt": _adopt,
    "provisioning.cluster_access.keep_kubeconfig": _keep_kubeconfig,
    "provisioning.clusters.set_intake": _set_intake,
    "provisioning.services.create_store": _create,
    "provisioning.services.change_store": _change,
    "provisioning.services.delete_store": _delete,
    "provisioning.services.retry_store": _retry,
    "provisioning.services.cancel_job": _cancel,
    "provisioning.services.repair_store": _repair,
    "provisioning.survey.ask_for_repair": _ask_for_repair,
    "provisioning.store_credentials.reveal": _reveal,
    "provisioning.store_credentials.rotate": _rotate,
    "provisioning.webhooks.create_webhook": _create_webhook,
    "provisioning.webhooks.change_webhook": _change_webhook,
    "provisioning.webhooks.rotate_secret": _rotate_webhook,
    "provisioning.webhooks.delete_webhook": _delete_webhook,
    "stores.members.create_team": _create_team,
    "stores.members.rename_team": _rename_team,
    "stores.members.set_quota": _set_quota,
    "stores.members.add_member": _add_member,
    "stores.members.change_role": _change_role,
    "stores.members.remove_member": _remove_member,
    "storeplatform.accounts.second_factor.verify": _verify_code,
    "storeplatform.accounts.second_factor.reset": _reset_second_factor,
    "storeplatform.accounts.tokens.issue_personal": _issue_personal,
    "storeplatform.accounts.tokens.issue_for_team": _issue_for_team,
    "storeplatform.accounts.tokens.revoke": _revoke,
}


def modules_of(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(one.name) for one in found if ".migrations" not in one.name]


def test_every_function_that_somebody_can_ask_for_a_change_is_in_the_table() -> None:
    """A function that takes an ``actor`` changes something for somebody."""
    asked = {
        f"{module.__name__}.{name}"
        for package in (provisioning, stores, accounts)
        for module in modules_of(package)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and "actor" in inspect.signature(function).parameters
    }

    assert asked - {"stores.audit.record"} == set(USE_CASES)


@pytest.mark.django_db
@pytest.mark.parametrize("use_case", USE_CASES)
def test_every_use_case_leaves_an_entry_and_changes_nothing_when_none_can_be_written(use_case: str) -> None:
    with transaction.atomic():
        USE_CASES[use_case]()
        assert AuditEntry.objects.filter(actor_name="somebody").exists()
        transaction.set_rollback(True)

    with connection.cursor() as cursor:
        cursor.execute("alter table stores_auditentry add constraint full_disk check (false)")
    before = sorted(Store.objects.values_list("pk", "version", "status"))
    with pytest.raises((IntegrityError, DatabaseError)), transaction.atomic():
        USE_CASES[use_case]()
    assert sorted(Store.objects.values_list("pk", "version", "status")) == before


# --- export and retention ------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_is_exported_is_what_was_written_and_the_export_has_an_entry_too() -> None:
    [first, second] = write(2, after={"word": 'a "quoted", word'})
    lines, table = StringIO(), StringIO()

    call_command("audit", "export", "--until", "2026-06-02T00:00Z", stdout=lines)
    call_command("audit", "export", "--format", "csv", "--until", "2026-06-02T00:00Z", stdout=table)

    rows = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [row["digest"] for row in rows] == [first.digest, second.digest]
    assert rows[0]["after"] == {"word": 'a "quoted", word'}
    assert table.getvalue().count(first.digest) == 2  # its own, and as the one before the second
    assert AuditEntry.objects.filter(action="command.audit.export").count() == 2


@pytest.mark.django_db
def test_whole_months_go_and_the_chain_is_verified_from_where_they_ended() -> None:
    for month in (JANUARY, MARCH):
        audit_retention.ensure_partitions(now=month)
    for month in (JANUARY, FEBRUARY, MARCH):
        write(2, at=month)
    store = make_store()
    audit.record(SOMEBODY, "store.change", store, at=JANUARY)

    dropped = [month.table for month in audit_retention.prune(before=MARCH, key=KEY)]

    assert dropped[:2] == ["stores_auditentry_2031_01", "stores_auditentry_2031_02"]
    assert list(AuditEntry.objects.values_list("number", flat=True)) == [5, 6]
    assert problems() == {"platform": "", f"team-{store.team_id}": ""}
    write(at=MARCH)
    assert problems()["platform"] == ""

    AuditAnchor.objects.filter(chain="platform").update(signature="0" * 64)
    assert problems()["platform"] == "the anchor of what was removed is not signed by this platform"


@pytest.mark.django_db
def test_an_entry_is_never_dated_before_the_one_before_it() -> None:
    write(at=MARCH)

    [late] = write(at=JANUARY)

    assert late.at == MARCH


@pytest.mark.django_db
def test_partitions_are_made_ahead_once_and_guard_against_truncate() -> None:
    assert audit_retention.ensure_partitions(now=MARCH) == ["stores_auditentry_2031_03", "stores_auditentry_2031_04"]
    assert audit_retention.ensure_partitions(now=MARCH) == []

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("truncate stores_auditentry_2031_03")


@pytest.mark.django_db
def test_the_head_of_a_chain_is_where_its_last_entry_is() -> None:
    [*_, last] = write(3, at=timezone.now() - timedelta(seconds=1))

    head = AuditChain.objects.get()

    assert (head.number, head.digest, head.at) == (3, last.digest, last.at)
    assert settings.AUDIT_KEY
