"""Whether the process lives (``/health``) and whether it can serve (``/ready``)."""
