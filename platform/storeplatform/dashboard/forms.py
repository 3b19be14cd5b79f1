"""Forms of the dashboard; every text is cleaned where the API cleans it too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm

from provisioning.cluster_labels import read_cluster_labels
from provisioning.engines import all_engines
from provisioning.services import StoreWish
from provisioning.webhooks import EVENTS
from storeplatform.accounts.models import Scope
from stores import naming
from stores.models import Plan, StoreStatus
from stores.teams import Role, Team, TeamQuerySet
from stores.webhook_models import URL_MAX_LENGTH


class _CleanField(forms.CharField):
    def __init__(self, clean: Callable[[str], str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._clean = clean

    def clean(self, value: Any) -> str:
        text = super().clean(value)
        return self._clean(text) if text else ""


class _BlankTextarea(forms.Textarea):
    def format_value(self, value: Any) -> str | None:  # noqa: ARG002 (the framework's signature)
        return ""


class LoginForm(AuthenticationForm):
    """Login with the browser's own helpers switched on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs["autocomplete"] = "username"


class CodeForm(forms.Form):
    """A one-time code."""

    code = forms.RegexField(
        r"^\d{6}$",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}),
    )


class StoreForm(forms.Form):
    """A new store."""

    team = forms.ModelChoiceField(queryset=Team.objects.none(), empty_label=None, to_field_name="slug")
    name = _CleanField(
        naming.clean_name,
        max_length=naming.NAME_MAX_LENGTH,
        help_text="a to z, 0 to 9 and hyphens; unique among your stores",
    )
    display_name = _CleanField(
        naming.clean_display_name,
        required=False,
        help_text="What shoppers read; the name if you leave it empty",
    )
    engine = forms.ChoiceField(widget=forms.RadioSelect)
    plan = forms.ModelChoiceField(queryset=Plan.objects.none(), widget=forms.RadioSelect, empty_label=None)
    admin_email = forms.EmailField(help_text="The shop's administrator")
    domain = _CleanField(naming.clean_domain, required=False, help_text="Only where stores are published by Ingress")
    currency = forms.RegexField(r"^[A-Z]{3}$", initial="EUR", help_text="As in EUR")
    country = forms.RegexField(r"^[A-Z]{2}$", initial="DE", help_text="As in DE")

    cluster_labels = forms.CharField(
        required=False, max_length=400, help_text="What the store's cluster must have, as in region=eu,tier=fast"
    )
    wait_for_room = forms.BooleanField(required=False, help_text="Instead of being refused where no cluster has room")

    def clean_cluster_labels(self) -> dict[str, str]:
        """Return the labels as a mapping."""
        return read_cluster_labels(self.cleaned_data["cluster_labels"])

    def __init__(self, *args: Any, teams: TeamQuerySet, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        engine, plan, team = self.fields["engine"], self.fields["plan"], self.fields["team"]
        assert isinstance(team, forms.ModelChoiceField)  # noqa: S101 (tells the type checker)
        team.queryset = teams.order_by("name")
        assert isinstance(engine, forms.ChoiceField)  # noqa: S101 (tells the type checker)
        assert isinstance(plan, forms.ModelChoiceField)  # noqa: S101 (tells the type checker)
        engine.choices = [(one.slug, f"{one.title}. {one.description}") for one in all_engines().values()]
        plan.queryset = Plan.objects.filter(is_offered=True).order_by("position")
        plan.label_from_instance = lambda one: f"{one.title}. {one.description}"  # type: ignore[method-assign,assignment]
        for bound in self:
            described = [f"help-{bound.name}"] if bound.help_text else []
            described += [f"error-{bound.name}"] if self.is_bound and bound.errors else []
            if described:
                bound.field.widget.attrs["aria-describedby"] = " ".join(described)
            if self.is_bound and bound.errors:
                bound.field.widget.attrs["aria-invalid"] = "true"

    def to_wish(self) -> StoreWish:
        """Return the cleaned wish."""
        given = self.cleaned_data
        return StoreWish(
            name=given["name"],
            display_name=given["display_name"] or given["name"],
            engine=given["engine"],
            plan=given["plan"].pk,
            admin_email=given["admin_email"],
            domain=given["domain"],
            currency=given["currency"],
            country=given["country"],
            cluster_labels=given["cluster_labels"],
            wait_for_room=given["wait_for_room"],
        )


class FilterForm(forms.Form):
    """Filters of the list."""

    q = forms.CharField(
        required=False, label="Search", widget=forms.SearchInput(attrs={"placeholder": "Name or domain"})
    )
    status = forms.ChoiceField(required=False, choices=[("", "Any status"), *StoreStatus.choices])
    engine = forms.ChoiceField(required=False)
    team = forms.ModelChoiceField(
        queryset=Team.objects.none(), required=False, empty_label="Any team", to_field_name="slug"
    )

    def __init__(self, *args: Any, teams: TeamQuerySet, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        engine, team = self.fields["engine"], self.fields["team"]
        assert isinstance(team, forms.ModelChoiceField)  # noqa: S101 (tells the type checker)
        team.queryset = teams.order_by("name")
        assert isinstance(engine, forms.ChoiceField)  # noqa: S101 (tells the type checker)
        engine.choices = [("", "Any engine"), *((one.slug, one.title) for one in all_engines().values())]


class KubeconfigForm(forms.Form):
    """A kubeconfig to keep. What was typed is never shown again."""

    kubeconfig = forms.CharField(
        widget=_BlankTextarea(attrs={"rows": 12, "spellcheck": "false", "autocomplete": "off"}),
        help_text="It has to hold its certificates and its token itself, as kubectl config view --raw --flatten shows.",
    )


class MemberForm(forms.Form):
    """A user who is to be a member of a team."""

    username = forms.CharField(max_length=150, label="User name")
    role = forms.ChoiceField(choices=Role.choices, initial=Role.OPERATOR)


class RoleForm(forms.Form):
    """Another role."""

    role = forms.ChoiceField(choices=Role.choices)


class TeamForm(forms.Form):
    """A new team."""

    slug = _CleanField(
        naming.clean_name, max_length=naming.NAME_MAX_LENGTH, help_text="For addresses; it never changes"
    )
    name = _CleanField(naming.clean_display_name)
    admin = forms.CharField(max_length=150, label="First admin", help_text="User name")


class WebhookForm(forms.Form):
    """A new webhook."""

    url = _CleanField(naming.clean_webhook_url, max_length=URL_MAX_LENGTH, label="Address", help_text="https://…")
    events = forms.MultipleChoiceField(
        choices=[(event, event) for event in EVENTS],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Messages",
        help_text="All of them if you choose none",
    )


class TokenForm(forms.Form):
    """A new token."""

    name = forms.CharField(max_length=80, help_text="What it is for")
    scopes = forms.MultipleChoiceField(choices=Scope.choices, initial=Scope.values, widget=forms.CheckboxSelectMultiple)
    expires_in_days = forms.IntegerField(min_value=1, max_value=3650, initial=365, label="Days until it expires")

    def wanted(self, now: datetime) -> dict[str, Any]:
        """Return the arguments of the service functions."""
        given = self.cleaned_data
        return {
            "name": given["name"],
            "scopes": [Scope(scope) for scope in given["scopes"]],
            "expires_at": now + timedelta(days=given["expires_in_days"]),
        }


class ServiceTokenForm(TokenForm):
    """A new token of a team."""

    role = forms.ChoiceField(choices=Role.choices, initial=Role.OPERATOR)
