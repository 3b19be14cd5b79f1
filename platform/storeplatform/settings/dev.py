"""Settings of the embedded stack and of a developer's machine."""

from storeplatform.settings.base import *  # noqa: F403
