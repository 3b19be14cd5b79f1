"""What gunicorn reads by itself where it is started: the processes of one web server count their requests together."""

import os
import shutil
import tempfile

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # A new folder for each server: nobody counts what an earlier one answered.
    _folder = tempfile.mkdtemp(prefix="storeplatform-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _folder

    def on_exit(_server: object) -> None:
        """Leave nothing behind."""
        shutil.rmtree(_folder, ignore_errors=True)
