"""The outside world on one machine: servers, a cluster and their supervisor. Imports nothing of the product."""
