"""The steps that make a store reachable: find its address, then ask it what a shopper would ask."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from provisioning.adapters.shop import ShopError
from provisioning.discovery import candidates
from provisioning.engines.base import NotSellingError
from provisioning.evidence import Evidence
from provisioning.outcomes import Done, Outcome, StepFailedError, Wait
from provisioning.workflows.base import Step, StepContext

_RECHECK: Final = timedelta(seconds=3)
#: How long a shop that answers may refuse to sell: what its set-up has not made by then will not come by itself.
INCOMPLETE_PATIENCE: Final = timedelta(minutes=2)


def discover_address(context: StepContext) -> Outcome:
    """Find the URL under which the store answers, and pin the NodePort, so that a re-install keeps it."""
    if context.host:
        scheme = "https" if context.cluster.tls_issuer else "http"
        return _found(context, f"{scheme}://{context.host}", node_port=None)
    name = context.engine.service
    service = context.kubernetes.service(context.namespace, name)
    node_port = next((port.node_port for port in service.ports if port.node_port), None) if service else None
    if node_port is None:
        return Wait("ADDRESS_PENDING", f"service {name} has no NodePort yet", recheck=_RECHECK)
    if not context.kubernetes.ready_endpoints(context.namespace, name):
        return Wait("ADDRESS_PENDING", f"service {name} has no ready endpoint", recheck=_RECHECK)
    tried: list[Evidence] = []
    for candidate in candidates(context.cluster, context.kubernetes.nodes(), node_port):
        if candidate.url is None:
            tried.append(Evidence(candidate.source, candidate.note))
            continue
        try:
            context.shop(candidate.url).get("/")
        except ShopError as error:
            tried.append(Evidence(candidate.source, f"{candidate.url}: {error}"))
            continue
        return _found(context, candidate.url, node_port=node_port)
    return Wait("ADDRESS_PENDING", f"port {node_port} answers at none of the nodes' addresses", tuple(tried), _RECHECK)


def check_storefront(context: StepContext) -> Outcome:
    """Ask the storefront what a shopper would ask, up to the till."""
    try:
        seen = context.engine.check(context.shop(context.store.url))
    except NotSellingError as error:
        reason = error.reason or "STOREFRONT_INCOMPLETE"
        if context.now - context.step_started_at > INCOMPLETE_PATIENCE:
            raise StepFailedError(reason, str(error)) from error
        return Wait(reason, str(error), recheck=_RECHECK)
    except ShopError as error:
        return Wait("STOREFRONT_UNREACHABLE", f"{context.store.url}: {error}", recheck=_RECHECK)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # The shop's answer has another shape than its API documents: a fault of the shop, not of ours.
        raise StepFailedError("STOREFRONT_INCOMPLETE", f"the shop's answer cannot be read: {error}") from error
    return Done(seen)


def _found(context: StepContext, url: str, *, node_port: int | None) -> Done:
    return Done(
        url,
        store={"url": url, "admin_url": url + context.engine.admin_path},
        placement={"node_port": node_port},
    )


DISCOVER_ADDRESS: Final = Step("address", "Find the address", discover_address, joins=True)
CHECK_STOREFRONT: Final = Step("storefront", "Check the storefront", check_storefront, is_start=True, joins=True)
