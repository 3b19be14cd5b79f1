"""Settings of what happens when a part fails; a part of ``base``."""

from django.core.exceptions import ImproperlyConfigured

from storeplatform.settings.databases import redis_database
from storeplatform.settings.environment import env, seconds

# --- Breakers: their state is in Redis, database 2 --------------------------------------------------------------
BREAKER_URL = redis_database(2)
BREAKER_FAILURES = env.int("BREAKER_FAILURES", default=5)
BREAKER_TIME = seconds("BREAKER_TIME", 15)
if BREAKER_FAILURES < 1:
    raise ImproperlyConfigured("BREAKER_FAILURES is at least 1")

# --- Probes -----------------------------------------------------------------------------------------------------
READY_TIMEOUT = seconds("READY_TIMEOUT", 0.08)
READY_PATIENCE = seconds("READY_PATIENCE", 2)
READY_WHEN_READ_ONLY = env.bool("READY_WHEN_READ_ONLY", default=True)

# --- Metrics ----------------------------------------------------------------------------------------------------
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
if METRICS_TOKEN and len(METRICS_TOKEN) < 20:
    raise ImproperlyConfigured("METRICS_TOKEN has 20 characters at least")

# --- Overload ---------------------------------------------------------------------------------------------------
WEB_AT_ONCE = env.int("WEB_AT_ONCE", default=8)
WEB_WAIT = seconds("WEB_WAIT", 2)
REQUEST_TIMEOUT = seconds("REQUEST_TIMEOUT", 18)
WORKER_MEMORY_MIB = env.int("WORKER_MEMORY_MIB", default=768)
if REQUEST_TIMEOUT.total_seconds() <= 0:
    raise ImproperlyConfigured("REQUEST_TIMEOUT is more than 0")
if WEB_AT_ONCE < 1:
    raise ImproperlyConfigured("WEB_AT_ONCE is at least 1")
