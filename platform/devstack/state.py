"""What the embedded stack remembers in ``.state/``: ports, secrets, and that it runs."""

from __future__ import annotations

import fcntl
import json
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devstack.processes import DevstackError, answers, free_port

_PARTS: Final = ("primary", "replica", "valkey", "openbao", "openbao-cluster", "web", "flower")
_SLICE: Final = 250
#: The rest of Kubernetes' own range, up to 32767, is left to clusters that are started without a stack.
_NODE_PORTS: Final = (30000, 32499)


@dataclass
class State:
    """The folder of one checkout's stack. Every secret in it is private to its user."""

    folder: Path

    def __post_init__(self) -> None:
        # Others may pass through, not look around: PostgreSQL runs as a user of its own when we are root.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.folder.chmod(0o711)
        self._lock: Any = None

    @property
    def logs(self) -> Path:
        """Return the folder of the parts' logs."""
        return self.folder / "logs"

    @property
    def connection(self) -> Path:
        """Return the file that says how to reach the stack."""
        return self.folder / "connection.env"

    def lock(self) -> None:
        """Keep a second stack from starting on this folder.

        Raises:
            DevstackError: One runs already.
        """
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise DevstackError(f"the stack runs already; see {self.connection}") from error

    def unlock(self) -> None:
        """Let another stack start on this folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def ports(self) -> dict[str, int]:
        """Return the ports of the parts: the ones of last time where they are still free."""
        before = self._read("ports.json")
        chosen: dict[str, int] = {}
        for part in _PARTS:
            port = free_port(before.get(part))
            while port in chosen.values():
                port = free_port()
            chosen[part] = port
        self._write("ports.json", chosen)
        return chosen

    def node_ports(self) -> tuple[int, int]:
        """Return this checkout's own slice of the NodePorts: two stacks side by side listen on different ones."""
        kept = self._read("node-ports.json")
        if kept:
            return kept["first"], kept["last"]
        starts = range(_NODE_PORTS[0], _NODE_PORTS[1], _SLICE)
        order = sorted(starts, key=lambda _start: secrets.randbelow(1 << 30))
        first = next((start for start in order if not any(map(answers, range(start, start + _SLICE)))), starts[0])
        self._write("node-ports.json", {"first": first, "last": first + _SLICE - 1})
        return first, first + _SLICE - 1

    def secret(self, name: str, *, prefix: str = "") -> str:
        """Return the secret called ``name``, made once."""
        kept = self._read("secrets.json")
        if name not in kept:
            kept[name] = prefix + secrets.token_urlsafe(48 if prefix else 24)
            self._write("secrets.json", kept)
        return str(kept[name])

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return kept

    def _write(self, name: str, content: dict[str, Any]) -> None:
        path = self.folder / name
        half = path.with_suffix(".half")
        half.touch(mode=0o600)
        half.write_text(json.dumps(content, indent=2))
        half.rename(path)

    def write_connection(self, values: dict[str, str]) -> None:
        """Write ``connection.env``, which a shell can source; only its user may read it."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        half = self.connection.with_suffix(".half")
        half.unlink(missing_ok=True)
        half.touch(mode=0o600)
        half.write_text("\n".join(lines) + "\n")
        half.rename(self.connection)
