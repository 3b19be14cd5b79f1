"""What the platform does with its own database beyond the ORM."""
