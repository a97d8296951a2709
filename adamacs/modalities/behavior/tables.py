"""Behaviour of a scan: which stimuli were shown, voltages kept as such, and what they tell of the animal."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.core import settings, setups
from adamacs.core.setup_wiring import AUX, WHEEL
from adamacs.modalities.behavior.importers.bonsai import DIALECTS
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.event import BehaviorRecording, EventImport, source_files
from adamacs.storage import arrays

schema = dj.Schema()


@schema
class StimulusLog(dj.Imported):
    definition = """
    # What Bonsai wrote down of the stimuli that it showed
    -> EventImport
    ---
    dialect            : varchar(16)  # kind of log: events, master_trigger, harp_acquiring or ungated
    log_clock          : varchar(16)  # its times: instant (stamps of the computer), seconds, or none
    log_start = null   : datetime(6)  # naive UTC, its first time stamp
    stimulus_count     : int32        # different stimuli
    presentation_count : int32        # how often any was shown
    """

    class Stimulus(dj.Part):
        definition = """
        # A stimulus, its parts told apart; null where it has none of a part
        -> master
        stimulus_id : int32  # 1..n, in order of first appearance
        ---
        stimulus_type        : varchar(127)  # such as Grating
        stimulus_class = ''  : varchar(127)  # as the workflow names it; empty: it has none
        azimuth = null       : float64       # deg
        elevation = null     : float64       # deg
        stimulus_size = null : float64       # deg
        orientation = null   : float64       # deg
        spatial_frequency = null  : float64  # cycles/deg
        temporal_frequency = null : float64  # Hz
        stimulus_text        : varchar(1023)  # all eight parts in the one canonical spelling
        """

    class Presentation(dj.Part):
        definition = """
        # A stimulus was shown, according to the log
        -> master
        presentation_id : int32  # 1..n, in the order of the log
        ---
        -> StimulusLog.Stimulus
        log_line           : int32    # of the file, from 1
        log_time = null    : float64  # s, on the clock of the log; null where it tells none
        pass_number = null : int32    # which pass through all stimuli, 1..n: the trial of a log; null: it has no passes
        """

    @property
    def key_source(self):
        return EventImport & (BehaviorRecording.Source & [{"parser": parser} for parser in DIALECTS])

    def make_fetch(self, key):  # the parser, the setup type, and the rows of the source's files
        return EventImport().make_fetch(key)

    def make_compute(self, key, parser, setup_type, rows):
        from adamacs.modalities.behavior.importers import bonsai

        told = bonsai.read_presentations(source_files(key, setup_type, rows), settings.active())
        row = {
            "dialect": told.log.dialect,
            "log_clock": told.log.clock,
            "log_start": told.log.start,
            "stimulus_count": len(told.stimuli),
            "presentation_count": len(told.numbers),
        }
        return row, [_stimulus_row(*one) for one in enumerate(told.stimuli, 1)], _presentation_rows(told)

    def make_insert(self, key, row, stimuli, presentations):
        self.insert1({**key, **row})
        self.Stimulus.insert([{**key, **stimulus} for stimulus in stimuli])
        self.Presentation.insert([{**key, **presentation} for presentation in presentations])


@schema
class StimulusOnset(dj.Computed):
    definition = """
    # Which plateau, pulse or burst of a channel shows which stimulus of a log
    -> StimulusLog
    -> EventImport.Channel.proj(shown_source='source')
    ---
    onset_method  : varchar(1023)  # how both were paired
    shown_count   : int32          # presentations with an event
    log_alone     : int32          # presentations without one
    event_alone   : int32          # events of the channel that show no presentation
    onset_residual_p95 = null : float64  # s, 95th percentile of distances from the mapping; null where paired in order
    level_count = null        : int32    # voltages that it had; null where these tell nothing of stimuli
    level_contradictions = null : int32  # events shown whose voltage is another stimulus's; null as above
    """

    class Shown(dj.Part):
        definition = """
        # The event that shows a presentation
        -> master
        -> StimulusLog.Presentation
        ---
        -> EventImport.Event.proj(shown_source='source')
        level_agrees = null : bool  # whether its voltage is that of its stimulus; null where voltages tell nothing
        """

    @property
    def key_source(self):
        channels = EventImport.Channel & [{"shows": "each"}, {"shows": "level"}]
        return StimulusLog.proj() * channels.proj(shown_source="source")

    def make_fetch(self, key):  # setup type; presentations with stimuli and log times; events with starts and values
        told = (StimulusLog.Presentation & key).to_arrays(
            "presentation_id", "stimulus_id", "log_time", order_by="presentation_id"
        )
        aux = {name: key[name] for name in ("session_id", "scan_id")} | {"source": key["shown_source"]}
        wrote = EventImport.Channel & aux & {"channel_name": key["channel_name"]}
        events = EventImport.Event & aux & {"event_type": wrote.fetch1("event_type")}
        seen = events.to_arrays("event_id", "event_start_time", "event_value", order_by="event_id")
        return (scan_schema.setup_of(key), *(column.tolist() for column in (*told, *seen)))

    def make_compute(self, key, setup_type, presentations, stimuli, times, events, starts, levels):
        from adamacs.modalities.behavior import stimuli as pairing

        setup = setups.load_usable(settings.active().home).find(setup_type, key)
        told = pairing.Told(key["source"], np.array(stimuli, np.int64), np.array(times, np.float64))
        seen = pairing.Seen(np.array(starts, np.float64), np.array(levels, np.float64))
        found = pairing.find_shown(setup, key["channel_name"], told, seen)
        agrees = [None] * len(found.events) if found.agrees is None else found.agrees.tolist()
        shown = [
            {"presentation_id": presentations[which], "event_id": events[event], "level_agrees": agree}
            for which, event, agree in zip(found.presentations.tolist(), found.events.tolist(), agrees, strict=True)
        ]
        row = {
            "onset_method": found.method[:1023],
            "shown_count": len(shown),
            "log_alone": len(presentations) - len(shown),
            "event_alone": len(events) - len(shown),
            "onset_residual_p95": found.residual,
            "level_count": found.levels,
            "level_contradictions": None if found.agrees is None else agrees.count(False),
        }
        return row, shown

    def make_insert(self, key, row, shown):
        self.insert1({**key, **row})
        self.Shown.insert([{**key, **one} for one in shown])


def _stimulus_row(number, stimulus):
    return {
        "stimulus_id": number,
        "stimulus_type": stimulus.type,
        "stimulus_class": stimulus.class_,
        "azimuth": stimulus.azimuth,
        "elevation": stimulus.elevation,
        "stimulus_size": stimulus.size,
        "orientation": stimulus.orientation,
        "spatial_frequency": stimulus.spatial_frequency,
        "temporal_frequency": stimulus.temporal_frequency,
        "stimulus_text": str(stimulus),
    }


def _presentation_rows(told):
    columns = zip(told.log.rows, told.numbers.tolist(), told.passes.tolist(), strict=True)
    return [
        {
            "presentation_id": number,
            "stimulus_id": stimulus_id,
            "log_line": row.line,
            "log_time": None if np.isnan(row.time) else row.time,
            "pass_number": pass_number or None,
        }
        for number, (row, stimulus_id, pass_number) in enumerate(columns, 1)
    ]


_KEPT = """
-> EventImport
---
kept_rate     : float64  # Hz, of the arrays here; sample i was at first_time + i / kept_rate
decimation    : int32    # of how many recorded samples one is kept
cutoff = null : float64  # Hz, where the filter before that passes half of the amplitude; null where all are kept
first_time    : float64  # s, of the first sample, on the clock of the source
volts         : <array@derived>  # float32, (sample,), V
"""


@schema
class TreadmillRecording(dj.Imported):
    definition = (
        "# How the animal moved on its wheel; volts alone where the setup type does not say what they mean"
        + _KEPT
        + """
    position = null       : <array@derived>  # float64, (sample,), cm since the first sample, forward positive
    speed = null          : <array@derived>  # float32, (sample,), cm/s, forward positive
    circumference = null  : float64  # cm, of a turn, as the setup type said
    low_voltage = null    : float64  # V, at the beginning of a turn
    high_voltage = null   : float64  # V, at the end of a turn
    direction = null      : int8     # 1 where running forward raises the voltage, -1 where it lowers it
    fastest = null        : float64  # cm/s, beyond which a step is no animal's
    speed_window = null   : float64  # s, over which a cubic was fitted to take the speed
    replaced_count = null : int64    # recorded samples within a fall of the output, replaced
    jump_count = null     : int64    # steps faster than the animal that nothing explains: above 0, look at the volts
    outside_count = null  : int64    # recorded samples beyond low_voltage and high_voltage: above 0, the range is wrong
    """
    )

    @property
    def key_source(self):
        return _recorded(WHEEL)

    def make_fetch(self, key):  # the parser, the setup type, and the rows of the source's files
        return EventImport().make_fetch(key)

    def make_compute(self, key, parser, setup_type, rows):
        from adamacs.modalities.behavior import continuous

        recorded = source_files(key, setup_type, rows)
        waveform, movement = continuous.read_treadmill(recorded, settings.active())
        row = _waveform_row(self, key, waveform)
        return (row | _movement_row(self, key, movement) if movement else row,)

    def make_insert(self, key, row):
        self.insert1({**key, **row})


@schema
class CamSyncRecording(dj.Imported):
    definition = "# The voltage of the light that the cameras see, too" + _KEPT

    @property
    def key_source(self):
        return _recorded("cam_sync")

    def make_fetch(self, key):  # the parser, the setup type, and the rows of the source's files
        return EventImport().make_fetch(key)

    def make_compute(self, key, parser, setup_type, rows):
        from adamacs.modalities.behavior import continuous

        recorded = source_files(key, setup_type, rows)
        waveform = continuous.read_waveform(recorded, "cam_sync", settings.active())
        return (_waveform_row(self, key, waveform),)

    def make_insert(self, key, row):
        self.insert1({**key, **row})


@schema
class HarpRecording(dj.Imported):
    definition = """
    # How the head moved, as HARP's inertial sensors felt it; counts where the setup type does not say how much one is
    -> EventImport
    ---
    -> [nullable] EventImport.proj(gate_source='source')
    sample_count  : int32            # of each sensor
    first_time = null : float64      # s, of the first sample, on the clock of the source; null where nothing tells
    sample_interval = null : float64  # s; sample i was at first_time + i * sample_interval
    time_method   : varchar(1023)    # how these times were told, or what is missing for that
    acceleration = null  : <array@derived>  # float32 or int16 counts, (sample, 3): x, y, z; null: not recorded
    acceleration_unit    : varchar(16)      # counts, m/s^2 or g
    gyroscope = null     : <array@derived>  # float32 or int16 counts, (sample, 3): x, y, z; null: not recorded
    gyroscope_unit       : varchar(16)      # counts or deg/s
    magnetometer = null  : <array@derived>  # float32 or int16 counts, (sample, 3): x, y, z; null: not recorded
    magnetometer_unit    : varchar(16)      # counts or uT
    """

    @property
    def key_source(self):
        units = EventImport & (BehaviorRecording.Source & {"parser": "harp_imu"})
        return units - (_aux() - EventImport).proj(gate_source="source")

    @staticmethod
    def waits_for(key):
        """Yield what keys wait for beside their own import: the recording of the gate that was open meanwhile."""
        units = BehaviorRecording.Source & key & {"parser": "harp_imu"}
        aux = (_aux() & units.proj(imu_source="source")).keys()
        yield from ((EventImport, which) for which in aux)

    def make_fetch(self, key):  # setup type; rows of the source's files; the source with the gate, when it was open
        from adamacs.modalities.behavior import continuous

        _, setup_type, rows = EventImport().make_fetch(key)
        gate = continuous.gate_of_harp(setup_type, settings.active())
        aux = [where for _, where in self.waits_for(key)]
        opened = (EventImport.Event & aux & {"event_type": gate}).to_dicts(order_by="event_id") if aux else []
        spans = [(row["event_start_time"], row["event_end_time"]) for row in opened]
        return setup_type, rows, aux[0]["source"] if aux and gate else None, spans if aux else None

    def make_compute(self, key, setup_type, rows, gate_source, gates):
        from adamacs.modalities.behavior import continuous

        head = continuous.read_head(source_files(key, setup_type, rows), gates, settings.active())
        row = {"gate_source": gate_source, "sample_count": head.samples}
        row |= {"first_time": head.times.first, "sample_interval": head.times.interval, "time_method": head.times.how}
        for sensor, column in _SENSORS.items():
            values = head.values.get(sensor)
            row[column] = None if values is None else _write(self, key, column, values)
            row[f"{column}_unit"] = head.units.get(sensor, "")
        return (row,)

    def make_insert(self, key, row):
        self.insert1({**key, **row})


_SENSORS = {"accelerometer": "acceleration", "gyroscope": "gyroscope", "magnetometer": "magnetometer"}


def _aux():
    """Return the auxiliary recordings."""
    return BehaviorRecording.Source & {"source": AUX, "parser": "wavesurfer"}


def _recorded(channel):
    """Return the auxiliary recordings in which a channel was found that is a voltage."""
    wanted = {"source": AUX, "channel_name": channel, "channel_kind": "waveform"}
    return EventImport & (EventImport.Channel & wanted)


def _waveform_row(table, key, waveform):
    return {
        "kept_rate": waveform.how.kept_rate,
        "decimation": waveform.how.factor,
        "cutoff": waveform.how.cutoff,
        "first_time": waveform.first_time,
        "volts": _write(table, key, "volts", waveform.volts),
    }


def _movement_row(table, key, movement):
    calibration = movement.calibration
    return {
        "position": _write(table, key, "position", movement.position),
        "speed": _write(table, key, "speed", movement.speed),
        "circumference": calibration.circumference,
        "low_voltage": calibration.low,
        "high_voltage": calibration.high,
        "direction": calibration.direction,
        "fastest": calibration.fastest,
        "speed_window": movement.window,
        "replaced_count": movement.fallen,
        "jump_count": movement.jumps,
        "outside_count": movement.outside,
    }


def _write(table, key, name, array):
    return arrays.write("derived", arrays.path_of(table.__class__.__name__, key, name), array)
