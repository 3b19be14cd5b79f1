"""What may go wrong with a store because of what was asked. Each error has a code that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class StoreError(Exception):
    """A request that the domain refuses. ``field`` names the input at fault, ``numbers`` gives figures, if any."""

    code: ClassVar[str] = "store_error"
    sentence: ClassVar[str] = "The request was refused."
    hint: ClassVar[str] = ""
    field: ClassVar[str | None] = None
    numbers: Mapping[str, Any] | None = None


class StaleRowError(StoreError):
    """Somebody changed the row after it was read."""

    code = "stale_version"
    hint = "Read the object again and repeat the change with its current version."


class InvalidTransitionError(StoreError):
    """The store cannot go from its status to the wished one."""

    code = "invalid_transition"
    hint = "Wait until the store is settled, or delete it."


class NameTakenError(StoreError):
    """Another live store of the same team has this name."""

    code = "name_taken"
    sentence = "Another store of the team has this name."
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


class InvalidValuesError(StoreError):
    """A custom value is not in the engine's allow-list, or of another kind than it says."""

    code = "invalid_values"
    hint = "GET /api/v1/engines shows what may be set, as values_schema."
    field = "custom_values"


class PlainHttpError(StoreError):
    """A webhook would send over plain HTTP."""

    code = "plain_http"
    sentence = "The address is not https."
    hint = "Use https: messages tell about your stores."
    field = "url"


class TooManyWebhooksError(StoreError):
    """The team has as many webhooks as it may."""

    code = "too_many_webhooks"
    sentence = "The team has as many webhooks as it may."
    hint = "Remove one that is not needed."


class SecretsUnavailableError(StoreError):
    """A secret cannot be sealed now."""

    code = "secrets_unavailable"
    sentence = "Where secrets are sealed cannot be asked now."
    hint = "Try again in a minute."


class UnknownPlanError(StoreError):
    """No plan of this name is offered."""

    code = "unknown_plan"
    hint = "GET /api/v1/plans lists the plans."
    field = "plan"


class NotPlacedError(StoreError):
    """No cluster can take the store now. Which of the errors below says why."""


class NoClusterError(NotPlacedError):
    """There is no cluster that takes new stores."""

    code = "no_cluster"
    hint = "An operator has to register a cluster, or let one take new stores again."


class NoMatchingClusterError(NotPlacedError):
    """No cluster that takes new stores has the labels that the store's cluster must have."""

    code = "no_matching_cluster"
    hint = "Ask for other cluster_labels; an operator knows which clusters have which."
    field = "cluster_labels"


class NoRoomError(NotPlacedError):
    """No cluster has room for what was asked. The text, and ``numbers``, say how much is needed and how much is left.

    ``numbers`` is ``{"need": {resource: amount}, "clusters": [{"cluster": name, "free": {resource: amount}, …}]}``.
    """

    code = "no_room"
    sentence = "No cluster has room for the store."
    hint = (
        "Choose a smaller plan, or send wait_for_room to let the store wait. An operator can add nodes or a cluster, "
        "or let one take new stores again."
    )

    def __init__(self, text: str, numbers: Mapping[str, Any]) -> None:
        super().__init__(text)
        self.numbers = numbers


class NotRetryableError(StoreError):
    """The store has nothing that a retry could repeat."""

    code = "not_retryable"
    hint = "A job that waits, a failed job and a degraded store can be tried again."


class NotCancellableError(StoreError):
    """Nothing is under way that could be cancelled."""

    code = "not_cancellable"
    hint = "What is under way or has failed can be cancelled: an install, an upgrade, a rotation; a delete never."


class TooLateToCancelError(NotCancellableError):
    """A rotation has switched the store's credentials, or is about to: going on is the only way to one good set."""

    code = "too_late_to_cancel"
    hint = (
        "The rotation goes on by itself until the store runs with its new credentials and the old ones are worth"
        " nothing. Retry hurries it, or begins a failed one anew; delete always wins."
    )


class NotRotatableError(StoreError):
    """The store's engine cannot replace credentials."""

    code = "not_rotatable"
    hint = "GET /api/v1/engines says which engines can."


class NoCredentialsError(StoreError):
    """The store has no credentials yet, or no more."""

    code = "no_credentials"
    hint = "Credentials are made in the first minute of an install."


class CredentialsUnavailableError(StoreError):
    """Where credentials are kept cannot be asked now."""

    code = "credentials_unavailable"
    hint = "Repeat the request after Retry-After."


class BusyStoreError(StoreError):
    """A job is under way on the store."""

    code = "job_in_progress"
    hint = "Wait until the job has ended, or delete the store: a delete supersedes any job."


class NotAllowedError(StoreError):
    """The caller's role does not allow it."""

    code = "not_allowed"
    hint = "Ask an admin of the team for a role that allows it; GET /api/v1/teams lists your teams and roles."


class UnknownTeamError(StoreError):
    """There is no such team, or it is not the caller's."""

    code = "unknown_team"
    hint = "GET /api/v1/teams lists your teams."
    field = "team"


class TeamSlugTakenError(StoreError):
    """Another team has this slug."""

    code = "team_slug_taken"
    sentence = "Another team has this slug."
    hint = "Choose another slug."
    field = "slug"


class UnknownUserError(StoreError):
    """Nobody has this user name."""

    code = "unknown_user"
    hint = "The user needs an account first: a platform operator makes it, or a first single sign-on."
    field = "username"


class AlreadyMemberError(StoreError):
    """The user is a member of the team already."""

    code = "already_member"
    sentence = "The user is a member of the team already."
    hint = "Change the role of the membership instead."
    field = "username"


class LastAdminError(StoreError):
    """A team would be left without anybody who manages it."""

    code = "last_admin"
    hint = "Make another member an admin first."
    field = "role"


class QuotaExceededError(StoreError):
    """A limit of the team does not allow it. The text names the limit and its use."""

    code = "quota_exceeded"
    hint = "Delete a store, choose a smaller plan, or ask a platform operator to raise the team's limit."
