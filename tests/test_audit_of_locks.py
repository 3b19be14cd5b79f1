"""What is known of the locked releases fails the build; that nothing can be known is said, and fails no build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devstack.processes import free_port
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ROOT = Path(__file__).resolve().parents[1]
_HASH = f"--hash=sha256:{'0' * 64}"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(f"leaflet==1.0 {_HASH}\nposter==2.0 {_HASH}\n")
    return path


def hole(name: str) -> Response:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.0"}]}]
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
    return Response(json.dumps({"vulns": [{"id": f"HOLE-{name}", "summary": "a hole", "affected": affected}]}))


def advisories(server: HTTPServer, *bad: str, gone: str = "") -> str:
    """A source that knows holes of the releases named ``bad``, and fails when it is asked of ``gone``."""

    def answer(request: Request) -> Response:
        name = json.loads(request.get_data())["package"]["name"]
        if name == gone:
            return Response(status=503)
        return hole(name) if name in bad else Response("{}")

    server.expect_request("/", method="POST").respond_with_handler(answer)
    return server.url_for("/")


def audit(url: str, lock: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "scripts/audit.py", "--osv-url", url, *arguments, str(lock)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_PROXY": "*"}, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_locks_without_known_holes_pass(httpserver: HTTPServer, lock: Path) -> None:
    status, said = audit(advisories(httpserver, "django"), lock)

    assert (status, said) == (0, "requirements.lock: 2 releases, 0 of them with known vulnerabilities\n")


def test_a_known_hole_fails_the_build_and_says_where_it_is_mended(httpserver: HTTPServer, lock: Path) -> None:
    status, said = audit(advisories(httpserver, "django", "poster"), lock, "--offline-is-fine")

    assert status == 1
    assert "poster 2.0: HOLE-poster; fixed in: 9.0" in said


def test_a_source_that_knows_no_hole_at_all_is_none(httpserver: HTTPServer, lock: Path) -> None:
    url = advisories(httpserver, "poster")

    assert audit(url, lock, "--offline-is-fine")[0] == 0
    status, said = audit(url, lock)
    assert status == 2
    assert "NOT AUDITED" in said


def test_without_any_source_it_is_said_plainly_that_nothing_was_audited(lock: Path) -> None:
    status, said = audit(f"http://127.0.0.1:{free_port()}/", lock, "--offline-is-fine")

    assert status == 0
    assert "NOT AUDITED" in said


def test_a_source_that_ends_in_the_middle_proves_nothing(httpserver: HTTPServer, lock: Path) -> None:
    status, said = audit(advisories(httpserver, "django", gone="poster"), lock)

    assert status == 2
    assert "NOT AUDITED" in said
