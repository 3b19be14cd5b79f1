"""Users of the API who never stop: each writes its own store, reads it back, and reads the list of all."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx

from tests.faults.platform import TOKEN

_PAUSE_SECONDS = 0.02
_AGAIN_SECONDS = 0.1
_GIVES_UP_SECONDS = 60.0


@dataclass
class Told:
    """What the users saw. ``failed`` counts answers by kind, as in ``read 503`` or ``write ReadTimeout``."""

    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stale: int = 0
    refusals: list[httpx.Response] = field(default_factory=list)
    written_at: list[float] = field(default_factory=list)

    def longest_pause(self) -> float:
        """Return the longest time between two acknowledged writes, in seconds."""
        moments = sorted(self.written_at)
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    def first_write_after(self, moment: float) -> float | None:
        """Return when something was written first after ``moment``."""
        return min((at for at in self.written_at if at > moment), default=None)


class Load:
    """``users`` users at once, until the end of the block. The last name that was acknowledged has to stay."""

    def __init__(self, *urls: str, users: int = 3, token: str = TOKEN) -> None:
        self.told = Told()
        self._urls = urls
        self._users = users
        self._token = token
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._asked: Counter[str] = Counter()
        self._end = threading.Event()
        self._names: dict[str, str] = {}
        self._turn = 0

    @contextmanager
    def running(self) -> Iterator[Told]:
        """Begin, and end with the block."""
        for number in range(self._users):
            self._make(number)
        # Reads do not wait for a write that nobody takes.
        threads = [threading.Thread(target=self._write, args=(path,)) for path in self._names]
        threads += [threading.Thread(target=self._read) for _ in range(self._users)]
        for thread in threads:
            thread.start()
        try:
            yield self.told
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def use(self, *urls: str) -> None:
        """Send what comes from now on to these addresses, in turn, as a balancer does.

        Returns once the other addresses have answered all that they were asked.
        """
        with self._lock:
            self._urls = urls
            self._answered.wait_for(lambda: not any(self._asked[url] for url in {*self._asked} - {*urls}))

    @property
    def paths(self) -> list[str]:
        """Return the users' stores."""
        return list(self._names)

    def lost(self) -> list[str]:
        """Return what was acknowledged and is not there."""
        found = {path: self._call("read", "GET", path).json()["display_name"] for path in self._names}
        return [f"{path}: {found[path]} instead of {name}" for path, name in self._names.items() if found[path] != name]

    def _make(self, number: int) -> None:
        name = f"user-{number}-{uuid4().hex[:6]}"
        body = {"name": name, "display_name": name, "engine": "woocommerce", "plan": "small"}
        made = self._call("write", "POST", "/api/v1/stores", body)
        assert made.status_code == 202, made.text
        self._names[made.json()["links"]["self"]] = name

    def _write(self, path: str) -> None:
        while not self._end.is_set():
            self._rename(path)
            time.sleep(_PAUSE_SECONDS)

    def _read(self) -> None:
        while not self._end.is_set():
            self._read_all()
            time.sleep(_PAUSE_SECONDS)

    def _rename(self, path: str) -> None:
        seen = self._call("read", "GET", path)
        if seen.status_code != 200:
            self._note_wrong(f"GET {path} answered {seen.status_code}")
            return
        if seen.json()["display_name"] != self._names[path] and not _is_stale(seen):
            self._note_wrong(f"{path} is {seen.json()['display_name']}, acknowledged was {self._names[path]}")
        name = f"name {uuid4().hex[:8]}"
        answer = self._call("write", "PATCH", path, {"display_name": name}, **{"If-Match": seen.headers["ETag"]})
        if answer.status_code in (200, 202):  # 202 while its job is under way
            self._names[path] = name
            with self._lock:
                self.told.written_at.append(time.monotonic())
        elif answer.status_code != 412:  # its job moves the store as well
            self._note_wrong(f"PATCH answered {answer.status_code}: {answer.text[:200]}")

    def _read_all(self) -> None:
        answer = self._call("read", "GET", "/api/v1/stores")
        listed = {store["links"]["self"] for store in answer.json()["results"]} if answer.status_code == 200 else set()
        if not self._names.keys() <= listed and not _is_stale(answer):
            self._note_wrong(f"the list answered {answer.status_code} and lacks stores")

    def _call(self, kind: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Ask until there is an answer; a write is repeated under its key, so that it is done once."""
        headers |= {"Authorization": f"Bearer {self._token}"}
        if kind == "write":
            headers["Idempotency-Key"] = uuid4().hex
        until = time.monotonic() + _GIVES_UP_SECONDS
        while True:
            url = self._next_url()
            try:
                answer = httpx.request(method, url + path, json=body, headers=headers, timeout=10, trust_env=False)
            except httpx.TransportError as error:
                self._note(f"{kind} {type(error).__name__}")
            else:
                in_use = answer.status_code == 409 and answer.json().get("code") == "idempotency_key_in_use"
                self._note(None if answer.status_code < 500 else f"{kind} {answer.status_code}", answer)
                if answer.status_code < 500 and answer.status_code != 429 and not in_use:
                    return answer
            finally:
                with self._lock:
                    self._asked[url] -= 1
                    self._answered.notify_all()
            assert time.monotonic() < until, f"{method} {path} was not answered"
            time.sleep(_AGAIN_SECONDS)

    def _next_url(self) -> str:
        with self._lock:
            self._turn += 1
            url = self._urls[self._turn % len(self._urls)]
            self._asked[url] += 1
            return url

    def _note(self, failed: str | None, answer: httpx.Response | None = None) -> None:
        with self._lock:
            self.told.requests += 1
            if failed:
                self.told.failed[failed] += 1
            if answer is not None and answer.status_code >= 500:
                self.told.refusals.append(answer)
            if answer is not None and _is_stale(answer):
                self.told.stale += 1

    def _note_wrong(self, what: str) -> None:
        with self._lock:
            self.told.wrong.append(what)


def _is_stale(answer: httpx.Response) -> bool:
    # A replica that was killed as well may be behind the primary that it stands in for, and its answers say so.
    return "Warning" in answer.headers
