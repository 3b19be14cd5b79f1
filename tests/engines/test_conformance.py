"""Every engine keeps the rules, and an engine that breaks one is told which."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from provisioning.adapters.shop import ShopClient
from provisioning.engines import Engine, all_engines
from provisioning.engines.base import Leg, ProbeSite, ReleaseOrder
from provisioning.engines.conformance import RULES, NotConformingError, Rule, Subject
from tests.engines.leaflet import Leaflet

ENGINES: tuple[Engine, ...] = (*all_engines().values(), Leaflet())


@pytest.fixture(scope="module")
def subjects(helm_binary: Path) -> dict[str, Subject]:
    return {engine.slug: Subject(engine, helm_binary) for engine in ENGINES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("slug", [engine.slug for engine in ENGINES])
def test_every_engine_keeps_the_rules(subjects: Mapping[str, Subject], slug: str, rule: Rule) -> None:
    rule.check(subjects[slug])


class Shouting(Leaflet):
    slug = "LEAFLET"


class Forgetful(Leaflet):
    def new_credentials(self) -> dict[str, str]:
        return {"admin-password": "admin123admin123"}


class Quoted(Leaflet):
    def new_credentials(self) -> dict[str, str]:
        return {"admin-password": super().new_credentials()["admin-password"] + "/#@"}


class Moody(Leaflet):
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        return {**super().values(order), "title": self.new_credentials()["admin-password"]}


class Greedy(Leaflet):
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        much = {"cpu": "50", "memory": "1Ti"}
        return {**super().values(order), "resources": {"requests": much, "limits": much}}


class Unversioned(Leaflet):
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        return {**super().values(order), "image": "python:latest"}


class Foreign(Leaflet):
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        return {**super().values(order), "commonLabels": {}}


class Restless(Leaflet):
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        return {**super().values(order), "service": {"type": "NodePort", "nodePort": None}}


class Growing(Leaflet):
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        return {**super().values(order), "size": f"{len(str(order.plan))}Mi"}


class Stubborn(Leaflet):
    rotating = frozenset({"admin-password"})


class Open(Leaflet):
    custom_values = {"type": "object", "properties": {"title": {"type": "string", "pattern": "^[a-z]+$"}}}


class Endless(Leaflet):
    custom_values = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"title": {"type": "string"}},
        "examples": [{"title": "other"}],
    }


class Decided(Leaflet):
    custom_values = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"title": {"type": "string", "pattern": "^[a-z]+$"}},
        "examples": [{"title": "other"}],
    }


class Careless(Leaflet):
    def probe_legs(self, site: ProbeSite) -> Sequence[Leg]:
        return super().probe_legs(site)[:-1]


class Trusting(Leaflet):
    def check(self, shop: ShopClient) -> str:
        return f"{shop.base_url} will be all right"


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (Shouting(), "identity"),
        (Forgetful(), "credentials"),
        (Quoted(), "credentials"),
        (Moody(), "values"),
        (Foreign(), "rendering"),
        (Restless(), "address"),
        (Unversioned(), "locked-down"),
        (Greedy(), "fits"),
        (Growing(), "upgrades"),
        (Stubborn(), "rotation"),
        (Open(), "custom-values"),
        (Endless(), "custom-values"),
        (Decided(), "custom-values"),
        (Careless(), "legs"),
        (Trusting(), "silence"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_engine_that_breaks_a_rule_is_told_which(helm_binary: Path, engine: Engine, name: str) -> None:
    rule = next(rule for rule in RULES if rule.name == name)

    with pytest.raises(NotConformingError):
        rule.check(Subject(engine, helm_binary))


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ('"additionalProperties": false,\n  "required"', '"required"', "chart"),
        ("kind: ConfigMap", "kind: Secret", "rendering"),
        ("runAsNonRoot: true", "runAsNonRoot: false", "locked-down"),
        ("drop: [ALL]", "drop: []", "locked-down"),
        ("automountServiceAccountToken: false", "automountServiceAccountToken: true", "locked-down"),
    ],
)
def test_a_chart_that_breaks_a_rule_is_found(
    helm_binary: Path, tmp_path: Path, before: str, after: str, name: str
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(Leaflet().chart, chart)
    for file in (chart / "templates" / "shop.yaml", chart / "values.schema.json"):
        file.write_text(file.read_text().replace(before, after, 1))
    engine = type("Changed", (Leaflet,), {"chart": chart})()

    with pytest.raises(NotConformingError):
        next(rule for rule in RULES if rule.name == name).check(Subject(engine, helm_binary))


def test_a_credential_is_never_in_the_values_of_an_engine() -> None:
    for engine in ENGINES:
        secrets = engine.new_credentials().values()
        plan = Subject(engine, Path("helm")).plans["small"]
        told = json.dumps(engine.values(Subject(engine, Path("helm")).order(plan)))
        assert not [secret for secret in secrets if len(secret) >= 16 and secret in told], engine.slug


def test_the_command_prints_every_rule(helm_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HELM_BINARY", str(helm_binary))
    said = StringIO()

    call_command("check_engine", "woocommerce", stdout=said)

    assert [line.split()[:2] for line in said.getvalue().splitlines()] == [["ok", rule.name] for rule in RULES]
