"""Settings of PostgreSQL and Redis; a part of ``base``."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.core.exceptions import ImproperlyConfigured

from storeplatform.db.bounded import BoundedConnection
from storeplatform.settings.environment import env, seconds
from storeplatform.settings.secret_keeping import DATABASE_CONNECTION_TIME, DATABASE_OWNER, VAULT_DATABASE_ROLE

# --- PostgreSQL -----------------------------------------------------------------------------------------------


def _database(url: str, *, target: str) -> dict[str, Any]:
    parsed = env.db_url_config(url)
    if "postgresql" not in parsed["ENGINE"]:
        raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database, as in postgres://user:…@host/name")
    options: dict[str, Any] = {
        **parsed.get("OPTIONS", {}),
        "target_session_attrs": target,
        "connect_timeout": 3,
        # A server whose machine is gone says nothing: the connection is given up after these seconds.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 8000,
        "application_name": env.str("PROCESS_NAME", default="storeplatform"),
        "options": "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000",
    }
    if env.bool("DATABASE_POOL", default=False):
        # A short reconnect_timeout: after an outage a doubling back-off would keep the pool down for long.
        options["pool"] = {
            "connection_class": BoundedConnection,
            "min_size": 2,
            "max_size": 10,
            "timeout": 3,
            "reconnect_timeout": 4,
            "max_lifetime": DATABASE_CONNECTION_TIME.total_seconds(),
        }
    if DATABASE_OWNER:
        options["assume_role"] = DATABASE_OWNER
    if DATABASE_OWNER or VAULT_DATABASE_ROLE:
        parsed["ENGINE"] = "storeplatform.db.rotating"
    # A worker that connected anew for each step would spend more on that than on its queries.
    age = 0 if "pool" in options else min(60, int(DATABASE_CONNECTION_TIME.total_seconds()))
    return {**parsed, "OPTIONS": options, "CONN_MAX_AGE": age, "CONN_HEALTH_CHECKS": True}


DATABASE_URL = env.str("DATABASE_URL", default="postgres://storeplatform@127.0.0.1:5432/storeplatform")
DATABASE_REPLICA_URL = env.str("DATABASE_REPLICA_URL", default="")
# Several hosts in DATABASE_URL: whichever takes writes is the primary, any other one is a replica.
REPLICA_READS = bool(DATABASE_REPLICA_URL) or "," in DATABASE_URL.rpartition("@")[2]
REPLICA_LAG = seconds("REPLICA_LAG", 5)
DATABASE_WATCH = env.bool("DATABASE_WATCH", default=True)
DATABASE_ROUTERS = ["storeplatform.db.routing.ReplicaRouter"]
POSTGRES_BIN = env.str("POSTGRES_BIN", default="")
DATABASES = {
    "default": _database(DATABASE_URL, target="read-write"),
    "replica": {
        **_database(DATABASE_REPLICA_URL or DATABASE_URL, target="prefer-standby"),
        "TEST": {"MIRROR": "default"},
    },
}

# --- Redis: 0 is the broker, 1 the cache ----------------------------------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")


def redis_database(number: int) -> str:
    """Return the URL of logical database ``number`` on the server of ``REDIS_URL``."""
    return str(urlunsplit(urlsplit(REDIS_URL)._replace(path=f"/{number}")))


CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": redis_database(1),
        "KEY_PREFIX": "storeplatform",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    },
    "limits": {
        "BACKEND": "storeplatform.limits.counters.CountingCache",
        "LOCATION": redis_database(1),
        "KEY_PREFIX": "limits",
        "OPTIONS": {"socket_timeout": 0.25, "socket_connect_timeout": 0.25},
    },
}
# Sessions live in PostgreSQL: nobody is logged out because Redis was emptied.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
