"""Small modules of tables for tests. `Lab.tables` loads a fresh copy, because tables bind once per process."""
