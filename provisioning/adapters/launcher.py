"""How to start a program that dies with its parent.

Asking the kernel for this between fork and exec is unsafe in a process with threads. A program of util-linux asks in a
process of its own, in a tenth of the time that an interpreter of Python takes.
"""

from __future__ import annotations

import shutil
from typing import Final

#: Says no when the parent went before the kernel was asked. Then becomes the program; the shell's status is 126 if it
#: may not, and 127 if it is not there.
_UNLESS_ORPHANED: Final = '[ "$PPID" = "$0" ] || { echo "the parent is gone already" >&2; exit 1; }; exec "$@"'


def launching(parent: int) -> list[str]:
    """Return the command that starts the program whose command follows it, as a child of process ``parent``.

    Raises:
        FileNotFoundError: ``setpriv`` of util-linux is not installed.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise FileNotFoundError("setpriv of util-linux is not installed")
    return [setpriv, "--pdeathsig", "KILL", "/bin/sh", "-c", _UNLESS_ORPHANED, str(parent)]
