"""Who may enter: users and their API tokens."""
