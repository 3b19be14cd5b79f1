"""What the platform costs, measured on the embedded stack: ``make bench``."""
