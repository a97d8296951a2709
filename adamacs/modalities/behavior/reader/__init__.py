"""Files of the behaviour rigs, read into plain objects; no table is known here."""
