"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from storeplatform.slow_bodies import bounding_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storeplatform.settings.dev")

application = bounding_bodies(get_wsgi_application())
