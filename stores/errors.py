"""What may go wrong with a store because of what was asked. Each error has a code that never changes."""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """A request that the domain refuses. ``field`` names the input at fault, if one is."""

    code: ClassVar[str] = "store_error"
    sentence: ClassVar[str] = "The request was refused."
    hint: ClassVar[str] = ""
    field: ClassVar[str | None] = None


class StaleRowError(StoreError):
    """Somebody changed the row after it was read."""

    code = "stale_version"
    hint = "Read the object again and repeat the change with its current version."


class InvalidTransitionError(StoreError):
    """The store cannot go from its status to the wished one."""

    code = "invalid_transition"
    hint = "Wait until the store is settled, or delete it."


class NameTakenError(StoreError):
    """Another live store of the same owner has this name."""

    code = "name_taken"
    sentence = "Another store of yours has this name."
    hint = "Choose another name, or delete the store that has it: a name is free as soon as its store is deleted."
    field = "name"


class DomainTakenError(StoreError):
    """Another live store is reachable under this domain."""

    code = "domain_taken"
    sentence = "Another store has this domain."
    hint = "Choose another domain, or take it off the other store first."
    field = "domain"


class UnknownEngineError(StoreError):
    """No engine of this name is installed."""

    code = "unknown_engine"
    hint = "GET /api/v1/engines lists the engines."
    field = "engine"


class UnknownPlanError(StoreError):
    """No plan of this name is offered."""

    code = "unknown_plan"
    hint = "GET /api/v1/plans lists the plans."
    field = "plan"


class NoClusterError(StoreError):
    """There is no cluster that takes new stores."""

    code = "no_cluster"
    hint = "An operator has to register a cluster, or let one take new stores again."


class NotRetryableError(StoreError):
    """The store has nothing that a retry could repeat."""

    code = "not_retryable"
    hint = "Only a store whose last job failed can be retried."


class BusyStoreError(StoreError):
    """A job is under way on the store."""

    code = "job_in_progress"
    hint = "Wait until the job has ended, or delete the store: a delete supersedes any job."
