"""Trials and blocks of a recording, and which events fell into them, on the clock of the source that knows of them."""

from __future__ import annotations

import math

import datajoint as dj
import numpy as np

from adamacs.core import settings
from adamacs.core.modality import named
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.event import BehaviorRecording, EventImport, source_files
from adamacs.schemas.scan import ScanFile

schema = dj.Schema()

_ROUNDING = 1e-6  # s, far below a cycle of any task machine

IMPORTERS: dict[str, str] = {}
"""Per parser, the `module:function` that reads its trials; `adamacs.pipeline` hands down what modalities declare."""


@schema
class TrialType(dj.Manual):
    definition = """
    # A kind of trial
    trial_type : varchar(64)
    ---
    trial_type_description = '' : varchar(255)
    """


@schema
class TrialImport(dj.Imported):
    definition = """
    # All trials according to one source
    -> EventImport
    ---
    trial_count : int32  # length of the list
    """

    class Trial(dj.Part):
        definition = """
        # One trial
        -> master
        trial_id : int32  # 1..n, in order of time
        ---
        source_trial : int32  # as the source itself counts
        -> [nullable] TrialType
        trial_start_time       : float64  # s, on the clock of the source
        trial_stop_time = null : float64  # s, on the clock of the source; null where it was not recorded
        """

    class Attribute(dj.Part):
        definition = """
        # Something that is told of a trial
        -> TrialImport.Trial
        attribute_name : varchar(64)  # such as timeout
        ---
        attribute_value : varchar(255)  # such as true
        """

    class TrialEvent(dj.Part):
        definition = """
        # An event of the same source that began within a trial
        -> TrialImport.Trial
        -> EventImport.Event
        """

    class Block(dj.Part):
        definition = """
        # Trials that belong together
        -> master
        trial_block_id : int32  # 1..n, in order of time
        ---
        block_start_time : float64        # s, on the clock of the source: of its first trial
        block_stop_time = null : float64  # s, on the clock of the source: of its last trial; null: not recorded
        """

    class BlockAttribute(dj.Part):
        definition = """
        # What is the same in all trials of a block, and tells it from others
        -> TrialImport.Block
        block_attribute_name : varchar(64)  # such as a setting of the task
        ---
        block_attribute_value : varchar(255)  # such as 1.5
        """

    class BlockTrial(dj.Part):
        definition = """
        # A trial of a block
        -> TrialImport.Block
        -> TrialImport.Trial
        """

    @property
    def key_source(self):
        return EventImport & (BehaviorRecording.Source & [{"parser": parser} for parser in IMPORTERS])

    def make_fetch(self, key):  # parser, setup type, rows of the source's files, numbers and times (s) of its events
        rows = (ScanFile & (BehaviorRecording.File & key)).to_dicts(order_by="file_id")
        events = (EventImport.Event & key).to_arrays("event_id", "event_start_time", order_by="event_id")
        parser = (BehaviorRecording.Source & key).fetch1("parser")
        return (parser, scan_schema.setup_of(key), rows, *(column.tolist() for column in events))

    def make_compute(self, key, parser, setup_type, rows, event_ids, times):
        found = named(IMPORTERS[parser])(source_files(key, setup_type, rows), settings.active())
        types = sorted({trial.trial_type for trial in found.trials} - {""})
        links = _links(found.trials, event_ids, times)
        attributes = [dict(trial.attributes) for trial in found.trials]
        return types, [_row(trial) for trial in found.trials], attributes, links, _block_rows(found)

    def make_insert(self, key, types, trials, attributes, links, blocks):
        # Another import may have brought a type along meanwhile: it has the same name.
        TrialType.insert([{"trial_type": name} for name in types], skip_duplicates=True)
        self.insert1({**key, "trial_count": len(trials)})
        self.Trial.insert([{**key, **trial} for trial in trials])
        self.Attribute.insert(
            [
                {**key, "trial_id": trial["trial_id"], "attribute_name": name, "attribute_value": value}
                for trial, said in zip(trials, attributes, strict=True)
                for name, value in said.items()
            ]
        )
        self.TrialEvent.insert([{**key, "trial_id": trial, "event_id": event} for trial, event in links])
        for part, rows in zip((self.Block, self.BlockTrial, self.BlockAttribute), blocks, strict=True):
            part.insert([{**key, **row} for row in rows])


def _links(trials, event_ids, times):
    """Return (trial_id, event_id) of every event that began within a trial; one without a stop ends with the next."""
    starts = np.array([trial.start for trial in trials])
    stops = np.array([trial.stop for trial in trials])
    stops = np.where(np.isnan(stops), np.append(starts[1:], np.inf)[: len(starts)], stops)
    instants = np.asarray(times)
    place = np.searchsorted(starts, instants, side="right") - 1
    if not len(starts):
        return []
    # The last state ends with the trial, give or take the last bit of two times that were stored apart.
    inside = (place >= 0) & (instants <= stops[np.maximum(place, 0)] + _ROUNDING)
    return [(trials[place[at]].trial_id, event_ids[at]) for at in np.flatnonzero(inside).tolist()]


def _row(trial):
    return {
        "trial_id": trial.trial_id,
        "source_trial": trial.source_trial,
        "trial_type": trial.trial_type or None,
        "trial_start_time": trial.start,
        "trial_stop_time": None if math.isnan(trial.stop) else trial.stop,
    }


def _block_rows(found):
    """Return the rows of blocks, of which trial is in which, and of what tells them apart."""
    trials = {trial.trial_id: _row(trial) for trial in found.trials}
    blocks, members, attributes = [], [], []
    for number, block in enumerate(found.blocks, 1):
        which = {"trial_block_id": number}
        times = {
            "block_start_time": trials[block.trial_ids[0]]["trial_start_time"],
            "block_stop_time": trials[block.trial_ids[-1]]["trial_stop_time"],
        }
        blocks.append({**which, **times})
        members += [{**which, "trial_id": trial_id} for trial_id in block.trial_ids]
        attributes += [
            {**which, "block_attribute_name": name, "block_attribute_value": value}
            for name, value in block.attributes.items()
        ]
    return blocks, members, attributes
