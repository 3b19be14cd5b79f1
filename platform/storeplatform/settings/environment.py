"""Where settings come from: the process environment, read through django-environ."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import environ

#: The project's root folder.
ROOT: Final = Path(__file__).resolve().parents[3]

env: Final = environ.Env()


def seconds(name: str, default: float) -> timedelta:
    """Return the variable ``name``, given in seconds, as a duration."""
    return timedelta(seconds=env.float(name, default=default))
