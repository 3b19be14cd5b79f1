"""The files of the WooCommerce image at work: real Apache, PHP, WordPress and MariaDB; only the plugin is played."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.charts.rendering import Render, containers
from tests.images.world import (
    CACHE_PASSWORD,
    Shop,
    install,
    make_shop,
    object_cache,
    official_image,
    plugin_archive,
    program,
)

_COUNTS = """
foreach (['page', 'post', 'wc_double'] as $type) {
    echo $type, ' ', array_sum((array) wp_count_posts($type)), "\\n";
}
echo 'users ', count_users()['total_users'], "\\n";
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Apache's own user has to get there.
    made = Path(tempfile.mkdtemp(prefix="storeplatform-image-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def official(folder: Path) -> Path:
    return official_image(folder / "official")


@pytest.fixture(scope="module")
def world(folder: Path, official: Path) -> Iterator[Shop]:
    shop = make_shop(folder, official)
    yield shop
    shop.database.stop()


@pytest.fixture
def new_shop(world: Shop) -> Shop:
    """A shop on an empty database."""
    world.database.empty()
    return world


@pytest.fixture
def shop(world: Shop) -> Shop:
    """A shop that is set up."""
    if not world.database.query("SHOW TABLES IN wordpress LIKE 'wp_options'"):
        finish(world.set_up())
    return world


def finish(run: subprocess.Popen[str]) -> str:
    output, errors = run.communicate(timeout=200)
    assert run.returncode == 0, errors + output
    return output


def test_a_shop_is_ready_when_its_set_up_is_recorded_and_not_before(new_shop: Shop) -> None:
    shop = new_shop
    with shop.serving():
        before = shop.get("/store-health.php")
        assert (before.status_code, before.text) == (503, "the set-up has not completed\n")
        assert shop.get("/store-live.txt").text == "ok\n"

        assert finish(shop.set_up()).splitlines()[-1] == "the shop can sell"

        assert (shop.get("/store-health.php").status_code, shop.get("/store-health.php").text) == (200, "ok\n")
        shop.database.stop()
        without = shop.get("/store-health.php")
        assert (without.status_code, without.text) == (503, "the database does not answer\n")
        # An outage of the database must not restart the web pods.
        assert shop.get("/store-live.txt").status_code == 200
        shop.database.start()
        assert shop.get("/store-health.php").status_code == 200


def test_a_set_up_that_wordpress_gives_up_with_success_fails(new_shop: Shop) -> None:
    run = new_shop.set_up(WORDPRESS_CONFIG_EXTRA="$table_prefix = 'not-one';")

    output, errors = run.communicate(timeout=200)

    assert "can only contain numbers, letters, and underscores" in output
    assert (run.returncode, errors.splitlines()[-1]) == (1, "core.php did not reach its end")


def test_the_owners_first_visit_finds_nothing_left_to_install(shop: Shop) -> None:
    assert shop.php("echo get_option('woocommerce_newly_installed');") == "no"


def test_the_set_up_leaves_what_a_shopper_needs(shop: Shop) -> None:
    names = "blogname woocommerce_currency woocommerce_default_country permalink_structure woocommerce_coming_soon"
    names += " blog_public template active_plugins"

    told = shop.php(f"echo json_encode(array_map('get_option', explode(' ', '{names}')));")

    assert told == (
        '["Caf\\u00e9 &quot;Zum $ Eck&quot;","CHF","CH","\\/%postname%\\/","no","1","twentytwentyfive",'
        '["woocommerce\\/woocommerce.php"]]'
    )
    assert shop.php("echo get_option('woocommerce_cod_settings')['enabled'];") == "yes"
    assert shop.php("echo count((new WC_Shipping_Zone(0))->get_shipping_methods(true));") == "1"
    with shop.serving():
        done = subprocess.run(
            [program("php"), shop.root / "opt/store/test.php", shop.url], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, "the shop sells Sample Product\n"), done.stderr


def test_a_set_up_that_runs_again_changes_nothing_that_its_owner_decided(shop: Shop) -> None:
    shop.php("update_option('blogname', 'Mine'); update_option('woocommerce_currency', 'USD');")
    shop.php("wp_set_password('changed by hand', 1);")
    before = shop.php(_COUNTS)

    finish(shop.set_up(STORE_SETUP_VERSION="2"))

    assert shop.php(_COUNTS) == before
    assert shop.php("echo get_option('blogname'), get_option('woocommerce_currency');") == "MineUSD"
    assert shop.php("echo get_option('store_setup_version');") == "2"
    checked = "var_export(wp_check_password('changed by hand', get_user_by('login', 'storeadmin')->user_pass));"
    assert shop.php(checked) == "true"


def test_two_set_ups_at_once_make_everything_once(new_shop: Shop) -> None:
    for run in [new_shop.set_up(), new_shop.set_up()]:
        finish(run)

    # The four pages and WordPress' draft of a privacy policy.
    assert new_shop.php(_COUNTS) == "page 5\npost 0\nwc_double 1\nusers 1\n"


def test_rotated_passwords_reach_the_database_and_the_administrator_once(world: Shop) -> None:
    shop = world
    shop.database.empty()
    finish(shop.set_up())
    (shop.root / "admin-password").write_text("new-admin-password\n")
    rotated = {
        "WORDPRESS_DB_PASSWORD": "new-password",
        "STORE_CREDENTIALS_VERSION": "2",
        "STORE_DB_ROOT_PASSWORD_FILE": f"{shop.database.folder}/credentials/db-root-password",
    }

    output = finish(shop.set_up(**rotated))

    assert "the database has the new password, the old one is refused" in output
    checked = "var_export(wp_check_password('new-admin-password', get_user_by('login', 'storeadmin')->user_pass));"
    assert shop.php(checked, **rotated) == "true"
    _, errors = shop.set_up().communicate(timeout=100)
    assert "Access denied for user 'wordpress'" in errors
    shop.php("wp_set_password('changed by hand', 1);", **rotated)
    finish(shop.set_up(**rotated))
    assert shop.php(checked.replace("new-admin-password", "changed by hand"), **rotated) == "true"
    shop.database.empty()


def test_the_administrator_follows_a_changed_e_mail_address_once(new_shop: Shop) -> None:
    shop = new_shop
    told = "echo get_user_by('login', 'storeadmin')->user_email, ' ', get_option('admin_email');"
    finish(shop.set_up())
    assert shop.php(told) == "admin@example.com admin@example.com"

    finish(shop.set_up(STORE_ADMIN_EMAIL="new@example.com"))

    assert shop.php(told) == "new@example.com new@example.com"
    shop.php(
        "wp_update_user(['ID' => 1, 'user_email' => 'own@example.com']); update_option('admin_email', 'o@example.com');"
    )
    finish(shop.set_up(STORE_ADMIN_EMAIL="new@example.com", STORE_SETUP_VERSION="2"))
    assert shop.php(told) == "own@example.com o@example.com"


def test_an_e_mail_address_that_another_user_has_fails_the_set_up_and_says_so(new_shop: Shop) -> None:
    shop = new_shop
    finish(shop.set_up())
    shop.php("wp_create_user('colleague', 'password', 'taken@example.com');")

    run = shop.set_up(STORE_ADMIN_EMAIL="taken@example.com")

    _, errors = run.communicate(timeout=200)
    assert run.returncode == 1
    assert "the administrator cannot have the e-mail address taken@example.com" in errors


def test_objects_are_cached_where_the_chart_runs_a_cache_and_the_set_up_leaves_it_empty(
    new_shop: Shop, tmp_path: Path
) -> None:
    with object_cache(tmp_path) as cache:
        port = cache.connection_pool.connection_kwargs["port"]
        place = {"STORE_CACHE_HOST": "127.0.0.1", "STORE_CACHE_PORT": str(port), "STORE_CACHE_PASSWORD": CACHE_PASSWORD}
        cache.set("older than the database", "x")

        said = finish(new_shop.set_up(**place))

        assert said.splitlines()[0] == said.splitlines()[-1] == "the object cache is empty"
        assert cache.dbsize() == 0
        asked = "var_export(wp_using_ext_object_cache()); echo WP_REDIS_HOST, WP_REDIS_PORT, WP_REDIS_PASSWORD;"
        assert new_shop.php(asked, **place) == f"true127.0.0.1{port}{CACHE_PASSWORD}"
        assert cache.config_get("maxmemory*")["maxmemory-policy"] == "allkeys-lru"
    # Switched off again: the drop-in stays in the image and does nothing.
    assert new_shop.php("var_export((bool) wp_using_ext_object_cache());") == "false"
    assert "object cache" not in finish(new_shop.set_up())


def test_a_cache_that_does_not_answer_fails_no_set_up(new_shop: Shop) -> None:
    place = {"STORE_CACHE_HOST": "127.0.0.1", "STORE_CACHE_PORT": "1", "STORE_CACHE_PASSWORD": CACHE_PASSWORD}

    said = finish(new_shop.set_up(**place))

    assert "the object cache does not answer, the shop goes on without it" in said
    assert "the shop can sell" in said


def test_a_shop_without_the_caches_plugin_takes_wordpress_own_cache(folder: Path, official: Path, shop: Shop) -> None:
    archive, target = folder / "plain.zip", folder / "plain"
    sha256 = plugin_archive(archive)
    target.mkdir()

    done = install(target, official, url=archive.as_uri(), sha256=sha256)

    assert done.returncode == 0, done.stderr
    assert not (target / "opt/store/redis-cache").exists()
    plugin = shop.root / "opt/store/redis-cache"
    plugin.rename(plugin.with_name("away"))
    try:
        assert shop.php("var_export((bool) wp_using_ext_object_cache());", STORE_CACHE_HOST="127.0.0.1") == "false"
    finally:
        plugin.with_name("away").rename(plugin)


def test_a_password_that_the_database_refuses_ends_the_set_up_with_that_reason(shop: Shop) -> None:
    run = shop.set_up(WORDPRESS_DB_PASSWORD="another one")
    _, errors = run.communicate(timeout=100)

    assert run.returncode == 1
    assert "Access denied for user 'wordpress'" in errors


def test_a_shop_whose_password_the_database_refuses_says_so_in_its_log(new_shop: Shop) -> None:
    shop = new_shop
    log = shop.root / "logs/error.log"
    finish(shop.set_up())
    with shop.serving():
        assert "Access denied" not in log.read_text()
        shop.database.query("ALTER USER wordpress IDENTIFIED BY 'changed behind its back'")

        answer = shop.get("/store-health.php")

        assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
        assert "Access denied for user 'wordpress'" in log.read_text()
    shop.database.empty()


def test_without_a_fixed_address_every_page_carries_the_one_that_was_asked_for(shop: Shop) -> None:
    with shop.serving():
        for host, headers in [
            (f"http://127.0.0.1:{shop.port}", {}),
            ("http://192.168.49.2:31234", {"Host": "192.168.49.2:31234"}),
            ("https://shop.example.com", {"Host": "shop.example.com", "X-Forwarded-Proto": "https"}),
        ]:
            page = shop.get("/cart/", headers)
            assert page.status_code == 200
            assert f'href="{host}/' in page.text
            others = {"http://store.local", "http://127.0.0.1", "http://192.168.49.2", "shop.example.com"}
            assert not [other for other in others if other in page.text and other not in host]
        for malformed in ("shop.example.com/evil", "a b", '"><script>'):
            answer = shop.get("/cart/", {"Host": malformed})
            assert malformed not in answer.text.replace("&gt;", ">")


def test_after_its_address_changed_every_page_carries_the_new_one_whatever_was_asked_for(shop: Shop) -> None:
    for url in ("https://old.example.com", "https://new.example.com"):
        with shop.serving(url):
            page = shop.get("/cart/", {"Host": url.removeprefix("https://"), "X-Forwarded-Proto": "https"})
            assert f'href="{url}/' in page.text
            stranger = shop.get("/cart/", {"Host": "evil.example.com"})
            assert f'href="{url}/' in stranger.text
            assert "evil.example.com" not in stranger.text


def test_the_web_server_gives_away_nothing_and_runs_nothing_that_was_uploaded(shop: Shop) -> None:
    upload = shop.site / "wp-content/uploads/shell.php"
    upload.write_text("<?php echo 'it ' . 'ran';")
    (shop.site / "wp-content/uploads/picture.txt").write_text("a picture")
    with shop.serving():
        page = shop.get("/cart/")
        assert {
            name: page.headers.get(name)
            for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "X-Powered-By", "Server")
        } == {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "SAMEORIGIN",
            "Referrer-Policy": "strict-origin-when-cross-origin",
            "X-Powered-By": None,
            "Server": "Apache",
        }
        assert shop.get("/wp-content/uploads/picture.txt").text == "a picture"
        refused = [
            "/wp-content/uploads/shell.php",
            "/xmlrpc.php",
            "/wp-admin/install.php",
            "/wp-admin/install.php?step=2",
        ]
        assert {path: shop.get(path).status_code for path in refused} == dict.fromkeys(refused, 403)
    upload.unlink()


def test_php_has_the_limits_of_the_plan(shop: Shop) -> None:
    limits = "echo ini_get('memory_limit'), ' ', ini_get('upload_max_filesize'), ' ', ini_get('expose_php');"

    assert shop.php(limits).strip() == "256M 64M"
    assert shop.database.query("SELECT @@innodb_buffer_pool_size / 1048576, @@max_connections") == "192.0000\t38"


def test_no_trace_in_the_log_shows_what_was_given_to_a_call(shop: Shop) -> None:
    told = shop.php("try { (fn ($p) => throw new Exception())('a password'); } catch (Exception $e) { echo $e; }")

    assert "{closure}()" in told
    assert "a password" not in told


def test_the_scheduled_work_of_the_shop_runs_without_a_visitor(shop: Shop) -> None:
    shop.php("wp_schedule_single_event(time() - 60, 'store_test_event');")

    done = subprocess.run(
        [program("php"), shop.site / "wp-cron.php"], env=shop.environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert shop.php("var_export(wp_next_scheduled('store_test_event'));") == "false"


def test_a_dump_brings_the_shop_back_and_a_quiet_database_takes_no_writes(shop: Shop) -> None:
    shop.php("update_option('blogname', 'Before');")
    dump = shop.database.backup("dump")
    shop.php("update_option('blogname', 'After');")

    shop.database.backup("load", stdin=dump)

    assert shop.php("echo get_option('blogname');") == "Before"
    shop.database.backup("quiesce")
    shop.php("update_option('blogname', 'While quiet');")
    assert shop.php("echo get_option('blogname');") == "Before"
    shop.database.backup("resume")
    shop.php("update_option('blogname', 'After all');")
    assert shop.php("echo get_option('blogname');") == "After all"


def test_whatever_is_mounted_into_the_plain_images_read_only_folders_has_its_place_there(shop: Shop) -> None:
    objects = Render("woocommerce", "everything-on").objects
    mounts = dict(containers(objects))["Deployment/store-web/wordpress"]["volumeMounts"]
    folders = [mount["mountPath"] for mount in mounts if mount["name"] == "site"]
    inside = [m["mountPath"] for m in mounts if any(m["mountPath"].startswith(f"{folder}/") for folder in folders)]

    assert inside
    assert all((shop.root / path.lstrip("/")).exists() for path in inside)


def test_an_install_that_was_cut_off_is_made_anew_on_the_same_volume(folder: Path, official: Path) -> None:
    archive, target = folder / "again.zip", folder / "again"
    sha256 = plugin_archive(archive)
    (target / "etc/apache2").mkdir(parents=True)
    (target / "etc/apache2/ports.conf").write_text("half")
    (target / "etc/apache2").chmod(0o555)

    done = install(target, official, url=archive.as_uri(), sha256=sha256)

    assert done.returncode == 0, done.stderr
    assert "Listen 8080" in (target / "etc/apache2/ports.conf").read_text()
    folders = [
        path for path in [target / "etc", *(target / "etc").rglob("*")] if path.is_dir() and not path.is_symlink()
    ]
    assert all(path.stat().st_mode & 0o200 for path in folders)


def test_a_plugin_with_another_checksum_is_not_installed(folder: Path, official: Path) -> None:
    archive, target = folder / "other.zip", folder / "other"
    plugin_archive(archive)
    target.mkdir()

    done = install(target, official, url=archive.as_uri(), sha256="0" * 64)

    assert done.returncode != 0
    assert "FAILED" in done.stdout + done.stderr
    assert not (target / "usr/src/wordpress/wp-content/plugins/woocommerce").exists()
