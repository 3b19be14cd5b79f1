"""``python -m devstack.proxy``: stands before the API server and does what bad networks and busy servers do.

It speaks TLS with the cluster's own certificate and passes the caller's credentials on. What goes wrong is read from
the file of :mod:`devstack.faults`, so that one command can change it while the proxy runs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

import h11
import typer
import yaml

from devstack.faults import Fault, FaultFile

_LOOK_SECONDS: Final = 0.05
_CHUNK: Final = 65536
_RETRY_AFTER_SECONDS: Final = 1
#: A watch that is opened while watches are cut lives so long.
_CUT_AFTER_SECONDS: Final = 0.2
_ANSWERS: Final = {
    "throttle": (429, "TooManyRequests", "the simulated server has too many requests"),
    "error": (500, "InternalError", "the simulated server failed"),
}


class _Caller:
    """One connection of a client, and the one to the API server that serves it."""

    def __init__(self, proxy: _Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._client = h11.Connection(h11.SERVER)
        self._server: h11.Connection | None = None
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.watches = False

    def abort(self) -> None:
        """Cut the line at once."""
        self._writer.transport.abort()
        if self._upstream is not None:
            self._upstream[1].transport.abort()

    async def serve(self) -> None:
        """Answer calls until the line is closed."""
        try:
            while True:
                request = await self._next(self._client, self._reader)
                if not isinstance(request, h11.Request):
                    return
                await self._answer(request)
                if self._client.our_state is not h11.DONE or self._client.their_state is not h11.DONE:
                    return
                self._client.start_next_cycle()
                self.watches = False
        except (OSError, EOFError, h11.ProtocolError, ssl.SSLError):
            return  # one side went away, as sides do
        finally:
            self.abort()

    async def _answer(self, request: h11.Request) -> None:
        method, target = request.method.decode(), urlsplit(request.target.decode())
        self.watches = "watch" in parse_qs(target.query)
        for fault in self._proxy.faults.active():
            if not fault.meets(method, target.path) or (fault.name == "cut-watches" and not self.watches):
                continue
            self._proxy.faults.use(fault)
            if fault.name == "refuse":
                self._reset()
                raise ConnectionResetError
            if fault.name in _ANSWERS:
                await self._refuse(*_ANSWERS[fault.name])
                return
            if fault.name == "cut-watches":
                asyncio.get_running_loop().call_later(_CUT_AFTER_SECONDS, self.abort)
            elif fault.name == "hold":
                await self._hold(fault)
            else:
                await asyncio.sleep(fault.delay)
        await self._forward(request)

    async def _hold(self, fault: Fault) -> None:
        mark = self._proxy.faults.note_held(fault)
        while fault in self._proxy.faults.active():
            await asyncio.sleep(_LOOK_SECONDS)
            if self._writer.transport.is_closing():
                self._proxy.faults.note_gone(mark)
                raise EOFError  # whoever called is gone, and its call with it

    async def _refuse(self, status: int, reason: str, message: str) -> None:
        while not isinstance(await self._next(self._client, self._reader), h11.EndOfMessage):
            pass
        told = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status,
                "reason": reason, "message": message}  # fmt: skip
        body = json.dumps(told).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if status == 429:
            headers.append(("Retry-After", str(_RETRY_AFTER_SECONDS)))
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            await self._send(self._client, self._writer, event)

    async def _forward(self, request: h11.Request) -> None:
        server, (reader, writer) = await self._connected()
        await self._send(server, writer, request)
        while True:
            event = await self._next(self._client, self._reader)
            await self._send(server, writer, event)
            if isinstance(event, h11.EndOfMessage):
                break
        gone = asyncio.create_task(self._client_gone())
        try:
            while True:
                event = await self._either(self._next(server, reader), gone)
                if isinstance(event, h11.InformationalResponse):
                    continue
                await self._send(self._client, self._writer, event)
                if isinstance(event, h11.EndOfMessage):
                    break
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await gone
        if server.our_state is h11.DONE and server.their_state is h11.DONE:
            server.start_next_cycle()
        else:
            writer.transport.abort()
            self._server = None

    async def _connected(self) -> tuple[h11.Connection, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self._server is None or self._upstream is None or self._upstream[0].at_eof():
            self._upstream = await asyncio.open_connection(
                self._proxy.host, self._proxy.port, ssl=self._proxy.trust, limit=_CHUNK
            )
            self._server = h11.Connection(h11.CLIENT)
        return self._server, self._upstream

    def _reset(self) -> None:
        # With no time to linger, the kernel ends the connection with RST instead of FIN.
        line: socket.socket = self._writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _client_gone(self) -> None:
        while data := await self._reader.read(_CHUNK):
            self._client.receive_data(data)  # its next request, sent early

    @staticmethod
    async def _either(wanted: Any, gone: asyncio.Task[None]) -> Any:
        task = asyncio.ensure_future(wanted)
        waiting = {task} if gone.done() else {task, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        raise EOFError

    @staticmethod
    async def _next(side: h11.Connection, reader: asyncio.StreamReader) -> Any:
        while (event := side.next_event()) is h11.NEED_DATA:
            side.receive_data(await reader.read(_CHUNK))
        return event

    @staticmethod
    async def _send(side: h11.Connection, writer: asyncio.StreamWriter, event: Any) -> None:
        data = side.send(event)
        if data:
            writer.write(data)
            await writer.drain()


class _Proxy:
    """The listening side: opens, closes and cuts as the faults say."""

    def __init__(self, upstream: str, certificate: Path, faults: FaultFile) -> None:
        address = urlsplit(upstream)
        self.host, self.port = address.hostname or "127.0.0.1", address.port or 443
        self.trust = ssl.create_default_context(cafile=certificate)
        self.faults = faults
        self._own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._own.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._callers: set[_Caller] = set()
        self._cut: set[str] = set()

    async def run(self, port: int, end: asyncio.Event) -> None:
        """Serve on a loopback port until ``end``."""
        while not end.is_set():
            async with self._listening(port):
                await self._until(end, lambda: self._is_refusing())
            await self._until(end, lambda: not self._is_refusing())

    @asynccontextmanager
    async def _listening(self, port: int) -> AsyncIterator[None]:
        if self._is_refusing():
            yield
            return
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._own, limit=_CHUNK)
        try:
            yield
        finally:
            server.close()
            for caller in list(self._callers):
                caller.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = _Caller(self, reader, writer)
        self._callers.add(caller)
        try:
            await caller.serve()
        finally:
            self._callers.discard(caller)

    async def _until(self, end: asyncio.Event, happened: Callable[[], bool]) -> None:
        while not end.is_set() and not happened():
            self._cut_watches()
            with suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), _LOOK_SECONDS)

    def _is_refusing(self) -> bool:
        return any(fault.name == "refuse" and fault.calls is None for fault in self.faults.active())

    def _cut_watches(self) -> None:
        for fault in self.faults.active():
            if fault.name == "cut-watches" and fault.id not in self._cut:
                self._cut.add(fault.id)
                for caller in [caller for caller in self._callers if caller.watches]:
                    caller.abort()


def _main(
    kubeconfig: Annotated[Path, typer.Option(help="The cluster's own kubeconfig.")],
    port: Annotated[int, typer.Option(help="The loopback port to serve on.")],
    faults: Annotated[Path, typer.Option(help="The file of the faults in force.")],
) -> None:
    """Serve until SIGTERM."""
    cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    proxy = _Proxy(cluster["server"], Path(cluster["certificate-authority"]), FaultFile(faults))

    async def run() -> None:
        end = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, end.set)
        await proxy.run(port, end)

    asyncio.run(run())


if __name__ == "__main__":
    typer.run(_main)
