"""Takes stores back that run on a cluster and that the database does not know, as after the loss of a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from provisioning import bookkeeping, doorbell
from provisioning.adapters.kubernetes import Namespace
from provisioning.card import CardError, read_card
from provisioning.clients import ClusterClients
from provisioning.custom_values import check_custom_values
from provisioning.engines import all_engines
from provisioning.models import Cluster, JobKind, Placement
from provisioning.workflows.base import OWNER_LABEL
from stores import audit
from stores.audit import Actor
from stores.errors import InvalidValuesError
from stores.models import Plan, Store, StoreStatus
from stores.teams import Team


class AdoptionError(Exception):
    """The store cannot be taken back; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A namespace of the platform whose store the database does not know. ``problem`` is why it cannot be adopted."""

    store_id: UUID
    namespace: str
    card: dict[str, Any]
    problem: str = ""


def strays(clients: ClusterClients) -> Iterator[Stray]:
    """Yield the namespaces that carry the platform's label and that no store is recorded for.

    Raises:
        KubernetesError: The cluster cannot be asked.
    """
    for namespace in clients.kubernetes.namespaces(OWNER_LABEL):
        try:
            store_id = UUID(namespace.labels[OWNER_LABEL])
        except ValueError:
            continue  # somebody else's label of the same name
        if not namespace.terminating and not Store.objects.filter(pk=store_id).exists():
            yield _stray(namespace, store_id)


def adopt(stray: Stray, cluster: Cluster, *, actor: Actor, now: datetime) -> Store:
    """Make the rows of a store anew, with a job that finds everything done and takes the rest from the cluster.

    The job reads address, port, workloads and credentials where they are, and makes no new revision of a release that
    is as the store's card says. Teams are made anew by their slug, without members.

    Raises:
        AdoptionError: The card is missing, or says what is not to be had any more.
    """
    if stray.problem:
        raise AdoptionError(stray.problem)
    card = stray.card
    try:
        with transaction.atomic():
            team, _ = Team.objects.get_or_create(slug=card["team"], defaults={"name": card["team"], "created_at": now})
            store = Store.objects.create(
                id=stray.store_id,
                team=team,
                plan=Plan.objects.get(pk=card["plan"]),
                status=StoreStatus.UPDATING,
                status_changed_at=now,
                created_at=datetime.fromisoformat(card["created_at"]),
                updated_at=now,
                **{name: card[name] for name in ("name", "display_name", "engine", "domain", "admin_email")},
                **{name: card[name] for name in ("currency", "country")},
                custom_values=card.get("custom_values", {}),
            )
            Placement.objects.create(store=store, cluster=cluster, namespace=stray.namespace, volumes=card["volumes"])
            job = bookkeeping.open_job(store, JobKind.UPGRADE, requested_by=actor.name, now=now)
            audit.record(actor, "store.adopt", store, at=now, after={"namespace": stray.namespace, "team": team.slug})
            doorbell.ring_after_commit(job.pk)
    except IntegrityError as error:
        constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
        if constraint not in ("store_name_free", "store_domain_free"):
            raise
        raise AdoptionError("another store has its name or domain by now; rename or delete that one first") from error
    return store


def _stray(namespace: Namespace, store_id: UUID) -> Stray:
    try:
        card = read_card(namespace.annotations)
        created_at = datetime.fromisoformat(card["created_at"])
    except CardError as error:
        return Stray(store_id, namespace.name, {}, str(error))
    except ValueError:
        return Stray(store_id, namespace.name, {}, "the card's created_at is no moment")
    problem = ""
    if created_at.tzinfo is None:
        problem = "the card's created_at has no time zone"
    elif card["engine"] not in all_engines():
        problem = f"the engine {card['engine']!r} is not installed; install it, then try again"
    elif not Plan.objects.filter(pk=card["plan"]).exists():
        problem = f"there is no plan {card['plan']!r}; make it in the admin, then try again"
    else:
        try:
            check_custom_values(all_engines()[card["engine"]], card["custom_values"])
        except InvalidValuesError as error:
            problem = f"the card's {error}"
    return Stray(store_id, namespace.name, card, problem)
