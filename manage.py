#!/usr/bin/env python
"""Run a Django management command of the platform."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command line, with development settings unless the environment names others."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "platform"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storeplatform.settings.dev")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
