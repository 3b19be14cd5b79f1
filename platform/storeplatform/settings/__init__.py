"""Settings: ``environment`` → ``base`` → ``dev``, ``test`` or ``production``."""
