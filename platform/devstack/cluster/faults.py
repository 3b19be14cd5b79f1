"""What can go wrong in the cluster, set and cleared by one command.

A fault is an annotation. A mutating admission policy of the cluster itself puts it on every new pod and claim of
the namespaces that a ConfigMap names; present ones are annotated here. KWOK's stages do the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

Request = Callable[..., Any]

ANNOTATION: Final = "devcluster/fault"
FINALIZER: Final = "devcluster/held"
#: The faults and what they do.
FAULTS: Final = {
    "image-missing": "images cannot be pulled",
    "image-slow": "images are pulled without end",
    "unschedulable": "no node takes pods",
    "crash-loop": "containers crash again and again",
    "volume-pending": "claims get no volume",
    "job-fails": "the pods of Jobs fail",
    "namespace-held": "a finalizer keeps the namespace from going",
    "node-gone": "the node reports trouble",
}
_EVERYWHERE: Final = "everywhere"
_CONFIG: Final = "/api/v1/namespaces/kube-system/configmaps/devcluster-faults"
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_NODE_PATH: Final = "/api/v1/nodes/node-1"
_PLURALS: Final = {"volume-pending": "persistentvolumeclaims"}


def install(request: Request) -> None:
    """Teach the cluster to pass faults on to new objects. Safe to repeat."""
    empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "devcluster-faults"}, "data": {}}
    request("POST", "/api/v1/namespaces/kube-system/configmaps", empty)
    annotate = (
        "has(object.metadata.annotations)"
        ' ? [JSONPatch{op: "add", path: "/metadata/annotations/devcluster~1fault", value: variables.fault}]'
        ' : [JSONPatch{op: "add", path: "/metadata/annotations", value: {"devcluster/fault": variables.fault}}]'
    )
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "devcluster-faults"},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods", "persistentvolumeclaims"],
                    }
                ]
            },
            "variables": [
                {
                    "name": "fault",
                    "expression": '!has(params.data) ? "" : object.metadata.namespace in params.data'
                    ' ? params.data[object.metadata.namespace] : "everywhere" in params.data'
                    ' ? params.data["everywhere"] : ""',
                }
            ],
            "matchConditions": [
                {"name": "wanted", "expression": "object.metadata.namespace != 'kube-system'"},
            ],
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": f'variables.fault == "" ? [] : ({annotate})'},
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "devcluster-faults"},
        "spec": {
            "policyName": "devcluster-faults",
            "paramRef": {
                "name": "devcluster-faults",
                "namespace": "kube-system",
                "parameterNotFoundAction": "Allow",
            },
        },
    }
    request("POST", f"{_ADMISSION}/mutatingadmissionpolicies", policy)
    request("POST", f"{_ADMISSION}/mutatingadmissionpolicybindings", binding)


def set_fault(request: Request, name: str, *, namespace: str | None = None) -> None:
    """Let ``name`` happen in ``namespace``, or everywhere.

    Raises:
        KeyError: There is no such fault.
    """
    FAULTS[name]
    if name == "unschedulable":
        request("PATCH", _NODE_PATH, {"spec": {"unschedulable": True}})
    elif name == "node-gone":
        request("PATCH", _NODE_PATH, {"metadata": {"annotations": {ANNOTATION: name}}})
    elif name == "namespace-held":
        _each_namespace(request, namespace, {"metadata": {"finalizers": [FINALIZER]}})
    else:
        request("PATCH", _CONFIG, {"data": {namespace or _EVERYWHERE: name}})
        _annotate(request, name, namespace, name)


def clear_fault(request: Request, name: str, *, namespace: str | None = None) -> None:
    """Undo :func:`set_fault`.

    Raises:
        KeyError: There is no such fault.
    """
    FAULTS[name]
    if name == "unschedulable":
        request("PATCH", _NODE_PATH, {"spec": {"unschedulable": None}})
    elif name == "node-gone":
        request("PATCH", _NODE_PATH, {"metadata": {"annotations": {ANNOTATION: None}}})
    elif name == "namespace-held":
        _each_namespace(request, namespace, {"metadata": {"finalizers": None}})
    else:
        request("PATCH", _CONFIG, {"data": {namespace or _EVERYWHERE: None}})
        _annotate(request, name, namespace, None)


def list_faults(request: Request) -> dict[str, str]:
    """Return the faults in force, by where they are: a namespace, ``everywhere`` or the node."""
    found: dict[str, str] = dict((request("GET", _CONFIG) or {}).get("data") or {})
    node = request("GET", _NODE_PATH) or {}
    if node.get("spec", {}).get("unschedulable"):
        found["node"] = "unschedulable"
    if ANNOTATION in (node.get("metadata", {}).get("annotations") or {}):
        found["node"] = "node-gone"
    for item in request("GET", "/api/v1/namespaces")["items"]:
        if FINALIZER in (item["metadata"].get("finalizers") or []):
            found[item["metadata"]["name"]] = "namespace-held"
    return found


def _annotate(request: Request, name: str, namespace: str | None, value: str | None) -> None:
    plural = _PLURALS.get(name, "pods")
    inside = f"/api/v1/namespaces/{namespace}" if namespace else "/api/v1"
    for item in request("GET", f"{inside}/{plural}")["items"]:
        meta = item["metadata"]
        present = (meta.get("annotations") or {}).get(ANNOTATION)
        if value is not None or present == name:
            path = f"/api/v1/namespaces/{meta['namespace']}/{plural}/{meta['name']}"
            request("PATCH", path, {"metadata": {"annotations": {ANNOTATION: value}}})


def _each_namespace(request: Request, namespace: str | None, patch: dict[str, Any]) -> None:
    names = [namespace] if namespace else [n["metadata"]["name"] for n in request("GET", "/api/v1/namespaces")["items"]]
    for name in names:
        if namespace or name.startswith("store-"):
            request("PATCH", f"/api/v1/namespaces/{name}", patch)


def describe(found: dict[str, str]) -> str:
    """Return the faults in force as JSON for people and programs."""
    return json.dumps(found, indent=2, sort_keys=True)
