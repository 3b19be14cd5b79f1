"""The steps that replace a store's credentials: old and new ones are both kept until the old ones are worth nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from provisioning.adapters.shop import ShopError
from provisioning.engines.base import CREDENTIALS_SECRET, NotSellingError
from provisioning.outcomes import Done, Outcome, Wait
from provisioning.workflows.base import Step, StepContext

_RECHECK: Final = timedelta(seconds=3)


def stage_credentials(context: StepContext) -> Outcome:
    """Keep new credentials beside the present ones. A later try finds the same."""
    context.credentials.stage(context.store.pk, context.engine.next_credentials())
    return Done(f"new ones are kept for: {', '.join(sorted(context.engine.rotating))}")


def switch_secret(context: StepContext) -> Outcome:
    """Put the new credentials into the Secret; the old ones stay kept. The release's next values name a new version."""
    kept = context.credentials.commit(context.store.pk)
    context.kubernetes.put_secret(context.namespace, CREDENTIALS_SECRET, data=kept.current, labels=context.labels)
    # Written together with the fact that the step is done: one rotation counts once, however often it was tried.
    version = context.placement.credentials_version + 1
    return Done(f"Secret {CREDENTIALS_SECRET} holds the new ones", placement={"credentials_version": version})


def forget_staged(context: StepContext) -> Outcome:
    """Forget credentials that nothing uses yet; the present ones stay."""
    context.credentials.unstage(context.store.pk)
    return Done("the store keeps the credentials that it has")


def revoke_old(context: StepContext) -> Outcome:
    """See that the old credentials are worth nothing, then forget them."""
    kept = context.credentials.read(context.store.pk)
    if kept is None or kept.previous is None:
        return Done("no old ones are kept")
    try:
        seen = context.engine.check_revoked(context.shop(context.store.url), kept.previous)
    except NotSellingError as error:
        return Wait(error.reason or "CREDENTIALS_TAKEN", str(error), recheck=_RECHECK)
    except ShopError as error:
        return Wait("STOREFRONT_UNREACHABLE", f"{context.store.url}: {error}", recheck=_RECHECK)
    context.credentials.forget_previous(context.store.pk)
    return Done(f"the old ones are forgotten{f': {seen}' if seen else ''}")


STAGE_CREDENTIALS: Final = Step("stage-credentials", "Make new credentials", stage_credentials)
FORGET_STAGED: Final = Step("forget-staged", "Forget the new credentials", forget_staged)
SWITCH_SECRET: Final = Step("switch-secret", "Switch the Secret", switch_secret)
REVOKE_OLD: Final = Step("revoke-old", "Revoke the old credentials", revoke_old)
