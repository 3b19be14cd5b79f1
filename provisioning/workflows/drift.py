"""What the cluster holds of a store against what its release says: missing, changed and extra objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from provisioning.adapters.helm import Helm
from provisioning.adapters.kubernetes import Kubernetes, Metadata
from provisioning.adapters.kubernetes_errors import InvalidObjectError
from provisioning.engines.base import CREDENTIALS_SECRET

#: The name under which Helm 4 applies objects.
_HELM: Final = "helm"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
_PLATFORM: Final = "storeplatform"
_HOOK: Final = "helm.sh/hook"
#: Set-up Jobs come and go: one that has ended may have been cleared away.
_COME_AND_GO: Final = frozenset({"Job", "Pod"})
#: What holds what cannot be made again: neither removed nor, once lost, made anew by itself.
_IRREPLACEABLE: Final = frozenset({"PersistentVolumeClaim", "Secret"})
#: Kinds of which a store has none but those of its release.
_COUNTED: Final = (
    "Deployment", "StatefulSet", "Job", "CronJob", "Service", "ConfigMap", "Secret", "ServiceAccount", "Ingress",
    "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "PersistentVolumeClaim",
)  # fmt: skip
#: What Kubernetes and the platform put into every store's namespace, beside what says so itself.
_IN_EVERY: Final = frozenset(
    {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default"), ("Secret", CREDENTIALS_SECRET)}
)
#: Fields that name a Secret by its ``name``.
_REFERENCES: Final = frozenset({"secretKeyRef", "secretRef", "secret"})
#: How Helm calls the Secrets that hold its revisions.
_REVISION: Final = "sh.helm.release.v1."
#: What marks a service account's token, and what cert-manager marks the certificates with that it looks after.
_ACCOUNT: Final = "kubernetes.io/service-account.name"
_CERT_MANAGER: Final = "cert-manager.io/"


class DriftKind(StrEnum):
    """How an object is not as the release says."""

    MISSING = "missing_object"
    CHANGED = "changed_object"
    EXTRA = "extra_object"


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not as it should be. ``extra`` is given where a repair removes exactly that object."""

    kind: DriftKind
    object: str
    detail: str
    is_repairable: bool
    extra: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared: one release in its store's namespace. ``owner`` is the store's ownership label and value."""

    kubernetes: Kubernetes
    helm: Helm
    namespace: str
    release: str
    owner: tuple[str, str]

    def differences(self) -> list[Difference]:
        """Return every difference, in the order of the objects' names.

        Raises:
            ReleaseNotFoundError: There is no such release.
            HelmError, KubernetesError: Helm or the cluster cannot be asked.
        """
        manifest = self.helm.manifest(self.release, namespace=self.namespace)
        found = [*self._not_as_released(manifest), *self._extra(manifest)]
        return sorted(found, key=lambda difference: (difference.object, difference.kind))

    def _not_as_released(self, manifest: list[dict[str, Any]]) -> Iterator[Difference]:
        for wished in manifest:
            kind, name = wished["kind"], wished["metadata"]["name"]
            if kind in _COME_AND_GO or not self.kubernetes.knows(kind):
                continue
            if kind == "Secret":
                is_there = self.kubernetes.metadata(kind, self.namespace, name) is not None
                fields: list[str] | None = [] if is_there else None
            else:
                fields = self._changed_fields(wished)
            if fields is None:
                yield Difference(DriftKind.MISSING, f"{kind}/{name}", "it was removed", kind not in _IRREPLACEABLE)
            elif fields:
                yield Difference(DriftKind.CHANGED, f"{kind}/{name}", f"changed: {', '.join(fields)}", True)

    def _changed_fields(self, wished: Mapping[str, Any]) -> list[str] | None:
        try:
            wished = self._as_applied(wished)
            return self.kubernetes.changed_fields(wished, namespace=self.namespace, manager=_HELM)
        except InvalidObjectError:
            return ["a field that cannot be changed back"]

    def _as_applied(self, wished: Mapping[str, Any]) -> dict[str, Any]:
        """Return the object as Helm applies it: with the marks of its release, which the manifest does not show."""
        meta = wished["metadata"]
        marks = {
            "meta.helm.sh/release-name": self.release,
            "meta.helm.sh/release-namespace": self.namespace,
        }
        labels = {**(meta.get("labels") or {}), _MANAGED_BY: "Helm"}
        annotations = {**(meta.get("annotations") or {}), **marks}
        return {**wished, "metadata": {**meta, "labels": labels, "annotations": annotations}}

    def _extra(self, manifest: list[dict[str, Any]]) -> Iterator[Difference]:
        ours = {(wished["kind"], wished["metadata"]["name"]) for wished in manifest} | _IN_EVERY
        ours |= {("Secret", name) for name in _secrets_of(manifest)}
        templates = tuple(_claims_of(manifest))
        label, value = self.owner
        for kind in _COUNTED:
            for found in self.kubernetes.all_metadata(kind, self.namespace):
                if (kind, found.name) in ours or found.name.startswith(templates) or _has_its_own_maker(found):
                    continue
                labelled = found.labels.get(label) == value
                detail = "no release has it" if labelled else "no release has it, and it is not the platform's"
                can_go = labelled and kind not in _IRREPLACEABLE
                yield Difference(DriftKind.EXTRA, f"{kind}/{found.name}", detail, can_go, found if can_go else None)


def _has_its_own_maker(found: Metadata) -> bool:
    """Whether somebody made the object who also looks after it: a controller, the platform, Helm, cert-manager."""
    if found.is_made or _HOOK in found.annotations or found.labels.get(_MANAGED_BY) == _PLATFORM:
        return True
    if found.kind != "Secret":
        return False
    is_revision = found.name.startswith(_REVISION) and found.labels.get("owner") == "helm"
    marks = (*found.labels, *found.annotations)
    return is_revision or _ACCOUNT in found.annotations or any(_CERT_MANAGER in mark for mark in marks)


def _secrets_of(told: Any) -> Iterator[str]:
    """Yield the Secrets that a release's objects name: for settings, volumes, certificates and pulls of images."""
    if isinstance(told, list):
        for one in told:
            yield from _secrets_of(one)
    elif isinstance(told, Mapping):
        for key, value in told.items():
            if key == "secretName" and isinstance(value, str):
                yield value
            named = value if key == "imagePullSecrets" else [value] if key in _REFERENCES else []
            yield from (one["name"] for one in named or [] if isinstance(one, Mapping) and "name" in one)
            yield from _secrets_of(value)


def _claims_of(manifest: list[dict[str, Any]]) -> Iterator[str]:
    """Yield how the claims begin that StatefulSets make from templates: ``data-store-db-``."""
    for wished in manifest:
        if wished["kind"] == "StatefulSet":
            for template in wished["spec"].get("volumeClaimTemplates") or []:
                yield f"{template['metadata']['name']}-{wished['metadata']['name']}-"
