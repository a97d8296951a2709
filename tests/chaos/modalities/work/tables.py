"""The tables that workers fill in tests, under the name that a modality's tables have."""

from tests.tables.work import Cheap, Costly, Item, Total, schema

__all__ = ["Cheap", "Costly", "Item", "Total", "schema"]
