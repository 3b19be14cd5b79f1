"""The main job, shown: one store made through the public API, watched until it is ready."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from devstack.processes import DevstackError

_NAME: Final = "demo-shop"
_POLL_SECONDS: Final = 1.0
_LONGEST: Final = timedelta(minutes=20)


@dataclass
class Demo:
    """A client of the platform that knows nothing but its address and a token."""

    url: str
    token: str
    console: Console
    still_wanted: Callable[[], bool]
    _said: set[str] = field(default_factory=set)

    def run(self) -> dict[str, Any] | None:
        """Return the demo store once it is ready; make it unless it is there. ``None`` when nobody waits any more.

        Raises:
            DevstackError: The store failed, or was not ready in time.
        """
        found = self._call("GET", f"/api/v1/stores?name={_NAME}")["results"]
        live = [store for store in found if store["status"] != "deleting"]
        if live:
            store: dict[str, Any] = live[0]
            if store["status"] == "failed":
                store = self._call("POST", store["links"]["retry"])
        else:
            wish = {"name": _NAME, "display_name": "Demo Shop", "engine": "woocommerce", "plan": "small"}
            store = self._call("POST", "/api/v1/stores", {**wish, "admin_email": "admin@example.com"})
            self.console.print(f"store {_NAME} accepted")
        deadline = time.monotonic() + _LONGEST.total_seconds()
        while store["status"] != "ready":
            self._show_progress(store)
            if store["status"] == "failed":
                raise DevstackError(f"the store failed: {store['message']}\n{store['hint']}\nDashboard: {self.url}/")
            if time.monotonic() > deadline:
                raise DevstackError(f"the store was not ready within {_LONGEST}: {store['message']}")
            if not self.still_wanted():
                return None
            time.sleep(_POLL_SECONDS)
            store = self._call("GET", store["links"]["self"])
        self._show_progress(store)
        return store

    def show(self, store: dict[str, Any], *, flower: str) -> None:
        """Print where everything is."""
        table = Table(show_header=False)
        for name, value in (
            ("store", f"{store['display_name']} ({store['name']})"),
            ("status", store["status"]),
            ("URL", store["url"]),
            ("admin URL", store["admin_url"]),
            (
                "admin login",
                f"{store['credentials']['admin_user']}, password by:\n{store['credentials']['command']}",
            ),
            ("dashboard", f"{self.url}/ (login in .state/connection.env)"),
            ("Flower", f"{flower} (the same login)"),
        ):
            table.add_row(name, value, end_section=True)
        self.console.print(table)

    def _show_progress(self, store: dict[str, Any]) -> None:
        jobs = self._call("GET", store["links"]["jobs"])["results"]
        for step in jobs[0]["steps"] if jobs else []:
            told = f", {step['detail']}" if step["detail"] else ""
            line = f"  {step['position']}. {step['title']}: {step['state']}{told}"
            if step["state"] != "pending" and line not in self._said:
                self._said.add(line)
                self.console.print(line, markup=False, highlight=False)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        call = urllib.request.Request(  # noqa: S310 (the stack's own address)
            self.url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=20) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise DevstackError(
                f"{method} {path} answered {error.code}: {error.read().decode(errors='replace')}"
            ) from error
        except OSError as error:
            raise DevstackError(f"the platform does not answer at {self.url}: {error}") from error
