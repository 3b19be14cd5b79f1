"""The workflows: for each kind of job its steps, in order, and what the store becomes before and after."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from provisioning.models import JobKind
from provisioning.workflows.base import Step, StepContext, Workflow
from provisioning.workflows.expose import CHECK_STOREFRONT, DISCOVER_ADDRESS
from provisioning.workflows.install import (
    CREATE_CREDENTIALS,
    PREPARE_NAMESPACE,
    WAIT_FOR_WORKLOADS,
)
from provisioning.workflows.order import PLACE_ORDER
from provisioning.workflows.release import APPLY_RELEASE
from provisioning.workflows.rotate import FORGET_STAGED, REVOKE_OLD, STAGE_CREDENTIALS, SWITCH_SECRET
from provisioning.workflows.uninstall import DELETE_NAMESPACE, UNINSTALL_RELEASE, WAIT_UNTIL_GONE
from stores.models import StoreStatus

__all__ = ["WORKFLOWS", "Step", "StepContext", "Workflow"]

_REMOVE: Final = (UNINSTALL_RELEASE, DELETE_NAMESPACE, WAIT_UNTIL_GONE)
_APPLY: Final = (
    PREPARE_NAMESPACE,
    CREATE_CREDENTIALS,
    APPLY_RELEASE,
    WAIT_FOR_WORKLOADS,
    DISCOVER_ADDRESS,
    CHECK_STOREFRONT,
    PLACE_ORDER,
)

WORKFLOWS: Final[Mapping[JobKind, Workflow]] = MappingProxyType(
    {
        JobKind.INSTALL: Workflow(
            steps=_APPLY,
            begins_as=StoreStatus.PROVISIONING,
            ends_as=StoreStatus.READY,
            fails_as=StoreStatus.FAILED,
        ),
        JobKind.UPGRADE: Workflow(
            steps=_APPLY,
            begins_as=StoreStatus.UPDATING,
            ends_as=StoreStatus.READY,
            fails_as=StoreStatus.FAILED,
        ),
        JobKind.ROTATE: Workflow(
            steps=(
                CREATE_CREDENTIALS,
                STAGE_CREDENTIALS,
                SWITCH_SECRET,
                APPLY_RELEASE,
                WAIT_FOR_WORKLOADS,
                DISCOVER_ADDRESS,
                CHECK_STOREFRONT,
                PLACE_ORDER,
                REVOKE_OLD,
            ),
            begins_as=StoreStatus.UPDATING,
            ends_as=StoreStatus.READY,
            fails_as=StoreStatus.FAILED,
            goes_forward_from=SWITCH_SECRET,
        ),
        # After a rotation that was cancelled before the switch. What an earlier one had switched is brought to its end.
        JobKind.UNROTATE: Workflow(
            steps=(FORGET_STAGED, *_APPLY, REVOKE_OLD),
            begins_as=StoreStatus.UPDATING,
            ends_as=StoreStatus.READY,
            fails_as=StoreStatus.FAILED,
        ),
        JobKind.UNINSTALL: Workflow(
            steps=_REMOVE,
            begins_as=StoreStatus.DELETING,
            ends_as=StoreStatus.DELETED,
            fails_as=None,
        ),
        # After a cancelled install: what was made of the store goes, the store itself stays and can be tried again.
        JobKind.CLEANUP: Workflow(
            steps=_REMOVE,
            begins_as=StoreStatus.PROVISIONING,
            ends_as=StoreStatus.FAILED,
            fails_as=None,
            ends_because="CANCELLED",
        ),
    }
)
