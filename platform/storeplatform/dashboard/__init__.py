"""The operators' pages: Django templates and HTMX, without a build step."""
