"""How often one may ask: limits by address, user, team and login, the same for every way in."""
