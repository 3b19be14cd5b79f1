"""The WooCommerce chart: what only it has."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from provisioning.engines.woocommerce import WooCommerce
from tests.charts.rendering import PLANS, Object, Render, containers, order, template

CHART = WooCommerce().chart
SHA256 = "0123456789abcdef" * 4


def render(values: Object | None = None) -> list[Object]:
    done = template(CHART, values=values)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def the(objects: list[Object], kind: str, name: str) -> Object:
    return next(one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))


def config(values: Object | None = None) -> dict[str, str]:
    data: dict[str, str] = the(render(values), "ConfigMap", "store-config")["data"]
    return data


def test_a_title_arrives_as_it_was_typed() -> None:
    title = 'Café "Zum $ {{ Eck }}": \\ \' # & <b>'

    objects = render({"store": {"title": title}})

    job = next(one for one in objects if one["kind"] == "Job")
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [variable["value"] for variable in environment if variable["name"] == "STORE_TITLE"] == [title]


def test_php_and_database_are_as_large_as_the_plan_allows() -> None:
    sizes = {}
    for plan in PLANS:
        objects = Render("woocommerce", "defaults", plan, "node-port").objects
        data = the(objects, "ConfigMap", "store-config")["data"]
        server = the(objects, "StatefulSet", "store-db")["spec"]["template"]["spec"]["containers"][0]
        workers = next(line.split()[1] for line in data["apache.conf"].splitlines() if "MaxRequestWorkers" in line)
        sizes[plan] = (int(workers), data["php.ini"].split()[2], *server["args"][1:])

    assert sizes == {
        "small": (8, "256M", "--innodb-buffer-pool-size=192M", "--max-connections=38"),
        "medium": (17, "512M", "--innodb-buffer-pool-size=384M", "--max-connections=47"),
        "large": (36, "512M", "--innodb-buffer-pool-size=768M", "--max-connections=66"),
    }


def test_the_plain_image_gets_its_plugin_from_the_named_source_and_only_then_has_a_way_out() -> None:
    plain = render({"plainImage": {"enabled": True, "plugin": {"url": "http://mirror/woo.zip", "sha256": SHA256}}})

    images = {name: container["image"] for name, container in containers(plain)}
    assert {image for name, image in images.items() if "StatefulSet" not in name} == {"wordpress:7.1-php8.3-apache"}
    environment = {
        variable["name"]: variable.get("value")
        for name, container in containers(plain)
        if name == "Deployment/store-web/plain-image"
        for variable in container["env"]
    }
    assert (environment["PLUGIN_URL"], environment["PLUGIN_SHA256"]) == ("http://mirror/woo.zip", SHA256)
    assert the(plain, "NetworkPolicy", "store-plugin-source")["spec"]["egress"][0]["ports"] == [{"port": 443}]
    assert "store-plugin-source" not in {one["metadata"]["name"] for one in render()}


def test_the_plain_image_gets_every_file_that_the_shops_image_is_built_from() -> None:
    files = the(Render("woocommerce", "everything-on").objects, "ConfigMap", "store-files")["data"]

    source = CHART.parents[1] / "images" / "woocommerce"
    wanted = {
        str(path.relative_to(source)).replace("/", "."): path.read_text()
        for path in source.rglob("*")
        if path.is_file() and path.name != "Dockerfile" and path.relative_to(source).parts[0] != "plugin"
    }
    assert files == wanted


def environment(container: Object) -> dict[str, Any]:
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


def test_an_object_cache_is_made_only_where_plan_or_values_ask_for_one() -> None:
    made = {
        plan: "store-cache"
        in {one["metadata"]["name"] for one in Render("woocommerce", "defaults", plan, "node-port").objects}
        for plan in PLANS
    }

    assert made == {"small": False, "medium": False, "large": True}
    assert "store-cache" not in {one["metadata"]["name"] for one in render()}
    large = the(Render("woocommerce", "defaults", "large", "node-port").objects, "ConfigMap", "store-config")["data"]
    assert "maxmemory 384mb\n" in large["valkey.conf"]
    assert "valkey.conf" not in config()


def test_whatever_runs_the_shops_php_uses_the_cache_and_nothing_else_reaches_it() -> None:
    objects = render({"cache": {"enabled": True}})

    users = {
        name: environment(container)
        for name, container in containers(objects)
        if "STORE_CACHE_HOST" in {variable["name"] for variable in container.get("env", [])}
    }
    assert {name.split("/")[0] for name in users} == {"Deployment", "Job", "CronJob"}
    for variables in users.values():
        assert variables["STORE_CACHE_HOST"] == the(objects, "Service", "store-cache")["metadata"]["name"]
        password = variables["STORE_CACHE_PASSWORD"]["secretKeyRef"]
        assert password["key"] in the(objects, "Secret", password["name"])["data"]
    policy = the(objects, "NetworkPolicy", "store-cache")["spec"]["ingress"]
    assert policy == [
        {
            "from": the(objects, "NetworkPolicy", "store-database")["spec"]["ingress"][0]["from"],
            "ports": [{"port": 6379}],
        }
    ]


def test_a_change_of_the_cache_restarts_the_cache_alone_and_a_new_password_everything() -> None:
    def pods(values: Object) -> dict[str, Any]:
        objects = render({**values, "cache": {"enabled": True, **values.get("cache", {})}})
        return {name: the(objects, "Deployment", name)["spec"]["template"] for name in ("store-cache", "store-web")}

    before, larger, rotated = pods({}), pods({"cache": {"maxMemory": "512mb"}}), pods({"credentialsVersion": 2})

    assert (larger["store-cache"] != before["store-cache"], larger["store-web"]) == (True, before["store-web"])
    assert all(rotated[name] != before[name] for name in before)
    assert "redis-password" in WooCommerce.rotating


def test_the_plain_image_gets_the_caches_plugin_only_with_a_cache_and_only_with_its_checksum() -> None:
    plain = {"enabled": True, "plugin": {"sha256": SHA256}}

    done = template(CHART, values={"plainImage": plain, "cache": {"enabled": True}})
    assert done.returncode != 0
    assert "/plainImage/cachePlugin/sha256" in done.stderr

    for enabled in (True, False):
        given = {"plainImage": {**plain, "cachePlugin": {"sha256": SHA256}}, "cache": {"enabled": enabled}}
        init = dict(containers(render(given)))["Deployment/store-web/plain-image"]
        assert environment(init).get("CACHE_PLUGIN_SHA256") == (SHA256 if enabled else None)


def test_a_plugin_without_its_checksum_is_refused() -> None:
    done = template(CHART, values={"plainImage": {"enabled": True}})

    assert done.returncode != 0
    assert "/plainImage/plugin/sha256" in done.stderr


@pytest.mark.parametrize(
    ("flavor", "image", "probe", "password"),
    [
        ("mariadb", "mariadb:11.4", "healthcheck.sh", "MARIADB_PASSWORD_FILE"),
        ("mysql", "mysql:8.4", "mysqladmin", "MYSQL_PASSWORD_FILE"),
    ],
)
def test_the_database_is_mariadb_or_mysql(flavor: str, image: str, probe: str, password: str) -> None:
    objects = render({"database": {"flavor": flavor}})

    server = the(objects, "StatefulSet", "store-db")["spec"]["template"]["spec"]["containers"][0]
    assert (server["image"], server["readinessProbe"]["exec"]["command"][0]) == (image, probe)
    assert password in {variable["name"] for variable in server["env"]}


def test_mysql_leaves_out_what_only_takes_memory_and_mariadb_never_had() -> None:
    def options(flavor: str) -> list[str]:
        objects = render({"database": {"flavor": flavor, "settings": {"performance_schema": "ON"}}})
        return list(dict(containers(objects))[f"StatefulSet/store-db/{flavor}"]["args"])

    assert {"--performance-schema=OFF", "--mysqlx=OFF"} <= set(options("mysql"))
    assert options("mysql")[-1] == options("mariadb")[-1] == "--performance-schema=ON"
    assert "--performance-schema=OFF" not in options("mariadb")


def test_a_dump_of_mysql_can_be_loaded_into_the_server_that_it_comes_from() -> None:
    scripts = {flavor: config({"database": {"flavor": flavor}})["backup.sh"] for flavor in ("mysql", "mariadb")}

    assert all(script.startswith("#!/bin/sh\n") for script in scripts.values())
    assert "exec mysqldump --set-gtid-purged=OFF --user=root" in scripts["mysql"]
    assert "exec mariadb-dump --user=root" in scripts["mariadb"]


def test_a_registry_and_a_digest_name_the_image_exactly() -> None:
    objects = render({"imageRegistry": "registry.local:5000", "image": {"digest": f"sha256:{SHA256}"}})

    images = dict(containers(objects))
    assert images["Deployment/store-web/wordpress"]["image"] == (
        f"registry.local:5000/storeplatform/woocommerce@sha256:{SHA256}"
    )
    assert images["StatefulSet/store-db/mariadb"]["image"] == "registry.local:5000/mariadb:11.4"


def test_a_new_address_restarts_the_shop_and_runs_its_set_up_again() -> None:
    def marks(url: str) -> tuple[Any, Any]:
        objects = render({"site": {"url": url}})
        web = the(objects, "Deployment", "store-web")["spec"]["template"]
        return web, next(one["metadata"]["name"] for one in objects if one["kind"] == "Job")

    before, after = marks("https://old.example.com"), marks("https://new.example.com")

    assert before[0] != after[0]
    assert before[1] != after[1]


def test_pages_are_kept_on_https_only_where_the_address_is_https() -> None:
    assert "Strict-Transport-Security" in config({"site": {"url": "https://shop.example.com"}})["apache.conf"]
    assert "Strict-Transport-Security" not in config()["apache.conf"]


def test_the_shop_itself_calls_nobody_outside_unless_it_may() -> None:
    assert "define('WP_HTTP_BLOCK_EXTERNAL', true);" in config()["config-extra.php"]
    allowed = config({"networkPolicy": {"allowInternet": True}})["config-extra.php"]
    assert "define('WP_HTTP_BLOCK_EXTERNAL', false);" in allowed


def test_a_certificate_can_be_proved_through_the_default_denial() -> None:
    objects = Render("woocommerce", "defaults", "small", "ingress").objects

    policy = the(objects, "NetworkPolicy", "store-acme-solver")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"acme.cert-manager.io/http01-solver": "true"}
    assert policy["ingress"][0]["ports"] == [{"port": 8089}]


@pytest.mark.parametrize("whenDeleted", ["Delete", "Retain"])
def test_both_volumes_go_with_the_release_or_both_stay(whenDeleted: str) -> None:  # noqa: N803 (the value's name)
    objects = render({"persistence": {"whenDeleted": whenDeleted}})

    claim = the(objects, "PersistentVolumeClaim", "store-uploads")["metadata"].get("annotations", {})
    policy = the(objects, "StatefulSet", "store-db")["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert (claim.get("helm.sh/resource-policy"), policy["whenDeleted"]) == (
        ("keep", "Retain") if whenDeleted == "Retain" else (None, "Delete")
    )


def test_a_gateway_or_an_ingress_closes_the_shop_to_everybody_else_in_the_cluster() -> None:
    gateway = {"enabled": True, "host": "shop.example.com", "parentRefs": [{"name": "public"}]}
    objects = render({"service": {"type": "ClusterIP"}, "gateway": gateway})

    route = the(objects, "HTTPRoute", "store-web")["spec"]
    assert route["hostnames"] == ["shop.example.com"]
    senders = the(objects, "NetworkPolicy", "store-web")["spec"]["ingress"][0]["from"]
    assert senders[0] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}


def test_what_the_platform_sends_is_complete() -> None:
    values = WooCommerce().values(order("small", "ingress"))

    assert values["site"] == {"url": "https://shop.example.com"}
    assert values["ingress"]["tls"] == {"enabled": True, "clusterIssuer": "letsencrypt"}
    assert values["existingSecret"] == "store-credentials"
