"""Where the secrets of a platform are, while stores come and go on it: in their own places, and nowhere else.

Every secret that a deployment gives in is marked, or read where it belongs; so is each one that the platform makes.
All processes are those of a real deployment.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import httpx
import pytest
import redis
import yaml
from cryptography.fernet import Fernet
from devstack import programs
from devstack.cluster import faults
from devstack.stack import ROOT
from django_otp.oath import totp
from pytest_httpserver import HTTPServer

from provisioning.engines.base import CREDENTIALS_SECRET
from tests.access.test_matrix import MATRIX
from tests.faults.trial import Trial, eventually, on_trial

log = logging.getLogger(__name__)

_ENGINES: Final = ("woocommerce", "medusa")
_KINDS: Final = ("events", "configmaps", "services", "pods", "serviceaccounts", "persistentvolumeclaims", "namespaces")
_APPS: Final = ("deployments", "statefulsets", "replicasets")
_LOOKS: Final = 20
_PATIENCE: Final = timedelta(minutes=4)
_SEEN: Final = frozenset(
    {
        "answers, GET /api/v1/stores: store",
        "answers, GET /api/v1/stores/…: store",
        "cluster, events: store",
        "cluster, namespaces: store",
        "cluster, releases: store",
        "command lines, helm upgrade store: store",
        "commands' output, audit export: store",
        "database, table public.provisioning_job: job",
        "database, table public.stores_store: store",
        "deliveries, /hook: store",
        "environment of Helm, a process: kubeconfig",
        "logs, web.log: store",
        "logs, worker.log: queue",
        "Redis, command LPUSH storeplatform:celery: job",
    }
)
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PACKED: Final = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")


def mark(name: str) -> str:
    """A secret that nothing else looks like."""
    return f"marked-{name}-{os.urandom(12).hex()}"


# --- the platform under watch ---------------------------------------------------------------------------------------


class Found(defaultdict[str, list[str]]):
    """What a place held, by the part of it."""

    def __init__(self) -> None:
        super().__init__(list)

    def add(self, part: str, text: str) -> None:
        self[part].append(text)


@dataclass
class Watch:
    """What was seen while the platform worked."""

    command_lines: set[str] = field(default_factory=set)
    helm_environments: set[str] = field(default_factory=set)
    redis_commands: list[str] = field(default_factory=list)


@contextmanager
def watching(redis_url: str) -> Iterator[Watch]:
    """See every command line of the machine, what Helm's processes inherit, and every command that Redis gets."""
    watch, ended = Watch(), threading.Event()

    def processes() -> None:
        looks: dict[Path, int] = {}
        while not ended.wait(0.05):
            looks = {one: looks.get(one, 0) + 1 for one in Path("/proc").glob("[0-9]*")}
            # A process says who it is soon after its start; later looks would only cost time.
            for process in (one for one, times in looks.items() if times <= _LOOKS):
                # Each may end at any moment.
                with suppress(OSError):
                    watch.command_lines.add(_text((process / "cmdline").read_bytes()))
                    if (process / "comm").read_text().strip() == "helm":
                        watch.helm_environments.add(_text((process / "environ").read_bytes()))

    def commands(wire: socket.socket) -> None:
        with suppress(OSError), wire.makefile("r", errors="replace") as lines:
            for line in lines:
                watch.redis_commands.append(line.replace('\\"', '"'))

    address = re.search(r"@?([\d.]+):(\d+)/", redis_url)
    assert address is not None
    with socket.create_connection((address[1], int(address[2]))) as wire:
        wire.sendall(b"MONITOR\r\n")
        threads = [threading.Thread(target=processes), threading.Thread(target=commands, args=(wire,))]
        for thread in threads:
            thread.start()
        try:
            yield watch
        finally:
            ended.set()
            wire.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def _text(content: bytes) -> str:
    return content.replace(b"\0", b" ").decode(errors="replace")


@dataclass
class World:
    """A running platform, the secrets that it was given or has made, and what it has answered to everybody."""

    trial: Trial
    secrets: dict[str, str]
    receiver: HTTPServer
    answers: Found = field(default_factory=Found)
    said: Found = field(default_factory=Found)
    browsers: list[httpx.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.trial.connection["STOREPLATFORM_URL"]

    def ask(self, method: str, path: str, body: Any = None, *, shown_once: bool = False, **headers: str) -> Any:
        """Ask the API as its operator; what is no answer that shows a secret on purpose is looked through later."""
        headers = {"Authorization": f"Bearer {self.secrets['operator token']}"} | headers
        if method != "GET":
            headers["Idempotency-Key"] = os.urandom(8).hex()
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            answer = client.request(method, path, json=body, headers=headers)
        if not shown_once:
            self.note(answer)
        return answer

    def note(self, answer: httpx.Response) -> None:
        asked = answer.request
        self.answers.add(f"{asked.method} {_ID.sub('…', asked.url.path)}", f"{answer.headers}\n{answer.text}")

    def manage(self, *arguments: str, given: str | None = None, may_fail: bool = False, **variables: str) -> None:
        """Run a command of the platform; what it says is looked through later."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env={**self.trial.env, **variables}, input=given, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert may_fail or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        self.said.add(" ".join(arguments), done.stdout + done.stderr)

    def cluster(self, method: str, path: str, body: Any = None) -> Any:
        assert self.trial._cluster is not None
        return self.trial._cluster.request(method, path, body)


@pytest.fixture
def world(httpserver: HTTPServer) -> Iterator[World]:
    """A platform of its own, every secret of its environment marked."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-marks-"))
    given = {
        "database password": mark("database"),
        "SECRET_KEY": mark("django") * 2,
        "operator password": mark("operator"),
        "operator token": f"spp_{mark('token')}",
        "FERNET_KEYS": Fernet.generate_key().decode(),
        "AUDIT_KEY": mark("audit"),
        "OIDC_CLIENT_SECRET": mark("oidc"),
    }
    names = {"database": "database password", "django": "SECRET_KEY", "operator": "operator password",
             "token": "operator token"}  # fmt: skip
    (folder / "secrets.json").write_text(json.dumps({name: given[kept] for name, kept in names.items()}))
    variables = {
        **{name: given[name] for name in ("FERNET_KEYS", "AUDIT_KEY", "OIDC_CLIENT_SECRET")},
        # Nobody answers there: what goes wrong on the way must not tell the secret either.
        "OIDC_ISSUER": "http://127.0.0.1:9", "OIDC_CLIENT_ID": "storeplatform", "LOG_LEVEL": "DEBUG",
        "OUTGOING_NETWORKS": "127.0.0.0/8", "WEBHOOK_PLAIN_HTTP": "true",
    }  # fmt: skip
    with on_trial(folder, ready_after="500ms", variables=variables) as trial:
        httpserver.expect_request("/hook").respond_with_data(status=204)
        world = World(trial, {**given, "VAULT_SECRET_ID": trial.env["VAULT_SECRET_ID"]}, httpserver)
        yield world
        for browser in world.browsers:
            browser.close()
    shutil.rmtree(folder, ignore_errors=True)


# --- what people do with it -----------------------------------------------------------------------------------------


def give_a_kubeconfig(world: World) -> None:
    """Have the cluster's kubeconfig kept by the platform: from now on it works with the marked token in it."""
    direct = str(world.trial.direct)

    def kubectl(*arguments: str | Path) -> str:
        command = [programs.kubectl(), "--kubeconfig", direct, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for file in ("serviceaccount.yaml", "clusterrole.yaml"):
        kubectl("apply", "--filename", ROOT / "deploy" / "kubernetes" / file)
    token = kubectl("--namespace", "storeplatform", "create", "token", "storeplatform", "--duration", "1h").strip()
    config = yaml.safe_load(Path(direct).read_text())
    for one in config["clusters"]:
        authority = Path(one["cluster"].pop("certificate-authority")).read_bytes()
        one["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    # The middle part says who the account is; the signature is what lets in.
    world.secrets["token of the kubeconfig"] = token.rsplit(".", 1)[1]
    # Sealed by a Fernet key: what Vault's transit engine does comes with the rotation later.
    world.manage("kubeconfig", "embedded", given=yaml.safe_dump(config), VAULT_ADDR="", VAULT_DATABASE_ROLE="")


def use_a_token_of_vault(world: World) -> None:
    """Have a command log in to Vault by a token of its own."""
    env = world.trial.env
    login = {"role_id": env["VAULT_ROLE_ID"], "secret_id": env["VAULT_SECRET_ID"]}
    with httpx.Client(base_url=env["VAULT_ADDR"], timeout=60, trust_env=False) as client:
        token = client.post("/v1/auth/approle/login", json=login).json()["auth"]["client_token"]
    world.secrets["VAULT_TOKEN"] = token
    world.manage("secrets", "check", VAULT_ROLE_ID="", VAULT_SECRET_ID="", VAULT_TOKEN=token)


def log_in(world: World) -> httpx.Client:
    browser = httpx.Client(
        base_url=world.url, timeout=60, trust_env=False, headers={"Referer": world.url, "Origin": world.url}
    )
    world.browsers.append(browser)
    form = {"username": "operator", "password": world.secrets["operator password"]}
    assert submit(world, browser, "/login", form).status_code == 302
    return browser


def submit(world: World, browser: httpx.Client, path: str, form: dict[str, str]) -> httpx.Response:
    page = browser.get(path)
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None
    answer = browser.post(path, data={**form, "csrfmiddlewaretoken": token[1]})
    world.note(answer)
    return answer


def set_up_a_second_factor(world: World, browser: httpx.Client) -> None:
    shown = re.search('id="totp-key">([A-Z2-7=]+)<', browser.get("/login/second-factor").text)
    assert shown is not None
    key = base64.b32decode(shown[1])
    world.secrets |= {"key of the authenticator app": shown[1], "key of the authenticator app in hex": key.hex()}

    answer = submit(world, browser, "/login/second-factor", {"code": f"{totp(key):06d}"})

    assert answer.status_code == 302, answer.text


def make_what_is_shown_once(world: World) -> dict[str, str]:
    """A team with tokens and a webhook. Returns what stands for them in addresses."""
    team = world.ask("POST", "/api/v1/teams", {"slug": "marked", "name": "Marked", "admin": "operator"}).json()["slug"]
    lost = {"url": "https://hooks.example.invalid/", "events": []}
    world.secrets["secret of a webhook that nobody hears"] = world.ask(
        "POST", f"/api/v1/teams/{team}/webhooks", lost, shown_once=True
    ).json()["secret"]
    hook = {"url": world.receiver.url_for("/hook"), "events": []}
    made = world.ask("POST", f"/api/v1/teams/{team}/webhooks", hook, shown_once=True)
    world.secrets["secret of the webhook"] = made.json()["secret"]
    rotated = world.ask("POST", f"/api/v1/teams/{team}/webhooks/{made.json()['id']}/rotate", shown_once=True)
    world.secrets["new secret of the webhook"] = rotated.json()["secret"]
    wish = {"name": "CI", "scopes": ["read"], "expires_in_days": 1}
    service = world.ask("POST", f"/api/v1/teams/{team}/tokens", wish, shown_once=True)
    personal = world.ask("POST", "/api/v1/auth/tokens", wish, shown_once=True)
    world.secrets |= {"service token": service.json()["token"], "personal token": personal.json()["token"]}
    return {
        "<slug:slug>": team,
        "<int:webhook_id>": str(made.json()["id"]),
        "<int:token_id>": str(service.json()["id"]),
        "<str:username>": "operator",
        "<int:mismatch_id>": "1",
        "<int:cluster_id>": "1",
    }


def attempt_what_fails(world: World) -> None:
    """Errors are where secrets come out: in what is said to the caller, and what is written down."""
    password, token = world.secrets["operator password"], world.secrets["operator token"]
    login = {"username": "operator", "password": password}
    with httpx.Client(base_url=world.url, timeout=60, trust_env=False) as client:
        world.note(client.post("/api/v1/auth/token", json=login))  # the second factor is missing
        world.note(client.post("/api/v1/auth/token", json={**login, "code": "000000"}))
        world.note(client.post("/api/v1/auth/token", json={"username": "nobody", "password": password}))
        world.note(client.post("/api/v1/auth/token", content=json.dumps(login)[:-1]))  # no JSON
        world.note(client.put("/api/v1/auth/token", json=login))
        world.note(client.post("/login", data=login))  # no CSRF token
        world.note(client.get("/api/v1/stores", headers={"Authorization": f"Basic {token}"}))
        world.note(client.get("/api/v1/nowhere", headers={"Authorization": f"Bearer {token}"}))
        world.note(client.get("/login/sso"))  # the provider is not there


def order(world: World, team: str, engine: str, name: str) -> str:
    wish = {"name": name, "engine": engine, "plan": "small", "team": team}
    answer = world.ask("POST", "/api/v1/stores", wish)
    assert answer.status_code == 202, answer.text
    path: str = answer.json()["links"]["self"]
    return path


def wait(world: World, paths: list[str], arrived: Callable[[dict[str, Any]], bool], what: str) -> None:
    def all_of_them() -> bool:
        return all(arrived(world.ask("GET", path).json()) for path in paths)

    eventually(all_of_them, what=what, patience=_PATIENCE)


def is_ready(store: dict[str, Any]) -> bool:
    assert store["status"] != "failed", store
    return bool(store["status"] == "ready")


def change(world: World, path: str, changes: dict[str, Any]) -> None:
    def taken() -> bool:
        read = {"If-Match": world.ask("GET", path).headers["ETag"]}
        return bool(world.ask("PATCH", path, changes, **read).status_code == 202)

    eventually(taken, what=f"the change of {path}")


def read_credentials(world: World, path: str, when: str) -> None:
    """Learn a store's credentials where they belong, and that a reveal shows those of them that it may."""
    namespace = world.ask("GET", path).json()["namespace"]
    secret = world.cluster("GET", f"/api/v1/namespaces/{namespace}/secrets/{CREDENTIALS_SECRET}")["data"]
    kept = {name: base64.b64decode(value).decode() for name, value in secret.items()}
    world.secrets |= {f"{when} {name} of {path}": value for name, value in kept.items() if len(value) >= 16}

    revealed = world.ask("POST", f"{path}/credentials/reveal", shown_once=True)

    assert revealed.status_code == 200
    assert revealed.json()["secrets"].items() <= kept.items()


# --- where it is looked for -----------------------------------------------------------------------------------------


def look_through_the_database(world: World, found: Found) -> None:
    """See every row of every table."""
    assert world.trial._primary is not None
    command: list[str | Path] = [world.trial._primary.programs / "pg_dump", "--inserts", "--no-owner"]
    reached = re.fullmatch(r"postgres://(\w+):[^@]+@([\d.]+):(\d+),.*/(\w+)", world.trial.env["DATABASE_URL"])
    assert reached is not None
    login = {"PGUSER": reached[1], "PGHOST": reached[2], "PGPORT": reached[3], "PGDATABASE": reached[4],
             "PGPASSWORD": world.secrets["database password"]}  # fmt: skip
    dump = subprocess.run(command, env={**os.environ, **login}, capture_output=True, text=True, check=True).stdout
    schema, *rows = re.split(r"^INSERT INTO (\S+)", dump, flags=re.MULTILINE)
    found.add("schema", schema)
    for table, row in zip(rows[::2], rows[1::2], strict=True):
        found.add(f"table {table}", row)


def look_through_redis(world: World, commands: list[str], found: Found) -> None:
    """See every key that there is, and the commands that were heard."""
    reads = {b"string": "get", b"list": "lrange", b"set": "smembers", b"hash": "hgetall", b"zset": "zrange"}
    for number in range(16):
        with redis.Redis.from_url(re.sub(r"/\d+$", f"/{number}", world.trial.env["REDIS_URL"])) as server:
            for key in server.scan_iter():
                kind: Any = server.type(key)
                bounds = (0, -1) if kind in (b"list", b"zset") else ()
                value = getattr(server, reads[kind])(key, *bounds) if kind in reads else server.dump(key)
                found.add(f"key {key.decode(errors='replace')}", f"{key!r}: {value!r}")
    for line in commands:
        words = re.findall(r'"([^"]*)"', line)[:2]
        found.add(f"command {' '.join(words)}", line)


def look_through_the_cluster(world: World, found: Found) -> None:
    """See every object but the Secrets of credentials; Helm's releases are unpacked."""
    paths = [f"/api/v1/{kind}" for kind in _KINDS] + [f"/apis/apps/v1/{kind}" for kind in _APPS]
    for path in (*paths, "/apis/batch/v1/jobs"):
        found.add(path.rsplit("/", 1)[1], json.dumps(world.cluster("GET", path)))
    for secret in world.cluster("GET", "/api/v1/secrets")["items"]:
        if secret["type"] == "helm.sh/release.v1":
            packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
            found.add("releases", gzip.decompress(packed).decode())
        elif secret["metadata"]["name"] != CREDENTIALS_SECRET:
            found.add("secrets", json.dumps(secret))


def look_through_the_logs(world: World, found: Found) -> None:
    """See what each process has written."""
    logs = [*world.trial.state.logs.iterdir(), *world.trial.state.folder.rglob("*.log")]
    assert {"web.log", "worker.log", "beat.log", "watcher.log", "flower.log"} <= {log.name for log in logs}
    for file in (one for one in logs if one.is_file()):
        found.add(file.name, file.read_text(errors="replace"))


def look_at_every_page(world: World, browser: httpx.Client, places: dict[str, str], path: str) -> None:
    """Get every address that there is, as who may see everything."""
    store = path.rsplit("/", 1)[1]
    job = world.ask("GET", f"{path}/jobs").json()["results"][0]["id"]
    places = {**places, "<uuid:store_id>": store, "<uuid:job_id>": job}
    for template in (route for route, methods in MATRIX.items() if "GET" in methods):
        route = reduce(lambda text, place: text.replace(*place), places.items(), template)
        if route.startswith("api/v1"):
            world.ask("GET", f"/{route}")
        else:
            world.note(browser.get(f"/{route}"))
    index = browser.get("/admin/")
    tables = set(re.findall(r'href="(/admin/\w+/\w+/)"', index.text))
    assert len(tables) > 8
    for table in tables:
        rows = browser.get(table)
        world.note(rows)
        for row in re.findall(rf'href="({table}[\w-]+/change/)[^"]*"', rows.text)[:3]:
            world.note(browser.get(row))
    flower = world.trial.connection["FLOWER_URL"]
    login = httpx.BasicAuth("operator", world.secrets["operator password"])
    with httpx.Client(base_url=flower, timeout=60, trust_env=False, auth=login) as client:
        for page in ("/workers", "/tasks", "/broker", "/api/tasks"):
            world.note(client.get(page))


def found_in(text: str, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets that ``text`` shows, in any of the forms that they are written in."""
    unpacked = [text]
    for run in set(_PACKED.findall(text)):
        with suppress(binascii.Error, UnicodeDecodeError, ValueError):
            inner = run.translate(str.maketrans("-_", "+/")).rstrip("=")
            unpacked.append(base64.b64decode(inner + "=" * (-len(inner) % 4)).decode())
    whole = "\n".join(unpacked)
    forms = {
        name: {value, quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1],
               value.encode().hex(), base64.b64encode(value.encode()).decode(),
               base64.b32encode(value.encode()).decode()}
        for name, value in secrets.items()
    }  # fmt: skip
    return sorted(name for name, known in forms.items() if any(one in whole for one in known))


def leaks(searched: dict[str, Found], secrets: dict[str, str]) -> list[str]:
    """Each secret that shows, as ``place, part of it: name of the secret``; what says where shows none itself."""
    told = set()
    for place, found in searched.items():
        for part, texts in found.items():
            where = place if found_in(part, secrets) else f"{place}, {part}"
            told |= {f"{where}: {name}" for name in found_in("\n".join([part, *texts]), secrets)}
    return sorted(told)


def test_what_is_looked_for_is_found_however_it_is_written() -> None:
    secret = {"word": 'marked-word-with/slash+and "quotes"'}
    value = secret["word"]
    message = base64.b64encode(json.dumps({"args": [value]}).encode()).decode()

    for text in (value, json.dumps({"a": value}), quote(value), f'{{"body": "{message}"}}', value.encode().hex()):
        assert found_in(f"before {text} after", secret) == ["word"], text
    assert found_in("marked-word-with", secret) == []


def test_what_is_found_is_named_by_place_and_mark_and_not_shown() -> None:
    logs, redis_server = Found(), Found()
    logs.add("web.log", "token=marked-1")
    redis_server.add("key session:marked-2", "nothing else")

    told = leaks({"logs": logs, "Redis": redis_server}, {"token": "marked-1", "session": "marked-2", "key": "marked-3"})

    assert told == ["Redis: session", "logs, web.log: token"]


@pytest.mark.timeout(900)
def test_no_secret_is_anywhere_but_in_its_own_place(world: World) -> None:
    started, database, cluster = time.monotonic(), Found(), Found()
    with watching(world.trial.env["REDIS_URL"]) as watch:
        give_a_kubeconfig(world)
        look_through_the_database(world, database)
        assert any("gAAAAA" in row for table in database.values() for row in table), (
            "the kubeconfig was not sealed by a Fernet key"
        )
        use_a_token_of_vault(world)
        places = make_what_is_shown_once(world)
        team = places["<slug:slug>"]
        stores = [order(world, team, engine, f"marked-{engine}") for engine in _ENGINES]
        broken = order(world, team, "woocommerce", "marked-broken")
        namespace = world.ask("GET", broken).json()["namespace"]
        faults.set_fault(world.cluster, "crash-loop", namespace=namespace)
        browser = log_in(world)
        set_up_a_second_factor(world, browser)
        attempt_what_fails(world)

        wait(world, stores, is_ready, "ready stores")
        for path in stores:
            read_credentials(world, path, "first")
        change(world, stores[0], {"custom_values": {"php": {"uploadLimit": "8M"}}})
        change(world, stores[1], {"plan": "medium"})
        wait(world, stores, is_ready, "upgraded stores")
        for path in stores:
            assert world.ask("POST", f"{path}/credentials/rotate").status_code == 202
        wait(world, stores, is_ready, "stores with new credentials")
        for path in stores:
            read_credentials(world, path, "new")
        wait(world, [broken], lambda store: store["reason"] == "CRASH_LOOP", "the failing set-up")
        look_through_the_cluster(world, cluster)
        job = world.ask("GET", f"{stores[0]}/jobs").json()["results"][0]["id"]
        for path in (stores[0], broken):
            look_at_every_page(world, browser, places, path)
        for command in (("secrets", "check"), ("secrets", "rotate"), ("audit", "export"), ("audit", "verify")):
            world.manage(*command)
        world.manage("fsck", may_fail=True)  # there is a broken store
        look_through_the_database(world, database)

        for path in (*stores, broken):
            assert world.ask("DELETE", path).status_code == 202
        wait(world, [*stores, broken], lambda store: store["status"] == "deleted", "the end of the stores")

    look_through_the_database(world, database)
    look_through_the_cluster(world, cluster)
    command_lines, deliveries, environments, logs, redis_server = (Found() for _ in range(5))
    for line in watch.command_lines:
        command_lines.add(" ".join(Path(word).name for word in line.split()[:3]), line)
    for asked, _ in world.receiver.log:
        deliveries.add(asked.path, f"{asked.headers}\n{asked.get_data(as_text=True)}")
    for variables in watch.helm_environments:
        environments.add("a process", variables)
    look_through_the_logs(world, logs)
    look_through_redis(world, watch.redis_commands, redis_server)
    searched = {
        "answers": world.answers,
        "command lines": command_lines,
        "commands' output": world.said,
        "cluster": cluster,
        "database": database,
        "deliveries": deliveries,
        "environment of Helm": environments,
        "logs": logs,
        "Redis": redis_server,
    }
    sizes = {place: sum(len("".join(texts)) for texts in found.values()) for place, found in searched.items()}
    log.info("%.0f s; sizes: %s", time.monotonic() - started, sizes)
    assert {answer.status_code for _, answer in world.receiver.log} == {204}
    assert len(world.secrets) > 25
    # What is no secret is seen in each place; so a secret would be.
    bait = {"store": stores[0].rsplit("/", 1)[1], "job": job, "kubeconfig": "KUBECONFIG=", "queue": "key=looks"}
    seen = leaks(searched, bait)
    assert not _SEEN.difference(seen), "only seen:\n" + "\n".join(seen)
    found = leaks(searched, world.secrets)
    assert not found, "secrets where they do not belong:\n" + "\n".join(found)
