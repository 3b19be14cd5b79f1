"""The credentials of stores: made once, the same on every retry, kept in Vault or sealed in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from devstack.cluster import DevCluster
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from provisioning import clients, services, tasks
from provisioning.adapters.vault import Vault
from provisioning.adapters.vault_errors import VaultUnavailableError
from provisioning.credentials import (
    CredentialsChangedError,
    CredentialStore,
    DatabaseKeeper,
    NoCredentialsError,
    VaultKeeper,
)
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.models import Cluster, Job, JobState, Shelf, StoreCredentials
from provisioning.sealing import Sealer, SealError
from stores.audit import PLATFORM
from stores.models import Store, StoreStatus
from tests.factories import make_store
from tests.provisioning.conftest import a_worker, eventually, work_until
from tests.provisioning.test_life_of_a_store import order
from tests.vaults import VaultServer

KEY = Fernet.generate_key().decode()


def nothing_found() -> None:
    return None


def sealed_in_database(keys: tuple[str, ...] = (KEY,)) -> CredentialStore:
    return CredentialStore(database=DatabaseKeeper(Sealer(keys)), vault=None, remembers_for_seconds=60)


def kept_in(vault: Vault) -> CredentialStore:
    keeper = VaultKeeper(vault, "secret", "storeplatform")
    return CredentialStore(database=DatabaseKeeper(Sealer((KEY,))), vault=keeper, remembers_for_seconds=60)


@pytest.fixture(params=["vault", "database"])
def make_keeper(request: pytest.FixtureRequest) -> Callable[[], CredentialStore]:
    """Makes the keeper of a new process, so that nothing is remembered."""
    if request.param == "database":
        return sealed_in_database
    server: VaultServer = request.getfixturevalue("vault_server")
    return lambda: kept_in(server.client())


@pytest.mark.django_db
def test_what_was_made_first_stays_and_only_names_without_anything_are_filled(
    make_keeper: Callable[[], CredentialStore],
) -> None:
    store = make_store()
    make_keeper().ensure(store.pk, fresh={"password": "first"}, found=nothing_found)

    kept = make_keeper().ensure(store.pk, fresh={"password": "second", "salt": "new"}, found=nothing_found)

    assert kept.current == {"password": "first", "salt": "new"}
    again = make_keeper().read(store.pk)
    assert again is not None
    assert again.current == kept.current


@pytest.mark.django_db
def test_a_rotation_that_is_cut_off_anywhere_goes_on_with_the_same_secrets(
    make_keeper: Callable[[], CredentialStore],
) -> None:
    store = make_store()
    make_keeper().ensure(store.pk, fresh={"password": "old", "salt": "same"}, found=nothing_found)

    for attempt in ("new", "another"):
        kept = make_keeper().stage(store.pk, {"password": attempt})
        assert (kept.current["password"], kept.staged) == ("old", {"password": "new", "salt": "same"})
    for _ in range(2):
        kept = make_keeper().commit(store.pk)
        assert (kept.current["password"], kept.staged, kept.previous) == (
            "new",
            None,
            {"password": "old", "salt": "same"},
        )
    for _ in range(2):
        kept = make_keeper().forget_previous(store.pk)
        assert (kept.current["password"], kept.previous) == ("new", None)
    make_keeper().stage(store.pk, {"password": "unwanted"})
    assert make_keeper().unstage(store.pk).staged is None
    with pytest.raises(NoCredentialsError, match="nothing is staged"):
        make_keeper().commit(store.pk)


@pytest.mark.django_db
def test_a_write_over_what_another_worker_has_written_meanwhile_is_refused(
    make_keeper: Callable[[], CredentialStore],
) -> None:
    store = make_store()
    mine = make_keeper()
    mine.ensure(store.pk, fresh={"password": "old"}, found=nothing_found)
    _, stale = mine._kept(store.pk)
    make_keeper().stage(store.pk, {"password": "theirs"})

    with pytest.raises(CredentialsChangedError):
        mine._write(StoreCredentials.objects.get(store=store), stale)

    assert make_keeper().commit(store.pk).current == {"password": "theirs"}


@pytest.mark.django_db(transaction=True)
def test_workers_that_come_at_the_same_time_agree_on_one_set(make_keeper: Callable[[], CredentialStore]) -> None:
    store = make_store()
    together, told = threading.Barrier(4), []

    def work(number: int) -> None:
        keeper = make_keeper()
        together.wait()
        try:
            kept = keeper.ensure(store.pk, fresh={"password": f"of worker {number}"}, found=nothing_found)
            told.append(kept.current["password"])
        finally:
            connection.close()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(told) == 4
    assert len(set(told)) == 1


@pytest.mark.django_db
def test_nothing_is_kept_in_clear_in_the_database(make_keeper: Callable[[], CredentialStore]) -> None:
    store = make_store()

    make_keeper().ensure(store.pk, fresh={"password": "marked-word"}, found=nothing_found)

    with connection.cursor() as cursor:
        cursor.execute("select row_to_json(c)::text from provisioning_storecredentials c")
        [(row,)] = cursor.fetchall()
    assert "marked-word" not in row


@pytest.mark.django_db
def test_a_sealed_row_opens_with_an_old_key_is_sealed_anew_by_the_newest_and_moves_to_vault(
    vault_server: VaultServer,
) -> None:
    store, newer = make_store(), Fernet.generate_key().decode()
    sealed_in_database().ensure(store.pk, fresh={"password": "word"}, found=nothing_found)

    sealed_in_database((newer, KEY)).reseal(store.pk)

    kept = sealed_in_database((newer,)).read(store.pk)
    assert kept is not None
    assert kept.current == {"password": "word"}
    with pytest.raises(SealError):
        sealed_in_database().read(store.pk)

    both = CredentialStore(
        database=DatabaseKeeper(Sealer((newer,))),
        vault=VaultKeeper(vault_server.client(), "secret", "storeplatform"),
        remembers_for_seconds=60,
    )
    both.reseal(store.pk)

    row = StoreCredentials.objects.get(store=store)
    assert (row.shelf, row.sealed) == (Shelf.VAULT, "")
    moved = kept_in(vault_server.client()).read(store.pk)
    assert moved is not None
    assert moved.current == {"password": "word"}


@pytest.mark.django_db
def test_the_row_of_another_store_does_not_pass_for_this_ones() -> None:
    mine, theirs = make_store(), make_store()
    keeper = sealed_in_database()
    for store in (mine, theirs):
        keeper.ensure(store.pk, fresh={"password": store.name}, found=nothing_found)
    stolen = StoreCredentials.objects.get(store=theirs).sealed

    StoreCredentials.objects.filter(store=mine).update(sealed=stolen)

    with pytest.raises(SealError, match="not sealed for"):
        keeper.read(mine.pk)


@pytest.mark.django_db
def test_without_any_key_nothing_is_kept_and_the_message_says_what_to_set() -> None:
    with pytest.raises(SealError, match="FERNET_KEYS is empty"):
        sealed_in_database(()).ensure(make_store().pk, fresh={"password": "word"}, found=nothing_found)


@pytest.mark.django_db
def test_a_rotation_of_what_is_not_kept_is_refused(make_keeper: Callable[[], CredentialStore]) -> None:
    with pytest.raises(NoCredentialsError):
        make_keeper().stage(make_store().pk, {"password": "new"})


@pytest.mark.django_db
def test_while_vault_is_sealed_what_it_said_last_is_remembered_and_nothing_is_changed(
    vault_server: VaultServer,
) -> None:
    store, other = make_store(), make_store()
    keeper = kept_in(vault_server.client())
    keeper.ensure(store.pk, fresh={"password": "word"}, found=nothing_found)

    vault_server.seal()

    kept = keeper.ensure(store.pk, fresh={"password": "another"}, found=nothing_found)
    assert (kept.current, kept.is_remembered) == ({"password": "word"}, True)
    with pytest.raises(VaultUnavailableError):
        keeper.stage(store.pk, {"password": "new"})
    with pytest.raises(VaultUnavailableError):
        keeper.ensure(other.pk, fresh={"password": "word"}, found=nothing_found)


# --- in the life of a store ---------------------------------------------------------------------------------------


@pytest.fixture
def platform_with_vault(settings: Settings, vault_server: VaultServer, cluster: Cluster) -> Settings:
    """The platform as the embedded stack configures it."""
    settings.VAULT_ADDR = vault_server.address
    settings.VAULT_ROLE_ID, settings.VAULT_SECRET_ID = vault_server.role.role_id, vault_server.role.secret_id
    settings.VAULT_TRANSIT_KEY = "storeplatform"
    for cached in (clients._vault, clients._credential_store):
        cached.cache_clear()
    return settings


def work_once(store: Store) -> Job:
    job = Job.objects.live().get(store=store)
    Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
    a_worker().advance(job.pk)
    job.refresh_from_db()
    store.refresh_from_db()
    return job


def secret_of(cluster: Cluster, store: Store) -> dict[str, str] | None:
    return clients.for_cluster(cluster).kubernetes.read_secret(store.placement.namespace, CREDENTIALS_SECRET)


@pytest.mark.django_db(transaction=True)
def test_the_secret_of_a_store_holds_what_vault_keeps_and_a_lost_or_changed_secret_is_made_the_same_again(
    platform_with_vault: Settings, cluster: Cluster, dev_cluster: DevCluster, storefront: None
) -> None:
    store = work_until(order(), StoreStatus.READY)
    kept = clients.credential_store().read(store.pk)
    assert kept is not None
    assert secret_of(cluster, store) == kept.current

    path = f"/api/v1/namespaces/{store.placement.namespace}/secrets/{CREDENTIALS_SECRET}"
    dev_cluster.request("DELETE", path)
    changed = services.change_store(
        store=store, version=store.version, changes={"plan": "medium"}, actor=PLATFORM, now=timezone.now()
    )
    store = work_until(changed, StoreStatus.READY)

    assert secret_of(cluster, store) == kept.current
    services.delete_store(store=store, version=None, actor=PLATFORM, now=timezone.now())
    store = work_until(store, StoreStatus.DELETED)
    assert clients.credential_store().read(store.pk) is not None
    tasks.sweep()
    assert clients.credential_store().read(store.pk) is None
    assert not StoreCredentials.objects.filter(store=store).exists()


@pytest.mark.django_db(transaction=True)
def test_a_secret_that_is_older_than_the_keeping_is_taken_over(
    settings: Settings, cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = order()
    namespace = store.placement.namespace
    labels = {"storeplatform.io/store-id": str(store.pk)}
    dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}})
    clients.for_cluster(cluster).kubernetes.put_secret(
        namespace, CREDENTIALS_SECRET, data={"db-password": "in the volume already"}, labels=labels
    )

    work_once(store)

    kept = clients.credential_store().read(store.pk)
    assert kept is not None
    assert kept.current["db-password"] == "in the volume already"
    assert secret_of(cluster, store) == kept.current
    assert len(kept.current) > 5
    services.delete_store(store=store, version=None, actor=PLATFORM, now=timezone.now())
    work_until(store, StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_while_vault_is_sealed_a_new_store_waits_with_its_reason_and_goes_on_once_it_is_unsealed(
    platform_with_vault: Settings, cluster: Cluster, vault_server: VaultServer, storefront: None
) -> None:
    platform_with_vault.BREAKER_TIME = timedelta(seconds=1)
    ready = work_until(order(), StoreStatus.READY)
    vault_server.seal()
    store = order()

    told = []
    for _ in range(8):
        job = work_once(store)
        assert (job.state, job.attempt) == (JobState.QUEUED, 0)
        told.append(job.reason)
    assert (told[0], told[-1]) == ("SECRETS_UNAVAILABLE", "CIRCUIT_OPEN")
    assert (store.status, store.reason) == (StoreStatus.PROVISIONING, "CIRCUIT_OPEN")
    assert secret_of(cluster, store) is None

    changed = services.change_store(
        store=ready, version=ready.version, changes={"plan": "medium"}, actor=PLATFORM, now=timezone.now()
    )
    ready = work_until(changed, StoreStatus.READY)  # what Vault said last is enough

    vault_server.kill()
    vault_server.start()
    store = work_until(store, StoreStatus.READY)
    for one in (store, ready):
        services.delete_store(store=one, version=None, actor=PLATFORM, now=timezone.now())
        work_until(one, StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_the_credentials_of_a_deleted_store_are_removed_once_vault_answers_again(
    platform_with_vault: Settings, vault_server: VaultServer
) -> None:
    store = make_store(status=StoreStatus.READY)
    clients.credential_store().ensure(store.pk, fresh={"password": "word"}, found=nothing_found)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.DELETING)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.DELETED)
    vault_server.seal()

    assert clients.credential_store().forget_deleted() == 0

    vault_server.kill()
    vault_server.start()
    path = f"/v1/secret/metadata/storeplatform/stores/{store.pk}"
    assert vault_server.call("GET", path) is not None
    eventually(lambda: clients.credential_store().forget_deleted() == 1, what="the removal")
    assert vault_server.call("GET", path) is None
