"""Run a program that dies with its parent: ``python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT…``.

Asking the kernel for this between fork and exec is unsafe in a process with threads; a fresh interpreter is not one.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(sys.argv[1]):
            sys.exit("the parent is gone already")
    try:
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 (no shell is wanted)
    except OSError as error:
        sys.stderr.write(str(error))
        sys.exit(126)
