"""The outside world on one machine: servers, a Kubernetes cluster and their supervisor. Imports nothing of the product."""
