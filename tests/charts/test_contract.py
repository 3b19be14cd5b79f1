"""An upgrade from the last chart version keeps every name and every field that cannot change: no volume is orphaned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from provisioning.engines import all_engines
from tests.charts.contract import contract, path_of
from tests.charts.rendering import ENGINES, PLANS, Render, name_of, pod_templates, template


@pytest.mark.parametrize("engine", ENGINES)
def test_names_selectors_and_claims_are_what_they_were(engine: str) -> None:
    before, now = yaml.safe_load(path_of(engine).read_text()), contract(engine)

    assert now["fixed"] == before["fixed"]
    for kind in ("PersistentVolumeClaim", "StatefulSet", "Deployment", "Service", "Secret", "ServiceAccount"):
        assert now["names"][kind] == before["names"][kind], kind
    assert now == before, "new objects are fine: write them down with python -m tests.charts.contract"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("exposure", ["node-port", "ingress"])
@pytest.mark.parametrize("plan", PLANS)
def test_neither_plan_nor_exposure_changes_what_is_fixed(engine: str, plan: str, exposure: str) -> None:
    def fixed(render: Render) -> dict[str, object]:
        wanted = ("StatefulSet", "Deployment", "PersistentVolumeClaim")
        return {name_of(one): one["spec"].get("selector") for one in render.objects if one["kind"] in wanted}

    least, found = (fixed(Render(engine, "defaults", *one)) for one in (("small", "node-port"), (plan, exposure)))

    # A larger plan may add a workload that keeps nothing: no volume comes or goes.
    assert {name: found.get(name) for name in least} == least
    assert {name.split("/")[0] for name in found.keys() - least.keys()} <= {"Deployment"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_new_chart_version_alone_restarts_no_pod_and_runs_no_set_up(engine: str, tmp_path: Path) -> None:
    chart = shutil.copytree(all_engines()[engine].chart, tmp_path / engine)
    told = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**told, "version": "99.0.0"}))

    done = template(chart)

    assert done.returncode == 0, done.stderr
    newer = dict(pod_templates([one for one in yaml.safe_load_all(done.stdout) if one]))
    for name, pod in pod_templates(Render(engine, "defaults").objects):
        if not name.startswith("Pod/"):
            assert newer[name] == pod, name
