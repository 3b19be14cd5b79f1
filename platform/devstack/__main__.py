"""``python -m devstack up|demo|programs``: the embedded stack from a shell."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from devstack import external, programs
from devstack.demo import Demo
from devstack.processes import DevstackError
from devstack.stack import ROOT, Stack
from devstack.state import State

app = typer.Typer(no_args_is_help=True, add_completion=False)
console = Console(highlight=False, soft_wrap=True)
Kubeconfig = Annotated[Path | None, typer.Option(help="Use this cluster instead of the embedded one.")]


@app.command()
def up(kubeconfig: Kubeconfig = None) -> None:
    """Run the platform with all its parts until Ctrl-C."""
    _serve(kubeconfig, with_store=False)


@app.command()
def demo(kubeconfig: Kubeconfig = None) -> None:
    """Run the platform, make one store, and serve until Ctrl-C."""
    _serve(kubeconfig, with_store=True)


@app.command(name="programs")
def fetch_programs(into: Annotated[Path, typer.Option(help="Where to put them.")]) -> None:
    """Put the pinned helm and kubectl into a folder."""
    into.mkdir(parents=True, exist_ok=True)
    for program in (programs.helm(), programs.kubectl()):
        shutil.copy(program, into / program.name)


def _serve(kubeconfig: Path | None, *, with_store: bool) -> None:
    end, running = threading.Event(), threading.Event()

    def ask_to_end(*_: object) -> None:
        first = not end.is_set()
        end.set()
        if first and not running.is_set():
            raise KeyboardInterrupt  # a start may take minutes: do not wait for it

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, ask_to_end)
    try:
        cluster = external.named_cluster(kubeconfig)
        if cluster is None:
            for context in external.local_clusters():
                console.print(
                    f"A local cluster is configured, {context}; to use it: KUBECONFIG=~/.kube/config make demo"
                )
        stack = Stack(State(ROOT / ".state"), console.print, kubeconfig=cluster)
        stack.start()
        running.set()
        failed: list[DevstackError] = []
        try:
            if with_store:
                threading.Thread(target=_demo, args=(stack, end, failed), name="demo", daemon=True).start()
            else:
                _say_where(stack)
            stack.watch(end.is_set)
        finally:
            console.print("stopping")
            stack.stop()
        if failed:
            raise failed[0]
    except DevstackError as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("stopped before everything was up")


def _demo(stack: Stack, end: threading.Event, failed: list[DevstackError]) -> None:
    connection = stack.connection
    client = Demo(connection["STOREPLATFORM_URL"], connection["STOREPLATFORM_TOKEN"], console, lambda: not end.is_set())
    try:
        store = client.run()
    except DevstackError as error:
        failed.append(error)
        end.set()
        return
    if store is not None:
        client.show(store, flower=connection["FLOWER_URL"])
        _say_where(stack)


def _say_where(stack: Stack) -> None:
    console.print(f"Dashboard: {stack.connection['DASHBOARD_URL']}   Logins and addresses: {stack.state.connection}")
    console.print("Ctrl-C ends everything; the state stays in .state/")


if __name__ == "__main__":
    app()
