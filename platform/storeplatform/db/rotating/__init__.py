"""A database backend of Django: PostgreSQL with a login that changes while the process runs."""
