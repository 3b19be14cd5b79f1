"""The audit entries that no use case of the domain writes: refused attempts, logins, admin changes and commands."""
