"""Recording folders become relational answers: ingest, process and query laboratory data."""

__version__ = "0.1.0"
