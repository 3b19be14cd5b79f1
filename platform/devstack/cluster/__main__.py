"""``python -m devstack.cluster``: a cluster by hand, and its faults."""

from __future__ import annotations

import functools
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from devstack.cluster import DevCluster, faults, programs
from devstack.cluster.cluster import environment_ready_after, request

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
    print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
    end = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: end.set())
    end.wait()
    cluster.stop()


@app.command()
def fault(
    action: Annotated[str, typer.Argument(help="set, clear or list")],
    name: Annotated[str, typer.Argument(help=", ".join(faults.FAULTS))] = "",
    namespace: Annotated[str | None, typer.Option(help="Only there; everywhere without it.")] = None,
    state: State = _STATE,
) -> None:
    """Let something go wrong in the cluster, or undo it."""
    ask = functools.partial(request, state / "kubeconfig")
    if action == "list":
        print(faults.describe(faults.list_faults(ask)))
        return
    change = {"set": faults.set_fault, "clear": faults.clear_fault}.get(action)
    if change is None or name not in faults.FAULTS:
        raise typer.BadParameter(f"say set or clear, and one of {', '.join(faults.FAULTS)}")
    change(ask, name, namespace=namespace)


if __name__ == "__main__":
    app()
