"""Settings of the work on stores: Celery, and the programs and services outside; a part of ``base``."""

import tempfile
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from storeplatform.settings.databases import REDIS_URL
from storeplatform.settings.environment import env, seconds

# --- Celery ---------------------------------------------------------------------------------------------------
LEASE_TIME = seconds("LEASE_TIME", 30)
SWEEP_TIME = seconds("SWEEP_TIME", 10)
SHUTDOWN_GRACE = seconds("SHUTDOWN_GRACE", 20)
if LEASE_TIME.total_seconds() < 2:
    raise ImproperlyConfigured("LEASE_TIME is 2 at least: it is prolonged once a second")
if SWEEP_TIME.total_seconds() <= 0:
    raise ImproperlyConfigured("SWEEP_TIME is more than 0")
RECHECK_TIME = seconds("RECHECK_TIME", 1800)
CHECK_TIME = seconds("CHECK_TIME", 60)
CAPACITY_TIME = seconds("CAPACITY_TIME", 60)
INSPECT_TIME = seconds("INSPECT_TIME", 60)
INSPECT_RATE = env.float("INSPECT_RATE", default=2.0)
INSPECT_GRACE = seconds("INSPECT_GRACE", 15)
PROBE_AT_ONCE = env.int("PROBE_AT_ONCE", default=4)
PROBE_KEEP = seconds("PROBE_KEEP", 30 * 86400)
if PROBE_AT_ONCE < 1:
    raise ImproperlyConfigured("PROBE_AT_ONCE is at least 1; a plan switches its test orders off")
WEBHOOK_AT_ONCE = env.int("WEBHOOK_AT_ONCE", default=2)
WEBHOOK_TIMEOUT = seconds("WEBHOOK_TIMEOUT", 10)
WEBHOOK_KEEP = seconds("WEBHOOK_KEEP", 30 * 86400)
WEBHOOK_PLAIN_HTTP = env.bool("WEBHOOK_PLAIN_HTTP", default=False)
if WEBHOOK_AT_ONCE < 1:
    raise ImproperlyConfigured("WEBHOOK_AT_ONCE is at least 1")
DRIFT_TIME = seconds("DRIFT_TIME", 600)
DRIFT = env.str("DRIFT", default="repair")
if DRIFT not in ("repair", "report"):
    raise ImproperlyConfigured("DRIFT is repair or report")
RINGS_AT_MOST = env.int("RINGS_AT_MOST", default=1000)
if RINGS_AT_MOST < 1:
    raise ImproperlyConfigured("RINGS_AT_MOST is at least 1")
CELERY_BROKER_URL = REDIS_URL
CELERY_BEAT_SCHEDULER = "storeplatform.beat:BoundedScheduler"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
# Looks at ready stores have a queue of their own: however many there are, jobs do not wait behind them. So has all that
# is no job: the length of the jobs' queue says how many workers will look for due jobs.
CELERY_TASK_QUEUES = [Queue(name, routing_key=name) for name in ("celery", "looks", "errands")]
CELERY_TASK_DEFAULT_QUEUE = "errands"
CELERY_TASK_ROUTES = {
    "provisioning.advance": {"queue": "celery"},
    **{name: {"queue": "looks"} for name in ("provisioning.inspect", "provisioning.probe")},
}
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_POOL = "threads"  # a step waits for programs and answers, never for Python
CELERY_WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", default=8)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONSUMER = "storeplatform.consumer:Consumer"
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,  # longer than any step; a message only says "look now", so a repeat is harmless
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "global_keyprefix": "storeplatform:",
    "priority_steps": [0],  # all messages are alike: more steps are as many lists to look at
    "health_check_interval": 10,
    "socket_timeout": 15,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
}
CELERY_TASK_PUBLISH_RETRY = False  # a lost ring is made up for by the sweeper; a request never waits for Redis
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "provisioning.sweep",
        "schedule": SWEEP_TIME,
        # A sweep that nobody took before the next one is due would only pile up behind a busy worker.
        "options": {"expires": SWEEP_TIME.total_seconds()},
    },
    "forget-probes": {
        "task": "provisioning.forget_probes",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3600},
    },
    "forget-deliveries": {
        "task": "provisioning.forget_deliveries",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3600},
    },
    "keep-audit-trail": {"task": "storeplatform.keep_audit_trail", "schedule": timedelta(hours=6)},
    "forget-answers": {
        "task": "storeplatform.forget_answers",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3600},
    },
}

# --- Outside programs and services ------------------------------------------------------------------------------
HELM_BINARY = env.str("HELM_BINARY", default="helm")
HELM_TIMEOUT = seconds("HELM_TIMEOUT", 120)
TASK_TIME = seconds("TASK_TIME", 900)
if TASK_TIME <= HELM_TIMEOUT:
    raise ImproperlyConfigured("TASK_TIME is more than HELM_TIMEOUT: a task may run Helm")
KUBECONFIG = env.str("KUBECONFIG", default=str(Path.home() / ".kube" / "config"))
KUBERNETES_TIMEOUT = seconds("KUBERNETES_TIMEOUT", 10)
CLUSTER_NAME = env.str("CLUSTER_NAME", default="default")
NODE_ADDRESS = env.str("NODE_ADDRESS", default="")
CLUSTER_EXPOSURE = env.str("CLUSTER_EXPOSURE", default="node_port")
INGRESS_CLASS = env.str("INGRESS_CLASS", default="")
INGRESS_DOMAIN = env.str("INGRESS_DOMAIN", default="")
TLS_ISSUER = env.str("TLS_ISSUER", default="")
CLUSTER_LABELS = env.str("CLUSTER_LABELS", default="")
CHART_VALUES = env.str("CHART_VALUES", default="")
HELM_AT_MOST = env.int("HELM_AT_MOST", default=8)
STOREFRONT_TIMEOUT = seconds("STOREFRONT_TIMEOUT", 10)
FLOWER_URL = env.str("FLOWER_URL", default="")
HEARTBEAT_DIR = Path(env.str("HEARTBEAT_DIR", default=str(Path(tempfile.gettempdir()) / "storeplatform-heartbeat")))
