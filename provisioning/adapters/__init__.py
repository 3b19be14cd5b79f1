"""The outside world as typed calls. Adapters know no Django, no settings and no domain."""
