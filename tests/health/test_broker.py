"""The connection of a worker to Redis, when Redis dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from devstack import servers
from devstack.processes import answers, free_port, spawn, stop, wait_until
from kombu import Connection, Consumer, Exchange, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from storeplatform.celery import app

_PATIENCE = timedelta(seconds=60)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[tuple[str, Popen[bytes]]]:
    """A server for this test alone: its address, and its process."""
    port = free_port()
    argv = servers.valkey_argv(tmp_path, port, durable=False)
    process = spawn(argv, log=tmp_path / "log", death_signal=signal.SIGKILL)
    wait_until(lambda: answers(port), timeout=_PATIENCE, what="Valkey", process=process)
    yield f"redis://127.0.0.1:{port}/0", process
    stop(process, signum=signal.SIGKILL, grace=timedelta(seconds=5))


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An event loop as a worker has it."""
    before, made = get_event_loop(), Hub()
    set_event_loop(made)
    yield made
    made.close()
    set_event_loop(before)


def connect(url: str) -> Connection:
    options = {"socket_connect_timeout": 1, "socket_timeout": 15}
    return app.connection_for_read(url, transport_options=options)


def test_a_channel_keeps_its_client_until_its_connections_are_given_up(valkey: tuple[str, Popen[bytes]]) -> None:
    with connect(valkey[0]) as connection:
        channel: Any = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._disconnect_pools()

        with channel.conn_or_acquire() as later:
            assert later is not first
            assert later.ping()


def test_a_worker_gives_up_a_connection_whose_redis_died_while_it_worked_and_waited(
    valkey: tuple[str, Popen[bytes]], hub: Hub
) -> None:
    url, process = valkey
    taken: list[object] = []
    connection = connect(url)
    channel: Any = connection.default_channel
    Consumer(channel, [Queue("jobs")], callbacks=[lambda _body, message: taken.append(message)]).consume()
    news = Queue("news", Exchange("news", type="fanout"), auto_delete=True)
    Consumer(connection.channel(), [news], callbacks=[lambda *_: None]).consume()
    connection.register_with_event_loop(hub)
    with connect(url) as other:
        other.SimpleQueue("jobs").put({"look": "now"})
    loop = hub.create_loop()

    def works_and_waits() -> bool:
        next(loop)
        return bool(taken and channel._in_poll)

    wait_until(works_and_waits, timeout=_PATIENCE, what="the message")

    stop(process, signum=signal.SIGKILL, grace=timedelta(seconds=5))
    # What a worker does with it before it connects anew; see ``Consumer.on_connection_error_after_connected``.
    connection.collect(socket_timeout=5)
    connection.close()

    assert connection.connected is False
