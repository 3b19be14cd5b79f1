"""What every engine has to keep: rules that the authors of an engine run against it, and this project against its own.

Give a :class:`Subject` to each of :data:`RULES`, one test each::

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
    def test_my_engine_conforms(rule: Rule) -> None:
        rule.check(Subject(MyEngine(), helm=Path("/usr/local/bin/helm")))

Needed are the engine and a Helm program; no cluster and no shop. ``docs/new-engine.md`` explains the rules.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from provisioning.adapters.shop import ShopClient, ShopError
from provisioning.chart_values import completed
from provisioning.custom_values import check_custom_values
from provisioning.engines.base import CREDENTIALS_SECRET, Engine, NotSellingError, ProbeSite, ReleaseOrder
from provisioning.engines.rendering import Rendered, render
from stores.plans import DEFAULT_PLANS

_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{1,31}")
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_SAFE: Final = re.compile(r"[A-Za-z0-9]{16,}")
_OWNER: Final = {"storeplatform.io/store-id": "00000000-0000-4000-8000-000000000000"}
_HOST: Final = "shop.example.com"
#: The kinds that a store may have: all live in its namespace and go with it.
_KINDS: Final = frozenset(
    {
        "ConfigMap", "CronJob", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "Job",
        "NetworkPolicy", "PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount",
        "StatefulSet",
    }
)  # fmt: skip
_PATIENCE: Final = timedelta(seconds=2)


class NotConformingError(AssertionError):
    """The engine breaks a rule; the message says where."""


@dataclass(frozen=True)
class Subject:
    """The engine to look at. ``plans`` are specs by slug, the platform's own if none are given."""

    engine: Engine
    helm: Path
    plans: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {plan["slug"]: plan["spec"] for plan in DEFAULT_PLANS}
    )

    def order(self, spec: Mapping[str, Any], *, host: str = "", node_port: int | None = None) -> ReleaseOrder:
        """Return an order for a store of a plan."""
        return ReleaseOrder(
            store_id=_OWNER["storeplatform.io/store-id"],
            title='Café "Zum $ {{ Eck }}"',
            admin_email="admin@example.com",
            currency="EUR",
            country="DE",
            plan=spec,
            volumes=spec["volumes"],
            labels=_OWNER,
            host=host,
            ingress_class="any" if host else "",
            tls_issuer="any" if host else "",
            node_port=node_port,
        )

    def rendered(self, order: ReleaseOrder) -> Rendered:
        """Return what the chart makes of the engine's values."""
        return render(self.helm, self.engine.chart, self.engine.values(order))

    @cached_property
    def every_plan(self) -> dict[str, Rendered]:
        """Return what the chart makes for each plan, under NodePort and under Ingress."""
        return {
            f"{slug}, {host or 'NodePort'}": self.rendered(self.order(spec, host=host))
            for slug, spec in self.plans.items()
            for host in ("", _HOST)
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``check`` raises :class:`NotConformingError`."""

    name: str
    sentence: str
    check: Callable[[Subject], None]


def _identity(subject: Subject) -> None:
    engine = subject.engine
    _demand(bool(_SLUG.fullmatch(engine.slug)), f"slug {engine.slug!r} is no lower-case DNS label of 2 to 32 letters")
    for name in ("title", "description", "version", "service", "admin_path", "admin_user"):
        _demand(bool(getattr(engine, name)), f"{name} is empty")
    _demand(engine.admin_path.startswith("/"), "admin_path does not start with /")


def _chart(subject: Subject) -> None:
    chart = subject.engine.chart
    for name in ("Chart.yaml", "values.yaml", "values.schema.json"):
        _demand((chart / name).is_file(), f"{chart / name} is missing")
    schema = json.loads((chart / "values.schema.json").read_text())
    _demand(schema.get("additionalProperties") is False, "values.schema.json lets a misspelt value pass")


def _credentials(subject: Subject) -> None:
    one, two = subject.engine.new_credentials(), subject.engine.new_credentials()
    _demand(one.keys() == two.keys(), "new_credentials() names other keys at each call")
    for key in one:
        _demand(bool(_KEY.fullmatch(key)), f"{key!r} is no key of a Secret")
    secrets = {key: value for key, value in one.items() if two[key] != value}
    _demand(bool(secrets), "new_credentials() makes nothing at random")
    for key, value in secrets.items():
        plain = bool(_SAFE.fullmatch(value)) or "://" in value
        _demand(plain, f"credential {key} is short, or needs quoting in an address or a shell")


def _values(subject: Subject) -> None:
    for slug, spec in subject.plans.items():
        order = subject.order(spec)
        values = subject.engine.values(order)
        _demand(values == subject.engine.values(order), f"plan {slug}: values() differ for the same order")
        json.dumps(values)


def _rendering(subject: Subject) -> None:
    for case, rendered in subject.every_plan.items():
        strange = sorted({one["kind"] for one in rendered.objects} - _KINDS)
        _demand(not strange, f"{case}: the chart makes {', '.join(strange)}, which is not a store's to make")
        for one in rendered.objects:
            labels = one["metadata"].get("labels") or {}
            name = f"{one['kind']} {one['metadata']['name']}"
            _demand(_OWNER.items() <= labels.items(), f"{case}: {name} lacks the ownership label")
        for name, template in rendered.pods:
            labels = template["metadata"].get("labels") or {}
            _demand(_OWNER.items() <= labels.items(), f"{case}: the pods of {name} lack the ownership label")
        _demand(CREDENTIALS_SECRET in rendered.text, f"{case}: nothing refers to Secret {CREDENTIALS_SECRET}")


def _address(subject: Subject) -> None:
    spec = next(iter(subject.plans.values()))
    service = subject.rendered(subject.order(spec, node_port=31234)).one("Service", subject.engine.service)
    _demand(service is not None, f"there is no Service {subject.engine.service}")
    told = service["spec"] if service else {}
    _demand(told.get("type") == "NodePort", "without a host the Service is not of type NodePort")
    _demand(told["ports"][0].get("nodePort") == 31234, "the NodePort that the store keeps is not written down")
    under_host = subject.rendered(subject.order(spec, host=_HOST))
    inside = under_host.one("Service", subject.engine.service)
    _demand(bool(inside) and (inside or {})["spec"].get("type", "ClusterIP") == "ClusterIP", "a host needs no NodePort")
    routes = [one for one in under_host.objects if one["kind"] in ("Ingress", "HTTPRoute")]
    _demand(any(_HOST in json.dumps(one) for one in routes), "no Ingress or HTTPRoute carries the host")


def _locked_down(subject: Subject) -> None:
    for case, rendered in subject.every_plan.items():
        for name, template in rendered.pods:
            pod = template["spec"]
            whole = pod.get("securityContext") or {}
            place = f"{case}: pod of {name}"
            _demand(pod.get("automountServiceAccountToken") is False, f"{place} mounts a token of the cluster")
            _demand(
                (whole.get("seccompProfile") or {}).get("type") == "RuntimeDefault", f"{place} has no seccomp profile"
            )
            for one in [*pod["containers"], *pod.get("initContainers", [])]:
                own = {**whole, **(one.get("securityContext") or {})}
                part = f"{place}, container {one['name']}"
                _demand(own.get("runAsNonRoot") is True, f"{part} may run as root")
                _demand(own.get("allowPrivilegeEscalation") is False, f"{part} may gain privileges")
                _demand((own.get("capabilities") or {}).get("drop") == ["ALL"], f"{part} keeps capabilities")
                _demand(own.get("readOnlyRootFilesystem") is True, f"{part} may write to its image")
                tag = one["image"].rpartition("/")[2]
                _demand(":" in tag and not tag.endswith(":latest"), f"{part} has an image without a version: {tag}")


def _fits(subject: Subject) -> None:
    for slug, spec in subject.plans.items():
        rendered = subject.rendered(subject.order(spec))
        for name, amount in rendered.needs().items():
            bound = rendered.quantity(spec["quota"][name])
            _demand(amount <= bound, f"plan {slug}: the chart needs {amount:g} of {name}, the quota is {bound:g}")


def _upgrades(subject: Subject) -> None:
    specs = list(subject.plans.values())
    before = subject.rendered(subject.order(specs[0]))
    order = subject.order({**specs[-1], "volumes": specs[0]["volumes"]})
    after = subject.rendered(order).immutable()
    # A larger plan may add workloads, such as a cache.
    kept = all(after.get(name) == fixed for name, fixed in before.immutable().items())
    _demand(kept, "another plan changes what the cluster does not let change")


def _rotation(subject: Subject) -> None:
    engine = subject.engine
    known = engine.new_credentials().keys()
    for name, keys in (("rotating", engine.rotating), ("revealed", engine.revealed)):
        _demand(set(keys) <= known, f"{name} names {', '.join(sorted(set(keys) - known))}, which is no credential")
    if not engine.rotating:
        return
    order = subject.order(next(iter(subject.plans.values())))
    before, after = (subject.rendered(replace(order, credentials_version=version)) for version in (1, 2))
    _demand(before.pods != after.pods, "a new credentials_version replaces no pod")
    _demand(before.immutable() == after.immutable(), "a new credentials_version changes what the cluster keeps")


def _silence(subject: Subject) -> None:
    for answer in (None, (500, "<h1>Error</h1>"), (404, "{}"), (200, "[]"), (200, "{}"), (200, "no JSON")):
        with _shop(answer) as shop:
            told = f"a shop that answers {answer}" if answer else "a shop that is not there"
            site = ProbeSite(shop=shop, credentials=subject.engine.new_credentials(), country="DE", currency="EUR")
            report = subject.engine.probe(site)
            _demand(not report.is_good, f"the probe takes {told} for one that sells")
            _demand(bool(report.failure and report.failure.detail), f"the probe does not say what is wrong with {told}")
            try:
                subject.engine.check(shop)
            except (NotSellingError, ShopError, ValueError, TypeError, KeyError, AttributeError):
                continue
            raise NotConformingError(f"the check takes {told} for one that sells")


def _legs(subject: Subject) -> None:
    with _shop(None) as shop:
        site = ProbeSite(shop=shop, credentials=subject.engine.new_credentials(), country="DE", currency="EUR")
        legs = subject.engine.probe_legs(site)
    names = [leg.name for leg in legs]
    _demand(len(set(names)) == len(names), "two legs have the same name")
    _demand(len(legs) >= 4, "a probe cleans up, orders, looks as administrator and removes: four legs at least")
    _demand(legs[-1].always, "the last leg does not remove the order when an earlier one failed")
    secrets = [value for value in site.credentials.values() if len(value) >= 16]
    _demand(not any(value in repr(site) for value in secrets), "a credential shows in the probe's own text")


def _custom_values(subject: Subject) -> None:
    schema = subject.engine.custom_values
    for place, part in _schemas(schema, "custom_values"):
        kind = part.get("type")
        _demand(bool(kind or "enum" in part), f"{place} takes anything")
        _demand(kind != "object" or part.get("additionalProperties") is False, f"{place} takes any name")
        _demand(kind != "string" or "pattern" in part, f"{place} takes any text")
        _demand(kind != "array" or "maxItems" in part, f"{place} may be endless")
    examples = schema.get("examples", [])
    _demand(bool(examples) or not schema.get("properties"), "the allow-list has no examples")
    order = subject.order(next(iter(subject.plans.values())))
    plain = subject.rendered(order).text
    for example in examples:
        check_custom_values(subject.engine, example)
        values = completed(subject.engine.values(order), by=example)
        changed = render(subject.helm, subject.engine.chart, values).text
        _demand(changed != plain, f"the example {json.dumps(example)} changes nothing")


def _schemas(schema: Mapping[str, Any], place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield place, schema
    for name, part in schema.get("properties", {}).items():
        yield from _schemas(part, f"{place}.{name}")
    if "items" in schema:
        yield from _schemas(schema["items"], f"{place}[]")


#: In the order in which an author meets them.
RULES: Final = (
    Rule("identity", "It has a slug, a title, a description, a version, a service and an administrator.", _identity),
    Rule("chart", "Its chart has values and a schema that refuses what it does not know.", _chart),
    Rule("credentials", "Its credentials are random, plain and the same keys each time.", _credentials),
    Rule("values", "Its values follow from the order alone.", _values),
    Rule("rendering", "Its chart makes only what is a store's, labelled as its own, and reads the Secret.", _rendering),
    Rule("address", "Its service follows the order: a NodePort that stays, or a host.", _address),
    Rule("locked-down", "Its pods are locked down, and their images have versions.", _locked_down),
    Rule("fits", "Everything at once fits the quota of every plan.", _fits),
    Rule("upgrades", "Another plan changes nothing that the cluster refuses to change.", _upgrades),
    Rule("rotation", "It brings new credentials to its pods, and names only credentials that it has.", _rotation),
    Rule("custom-values", "What its stores' people may set is a closed list, and its chart takes it.", _custom_values),
    Rule("legs", "Its probe cleans up whatever happens, and shows no credential.", _legs),
    Rule("silence", "It takes no shop for one that sells unless that shop has shown it.", _silence),
)


def _demand(holds: bool, complaint: str) -> None:
    if not holds:
        raise NotConformingError(complaint)


@contextmanager
def _shop(answer: tuple[int, str] | None) -> Iterator[ShopClient]:
    """A shop that answers everything with ``answer``, or is not there."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, text = answer or (503, "")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = do_PUT = _answer  # noqa: N815 (the library's names)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    client = ShopClient(f"http://127.0.0.1:{server.server_port}", timeout=_PATIENCE)
    if answer is None:
        server.server_close()
        yield client
        return
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
