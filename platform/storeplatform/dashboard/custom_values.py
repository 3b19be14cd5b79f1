"""A store's custom values as a form: one field for each entry of the engine's allow-list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from provisioning import services
from provisioning.custom_values import check_custom_values
from provisioning.engines import all_engines
from provisioning.engines.base import Engine
from storeplatform.access import store_for
from storeplatform.actors import actor_of
from stores.errors import InvalidValuesError, StoreError
from stores.policy import Permission

_UNSET: Final = ("", "As the engine decides")
_YES_NO: Final = {"true": True, "false": False}


class ValuesForm(forms.Form):
    """The entries of an allow-list. An empty field leaves the choice to the engine."""

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, engine: Engine, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine = engine
        self._entries = dict(_entries(engine.custom_values))
        for path, schema in self._entries.items():
            self.fields[path] = _field(path, schema)

    @property
    def has_entries(self) -> bool:
        """Return whether the engine leaves anything to choose."""
        return bool(self._entries)

    def clean(self) -> dict[str, Any]:
        """Check each entry by the allow-list itself, so that a mistake is told where it was made."""
        given = self.cleaned_data
        self.values: dict[str, Any] = {}
        for path, schema in self._entries.items():
            chosen = given.get(path)
            if chosen in ("", None):
                continue
            value = _value(chosen, schema)
            try:
                check_custom_values(self._engine, _nested(path, value))
            except InvalidValuesError as error:
                self.add_error(path, str(error).partition(": ")[2] or str(error))
            _put(self.values, path, value)
        return given


@login_required
@require_http_methods(["GET", "POST"])
def store_values(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Show a store's custom values, and change them by an upgrade."""
    store = store_for(request, store_id, Permission.WORK)
    engine = all_engines()[store.engine]
    form = ValuesForm(request.POST or None, engine=engine, initial=_initial(engine, store.custom_values, store.version))
    if request.method == "POST" and form.is_valid():
        try:
            services.change_store(
                store=store,
                version=form.cleaned_data["version"],
                changes={"custom_values": form.values},
                actor=actor_of(request),
                now=timezone.now(),
            )
        except StoreError as error:
            form.add_error(None, f"{error}. {error.hint}")
        else:
            return redirect("dashboard:store", store_id=store.pk)
    shown = {"store": store, "form": form}
    return render(request, "dashboard/values.html", shown, status=422 if form.errors else 200)


def _entries(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, inner in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        if inner.get("type") == "object":
            yield from _entries(inner, place)
        else:
            yield place, inner


def _field(path: str, schema: Mapping[str, Any]) -> forms.Field:
    told: dict[str, Any] = {"label": path, "help_text": schema.get("description", ""), "required": False}
    if "enum" in schema:
        return forms.ChoiceField(choices=[_UNSET, *((one, one) for one in schema["enum"])], **told)
    if schema.get("type") == "boolean":
        return forms.ChoiceField(choices=[_UNSET, ("true", "Yes"), ("false", "No")], **told)
    if schema.get("type") == "array":
        told["help_text"] += " One a line."
        return forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), **told)
    if schema.get("type") == "integer":
        return forms.IntegerField(**told)
    return forms.CharField(max_length=300, **told)


def _value(chosen: Any, schema: Mapping[str, Any]) -> Any:
    if schema.get("type") == "boolean":
        return _YES_NO[chosen]
    if schema.get("type") == "array":
        return [line.strip() for line in chosen.splitlines() if line.strip()]
    return chosen


def _initial(engine: Engine, values: Mapping[str, Any], version: int) -> dict[str, Any]:
    found = {path: _read(values, path) for path, _ in _entries(engine.custom_values)}
    return {"version": version, **{path: _shown(value) for path, value in found.items()}}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "\n".join(value) if isinstance(value, list) else str(value)


def _read(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at ``path``, ``""`` when there is none."""
    *above, name = path.split(".")
    return reduce(lambda inner, one: inner.get(one, {}), above, values).get(name, "")


def _nested(path: str, value: Any) -> dict[str, Any]:
    return reduce(lambda inner, name: {name: inner}, reversed(path.split(".")), value)


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *above, name = path.split(".")
    reduce(lambda inner, one: inner.setdefault(one, {}), above, values)[name] = value
