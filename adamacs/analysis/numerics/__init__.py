"""Arrays to arrays: signals around events, and events around events. No table is known here."""
