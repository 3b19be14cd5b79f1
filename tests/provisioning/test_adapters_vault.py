"""The client of Vault against a real OpenBao that is sealed, killed and started again."""

from __future__ import annotations

import secrets
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from devstack.cluster import DevCluster
from devstack.processes import free_port

from provisioning.adapters import vault as adapter
from provisioning.adapters.vault import AppRoleLogin, KubernetesLogin, TokenLogin, Vault
from provisioning.adapters.vault_errors import (
    VaultConflictError,
    VaultDeniedError,
    VaultRefusedError,
    VaultUnavailableError,
)
from tests.health.test_health import HangingServer
from tests.vaults import VaultServer


def new_path() -> str:
    return f"storeplatform/tests/{secrets.token_hex(4)}"


def test_a_document_is_written_over_the_version_that_was_read_and_no_older_one_is_kept(
    vault_server: VaultServer,
) -> None:
    vault, path = vault_server.client(), new_path()
    assert vault.read(path, mount="secret") is None

    vault.write(path, {"word": "first"}, version=0, mount="secret")
    vault.write(path, {"word": "second"}, version=1, mount="secret")

    found = vault.read(path, mount="secret")
    assert found is not None
    assert (found.values, found.version) == ({"word": "second"}, 2)
    kept = vault_server.call("GET", f"/v1/secret/metadata/{path}")["data"]["versions"]
    assert list(kept) == ["2"]


def test_a_write_over_another_version_than_the_present_one_is_a_conflict(vault_server: VaultServer) -> None:
    vault, path = vault_server.client(), new_path()
    vault.write(path, {"word": "mine"}, version=0, mount="secret")

    with pytest.raises(VaultConflictError):
        vault.write(path, {"word": "theirs"}, version=0, mount="secret")

    found = vault.read(path, mount="secret")
    assert found is not None
    assert found.values == {"word": "mine"}


def test_a_forgotten_document_is_gone_with_its_history(vault_server: VaultServer) -> None:
    vault, path = vault_server.client(), new_path()
    vault.write(path, {"word": "first"}, version=0, mount="secret")

    vault.forget(path, mount="secret")
    vault.forget(path, mount="secret")

    assert vault.read(path, mount="secret") is None
    assert vault_server.call("GET", f"/v1/secret/metadata/{path}") is None


def test_what_transit_encrypted_opens_after_the_key_was_rotated(vault_server: VaultServer) -> None:
    vault = vault_server.client()
    before = vault.encrypt("a word", key="storeplatform", mount="transit")

    vault.rotate_key("storeplatform", mount="transit")

    after = vault.encrypt("a word", key="storeplatform", mount="transit")
    assert before.split(":")[1] != after.split(":")[1]
    assert [vault.decrypt(one, key="storeplatform", mount="transit") for one in (before, after)] == ["a word"] * 2
    with pytest.raises(VaultRefusedError):
        vault.decrypt("vault:v1:bm9uZQ==", key="storeplatform", mount="transit")


def test_a_policy_that_does_not_allow_a_call_is_told_from_a_token_that_has_ended(vault_server: VaultServer) -> None:
    vault, path = vault_server.client(), new_path()
    with pytest.raises(VaultDeniedError):
        vault.read("somebody/else", mount="secret")
    assert vault.session == 1

    accessors = vault_server.call("LIST", "/v1/auth/token/accessors")["data"]["keys"]
    for accessor in accessors:
        found = vault_server.call("POST", "/v1/auth/token/lookup-accessor", {"accessor": accessor})
        if found and found["data"]["path"] == "auth/approle/login":
            vault_server.call("POST", "/v1/auth/token/revoke-accessor", {"accessor": accessor})

    vault.write(path, {"word": "written"}, version=0, mount="secret")
    assert vault.session == 2


@pytest.mark.parametrize("login", [TokenLogin("none"), AppRoleLogin("none", "none"), KubernetesLogin("x", Path("/no"))])
def test_a_wrong_login_is_denied(vault_server: VaultServer, login: adapter.Login) -> None:
    with pytest.raises(VaultDeniedError) as raised:
        vault_server.client(login).read(new_path(), mount="secret")

    assert not raised.value.retryable


def test_a_token_of_somebody_else_is_enough(vault_server: VaultServer) -> None:
    vault = vault_server.client(TokenLogin(vault_server.root))

    vault.write("anywhere", {"word": "root"}, version=0, mount="secret")

    vault.forget("anywhere", mount="secret")


def test_a_service_account_of_the_cluster_logs_in_with_its_token(
    vault_server: VaultServer, dev_cluster: DevCluster, tmp_path: Path
) -> None:
    """Vault has the real API server review the token."""
    ask = dev_cluster.request
    ask("POST", "/api/v1/namespaces", {"metadata": {"name": "vault-login"}})
    accounts = "/api/v1/namespaces/vault-login/serviceaccounts"
    for name in ("reviewer", "platform"):
        ask("POST", accounts, {"metadata": {"name": name}})
    ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "vault-login-reviewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": "reviewer", "namespace": "vault-login"}],
    })  # fmt: skip
    tokens = {
        name: ask("POST", f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 600}})["status"]["token"]
        for name in ("reviewer", "platform")
    }
    vault_server.call("POST", "/v1/sys/auth/kubernetes", {"type": "kubernetes"})
    cluster = yaml.safe_load(dev_cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    host, certificate = cluster["server"], Path(cluster["certificate-authority"]).read_text()
    vault_server.call("POST", "/v1/auth/kubernetes/config", {
        "kubernetes_host": host, "kubernetes_ca_cert": certificate, "token_reviewer_jwt": tokens["reviewer"],
        "disable_local_ca_jwt": True,
    })  # fmt: skip
    vault_server.call("POST", "/v1/auth/kubernetes/role/platform", {
        "bound_service_account_names": ["platform"], "bound_service_account_namespaces": ["vault-login"],
        "token_policies": ["storeplatform"],
    })  # fmt: skip
    file, path = tmp_path / "token", new_path()
    file.write_text(tokens["platform"])

    vault_server.client(KubernetesLogin("platform", file)).write(path, {"word": "in"}, version=0, mount="secret")

    file.write_text(tokens["reviewer"])
    with pytest.raises(VaultDeniedError):
        vault_server.client(KubernetesLogin("platform", file)).read(path, mount="secret")


def test_a_sealed_vault_is_unavailable_and_serves_again_once_it_is_unsealed(vault_server: VaultServer) -> None:
    vault, path = vault_server.client(), new_path()
    vault.write(path, {"word": "kept"}, version=0, mount="secret")

    vault_server.seal()
    with pytest.raises(VaultUnavailableError) as raised:
        vault.read(path, mount="secret")
    assert raised.value.retryable

    vault_server.kill()
    vault_server.start()
    found = vault.read(path, mount="secret")
    assert found is not None
    assert found.values == {"word": "kept"}


def test_a_vault_that_hangs_is_unavailable() -> None:
    with closing(HangingServer()) as hanging:
        vault = Vault(f"http://127.0.0.1:{hanging.port}", login=TokenLogin("any"), timeout=timedelta(milliseconds=300))

        with pytest.raises(VaultUnavailableError, match="does not answer"):
            vault.read("any", mount="secret")


def test_no_secret_goes_through_a_proxy_of_the_environment(
    vault_server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    vault, path = vault_server.client(), new_path()

    vault.write(path, {"word": "mine"}, version=0, mount="secret")

    found = vault.read(path, mount="secret")
    assert found is not None
    assert found.values == {"word": "mine"}


def test_no_error_and_no_repr_holds_a_secret(vault_server: VaultServer) -> None:
    login = AppRoleLogin("storeplatform", "the-secret-id")
    vault = Vault(f"http://127.0.0.1:{free_port()}", login=login, timeout=timedelta(seconds=1))
    with pytest.raises(VaultUnavailableError) as raised:
        vault.write("path", {"word": "the-value"}, version=0, mount="secret")

    assert "the-secret-id" not in f"{login!r} {raised.value}"
    with pytest.raises(VaultDeniedError) as missing:
        vault_server.client().encrypt("the-text", key="storeplatform", mount="nowhere")
    assert "the-text" not in str(missing.value)
