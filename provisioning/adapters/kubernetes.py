"""The Kubernetes API as typed calls. Every call has a time-out; nothing is retried here."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from provisioning.adapters.kubernetes_errors import (
    ClusterUnreachableError,
    ConflictError,
    GoneError,
    NotFoundError,
    from_status,
)
from provisioning.adapters.kubernetes_objects import (
    Change,
    Claim,
    Container,
    Namespace,
    Node,
    Pod,
    Revision,
    Service,
    ServicePort,
    Snapshot,
    WarningEvent,
    Workload,
)

__all__ = [
    "Change", "Claim", "Container", "Kubernetes", "Namespace", "Node", "Pod", "Revision", "Service", "ServicePort",
    "Snapshot", "WarningEvent", "Workload",
]  # fmt: skip

_MANAGER: Final = "storeplatform"
_PAGE: Final = 500

#: Where objects of a kind live: the API's prefix and the plural name.
_PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "Namespace": ("/api/v1", "namespaces"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
    "LimitRange": ("/api/v1", "limitranges"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "Node": ("/api/v1", "nodes"),
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
    "PersistentVolume": ("/api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Job": ("/apis/batch/v1", "jobs"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
}
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """One cluster's API server. ``timeout`` holds for each call."""

    _client: Any
    _timeout: timedelta

    @classmethod
    def connect(cls, kubeconfig: Path, *, context: str | None, timeout: timedelta) -> Kubernetes:
        """Return the cluster of ``kubeconfig``; nothing is asked of it yet.

        Raises:
            ClusterUnreachableError: The file cannot be read, or has no such context.
        """
        # Imported here: it takes half a second and 75 MB that a web process never needs.
        from kubernetes import client, config

        try:
            settings = client.Configuration()
            config.load_kube_config(str(kubeconfig), context=context, client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise ClusterUnreachableError(f"the kubeconfig cannot be used: {error}") from error
        settings.retries = False
        return cls(client.ApiClient(settings), timeout)

    def version(self) -> str:
        """Return the API server's version, as in ``v1.36.3``."""
        return str(self._call("GET", "/version")["gitVersion"])

    def namespace(self, name: str) -> Namespace | None:
        """Return the namespace, or ``None``."""
        found = self._find(_path("Namespace", name=name))
        return Namespace.read(found) if found else None

    def namespaces(self, label_selector: str) -> list[Namespace]:
        """Return the namespaces with these labels."""
        return [Namespace.read(item) for item in self._list(_path("Namespace"), labelSelector=label_selector)]

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Make the object as ``manifest`` says, by server-side apply under the platform's field manager."""
        meta = manifest["metadata"]
        path = _path(manifest["kind"], namespace=meta.get("namespace"), name=meta["name"])
        self._call(
            "PATCH",
            path,
            query={"fieldManager": _MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    def delete_namespace(self, name: str, *, uid: str) -> None:
        """Ask for the deletion of exactly this namespace; one that is gone, or another of its name, is left alone."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", _path("Namespace", name=name), body=body)
        except (NotFoundError, ConflictError):
            return

    def create_secret(self, namespace: str, name: str, *, data: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Create a Secret. Returns ``False`` when it is there already; it is never overwritten."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": dict(labels)},
            "type": "Opaque",
            "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
        }
        try:
            self._call("POST", _path("Secret", namespace=namespace), query={"fieldManager": _MANAGER}, body=body)
        except ConflictError:
            return False
        return True

    def service(self, namespace: str, name: str) -> Service | None:
        """Return the service, or ``None``."""
        found = self._find(_path("Service", namespace=namespace, name=name))
        return Service.read(found) if found else None

    def ready_endpoints(self, namespace: str, service: str) -> int:
        """Return how many addresses of the service take requests."""
        slices = self._list(
            _path("EndpointSlice", namespace=namespace), labelSelector=f"kubernetes.io/service-name={service}"
        )
        endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or []]
        return sum(1 for endpoint in endpoints if (endpoint.get("conditions") or {}).get("ready") is not False)

    def nodes(self) -> list[Node]:
        """Return the cluster's nodes."""
        return [Node.read(item) for item in self._list(_path("Node"))]

    def snapshot(self, namespace: str) -> Snapshot:
        """Return what tells why the namespace is, or is not, ready."""
        owned = ("Deployment", "StatefulSet", "Job")
        everything = [(kind, item) for kind in owned for item in self._list(_path(kind, namespace=namespace))]
        # A Job that a CronJob made is routine work: the store does not depend on it.
        workloads = [(kind, item) for kind, item in everything if not item["metadata"].get("ownerReferences")]
        warnings = self._list(_path("Event", namespace=namespace), fieldSelector="type=Warning")
        return Snapshot(
            workloads=tuple(Workload.read(kind, item) for kind, item in workloads),
            pods=tuple(Pod.read(item) for item in self._list(_path("Pod", namespace=namespace))),
            claims=tuple(Claim.read(item) for item in self._list(_path("PersistentVolumeClaim", namespace=namespace))),
            warnings=tuple(WarningEvent.read(item) for item in warnings),
        )

    def pod_log_tail(self, namespace: str, pod: str, *, container: str | None, lines: int) -> str:
        """Return the last lines of a pod's log, at most 8 KiB; ``""`` when there is none."""
        query = {
            "tailLines": str(lines),
            "limitBytes": "8192",
            **({"container": container} if container else {}),
        }
        try:
            return self._text("GET", f"{_path('Pod', namespace=namespace, name=pod)}/log", query=query)
        except Exception as error:
            if isinstance(error, ClusterUnreachableError):
                raise
            return ""

    def revisions(self, namespace: str, release: str) -> list[Revision]:
        """Return the revisions of a Helm release, oldest first."""
        secrets = self._list(
            _path("Secret", namespace=namespace),
            accept=_METADATA_ONLY,
            labelSelector=f"owner=helm,name={release}",
        )
        return sorted((Revision.read(item) for item in secrets), key=lambda revision: revision.number)

    def delete_revision(self, namespace: str, release: str, number: int) -> None:
        """Forget one revision of a Helm release; what it made stays. An absent one is fine."""
        name = f"sh.helm.release.v1.{release}.v{number}"
        try:
            self._call("DELETE", _path("Secret", namespace=namespace, name=name))
        except NotFoundError:
            return

    def volumes(self, namespace: str) -> list[str]:
        """Return the PersistentVolumes that are bound to a claim of the namespace."""
        return [
            item["metadata"]["name"]
            for item in self._list(_path("PersistentVolume"))
            if (item["spec"].get("claimRef") or {}).get("namespace") == namespace
        ]

    def watch(self, kind: str, *, label_selector: str, stop: threading.Event, timeout: timedelta) -> Iterator[Change]:
        """Yield every change of objects of ``kind`` in all namespaces, what is there already first.

        Ends when ``stop`` is set, at the latest after ``timeout`` without any change.

        Raises:
            KubernetesError: The connection broke; call again.
        """
        while not stop.is_set():
            listed = self._call("GET", _path(kind), query={"labelSelector": label_selector})
            for item in listed.get("items") or []:
                yield _change(kind, item)
            place = listed["metadata"]["resourceVersion"]
            try:
                while not stop.is_set():
                    for told in self._stream(kind, label_selector, place, timeout):
                        item = told["object"]
                        if told["type"] == "ERROR":
                            raise from_status(item.get("code", 500), json.dumps(item), None)
                        place = item["metadata"]["resourceVersion"]
                        if told["type"] != "BOOKMARK":
                            yield _change(kind, item)
                        if stop.is_set():
                            return
            except GoneError:
                continue  # too far behind: list again

    def _stream(self, kind: str, label_selector: str, place: str, timeout: timedelta) -> Iterator[dict[str, Any]]:
        seconds = int(timeout.total_seconds())
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": label_selector,
            "resourceVersion": place,
            "timeoutSeconds": str(seconds),
        }
        response = self._request("GET", _path(kind), query, None, None, None, timeout=seconds + 10, stream=True)
        try:
            pending = b""
            for chunk in _chunks(response):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        finally:
            response.release_conn()
            response.close()

    def _find(self, path: str) -> dict[str, Any] | None:
        try:
            return self._call("GET", path)
        except NotFoundError:
            return None

    def _list(self, path: str, *, accept: str | None = None, **query: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        page: dict[str, str] = {}
        while True:
            told = self._call("GET", path, query={**query, "limit": str(_PAGE), **page}, accept=accept)
            items += told.get("items") or []
            proceed = (told.get("metadata") or {}).get("continue")
            if not proceed:
                return items
            page = {"continue": proceed}

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        accept: str | None = None,
    ) -> dict[str, Any]:
        answer = self._request(method, path, query, body, content_type, accept)
        told: dict[str, Any] = json.loads(answer.data)
        return told

    def _text(self, method: str, path: str, *, query: Mapping[str, str]) -> str:
        return str(self._request(method, path, query, None, None, None).data.decode(errors="replace"))

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str | None,
        accept: str | None,
        *,
        timeout: float | None = None,
        stream: bool = False,
    ) -> Any:
        from urllib3.exceptions import HTTPError

        settings, pool = self._client.configuration, self._client.rest_client.pool_manager
        headers = {"Accept": accept or "application/json", "User-Agent": _MANAGER}
        token = (
            settings.get_api_key_with_prefix("BearerToken", alias="authorization") or settings.get_basic_auth_token()
        )
        if token:
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        try:
            answer = pool.request(
                method,
                f"{settings.host}{path}{'?' + urlencode(query) if query else ''}",
                body=json.dumps(body) if body is not None else None,
                headers=headers,
                timeout=timeout or self._timeout.total_seconds(),
                retries=False,
                preload_content=not stream,
            )
        except (HTTPError, OSError) as error:
            raise ClusterUnreachableError(f"{settings.host}: {error}") from error
        if answer.status >= 400:
            raise from_status(answer.status, answer.data.decode(errors="replace"), answer.headers)
        return answer


def _chunks(response: Any) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    try:
        yield from response.stream(None, decode_content=True)
    except (HTTPError, OSError) as error:
        raise ClusterUnreachableError(f"the watch was cut: {error}") from error


def _path(kind: str, *, namespace: str | None = None, name: str | None = None) -> str:
    prefix, plural = _PLACES[kind]
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{inside}/{plural}{'/' + name if name else ''}"


def _change(kind: str, item: Mapping[str, Any]) -> Change:
    meta = item["metadata"]
    return Change(kind, meta.get("namespace", ""), meta["name"], meta.get("labels") or {})
