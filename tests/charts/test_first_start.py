"""A database whose very first start is cut off, by too little memory or a node that dies, is made anew."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.charts.rendering import Object, Render, containers

#: As the official images' own: what is there is taken for finished; scripts run last; ``CUT_OFF`` is the sudden end.
_ENTRYPOINT: Final = """#!/bin/sh
set -eu
[ "$*" = "$EXPECTED" ]
if [ -e "$SYSTEM_TABLES" ]; then echo starts; exit; fi
mkdir -p "$(dirname "$SYSTEM_TABLES")"
echo half > "$SYSTEM_TABLES"
[ -z "${CUT_OFF:-}" ] || exit 137
echo user > "$(dirname "$SYSTEM_TABLES")/user"
"$DONE_SCRIPT"
echo made
"""


@dataclass
class Volume:
    """The database's volume, under a server that is the chart's in everything but its programs."""

    top: Path
    data: Path
    system_tables: Path
    scripts: Path
    container: Object

    def start(self, *, cut_off: bool = False) -> tuple[int, str]:
        """Start the container once."""
        command, arguments = self.container["command"], self.container["args"]
        done = subprocess.run(
            [command[0], self.scripts / "first-start.sh", *command[2:], *arguments],
            env=self._environment({"CUT_OFF": "yes"} if cut_off else {}), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.strip()

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        given = {one["name"]: one["value"] for one in self.container["env"]}
        mounted = Path(next(one["mountPath"] for one in self.container["volumeMounts"] if one["name"] == "data"))
        return {
            "PATH": f"{self.scripts}:{os.environ['PATH']}",
            "PGDATA": str(self.data),
            "FIRST_START_MARK": str(self.top / Path(given["FIRST_START_MARK"]).relative_to(mounted)),
            "SYSTEM_TABLES": str(self.system_tables),
            "DONE_SCRIPT": str(self.scripts / "first-start-done.sh"),
            "EXPECTED": " ".join([*self.container["command"][2:], *self.container["args"]]),
            **more,
        }


@pytest.fixture(params=["woocommerce", "medusa"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    """A fresh volume of an engine's database."""
    objects = Render(request.param, "defaults").objects
    config = next(one for one in objects if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "store-config"))
    scripts, top = tmp_path / "scripts", tmp_path / "volume"
    scripts.mkdir()
    (top / "lost+found").mkdir(parents=True)
    for name, text in {**config["data"], "docker-entrypoint.sh": _ENTRYPOINT}.items():
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    container = next(one for name, one in containers(objects) if name.startswith("StatefulSet/store-db/"))
    mounts = {one["mountPath"]: one.get("subPath") for one in container["volumeMounts"]}
    assert mounts["/docker-entrypoint-initdb.d/first-start-done.sh"] == "first-start-done.sh"
    assert mounts[container["command"][1]] == "first-start.sh"
    data = top / "pgdata" if request.param == "medusa" else top
    tables = data / ("PG_VERSION" if request.param == "medusa" else "mysql/tables")
    return Volume(top, data, tables, scripts, container)


def test_a_first_start_that_was_cut_off_begins_anew(volume: Volume) -> None:
    assert volume.start(cut_off=True)[0] == 137
    assert volume.start(cut_off=True)[0] == 137

    status, said = volume.start()

    assert (status, said.splitlines()) == (0, ["the first start was cut off: it begins anew", "made"])
    assert volume.start() == (0, "starts")


def test_a_database_that_was_made_is_never_touched(volume: Volume) -> None:
    assert volume.start() == (0, "made")
    orders = volume.data / "orders"
    orders.write_text("of a year")

    assert [volume.start(), volume.start()] == [(0, "starts")] * 2
    assert orders.read_text() == "of a year"


def test_a_database_of_a_chart_before_this_one_is_never_touched(volume: Volume) -> None:
    volume.system_tables.parent.mkdir(exist_ok=True)
    volume.system_tables.write_text("made without a mark")

    assert volume.start() == (0, "starts")
    assert volume.start() == (0, "starts")
    assert volume.system_tables.read_text() == "made without a mark"
