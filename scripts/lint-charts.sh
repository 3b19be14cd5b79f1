#!/usr/bin/env bash
# helm lint of every chart with every one of its values files.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$(PYTHONPATH=platform .venv/bin/python -c 'from devstack.programs import helm; print(helm())')
for chart in helm/*/; do
  "$helm" lint --strict "$chart"
  for values in "$chart"values-*.yaml "$chart"ci/*.yaml; do
    "$helm" lint --strict "$chart" --values "$values"
  done
done
