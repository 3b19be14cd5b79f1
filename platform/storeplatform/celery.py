"""The Celery application: ``celery -A storeplatform worker|beat|flower``."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storeplatform.settings.dev")
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "storeplatform.broker:Transport"))

app = Celery("storeplatform", fixups=["storeplatform.fixups:fixup"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["provisioning", "storeplatform.idempotency", "storeplatform.audit_trail"])
