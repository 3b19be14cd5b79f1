"""The REST API under ``/api/v1``: one module a resource; views translate and decide nothing."""
