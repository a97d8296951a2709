"""The tables of `tests/tables/work.py` as a modality of role `cpu`."""
