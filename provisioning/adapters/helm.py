"""Helm, seen as typed calls: the only module that knows Helm is a program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from provisioning.adapters.guard import Guard, unguarded
from provisioning.adapters.launcher import launching

_DETAIL_LENGTH: Final = 2000
_POLL_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 5.0
_CANNOT_START: Final = (126, 127)  # the launcher's status for a program that is none
#: What the client library of Kubernetes logs on the way.
_LOG_LINE: Final = re.compile(r"level=|WARNING: |[IWE]\d{4} ")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class HelmError(Exception):
    """Helm refused or failed; its text says why. ``retryable`` says whether trying again can help."""

    retryable: ClassVar[bool] = False


class HelmProgramError(HelmError):
    """The program is missing or cannot be started."""


class HelmTimeoutError(HelmError):
    """Helm took too long and was ended."""

    retryable = True


class HelmKilledError(HelmError):
    """Helm was ended because its caller no longer wanted the result."""


class HelmClusterUnreachableError(HelmError):
    """Helm could not reach the cluster."""

    retryable = True


class HelmClusterLeftAloneError(HelmClusterUnreachableError):
    """The cluster failed again and again and is not asked now; it is in ``retry_after``."""

    def __init__(self, detail: str, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ReleaseNotFoundError(HelmError):
    """There is no such release."""


class ReleaseBusyError(HelmError):
    """Another operation holds the release, or a cut-off one left it so."""

    retryable = True


class ChartInvalidError(HelmError):
    """The chart cannot be rendered with these values."""


class ResourceConflictError(HelmError):
    """An object of the chart exists already and belongs to somebody else."""


class HelmQuotaExceededError(HelmError):
    """The namespace's quota has no room for an object."""

    retryable = True


class HelmAdmissionDeniedError(HelmError):
    """The cluster's admission refused an object."""


class HelmNamespaceTerminatingError(HelmError):
    """The namespace is being deleted."""

    retryable = True


#: First match wins. Every pattern has a test with Helm's real output.
KNOWN_FAILURES: Final[tuple[tuple[re.Pattern[str], type[HelmError]], ...]] = (
    (
        re.compile(
            r"kubernetes cluster unreachable|connection refused|no route to host|i/o timeout|TLS handshake"
            r"|connection reset|context deadline exceeded|unexpected EOF|the server is currently unable",
            re.IGNORECASE,
        ),
        HelmClusterUnreachableError,
    ),
    (re.compile(r"release: not found"), ReleaseNotFoundError),
    (re.compile(r"another operation .* is in progress"), ReleaseBusyError),
    (re.compile(r"because it is being terminated"), HelmNamespaceTerminatingError),
    (re.compile(r"exceeded quota"), HelmQuotaExceededError),
    (
        re.compile(
            r"values don't meet the specifications|execution error at|parse error|error converting YAML"
            r"|template: |executing \"|chart requires kubeVersion|unable to detect chart|path \".*\" not found"
            r"|chart\.metadata\.|missing in charts/"
        ),
        ChartInvalidError,
    ),
    (re.compile(r"invalid ownership metadata|cannot be imported"), ResourceConflictError),
    (
        re.compile(r"is forbidden: .*(violates|denied)|admission webhook|ValidatingAdmissionPolicy"),
        HelmAdmissionDeniedError,
    ),
)


@dataclass(frozen=True, slots=True)
class Release:
    """A release as Helm reports it."""

    name: str
    namespace: str
    revision: int
    status: str

    @classmethod
    def parse(cls, output: str) -> Release:
        """Read Helm's JSON.

        Raises:
            HelmError: It is of no known shape.
        """
        try:
            told = json.loads(output)
            return cls(told["name"], told["namespace"], told["version"], told["info"]["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise HelmError("Helm's answer cannot be read") from error


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Helm:
    """The ``helm`` program, bound to one cluster. ``timeout`` ends a run that takes longer.

    Each run goes through ``guard``.
    """

    binary: Path
    kubeconfig: Path
    context: str | None
    timeout: timedelta
    history_max: int = 5
    guard: Guard = unguarded

    def version(self) -> str:
        """Return the program's version, as in ``v4.3.1``."""
        return self._run("version", "--template", "{{.Version}}", cancelled=_never).strip()

    def apply(
        self,
        release: str,
        *,
        namespace: str,
        chart: Path,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        cancelled: Callable[[], bool] = _never,
        adopt: bool = False,
    ) -> Release:
        """Install or upgrade ``release`` without waiting for its pods. Safe to repeat.

        What somebody else changed of the chart's own fields is taken back.

        Args:
            release: The release's name.
            namespace: A namespace that exists.
            chart: The chart's folder.
            values: The complete values; what they leave out is the chart's default.
            labels: Labels of the revision.
            cancelled: Asked five times a second; once true, the program is ended.
            adopt: Whether objects that belong to no release become this one's.

        Raises:
            HelmError: One of its kinds.
        """
        flags = ["--take-ownership"] if adopt else []
        # Values through stdin: a command line is visible to every process.
        output = self._ask(
            "upgrade", _checked(release), str(chart.absolute()), "--install", "--reset-values",
            # Otherwise a field that a person once edited refuses every later upgrade.
            "--server-side=true", "--force-conflicts",
            # The API server refuses, at such an apply, each field that Helm would: see the adapter's tests. To look
            # for them itself Helm fetches every kind's schema, which is more than half of what its run takes.
            "--disable-openapi-validation",
            "--namespace", _checked(namespace), "--history-max", str(self.history_max),
            "--labels", ",".join(f"{k}={v}" for k, v in labels.items()),
            "--hide-notes", "--output", "json", "--values", "-", *flags,
            stdin=json.dumps(values), cancelled=cancelled,
        )  # fmt: skip
        return Release.parse(output)

    def uninstall(self, release: str, *, namespace: str, cancelled: Callable[[], bool] = _never) -> bool:
        """Remove ``release`` and its history without waiting for its pods. Returns ``False`` when there was none.

        Raises:
            HelmError: One of its kinds.
        """
        try:
            self._ask("uninstall", _checked(release), "--namespace", _checked(namespace), cancelled=cancelled)
        except ReleaseNotFoundError:
            return False
        return True

    def manifest(self, release: str, *, namespace: str) -> list[dict[str, Any]]:
        """Return the objects of the deployed ``release``, hooks excepted, without the contents of Secrets.

        Raises:
            ReleaseNotFoundError: There is no such release.
            HelmError: One of its other kinds.
        """
        output = self._ask("get", "manifest", _checked(release), "--namespace", _checked(namespace), cancelled=_never)
        return _objects(output)

    def render(self, release: str, *, namespace: str, chart: Path, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the objects that ``release`` would have, as :meth:`manifest`; the cluster is not asked.

        Raises:
            HelmError: One of its kinds.
        """
        output = self._run(
            "template", _checked(release), str(chart.absolute()), "--namespace", _checked(namespace),
            "--no-hooks", "--values", "-", stdin=json.dumps(values), cancelled=_never,
        )  # fmt: skip
        return _objects(output)

    def _ask(self, *arguments: str, cancelled: Callable[[], bool], stdin: str = "") -> str:
        return self.guard(lambda: self._run(*arguments, cancelled=cancelled, stdin=stdin))

    def _run(self, *arguments: str, cancelled: Callable[[], bool], stdin: str = "") -> str:
        program = shutil.which(str(self.binary))
        if program is None:
            raise HelmProgramError(f"the program {self.binary} is not there or not executable; see HELM_BINARY")
        try:
            command = [*launching(os.getpid()), program, *arguments]
        except FileNotFoundError as error:
            raise HelmProgramError(str(error)) from error
        with tempfile.TemporaryDirectory(prefix="helm-") as home:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment(home),
            )
            output, errors = self._communicate(child, stdin, cancelled)
        if child.returncode in _CANNOT_START:
            raise HelmProgramError(f"the program {self.binary} cannot be started; see HELM_BINARY: {errors.strip()}")
        if child.returncode:
            raise _failure(errors)
        return output

    def _environment(self, home: str) -> dict[str, str]:
        # Nothing is inherited but what Helm needs: no secret of ours reaches it or its plugins.
        context = {"HELM_KUBECONTEXT": self.context} if self.context else {}
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": home,
            "KUBECONFIG": str(self.kubeconfig),
            # A run is over in a second: most of what would be collected goes with it. Takes 10 MiB more.
            "GOGC": "400",
            **context,
        }

    def _communicate(self, child: subprocess.Popen[str], stdin: str, cancelled: Callable[[], bool]) -> tuple[str, str]:
        ended_because: list[HelmError] = []
        finished = threading.Event()

        def guard() -> None:
            waited = 0.0
            while not finished.wait(_POLL_SECONDS):
                waited += _POLL_SECONDS
                if cancelled():
                    ended_because.append(HelmKilledError("the job was taken away while Helm ran"))
                elif waited >= self.timeout.total_seconds():
                    ended_because.append(HelmTimeoutError(f"Helm took longer than {self.timeout.total_seconds():g} s"))
                if ended_because:
                    child.terminate()
                    if not finished.wait(_GRACE_SECONDS):
                        child.kill()
                    return

        watch = threading.Thread(target=guard, name="helm-guard", daemon=True)
        watch.start()
        try:
            output, errors = child.communicate(stdin)
        finally:
            finished.set()
            watch.join()
        if ended_because:
            raise ended_because[0]
        return output, errors


def _objects(output: str) -> list[dict[str, Any]]:
    import yaml  # which only workers need

    try:
        found = [one for one in yaml.load_all(output, Loader=yaml.CSafeLoader) if one]
    except yaml.YAMLError as error:
        raise HelmError("the manifest of the release cannot be read") from error
    for one in found:
        if one.get("kind") == "Secret":
            one.pop("data", None)
            one.pop("stringData", None)
    return found


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name that Helm may be given: {name!r}")
    return name


def _failure(errors: str) -> HelmError:
    lines = [line for line in errors.splitlines() if not _LOG_LINE.match(line)]
    text = "\n".join(lines or errors.splitlines()).strip()[-_DETAIL_LENGTH:]
    for pattern, kind in KNOWN_FAILURES:
        if pattern.search(text):
            return kind(text)
    return HelmError(text or "Helm failed and said nothing")
