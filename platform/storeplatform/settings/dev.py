"""Settings of the embedded stack and of a developer's machine."""

from storeplatform.settings.base import *  # noqa: F403

# The pages' files are served from where they lie: nobody has to collect them first.
WHITENOISE_USE_FINDERS = True
