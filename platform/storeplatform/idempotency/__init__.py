"""Same request, same answer: what was answered to each ``Idempotency-Key``."""
