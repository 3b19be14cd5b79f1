"""``python -m devstack.cluster``: a cluster by hand, and its faults."""

from __future__ import annotations

import functools
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from devstack import faults as api_faults
from devstack import shop
from devstack.cluster import DevCluster, faults, programs
from devstack.cluster.cluster import duration, environment_ready_after, request
from devstack.processes import DevstackError

app = typer.Typer(no_args_is_help=True, add_completion=False)
_STATE = Path(".state/cluster")
State = Annotated[Path, typer.Option(help="The cluster's folder.")]


@app.command()
def build() -> None:
    """Build the programs, unless that was done."""
    print(programs())


@app.command()
def up(state: State = _STATE) -> None:
    """Run a cluster until Ctrl-C."""
    cluster = DevCluster(programs(), state.absolute(), ready_after=environment_ready_after())
    cluster.start()
    end = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: end.set())
    with api_faults.ApiProxy(cluster.kubeconfig, cluster.state / "proxy") as proxy:
        print(f"export KUBECONFIG={proxy.kubeconfig}", flush=True)
        end.wait()
    cluster.stop()


@app.command()
def fault(
    action: Annotated[str, typer.Argument(help="set, clear or list")],
    name: Annotated[str, typer.Argument(help=", ".join([*faults.FAULTS, *shop.FAULTS, *api_faults.FAULTS]))] = "",
    namespace: Annotated[str | None, typer.Option(help="Only there; everywhere without it.")] = None,
    calls: Annotated[int | None, typer.Option(help="For so many calls of the API.")] = None,
    seconds: Annotated[float | None, typer.Option(help="For so long.")] = None,
    delay: Annotated[str, typer.Option(help="How late the API answers, as 500ms or 2s.")] = "1s",
    method: Annotated[str, typer.Option(help="Only calls of this method.")] = "",
    path: Annotated[str, typer.Option(help="Only calls whose path begins so.")] = "",
    state: State = _STATE,
) -> None:
    """Let something go wrong in the cluster, in a shop or before the API, or undo it."""
    ask = functools.partial(request, state / "kubeconfig")
    before_api = api_faults.FaultFile(state / "proxy" / "faults.json")
    if action == "list":
        in_force = {f"API server: {one.name}": api_faults.FAULTS[one.name] for one in before_api.active()}
        shops = {
            f"shop in {where}": name
            for where, name in shop.faults_of(ask("GET", "/api/v1/namespaces")["items"]).items()
        }
        print(faults.describe(faults.list_faults(ask) | shops | in_force))
    elif action == "set" and name in api_faults.FAULTS:
        try:
            late = duration(delay)
            before_api.set(api_faults.made(name, calls=calls, seconds=seconds, delay=late, method=method, path=path))
        except DevstackError as error:
            raise typer.BadParameter(str(error)) from error
    elif action == "clear" and name in api_faults.FAULTS:
        before_api.clear(name)
    elif action in ("set", "clear") and name in faults.FAULTS:
        change = faults.set_fault if action == "set" else faults.clear_fault
        change(ask, name, namespace=namespace)
    elif action in ("set", "clear") and name in shop.FAULTS:
        if namespace is None:
            raise typer.BadParameter("a shop's fault needs the --namespace of its store")
        shop.set_fault(ask, namespace, name if action == "set" else None)
    else:
        known = ", ".join([*faults.FAULTS, *shop.FAULTS, *api_faults.FAULTS])
        raise typer.BadParameter(f"say set or clear, and one of {known}")


if __name__ == "__main__":
    app()
