"""All objects of one kind of a cluster, kept up to date by a watch instead of by asking again and again."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

_PAUSE_SECONDS: Final = 0.5
_WATCH_SECONDS: Final = 300
_TIMEOUT: Final = httpx.Timeout(10, read=_WATCH_SECONDS + 10)


@dataclass
class Mirror:
    """The objects at ``path``, as in ``/api/v1/services``. ``tell`` is called from its thread after each change."""

    kubeconfig: Path
    path: str
    tell: Callable[[], None]
    _items: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _has_listed: bool = False

    def start(self) -> None:
        """Follow the objects from a thread of its own, for as long as the process lives."""
        threading.Thread(target=self._follow, name=f"mirror-{self.path}", daemon=True).start()

    @property
    def has_listed(self) -> bool:
        """Whether everything was seen once."""
        return self._has_listed

    def items(self) -> list[dict[str, Any]]:
        """Return the objects as they were last seen; while the cluster does not answer, as they were before."""
        return list(self._items.values())

    def _follow(self) -> None:
        while True:
            try:
                with _connect(self.kubeconfig) as client:
                    while True:
                        self._watch(client, self._list(client))
            except Exception as error:  # whatever it is, a thread that ended would leave the mirror as it is for ever
                print(f"the cluster does not answer for {self.path}: {error}", flush=True)
                time.sleep(_PAUSE_SECONDS)

    def _list(self, client: httpx.Client) -> str:
        found = client.get(self.path).raise_for_status().json()
        self._items = {_key(item): item for item in found["items"]}
        self._has_listed = True
        self.tell()
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, client: httpx.Client, version: str) -> None:
        """Take in changes until the API server ends the watch, or no longer knows what changed since ``version``."""
        asked: dict[str, str | int] = {"watch": "true", "resourceVersion": version, "timeoutSeconds": _WATCH_SECONDS}
        with client.stream("GET", self.path, params=asked) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                change = json.loads(line)
                if change["type"] == "ERROR":
                    return
                if change["type"] == "DELETED":
                    self._items.pop(_key(change["object"]), None)
                else:
                    self._items[_key(change["object"])] = change["object"]
                self.tell()


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _connect(kubeconfig: Path) -> httpx.Client:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    return httpx.Client(
        base_url=cluster["server"],
        headers={"Authorization": f"Bearer {user['token']}"},
        verify=ssl.create_default_context(cafile=cluster["certificate-authority"]),
        timeout=_TIMEOUT,
        trust_env=False,
    )
