"""`wit queries build`: a query list out of a Wikipedia's dumps and other sources."""
