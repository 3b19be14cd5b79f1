"""The last step of a store that is made or changed: only a test order makes it ready."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from provisioning.engines.base import CREDENTIALS_SECRET, ProbeSite
from provisioning.outcomes import Done, Outcome, StepFailedError, Wait
from provisioning.workflows.base import Step, StepContext
from provisioning.workflows.expose import INCOMPLETE_PATIENCE

_RECHECK: Final = timedelta(seconds=5)


def place_order(context: StepContext) -> Outcome:
    """Place a test order as a shopper would, see it as the administrator, and remove it."""
    credentials = context.kubernetes.read_secret(context.namespace, CREDENTIALS_SECRET)
    if credentials is None:
        raise StepFailedError("PROBE_REFUSED", f"Secret {CREDENTIALS_SECRET} is gone")
    report = context.engine.probe(
        ProbeSite(
            shop=context.shop(context.store.url),
            credentials=credentials,
            country=context.store.country,
            currency=context.store.currency,
        )
    )
    context.note_probe(report)
    failure = report.failure
    if failure is None:
        return Done(report.summary)
    answers = failure.reason != "STOREFRONT_UNREACHABLE"
    if answers and context.now - context.step_started_at > INCOMPLETE_PATIENCE:
        raise StepFailedError(failure.reason, report.summary)
    return Wait(failure.reason, report.summary, recheck=_RECHECK)


PLACE_ORDER: Final = Step("order", "Place a test order", place_order, joins=True)
