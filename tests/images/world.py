"""WordPress' official image played by Debian's packages: Apache, PHP, WordPress and MariaDB, started by no service."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import redis
from devstack import servers
from devstack.processes import answers, free_port, spawn, stop, wait_until

from tests.charts.rendering import Object, Render, containers, name_of

FILES: Final = Path(__file__).resolve().parents[2] / "images" / "woocommerce"
_DOUBLES: Final = Path(__file__).parent / "doubles"
_PATIENCE: Final = timedelta(seconds=60)
ROOT_PASSWORD: Final = "root-password"
CACHE_PASSWORD: Final = "cache-password"
_SALTS: Final = [f"{name}_{kind}" for name in ("AUTH", "SECURE_AUTH", "LOGGED_IN", "NONCE") for kind in ("KEY", "SALT")]
#: How the official image lets Apache run PHP; its own file of this name, as far as it matters here.
_PHP_HANDLER: Final = """<FilesMatch \\.php$>
\tSetHandler application/x-httpd-php
</FilesMatch>
DirectoryIndex disabled
DirectoryIndex index.php index.html
<Directory /var/www/>
\tOptions -Indexes
\tAllowOverride All
</Directory>
"""
_HTACCESS: Final = """RewriteEngine On
RewriteBase /
RewriteRule ^index\\.php$ - [L]
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteRule . /index.php [L]
"""


def program(name: str) -> str:
    """Return the path of a program; servers may be where no user's PATH leads."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    assert found, f"{name} is missing; see scripts/install-php.sh"
    return found


def official_image(root: Path) -> Path:
    """Make the folders of the official image that matter to a shop."""
    site = root / "usr/src/wordpress"
    shutil.copytree(
        "/usr/share/wordpress", site, ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns("wp-config.php")
    )
    shutil.copytree(
        "/var/lib/wordpress/wp-content", site / "wp-content", dirs_exist_ok=True, ignore_dangling_symlinks=True
    )
    themes = site / "wp-content/themes"
    # Debian has no newer one, and the set-up asks for it.
    shutil.copytree(themes / "twentytwentythree", themes / "twentytwentyfive")
    shutil.copy(_DOUBLES / "wp-config-docker.php", site)
    (site / ".htaccess").write_text(_HTACCESS)
    apache = root / "etc/apache2"
    shutil.copytree("/etc/apache2", apache, symlinks=True)
    (apache / "conf-enabled/docker-php.conf").write_text(_PHP_HANDLER)
    for module in ("rewrite", "remoteip", "expires"):
        link = apache / f"mods-enabled/{module}.load"
        if not link.exists():
            link.symlink_to(f"../mods-available/{module}.load")
    return root


def plugin_archive(path: Path) -> str:
    """Write the archive of a plugin that plays WooCommerce, and return its SHA-256."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(_DOUBLES / "woocommerce.php", "woocommerce/woocommerce.php")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cache_plugin_archive(path: Path) -> str:
    """Write the archive of a plugin that plays Redis Object Cache, and return its SHA-256."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((_DOUBLES / "redis-cache").rglob("*.php")):
            archive.write(file, file.relative_to(_DOUBLES))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(target: Path, official: Path, *, url: str, sha256: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``install.sh`` as the init container of a pod on the official image does."""
    env = {"FILES": str(FILES), "SOURCE": str(official), "TARGET": str(target), "PLUGIN_URL": url,
           "PLUGIN_SHA256": sha256, "PATH": os.environ["PATH"], "TMPDIR": str(target.parent), **more}  # fmt: skip
    return subprocess.run([program("sh"), FILES / "install.sh"], env=env, capture_output=True, text=True, check=False)


@dataclass
class Database:
    """A MariaDB server, started with the arguments of the chart."""

    folder: Path
    port: int
    _child: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def make(self) -> None:
        self.folder.mkdir()
        (self.folder / "credentials").mkdir()
        (self.folder / "credentials/db-root-password").write_text("root-password\n")
        subprocess.run(
            [program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db",
             "--auth-root-authentication-method=normal", *self._user()],
            check=True, capture_output=True,
        )  # fmt: skip
        self.start()
        self.query("ALTER USER root@localhost IDENTIFIED BY 'root-password'", password="")
        self.empty()

    def start(self) -> None:
        server = dict(containers(_objects()))["StatefulSet/store-db/mariadb"]
        self._child = spawn(
            [program("mariadbd"), "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.socket}",
             f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={self.folder}/pid", *self._user(),
             *server["args"]],
            log=self.folder / "log", death_signal=signal.SIGKILL,
        )  # fmt: skip
        wait_until(lambda: answers(self.port), timeout=_PATIENCE, what="MariaDB", process=self._child)

    def stop(self) -> None:
        if self._child is not None:
            stop(self._child, signum=signal.SIGTERM, grace=timedelta(seconds=20))

    def empty(self) -> None:
        """As a new volume is: a database without tables, and the shop's user."""
        self.query(
            "DROP DATABASE IF EXISTS wordpress; CREATE DATABASE wordpress CHARACTER SET utf8mb4;"
            "CREATE OR REPLACE USER wordpress IDENTIFIED BY 'p\\'a$s \"w%#d';"
            "GRANT ALL ON wordpress.* TO wordpress"
        )

    def query(self, sql: str, *, password: str = ROOT_PASSWORD) -> str:
        done = subprocess.run(
            [program("mariadb"), "--no-defaults", "--user=root", f"--socket={self.socket}",
             "--skip-column-names", "--batch"],
            env={"MYSQL_PWD": password}, input=sql, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def backup(self, command: str, *, stdin: str = "") -> str:
        """Call the chart's ``backup.sh`` as a backup tool does in the container."""
        script = self.folder / "backup.sh"
        script.write_text(_config()["backup.sh"])
        # Debian's own settings name another socket; in the container there is one server only.
        (self.folder / ".my.cnf").write_text(f"[client]\nsocket = {self.socket}\n")
        env = {"CREDENTIALS": f"{self.folder}/credentials", "HOME": str(self.folder), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [program("sh"), script, command], env=env, input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


@contextmanager
def object_cache(folder: Path) -> Iterator[redis.Redis]:
    """Valkey with the settings of the chart, and a client of it."""
    port, config = free_port(), folder / "valkey"
    config.mkdir()
    given = the_cache()["ConfigMap/store-config"]["data"]["valkey.conf"]
    places = {"port 6379": f"port {port}", "/run/valkey": str(config), "dir /tmp": f"dir {config}"}
    for place, own in places.items():
        assert place in given
        given = given.replace(place, own)
    (config / "valkey.conf").write_text(given)
    (config / "auth.conf").write_text(f"requirepass {CACHE_PASSWORD}\n")
    server = servers.valkey_argv(folder, port)[0]
    child = spawn([server, config / "valkey.conf"], log=config / "log", death_signal=signal.SIGKILL)
    try:
        wait_until(lambda: answers(port), timeout=_PATIENCE, what="Valkey", process=child, log=config / "log")
        with redis.Redis(port=port, password=CACHE_PASSWORD) as client:
            yield client
    finally:
        stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=10))


def the_cache() -> dict[str, Object]:
    """What the chart renders where the object cache is on, by kind and name."""
    return {name_of(one): one for one in Render("woocommerce", "with-cache", "small", "node-port").objects}


@dataclass
class Shop:
    """The image's files at work, with the settings that the chart gives them."""

    root: Path
    database: Database
    port: int

    @property
    def site(self) -> Path:
        return self.root / "usr/src/wordpress"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settle(self) -> None:
        """Do what mounting does in a pod: the volume's parts become the image's places, the settings join them."""
        apache, config = self.root / "etc/apache2", _config()
        (apache / "conf-enabled/zz-store.conf").write_text(config["apache.conf"])
        (self.root / "ini").mkdir()
        (self.root / "ini/zz-store.ini").write_text(config["php.ini"])
        (self.root / "admin-password").write_text("admin-password\n")
        (self.root / "logs").mkdir()
        (self.root / "logs").chmod(0o777)
        (self.site / "wp-content/uploads").chmod(0o777)
        settings = [path for path in apache.rglob("*.conf") if not path.is_symlink()]
        own = ["setup.sh", "cache.php"]
        for path in [
            *settings,
            *(self.root / "opt/store" / name for name in own),
            self.site / "wp-content/object-cache.php",
        ]:
            text = path.read_text()
            for place in ("/usr/src/wordpress", "/opt/store"):
                text = text.replace(place, f"{self.root}{place}")
            path.write_text(re.sub(r"\b8080\b", str(self.port), text))

    def environment(self, site_url: str = "", **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PHP_INI_SCAN_DIR": f":{self.root}/ini",
            "WORDPRESS_DB_HOST": f"127.0.0.1:{self.database.port}",
            "WORDPRESS_DB_NAME": "wordpress",
            "WORDPRESS_DB_USER": "wordpress",
            "WORDPRESS_DB_PASSWORD": "p'a$s \"w%#d",
            "WORDPRESS_CONFIG_EXTRA": _config()["config-extra.php"],
            **{f"WORDPRESS_{name}": f"salt of {name}" for name in _SALTS},
            "STORE_SITE_URL": site_url,
            "STORE_TITLE": 'Café "Zum $ Eck"',
            "STORE_ADMIN_USER": "storeadmin",
            "STORE_ADMIN_EMAIL": "admin@example.com",
            "STORE_ADMIN_PASSWORD_FILE": f"{self.root}/admin-password",
            "STORE_CURRENCY": "CHF",
            "STORE_COUNTRY": "CH",
            "STORE_SETUP_VERSION": "1",
            **more,
        }

    @contextmanager
    def serving(self, site_url: str = "") -> Iterator[None]:
        """Apache, as ``apache2-foreground`` starts it in the image."""
        places = {"RUN_DIR": "logs", "LOCK_DIR": "logs", "LOG_DIR": "logs", "PID_FILE": "logs/pid"}
        env = self.environment(site_url) | {f"APACHE_{name}": f"{self.root}/{place}" for name, place in places.items()}
        env |= {"APACHE_RUN_USER": "www-data", "APACHE_RUN_GROUP": "www-data"}
        apache = self.root / "etc/apache2"
        child = spawn(
            [program("apache2"), "-d", apache, "-f", apache / "apache2.conf", "-D", "FOREGROUND"],
            log=self.root / "logs/apache.log", env=env, death_signal=signal.SIGKILL,
        )  # fmt: skip
        try:
            wait_until(lambda: answers(self.port), timeout=_PATIENCE, what="Apache", process=child)
            yield
        finally:
            stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=10))
            wait_until(lambda: not answers(self.port), timeout=_PATIENCE, what="the end of Apache")

    def set_up(self, **more: str) -> subprocess.Popen[str]:
        """Start the set-up, as the Job does."""
        return subprocess.Popen(
            [program("sh"), self.root / "opt/store/setup.sh"], env=self.environment(**more),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def php(self, code: str, **more: str) -> str:
        """Run PHP inside WordPress."""
        code = f"require '{self.site}/wp-load.php'; {code}"
        done = subprocess.run(
            [program("php"), "-d", "error_reporting=4983", "-r", code],
            env=self.environment(**more), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.get(self.url + path, headers=dict(headers or {}), timeout=60)


def make_shop(root: Path, official: Path) -> Shop:
    """Install the image's files and start a database for them."""
    archive, cache = root / "woocommerce.zip", root / "redis-cache.zip"
    sha256, cache_sha256 = plugin_archive(archive), cache_plugin_archive(cache)
    target = root / "site"
    target.mkdir()
    done = install(
        target, official, url=archive.as_uri(), sha256=sha256,
        CACHE_PLUGIN_URL=cache.as_uri(), CACHE_PLUGIN_SHA256=cache_sha256,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    database = Database(root / "database", free_port())
    database.make()
    shop = Shop(target, database, free_port())
    shop.settle()
    return shop


def _objects() -> list[Object]:
    return Render("woocommerce", "defaults", "small", "node-port").objects


def _config() -> dict[str, str]:
    found = next(one for one in _objects() if one["metadata"]["name"] == "store-config")
    data: dict[str, str] = found["data"]
    return data
