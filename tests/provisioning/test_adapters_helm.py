"""Helm as typed calls: the real program on the real API server, and what it says when something is wrong."""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster, faults
from devstack.processes import free_port, wait_until
from devstack.stack import ROOT

from provisioning.adapters.helm import (
    ChartInvalidError,
    Helm,
    HelmAdmissionDeniedError,
    HelmClusterUnreachableError,
    HelmError,
    HelmKilledError,
    HelmNamespaceTerminatingError,
    HelmProgramError,
    HelmQuotaExceededError,
    HelmTimeoutError,
    Release,
    ReleaseBusyError,
    ResourceConflictError,
)
from provisioning.adapters.launcher import launching

_PATIENCE = timedelta(seconds=20)
_ABOUT = "apiVersion: v2\nname: probe\nversion: 1.0.0\n"
_CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: probe}
data: {text: {{ .Values.text | default "none" | quote }}}
"""
_POD = """
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: main, image: "probe:1"}]}
"""


@pytest.fixture
def helm(helm_binary: Path, dev_cluster: DevCluster) -> Helm:
    return Helm(helm_binary, dev_cluster.kubeconfig, context=None, timeout=timedelta(seconds=30))


class Place:
    """A namespace of the cluster."""

    def __init__(self, cluster: DevCluster, **labels: str) -> None:
        self.cluster, self.name = cluster, f"helm-{secrets.token_hex(4)}"
        body = {"metadata": {"name": self.name, "labels": labels}}
        cluster.request("POST", "/api/v1/namespaces", body)

    def path(self, plural: str, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def get(self, plural: str, name: str) -> Any:
        return self.cluster.request("GET", self.path(plural, name))

    def make(self, plural: str, name: str, **fields: Any) -> None:
        assert self.cluster.request("POST", self.path(plural), {"metadata": {"name": name}, **fields})

    def delete(self) -> None:
        self.cluster.request("DELETE", f"/api/v1/namespaces/{self.name}")


@pytest.fixture
def place(dev_cluster: DevCluster) -> Iterator[Place]:
    made = Place(dev_cluster)
    yield made
    made.delete()


def a_chart(folder: Path, template: str = _CONFIG_MAP, *, about: str = _ABOUT, schema: Any = None) -> Path:
    (folder / "chart/templates").mkdir(parents=True)
    (folder / "chart/Chart.yaml").write_text(about)
    (folder / "chart/templates/probe.yaml").write_text(template)
    if schema:
        (folder / "chart/values.schema.json").write_text(json.dumps(schema))
    return folder / "chart"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart of one ConfigMap."""
    return a_chart(tmp_path)


def install(helm: Helm, place: Place, chart: Path, **values: Any) -> Release:
    return helm.apply("probe", namespace=place.name, chart=chart, values=values, labels={"job": "one"})


def at(helm: Helm, port: int, folder: Path) -> Helm:
    """The same Helm, told that the API server is at ``port``."""
    server = json.loads((helm.kubeconfig.parent / "ports.json").read_text())["api"]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(helm.kubeconfig.read_text().replace(f"127.0.0.1:{server}", f"127.0.0.1:{port}"))
    return replace(helm, kubeconfig=kubeconfig)


@pytest.fixture
def hanging(helm: Helm, tmp_path: Path) -> Iterator[Helm]:
    """Helm for a cluster that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield at(helm, listener.getsockname()[1], tmp_path)


# --- what works ---------------------------------------------------------------------------------------------------


def test_a_release_is_installed_upgraded_and_labelled_by_the_same_call(helm: Helm, place: Place, chart: Path) -> None:
    first = install(helm, place, chart, text="one", more="kept")
    second = install(helm, place, chart, text="two")

    assert first == Release("probe", place.name, 1, "deployed")
    assert second == Release("probe", place.name, 2, "deployed")
    assert place.get("configmaps", "probe")["data"] == {"text": "two"}
    assert place.get("secrets", "sh.helm.release.v1.probe.v2")["metadata"]["labels"]["job"] == "one"


def test_a_value_that_is_left_out_is_the_charts_default_again(helm: Helm, place: Place, chart: Path) -> None:
    install(helm, place, chart, text="one")

    install(helm, place, chart)

    assert place.get("configmaps", "probe")["data"] == {"text": "none"}


def test_only_the_newest_revisions_are_kept(helm: Helm, place: Place, chart: Path) -> None:
    for number in range(4):
        install(replace(helm, history_max=2), place, chart, text=str(number))

    kept = place.cluster.request("GET", place.path("secrets"))["items"]
    assert [item["metadata"]["labels"]["version"] for item in kept] == ["3", "4"]


def test_an_uninstall_removes_all_and_a_second_one_finds_nothing(helm: Helm, place: Place, chart: Path) -> None:
    install(helm, place, chart)

    assert helm.uninstall("probe", namespace=place.name)

    assert place.get("configmaps", "probe") is None
    assert place.cluster.request("GET", place.path("secrets"))["items"] == []
    assert not helm.uninstall("probe", namespace=place.name)


def test_the_version_is_that_of_helm_4(helm: Helm) -> None:
    assert helm.version().startswith("v4.")


# --- what Helm says when something is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "about", "says"),
    [
        pytest.param("{{ required `a size is needed` .Values.size }}", _ABOUT, "a size is needed", id="missing value"),
        pytest.param("{{ fail `not on Sundays` }}", _ABOUT, "not on Sundays", id="refusal of the chart"),
        pytest.param("{{ if }}", _ABOUT, "parse error", id="template that is none"),
        pytest.param("{{ .Values.a.b.c }}", _ABOUT, "nil pointer", id="value below nothing"),
        pytest.param("a: [b", _ABOUT, "YAML", id="no YAML"),
        pytest.param(_CONFIG_MAP, "apiVersion: v2\nname: [", "YAML", id="Chart.yaml that is no YAML"),
        pytest.param(_CONFIG_MAP, f"{_ABOUT}kubeVersion: '>=99'\n", "kubeVersion", id="other Kubernetes"),
    ],
)
def test_a_chart_that_cannot_be_rendered_is_invalid(
    helm: Helm, place: Place, tmp_path: Path, template: str, about: str, says: str
) -> None:
    with pytest.raises(ChartInvalidError, match=says) as raised:
        install(helm, place, a_chart(tmp_path, template, about=about))

    assert not raised.value.retryable


def test_values_against_the_schema_are_invalid_and_the_field_is_named(helm: Helm, place: Place, tmp_path: Path) -> None:
    chart = a_chart(tmp_path, schema={"properties": {"replicas": {"type": "integer"}}})

    with pytest.raises(ChartInvalidError, match="/replicas"):
        install(helm, place, chart, replicas="many")


@pytest.mark.parametrize("hook", ["", "annotations: {helm.sh/hook: post-install}"])
def test_a_field_that_the_kind_does_not_have_is_refused_by_the_api_server_and_named(
    helm: Helm, place: Place, chart: Path, hook: str
) -> None:
    (chart / "templates/service.yaml").write_text(
        f"""
apiVersion: v1
kind: Service
metadata:
  name: probe
  {hook}
spec: {{ports: [{{port: 80}}], selektor: {{a: b}}}}
"""
    )

    with pytest.raises(HelmError, match=r"\.spec\.selektor: field not declared in schema"):
        install(helm, place, chart)


def test_a_chart_that_is_not_there_is_invalid(helm: Helm, place: Place, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ChartInvalidError, match=path.name):
            install(helm, place, path)


def test_an_object_of_somebody_else_is_not_taken_over(helm: Helm, place: Place, chart: Path) -> None:
    place.make("configmaps", "probe", data={"text": "theirs"})

    with pytest.raises(ResourceConflictError, match="invalid ownership metadata"):
        install(helm, place, chart)

    assert place.get("configmaps", "probe")["data"] == {"text": "theirs"}


def test_a_field_of_the_release_that_somebody_else_changed_is_taken_back(helm: Helm, place: Place, chart: Path) -> None:
    install(helm, place, chart, text="ours")
    place.cluster.request("PATCH", place.path("configmaps", "probe"), {"data": {"text": "theirs"}})

    install(helm, place, chart, text="ours again")

    assert place.get("configmaps", "probe")["data"] == {"text": "ours again"}


def leave_pending(place: Place, status: str) -> None:
    """Leave the release as a Helm does that was killed: its newest revision is under way."""
    secret = place.get("secrets", "sh.helm.release.v1.probe.v1")
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    release["info"]["status"], release["version"] = status, 2
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    body = {
        "metadata": {
            "name": "sh.helm.release.v1.probe.v2",
            "labels": {**secret["metadata"]["labels"], "status": status, "version": "2"},
        },
        "type": secret["type"],
        "data": {"release": packed},
    }
    assert place.cluster.request("POST", place.path("secrets"), body)


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback"])
def test_a_release_that_was_cut_off_is_busy_and_can_still_be_uninstalled(
    helm: Helm, place: Place, chart: Path, status: str
) -> None:
    install(helm, place, chart)
    leave_pending(place, status)

    with pytest.raises(ReleaseBusyError) as raised:
        install(helm, place, chart)

    assert raised.value.retryable
    assert helm.uninstall("probe", namespace=place.name)


def test_a_full_quota_can_be_tried_again_and_works_once_there_is_room(helm: Helm, place: Place, chart: Path) -> None:
    place.make("resourcequotas", "quota", spec={"hard": {"count/configmaps": "0"}})
    wait_until(lambda: "used" in place.get("resourcequotas", "quota")["status"], timeout=_PATIENCE, what="the quota")

    with pytest.raises(HelmQuotaExceededError, match="exceeded quota") as raised:
        install(helm, place, chart)
    assert raised.value.retryable

    place.cluster.request("DELETE", place.path("resourcequotas", "quota"))
    assert install(helm, place, chart).status == "deployed"


def test_an_object_that_pod_security_refuses_is_denied(helm: Helm, dev_cluster: DevCluster, tmp_path: Path) -> None:
    strict = Place(dev_cluster, **{"pod-security.kubernetes.io/enforce": "restricted"})

    with pytest.raises(HelmAdmissionDeniedError, match="violates PodSecurity") as raised:
        install(helm, strict, a_chart(tmp_path, _POD))

    assert not raised.value.retryable
    assert len(str(raised.value)) <= 2000
    strict.delete()


def test_an_object_that_a_policy_refuses_is_denied(helm: Helm, dev_cluster: DevCluster, chart: Path) -> None:
    name = f"no-probes-{secrets.token_hex(4)}"
    guarded = Place(dev_cluster, guarded=name)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": {"matchLabels": {"guarded": name}}},
        "validations": [{"expression": "object.metadata.name != 'probe'", "message": "no probes here"}],
    }
    prefix = "/apis/admissionregistration.k8s.io/v1"
    policies = f"{prefix}/validatingadmissionpolicies"
    bindings = f"{prefix}/validatingadmissionpolicybindings"
    binding = {"policyName": name, "validationActions": ["Deny"]}
    dev_cluster.request("POST", policies, {"metadata": {"name": name}, "spec": policy})
    dev_cluster.request("POST", bindings, {"metadata": {"name": name}, "spec": binding})
    try:
        raised: list[HelmError] = []

        def denied() -> bool:
            # A policy takes hold a moment after it was made.
            try:
                install(helm, guarded, chart)
            except HelmError as error:
                raised.append(error)
                return True
            helm.uninstall("probe", namespace=guarded.name)
            return False

        wait_until(denied, timeout=_PATIENCE, what="the policy")
    finally:
        dev_cluster.request("DELETE", f"{bindings}/{name}")
        dev_cluster.request("DELETE", f"{policies}/{name}")
        guarded.delete()

    assert type(raised[0]) is HelmAdmissionDeniedError
    assert "no probes here" in str(raised[0])


def test_a_namespace_that_is_being_deleted_can_be_tried_again(helm: Helm, place: Place, chart: Path) -> None:
    faults.set_fault(place.cluster.request, "namespace-held", namespace=place.name)
    place.delete()
    try:
        with pytest.raises(HelmNamespaceTerminatingError) as raised:
            install(helm, place, chart)
        assert raised.value.retryable
    finally:
        faults.clear_fault(place.cluster.request, "namespace-held", namespace=place.name)


def test_what_is_not_known_is_an_error_with_helms_own_words(helm: Helm, chart: Path, dev_cluster: DevCluster) -> None:
    with pytest.raises(HelmError, match='namespaces "nowhere" not found') as raised:
        helm.apply("probe", namespace="nowhere", chart=chart, values={}, labels={"job": "one"})

    assert type(raised.value) is HelmError
    assert not raised.value.retryable


# --- clusters that do not answer ------------------------------------------------------------------------------------


def test_a_cluster_where_nothing_listens_is_unreachable(helm: Helm, place: Place, chart: Path, tmp_path: Path) -> None:
    with pytest.raises(HelmClusterUnreachableError, match="connection refused") as raised:
        install(at(helm, free_port(), tmp_path), place, chart)

    assert raised.value.retryable


@pytest.mark.parametrize("content", ["", "kind: Nonsense: :"])
def test_a_kubeconfig_that_cannot_be_used_is_an_unreachable_cluster(
    helm: Helm, place: Place, chart: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "kubeconfig").write_text(content)

    with pytest.raises(HelmClusterUnreachableError):
        install(replace(helm, kubeconfig=tmp_path / "kubeconfig"), place, chart)


def test_a_context_that_is_not_there_is_an_unreachable_cluster(helm: Helm, place: Place, chart: Path) -> None:
    with pytest.raises(HelmClusterUnreachableError, match='context "elsewhere" does not exist'):
        install(replace(helm, context="elsewhere"), place, chart)


def test_a_cluster_that_hangs_costs_no_more_than_the_time_out(hanging: Helm, place: Place, chart: Path) -> None:
    with pytest.raises(HelmTimeoutError, match="longer than 1 s") as raised:
        install(replace(hanging, timeout=timedelta(seconds=1)), place, chart)

    assert raised.value.retryable
    assert commands_with(chart) == []


def test_a_caller_that_lost_interest_ends_helm_at_once(hanging: Helm, place: Place, chart: Path) -> None:
    with pytest.raises(HelmKilledError):
        hanging.apply(
            "probe",
            namespace=place.name,
            chart=chart,
            values={},
            labels={"job": "one"},
            cancelled=lambda: bool(commands_with(chart)),
        )

    assert commands_with(chart) == []


def commands_with(chart: Path) -> list[int]:
    """Return the processes that were given ``chart``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(chart).encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def test_helm_dies_with_its_caller(hanging: Helm, chart: Path) -> None:
    program = (
        "import sys; from datetime import timedelta; from pathlib import Path\n"
        "from provisioning.adapters.helm import Helm\n"
        "helm = Helm(Path(sys.argv[1]), Path(sys.argv[2]), None, timedelta(minutes=5))\n"
        "chart = Path(sys.stdin.readline().strip())\n"
        "helm.apply('probe', namespace='default', chart=chart, values={}, labels={'job': 'one'})"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", program, hanging.binary, hanging.kubeconfig], cwd=ROOT, stdin=subprocess.PIPE
    )
    assert caller.stdin is not None
    caller.stdin.write(f"{chart}\n".encode())
    caller.stdin.close()
    wait_until(lambda: len(commands_with(chart)) == 1, timeout=_PATIENCE, what="Helm", process=caller)

    caller.send_signal(signal.SIGKILL)
    caller.wait()

    # Soon: some seconds later it would give up by itself.
    wait_until(lambda: commands_with(chart) == [], timeout=timedelta(seconds=3), what="the end of Helm")


def test_a_program_whose_parent_went_before_the_kernel_was_asked_is_not_begun() -> None:
    told = subprocess.run([*launching(os.getppid()), "/bin/echo", "begun"], capture_output=True, text=True, check=False)

    assert (told.returncode, told.stdout) == (1, "")


def test_without_what_lets_helm_die_with_its_caller_helm_is_not_begun(
    helm: Helm, place: Place, chart: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(HelmProgramError, match="setpriv of util-linux"):
        install(helm, place, chart)


# --- what Helm is given -----------------------------------------------------------------------------------------------


def test_no_value_and_no_variable_of_ours_reaches_a_command_line_or_helms_environment(
    hanging: Helm, place: Place, chart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "secret-of-the-environment")
    seen: list[bytes] = []
    lost_interest = threading.Event()

    def look() -> bool:
        for pid in commands_with(chart):
            with suppress(OSError):
                seen.extend(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
                # The first look may meet the launcher, the last one meets Helm.
                if Path(f"/proc/{pid}/exe").readlink() == hanging.binary.resolve():
                    lost_interest.set()
        return lost_interest.is_set()

    with pytest.raises(HelmKilledError):
        hanging.apply(
            "probe",
            namespace=place.name,
            chart=chart,
            values={"text": "secret-of-the-values"},
            labels={"job": "one"},
            cancelled=look,
        )

    assert str(hanging.kubeconfig).encode() in b"".join(seen)
    assert b"secret-of" not in b"".join(seen)


@pytest.mark.parametrize("name", ["-x", "--kubeconfig=/tmp/mine", "", "Probe", "a b", "../a", "a\n", "a;b", "a-"])
def test_a_name_that_helm_could_take_for_something_else_is_refused_before_helm_is_asked(chart: Path, name: str) -> None:
    nowhere = Helm(Path("/nonexistent/helm"), Path("/nonexistent"), None, timedelta(seconds=1))

    with pytest.raises(ValueError, match="not a name"):
        nowhere.apply(name, namespace="probe", chart=chart, values={}, labels={})
    with pytest.raises(ValueError, match="not a name"):
        nowhere.apply("probe", namespace=name, chart=chart, values={}, labels={})
    with pytest.raises(ValueError, match="not a name"):
        nowhere.uninstall(name, namespace="probe")
    with pytest.raises(ValueError, match="not a name"):
        nowhere.uninstall("probe", namespace=name)


def test_a_chart_whose_path_looks_like_an_option_is_still_a_path(
    helm: Helm, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_chart(tmp_path / "--dry-run")
    (tmp_path / "--dry-run/chart").rename(tmp_path / "--dry-run=server")
    monkeypatch.chdir(tmp_path)

    assert install(helm, place, Path("--dry-run=server")).status == "deployed"


@pytest.mark.parametrize("content", [None, "\x7fELF for another machine"])
def test_a_helm_that_cannot_be_started_is_reported_with_the_setting(
    helm: Helm, place: Place, chart: Path, tmp_path: Path, content: str | None
) -> None:
    program = tmp_path / "helm"
    if content is not None:
        program.write_text(content)
        program.chmod(0o755)

    with pytest.raises(HelmProgramError, match="HELM_BINARY") as raised:
        install(replace(helm, binary=program), place, chart)

    assert not raised.value.retryable
    assert "Traceback" not in str(raised.value)


def test_an_answer_that_cannot_be_read_is_an_error(helm: Helm, place: Place, chart: Path, tmp_path: Path) -> None:
    program = tmp_path / "helm"
    program.write_text("#!/bin/sh\ncat > /dev/null\necho '{}'\n")
    program.chmod(0o755)

    with pytest.raises(HelmError, match="cannot be read"):
        install(replace(helm, binary=program), place, chart)


def test_a_long_complaint_is_cut_and_its_end_is_kept(helm: Helm, place: Place, chart: Path, tmp_path: Path) -> None:
    program = tmp_path / "helm"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('x' * 5000 + 'the end')\n")
    program.chmod(0o755)

    with pytest.raises(HelmError, match=r"the end$") as raised:
        install(replace(helm, binary=program), place, chart)

    assert len(str(raised.value)) == 2000


def test_what_the_client_library_logs_is_no_part_of_the_complaint(
    helm: Helm, place: Place, chart: Path, tmp_path: Path
) -> None:
    said = "W1124 10:00:00.000 1 warnings.go:70] old\\nError: no\\nInternal detail\\nlevel=WARN msg=odd"
    program = tmp_path / "helm"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\nprintf '{said}' >&2\nexit 1\n")
    program.chmod(0o755)

    with pytest.raises(HelmError) as raised:
        install(replace(helm, binary=program), place, chart)

    assert str(raised.value) == "Error: no\nInternal detail"


#: What a shell, an option parser, a template or an eye could take for something else.
HOSTILE = (
    "--kubeconfig=/etc/passwd", "-n", "--", "--set image.repository=attacker", "a\nb", "a\r\n--dry-run",
    "a;id", "$(id)", "`id`", "a b", "../../etc", "{{ .Release.Name }}", "\u0430pple",
    "a\u200bb", "a\u202eb", "a\u2014b", "\uff0d\uff0dset",
)  # fmt: skip


@pytest.mark.parametrize("text", [*HOSTILE, "", "a" * 300, "a\0b"])
def test_nothing_that_is_no_name_reaches_the_command_line(helm: Helm, place: Place, chart: Path, text: str) -> None:
    for release, namespace in ((text, place.name), ("probe", text)):
        with pytest.raises(ValueError, match="not a name"):
            helm.apply(release, namespace=namespace, chart=chart, values={}, labels={})
        with pytest.raises(ValueError, match="not a name"):
            helm.uninstall(release, namespace=namespace)

    assert not place.get("configmaps", "probe")


def test_values_arrive_letter_by_letter_whatever_they_look_like(helm: Helm, place: Place, chart: Path) -> None:
    text = "\n".join(HOSTILE)

    install(helm, place, chart, text=text, **{"--set": "text=other", "-f": "/etc/passwd", "release": HOSTILE[0]})

    assert place.get("configmaps", "probe")["data"]["text"] == text
