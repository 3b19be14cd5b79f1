#!/usr/bin/env bash
# Django's deployment check with production settings; a warning fails it. The key signs nothing: it is made here.
set -euo pipefail
cd "$(dirname "$0")/.."
SECRET_KEY=$(.venv/bin/python -c 'import secrets; print(secrets.token_urlsafe(64))') \
  FERNET_KEYS=$(.venv/bin/python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())') \
  DJANGO_SETTINGS_MODULE=storeplatform.settings.production \
  ALLOWED_HOSTS=platform.example.com \
  DATABASE_URL=postgres://storeplatform@127.0.0.1:1/storeplatform \
  REDIS_URL=redis://127.0.0.1:1/0 \
  .venv/bin/python manage.py check --deploy --fail-level WARNING
