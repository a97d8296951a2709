"""Continuous behaviour of a scan: voltages kept as such, and what they tell of the animal."""

from __future__ import annotations

import datajoint as dj

from adamacs.core import settings
from adamacs.core.setup_wiring import WHEEL
from adamacs.schemas.event import BehaviorRecording, EventImport, source_files
from adamacs.storage import arrays

schema = dj.Schema()

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
    return BehaviorRecording.Source & {"parser": "wavesurfer"}


def _recorded(channel):
    """Return the auxiliary recordings in which a channel was found that is a voltage."""
    wanted = {"source": "wavesurfer", "channel_name": channel, "channel_kind": "waveform"}
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
