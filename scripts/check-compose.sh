#!/usr/bin/env bash
# docker-compose.yml against the Compose specification; with the docker compose client too, where one is at hand.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pytest -q tests/deploy/test_compose.py --no-cov
if docker compose version >/dev/null 2>&1; then
  docker compose --file docker-compose.yml config --quiet
fi
