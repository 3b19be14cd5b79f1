"""Circuit breakers whose state all processes share through Redis, each by itself while Redis is away.

Closed: every call is made. Open, after so many failures in a row: none is, for a while. Half-open: one call is made to
try, and its outcome closes or opens the breaker. The states and the moves between them are pybreaker's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import pybreaker
import redis

Result = TypeVar("Result")

_PREFIX: Final = "storeplatform:breaker:"
#: What nobody asked about for so long is forgotten: a closed breaker is one that nothing is known of.
_REMEMBERED: Final = timedelta(hours=1)
#: Redis is not asked for so long after it failed: a part must not be slow because the breakers' own memory is.
_QUIET_SECONDS: Final = 5.0
_TIMEOUT_SECONDS: Final = 0.25
#: Redis is asked this often at most about a part that works: a step makes many calls within moments.
_FRESH_SECONDS: Final = 1.0
#: When somebody else tries a part right now, its answer is known about then.
_NEWS: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class BreakerView:
    """How a breaker is: ``closed``, ``open`` or ``half-open``. ``until`` is when an open one is tried again."""

    name: str
    state: str
    failures: int
    until: datetime | None


class SharedMemory:
    """The Redis database of the breakers; while it is away every answer is ``None``. May be used by many threads."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS, decode_responses=True
        )
        self._quiet_until = 0.0

    def ask(self, question: Callable[[Any], Result]) -> Result | None:
        """Return the answer to ``question``, which gets the client; ``None`` while Redis is away."""
        if time.monotonic() < self._quiet_until:
            return None
        try:
            return question(self._redis)
        except redis.RedisError:
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
            return None

    def names(self) -> list[str]:
        """Return the breakers that any process has moved within the last hour."""
        found = self.ask(lambda client: list(client.scan_iter(match=f"{_PREFIX}*", count=500)))
        return sorted(key.removeprefix(_PREFIX) for key in found or () if not key.endswith(":trial"))

    def forget(self) -> None:
        """Forget every breaker."""
        self._quiet_until = 0.0
        self.ask(lambda client: [client.delete(key) for key in client.scan_iter(match=f"{_PREFIX}*", count=500)])


class _Storage(pybreaker.CircuitBreakerStorage):
    """One breaker's state. What Redis said last, or what this process saw itself, is kept for when it is away."""

    def __init__(self, name: str, memory: SharedMemory) -> None:
        super().__init__(name)
        self._key, self._memory = f"{_PREFIX}{name}", memory
        self._state: str = pybreaker.STATE_CLOSED
        self._failures = self._successes = 0
        self._opened_at: datetime | None = None
        self._trial_until = 0.0
        self._closed_until = 0.0
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """Return the state that all processes share; that of a part that works may be a second old."""
        if self._state == pybreaker.STATE_CLOSED and time.monotonic() < self._closed_until:
            return self._state
        told = self._memory.ask(lambda client: client.hgetall(self._key))
        if told:
            # An empty answer says that Redis was emptied: then this process knows better.
            self._state = told.get("state", pybreaker.STATE_CLOSED)
            self._failures = int(told.get("failures", 0))
            self._opened_at = datetime.fromisoformat(told["opened_at"]) if told.get("opened_at") else None
        self._closed_until = time.monotonic() + _FRESH_SECONDS
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state, self._closed_until = state, 0.0
        self._write({"state": state})
        self._trial_until = 0.0
        self._memory.ask(lambda client: client.delete(f"{self._key}:trial"))

    def increment_counter(self) -> None:
        """Count a failure."""
        with self._lock:
            self._failures += 1
        told = self._memory.ask(lambda client: client.hincrby(self._key, "failures", 1))
        if told is not None:
            self._failures = told
        self._keep()

    def reset_counter(self) -> None:
        """Forget the failures; costs nothing while there are none."""
        if self._failures:
            self._failures = 0
            self._write({"failures": "0"})

    @property
    def counter(self) -> int:
        """Return the failures in a row."""
        return self._failures

    def increment_success_counter(self) -> None:
        """Count a successful try."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """Forget the successful tries."""
        self._successes = 0

    @property
    def success_counter(self) -> int:
        """Return the successful tries."""
        return self._successes

    @property
    def opened_at(self) -> datetime | None:
        """Return when the breaker opened last."""
        return self._opened_at

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        self._opened_at = moment
        self._write({"opened_at": moment.isoformat()})

    def begin_trial(self, patience: timedelta) -> bool:
        """Whether this call may try the part; another one may after ``patience`` without an outcome."""
        with self._lock:
            if time.monotonic() < self._trial_until:
                return False
            milliseconds = round(patience.total_seconds() * 1000)
            key = f"{self._key}:trial"
            # Redis answers ``None`` as well when another process tries: the first answer tells the two apart.
            told = self._memory.ask(lambda client: (client.set(key, "1", nx=True, px=milliseconds),))
            if told is not None and not told[0]:
                return False
            self._trial_until = time.monotonic() + patience.total_seconds()
            return True

    def _write(self, fields: Mapping[str, str]) -> None:
        self._memory.ask(lambda client: client.hset(self._key, mapping=dict(fields)))
        self._keep()

    def _keep(self) -> None:
        self._memory.ask(lambda client: client.expire(self._key, int(_REMEMBERED.total_seconds())))


class _Circuit(pybreaker.CircuitBreaker):
    """pybreaker's circuit, which would let one call of a process through at a time: this one lets any number."""

    def __init__(self, storage: _Storage, *, patience: timedelta, **named: Any) -> None:
        super().__init__(state_storage=storage, **named)
        self._storage, self._patience = storage, patience

    def call(self, func: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Make the call as the present state has it; only one at a time while half-open, whoever makes it."""
        state = self.state
        if state.name == pybreaker.STATE_HALF_OPEN and not self._storage.begin_trial(self._patience):
            raise pybreaker.CircuitBreakerError("somebody else tries right now")
        return state.call(func, *arguments, **named)


class Breaker:
    """The breaker of one part.

    Args:
        name: What all processes know the part by, as in ``cluster:default``.
        memory: What they share.
        failures: The errors that say that the part is down. Any other one is an answer of a part that works.
        answers: Those of ``failures`` that are answers nevertheless.
        at_most: So many failures in a row open the breaker.
        left_alone_for: How long it stays open until it is tried.
        patience: After so long without an outcome of the try another one is made: its process may not have survived.
        moved: Told about each move, with the new state.
    """

    def __init__(
        self,
        name: str,
        memory: SharedMemory,
        *,
        failures: tuple[type[Exception], ...],
        answers: tuple[type[Exception], ...] = (),
        at_most: int,
        left_alone_for: timedelta,
        patience: timedelta,
        moved: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self._storage = _Storage(name, memory)
        self._left_alone_for = left_alone_for
        self._circuit = _Circuit(
            self._storage,
            patience=patience,
            name=name,
            fail_max=at_most,
            reset_timeout=left_alone_for.total_seconds(),
            exclude=[lambda error: not isinstance(error, failures) or isinstance(error, answers)],
            listeners=[_Listener(moved)],
        )

    def call(self, ask: Callable[[], Result], left_alone: Callable[[str, timedelta], Exception]) -> Result:
        """Make the call unless the part is left alone.

        Args:
            ask: The call.
            left_alone: Makes the error to raise then, and for the failure that opens the breaker, from a sentence and
                the time until the part is tried again.
        """
        try:
            return self._circuit.call(ask)
        except pybreaker.CircuitBreakerError as error:
            # No time in the text: the same news twice should be the same text.
            told = f"{self.name} failed {self._circuit.fail_max} times in a row or more"
            raise left_alone(told, self._wait()) from error

    def view(self) -> BreakerView:
        """Return how the breaker is. One whose time is over is half-open: the next call tries."""
        state = self._circuit.current_state
        wait = self._storage.opened_at and self._storage.opened_at + self._left_alone_for
        if state == pybreaker.STATE_OPEN and wait and wait <= datetime.now(UTC):
            state = pybreaker.STATE_HALF_OPEN
        return BreakerView(self.name, state, self._storage.counter, wait if state == pybreaker.STATE_OPEN else None)

    def _wait(self) -> timedelta:
        until = (self._storage.opened_at or datetime.now(UTC)) + self._left_alone_for
        return max(until - datetime.now(UTC), _NEWS)


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, moved: Callable[[str, str], None]) -> None:
        self._moved = moved

    def state_change(self, cb: Any, _old: Any, new: Any) -> None:
        self._moved(cb.name, new.name)
