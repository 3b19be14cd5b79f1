#!/usr/bin/env bash
# helm lint of every chart with every one of its values files.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$(PYTHONPATH=platform .venv/bin/python -c 'from devstack.programs import helm; print(helm())')
for chart in helm/*/; do
  "$helm" lint --strict "$chart"
  for values in "$chart"values-*.yaml "$chart"ci/everything-on.yaml; do
    # What a values file leaves to whoever installs is in ci/ under the same name, without "values-".
    given="${chart}ci/$(basename "${values#*values-}")"
    [ -f "$given" ] || given=$values
    "$helm" lint --strict "$chart" --values "$values" --values "$given"
  done
done
.venv/bin/python scripts/chart_readme.py --check helm/*/
