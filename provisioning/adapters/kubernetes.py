"""The Kubernetes API as typed calls. Every call has a time-out; nothing is retried here."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError

from provisioning.adapters.guard import Guard, unguarded
from provisioning.adapters.kubernetes_errors import (
    ClusterUnreachableError,
    ConflictError,
    KubernetesError,
    NotFoundError,
    from_status,
)
from provisioning.adapters.kubernetes_objects import (
    Claim,
    Container,
    Metadata,
    Namespace,
    Node,
    Pod,
    Pull,
    Revision,
    Service,
    ServicePort,
    Snapshot,
    Volume,
    WarningEvent,
    Workload,
    changed_paths,
    read_pulls,
)

__all__ = [
    "Claim", "Container", "Kubernetes", "Metadata", "Namespace", "Node", "Pod", "Pull", "Revision", "Service",
    "ServicePort", "Snapshot", "Volume", "WarningEvent", "Workload",
]  # fmt: skip

_MANAGER: Final = "storeplatform"
_PAGE: Final = 500
#: The client library renews a token minutes before it expires: to ask it so often is enough.
_ACCESS_SECONDS: Final = 10.0
#: So often an object is read anew that was written to while it was compared.
_READINGS: Final = 5

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
    "CronJob": ("/apis/batch/v1", "cronjobs"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
}
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ONE_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class _Access:
    """How calls log in. To ask the library for the header costs it more than a whole call, so it is kept a while."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._kept: tuple[str | None, float] = (None, 0.0)

    def header(self) -> str | None:
        """Return the Authorization header, ``None`` where a certificate logs in."""
        header, until = self._kept
        if time.monotonic() >= until:
            token = self._settings.get_api_key_with_prefix("BearerToken", alias="authorization")
            header = token or self._settings.get_basic_auth_token()
            self._kept = header, time.monotonic() + _ACCESS_SECONDS
        return header


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """One cluster's API server. ``timeout`` holds for each call, and each goes through ``guard``."""

    _wire: Any
    #: What comes before a call's path: where the server is, as far as ``_wire`` has to be told.
    _root: str
    _host: str
    _access: _Access
    _timeout: timedelta
    _guard: Guard

    @classmethod
    def connect(
        cls, kubeconfig: Path, *, context: str | None, timeout: timedelta, guard: Guard = unguarded
    ) -> Kubernetes:
        """Return the cluster of ``kubeconfig``; nothing is asked of it yet.

        Raises:
            ClusterUnreachableError: The file cannot be read, or has no such context.
        """
        # Imported here: it takes half a second and 75 MB that a web process never needs.
        import yaml
        from kubernetes import client, config
        from urllib3 import ProxyManager
        from urllib3.util import parse_url

        try:
            settings = client.Configuration()
            config.load_kube_config(str(kubeconfig), context=context, client_configuration=settings)
            settings.retries = False
            api: Any = client.ApiClient(settings)
            wire, root = api.rest_client.pool_manager, settings.host
            if not isinstance(wire, ProxyManager):
                # All calls go to one server: to look its connections up by their address costs a tenth of each.
                wire, root = wire.connection_from_url(root), (parse_url(root).path or "").rstrip("/")
        # The library checks no shapes: a file of another one ends in any of the last four.
        except (
            config.ConfigException,
            OSError,
            yaml.YAMLError,
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
        ) as error:
            raise ClusterUnreachableError(f"the kubeconfig cannot be used: {error}") from error
        return cls(wire, root, settings.host, _Access(settings), timeout, guard)

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

    @staticmethod
    def knows(kind: str) -> bool:
        """Return whether objects of ``kind`` can be asked for."""
        return kind in _PLACES

    def metadata(self, kind: str, namespace: str, name: str) -> Metadata | None:
        """Return whose an object is, without its contents, or ``None``."""
        found = self._find(_path(kind, namespace=namespace, name=name), accept=_ONE_METADATA_ONLY)
        return Metadata.read(kind, found) if found else None

    def all_metadata(self, kind: str, namespace: str) -> list[Metadata]:
        """Return whose the objects of ``kind`` in the namespace are, without their contents."""
        items = self._list(_path(kind, namespace=namespace), accept=_METADATA_ONLY)
        return [Metadata.read(kind, item) for item in items]

    def changed_fields(self, manifest: Mapping[str, Any], *, namespace: str, manager: str) -> list[str] | None:
        """Return which fields of a present object are not as ``manifest`` says; ``None`` when it is not there.

        The server itself compares: an apply by ``manager`` is tried and not carried out, so that defaults, units and
        fields of other managers are no differences. Fields come as ``spec.replicas``; their values stay where they are.

        Raises:
            KubernetesError: The server cannot be asked, or refuses the object as it is wished.
        """
        meta = manifest["metadata"]
        path = _path(manifest["kind"], namespace=meta.get("namespace") or namespace, name=meta["name"])
        for _ in range(_READINGS):
            present = self._find(path)
            if present is None:
                return None
            wished = self._call(
                "PATCH",
                path,
                query={"fieldManager": manager, "force": "true", "dryRun": "All"},
                body=manifest,
                content_type="application/apply-patch+yaml",
            )
            # A controller may write in between: two readings of one object are compared only when it is the same one.
            if present["metadata"]["resourceVersion"] == wished["metadata"]["resourceVersion"]:
                return changed_paths(present, wished)
        raise ConflictError(f"{meta['name']} does not hold still")

    def delete_object(self, found: Metadata) -> None:
        """Ask for the deletion of exactly this object; one that is gone, or another of its name, is left alone."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": found.uid},
        }
        try:
            self._call("DELETE", _path(found.kind, namespace=found.namespace, name=found.name), body=body)
        except (NotFoundError, ConflictError):
            return

    def delete_namespace(self, name: str, *, uid: str) -> None:
        """Ask for the deletion of exactly this namespace; one that is gone, or another of its name, is left alone."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", _path("Namespace", name=name), body=body)
        except (NotFoundError, ConflictError):
            return

    def put_secret(self, namespace: str, name: str, *, data: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Make a Secret hold ``data``; equal contents change nothing."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
                "type": "Opaque",
                "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
            }
        )

    def read_secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return the contents of a Secret, or ``None``. Keep them out of logs and rows."""
        found = self._find(_path("Secret", namespace=namespace, name=name))
        if found is None:
            return None
        return {key: b64decode(value).decode() for key, value in (found.get("data") or {}).items()}

    def patch_secret(self, namespace: str, name: str, *, data: Mapping[str, str | None]) -> None:
        """Write these keys of a Secret, remove those that are ``None``, and leave the others as they are.

        Raises:
            NotFoundError: There is no such Secret.
        """
        encoded = {key: None if value is None else b64encode(value.encode()).decode() for key, value in data.items()}
        self._call(
            "PATCH",
            _path("Secret", namespace=namespace, name=name),
            query={"fieldManager": _MANAGER},
            body={"data": encoded},
            content_type="application/merge-patch+json",
        )

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

    def workloads(
        self, namespace: str, *, kinds: Sequence[str] = ("Deployment", "StatefulSet", "Job")
    ) -> tuple[Workload, ...]:
        """Return what has to run in the namespace, or only those of ``kinds``."""
        everything = [(kind, item) for kind in kinds for item in self._list(_path(kind, namespace=namespace))]
        # A Job that a CronJob made is routine work: the store does not depend on it.
        workloads = [(kind, item) for kind, item in everything if not item["metadata"].get("ownerReferences")]
        return tuple(Workload.read(kind, item) for kind, item in workloads)

    def snapshot(self, namespace: str, *, workloads: tuple[Workload, ...] | None = None) -> Snapshot:
        """Return what tells why the namespace is, or is not, ready, with its ``workloads`` if they were read before."""
        events = self._list(_path("Event", namespace=namespace))
        return Snapshot(
            workloads=self.workloads(namespace) if workloads is None else workloads,
            pods=tuple(Pod.read(item) for item in self._list(_path("Pod", namespace=namespace))),
            claims=tuple(Claim.read(item) for item in self._list(_path("PersistentVolumeClaim", namespace=namespace))),
            warnings=tuple(WarningEvent.read(item) for item in events if item.get("type") == "Warning"),
            pulls=read_pulls(events),
        )

    def pod_log_tail(
        self, namespace: str, pod: str, *, container: str | None, lines: int, previous: bool = False
    ) -> str:
        """Return the last lines of a pod's log, at most 8 KiB; ``""`` when there is none.

        ``previous`` asks for the log of the container's run before the present one.
        """
        query = {
            "tailLines": str(lines),
            "limitBytes": "8192",
            **({"container": container} if container else {}),
            **({"previous": "true"} if previous else {}),
        }
        try:
            return self._text("GET", f"{_path('Pod', namespace=namespace, name=pod)}/log", query=query)
        except KubernetesError:
            return ""  # a node that does not answer must not hide what else is known

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

    def claimed_volumes(self) -> list[Volume]:
        """Return each PersistentVolume that is or was claimed."""
        volumes = [Volume.read(item) for item in self._list(_path("PersistentVolume"))]
        return [volume for volume in volumes if volume.claim_namespace]

    def labelled_releases(self, label: str) -> list[tuple[str, str, str]]:
        """Return namespace, name and the label's value of each Helm release whose revisions carry ``label``."""
        secrets = self._list(_path("Secret"), accept=_METADATA_ONLY, labelSelector=f"owner=helm,{label}")
        found = {
            (meta["namespace"], meta["labels"].get("name", ""), meta["labels"][label])
            for meta in (item["metadata"] for item in secrets)
        }
        return sorted(found)

    def each(self, kind: str, selectors: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the objects of ``kind`` in all namespaces; only one page of them is in memory at a time."""
        for page in self._pages(_path(kind), accept=None, **selectors):
            yield from page.get("items") or []

    def listed(
        self, kind: str, selectors: Mapping[str, str], *, metadata_only: bool = False
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return the objects of ``kind`` in all namespaces, page by page, and the resourceVersion of the whole list."""
        version, items = "", list[dict[str, Any]]()
        for page in self._pages(_path(kind), accept=_METADATA_ONLY if metadata_only else None, **selectors):
            version = page["metadata"]["resourceVersion"]
            items += page.get("items") or []
        return version, items

    def stream(
        self, kind: str, selectors: Mapping[str, str], *, since: str, timeout: timedelta
    ) -> Iterator[dict[str, Any]]:
        """Yield each event of a watch, bookmarks included, from the resourceVersion ``since`` until ``timeout``.

        Raises:
            KubernetesError: The connection broke, or ended before its time.
        """
        seconds, begun = int(timeout.total_seconds()), time.monotonic()
        query = {
            **selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
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
        # Asking again at once would go round and round.
        if time.monotonic() - begun < seconds - 1:
            raise ClusterUnreachableError("the watch ended early")

    def _find(self, path: str, *, accept: str | None = None) -> dict[str, Any] | None:
        try:
            return self._call("GET", path, accept=accept)
        except NotFoundError:
            return None

    def _list(self, path: str, *, accept: str | None = None, **query: str) -> list[dict[str, Any]]:
        pages = self._pages(path, accept=accept, **query)
        return [item for page in pages for item in page.get("items") or []]

    def _pages(self, path: str, *, accept: str | None, **query: str) -> Iterator[dict[str, Any]]:
        place: dict[str, str] = {}
        while True:
            told = self._call("GET", path, query={**query, "limit": str(_PAGE), **place}, accept=accept)
            yield told
            proceed = (told.get("metadata") or {}).get("continue")
            if not proceed:
                return
            place = {"continue": proceed}

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
        try:
            told = json.loads(answer.data)
        except ValueError as error:
            raise ClusterUnreachableError(f"{path} was not answered with JSON") from error
        if not isinstance(told, dict):
            raise ClusterUnreachableError(f"{path} was not answered with an object")
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
        headers = {"Accept": accept or "application/json", "User-Agent": _MANAGER}
        if login := self._access.header():
            headers["Authorization"] = login
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"

        def ask() -> Any:
            try:
                answer = self._wire.request(
                    method,
                    f"{self._root}{path}{'?' + urlencode(query) if query else ''}",
                    body=json.dumps(body) if body is not None else None,
                    headers=headers,
                    timeout=timeout or self._timeout.total_seconds(),
                    retries=False,
                    preload_content=not stream,
                )
            except (HTTPError, OSError) as error:
                raise ClusterUnreachableError(f"{self._host}: {error}") from error
            if answer.status >= 400:
                raise from_status(answer.status, answer.data.decode(errors="replace"), answer.headers)
            return answer

        return self._guard(ask)


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        yield from response.stream(None, decode_content=True)
    except (HTTPError, OSError) as error:
        raise ClusterUnreachableError(f"the watch was cut: {error}") from error


def _path(kind: str, *, namespace: str | None = None, name: str | None = None) -> str:
    prefix, plural = _PLACES[kind]
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{inside}/{plural}{'/' + name if name else ''}"
