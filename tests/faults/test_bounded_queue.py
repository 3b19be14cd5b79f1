"""While no worker runs nothing piles up in Redis; once one runs, every job is worked on."""

from __future__ import annotations

from uuid import uuid4

import redis
from devstack.processes import wait_until

from tests.faults.platform import PATIENCE, Platform, a_platform
from tests.faults.test_outages import ask, is_worked_on

_BOUND, _STORES = 5, 20


def queued(platform: Platform) -> int:
    with redis.Redis(port=platform.redis_port) as client:
        return int(client.llen("storeplatform:celery"))


def test_without_a_worker_the_queue_stays_bounded_and_with_one_no_job_was_forgotten() -> None:
    with a_platform(RINGS_AT_MOST=str(_BOUND)) as platform:
        url = platform.start_web()
        platform.spawn("beat", [*platform.celery, "beat", "-s", str(platform.folder / "schedule"), "--pidfile="])
        paths = []
        for number in range(_STORES):
            wish = {"name": f"shop-{number}-{uuid4().hex[:6]}", "engine": "woocommerce", "plan": "small"}
            answer = ask(url, "/api/v1/stores", "POST", wish)
            assert answer.status_code == 202, answer.text
            paths.append(answer.json()["links"]["self"])
            # Beat and a web process may both see the last free place.
            assert queued(platform) <= _BOUND + 1
        beat_has_run = platform.folder / "heartbeat" / "beat"
        wait_until(beat_has_run.exists, timeout=PATIENCE, what="beat", log=platform.log("beat"))
        assert _BOUND <= queued(platform) <= _BOUND + 1

        platform.spawn("worker", [*platform.celery, "worker", "--without-gossip", "--without-mingle"])

        wait_until(
            lambda: all(is_worked_on(url, path) for path in paths), timeout=3 * PATIENCE, what="a look at every job",
            process=platform.processes["worker"], log=platform.log("worker"),
        )  # fmt: skip
