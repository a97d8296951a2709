"""What the pipeline says of its tables, without a server."""

from __future__ import annotations

import pytest

from adamacs import pipeline


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (("imaging", "Processing"), "imaging.Processing"),
        (("imaging", "Activity"), "imaging.Activity"),
        (("imaging", "Segmentation", "Mask"), "imaging.Segmentation.Mask"),
        (("scan", "ScanFileChecksum"), "scan.ScanFileChecksum"),
    ],
)
def test_a_table_is_named_as_the_pipeline_exports_it_wherever_its_class_stands(place, name):
    table = pipeline
    for step in place:
        table = getattr(table, step)
    assert pipeline.table_name(table) == name


def test_a_table_of_no_module_of_the_pipeline_is_named_by_its_own():
    class Colony:
        pass

    Colony.__module__, Colony.__qualname__ = "lab.tables.colony", "Colony"
    assert pipeline.table_name(Colony) == "colony.Colony"


def test_every_table_of_imaging_stands_in_one_database_schema_and_under_one_name():
    found = {table: pipeline.table_name(table) for table, _ in pipeline.imaging.schema.declare_list}
    assert len(found) == len(set(found.values())) == 17
    assert all(getattr(pipeline.imaging, name.removeprefix("imaging.")) is table for table, name in found.items())
