"""Answers on the NodePorts of ready stores in place of containers that do not run, and says that it does.

``python -m devstack.storefront --kubeconfig FILE``: it watches which NodePort services of the cluster have a ready
endpoint, opens their ports on loopback, and closes the others.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import tornado.httpserver
import typer

from devstack import medusa_shop
from devstack.cluster.cluster import request
from devstack.mirror import Mirror
from devstack.shop import Shop, application, faults_of

#: After a change so long is waited for more of them: one pod that starts is several.
_PAUSE_SECONDS: Final = 0.25
#: A service that carries this annotation as ``none`` has somebody else who answers on its port.
_STAND_IN: Final = "devstack/stand-in"


@dataclass(frozen=True, slots=True)
class Front:
    """A store as its port sees it: what shoppers read as its name, and where it lives."""

    name: str
    namespace: str


@dataclass
class Storefronts:
    """The open ports of a cluster, each with its shop."""

    kubeconfig: Path
    _open: dict[int, tuple[Shop, tornado.httpserver.HTTPServer]] = field(default_factory=dict)

    async def follow(self, end: asyncio.Event) -> None:
        """Open and close ports as the cluster's services come and go, until ``end``."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        paths = ("/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/namespaces")

        def tell() -> None:
            loop.call_soon_threadsafe(changed.set)

        mirrors = [Mirror(self.kubeconfig, path, tell) for path in paths]
        for mirror in mirrors:
            mirror.start()
        ending = asyncio.ensure_future(end.wait())
        while not end.is_set():
            news = asyncio.ensure_future(changed.wait())
            await asyncio.wait({news, ending}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            changed.clear()
            if all(mirror.has_listed for mirror in mirrors):
                services, slices, namespaces = (mirror.items() for mirror in mirrors)
                self._match(ready_services(services, slices))
                faults = faults_of(namespaces)
                for shop, _ in self._open.values():
                    shop.fault = faults.get(shop.namespace, "")
            await asyncio.wait({ending}, timeout=_PAUSE_SECONDS)

    def _match(self, wanted: dict[int, Front]) -> None:
        # A port may go from one store to the next between two looks.
        for port in [p for p, (shop, _) in self._open.items() if wanted.get(p) != Front(shop.name, shop.namespace)]:
            _, server = self._open.pop(port)
            server.stop()
            print(f"closed {port}", flush=True)
        for port in wanted.keys() - self._open.keys():
            shop = Shop(wanted[port].name, wanted[port].namespace, functools.partial(request, self.kubeconfig))
            server = tornado.httpserver.HTTPServer(application(shop, medusa_shop.routes(shop)))
            try:
                server.listen(port, "127.0.0.1")
            except OSError as error:
                print(f"port {port} of {shop.name} is taken by another program: {error}", flush=True)
                continue
            self._open[port] = (shop, server)
            print(f"opened {port} for {shop.name}", flush=True)


def ready_services(services: Iterable[dict[str, Any]], slices: Iterable[dict[str, Any]]) -> dict[int, Front]:
    """Return the NodePorts that have a ready endpoint, each with its store."""
    ready = {
        (one["metadata"]["namespace"], one["metadata"]["labels"].get("kubernetes.io/service-name"))
        for one in slices
        if any((endpoint.get("conditions") or {}).get("ready") for endpoint in one.get("endpoints") or [])
    }
    open_to_all = [
        service
        for service in services
        if service["spec"].get("type") == "NodePort"
        and (service["metadata"].get("annotations") or {}).get(_STAND_IN) != "none"
        and (service["metadata"]["namespace"], service["metadata"]["name"]) in ready
    ]
    return {port["nodePort"]: _front(service) for service in open_to_all for port in service["spec"]["ports"][:1]}


def _front(service: dict[str, Any]) -> Front:
    meta = service["metadata"]
    name = (meta.get("annotations") or {}).get("storeplatform.io/display-name") or meta["namespace"]
    return Front(str(name), str(meta["namespace"]))


def main(kubeconfig: Annotated[Path, typer.Option()]) -> None:
    """Serve until SIGTERM."""

    async def serve() -> None:
        end = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, end.set)
        await Storefronts(kubeconfig).follow(end)

    asyncio.run(serve())


if __name__ == "__main__":
    typer.run(main)
