"""From the files of each source to what happened: reader, wiring and detectors put together; no table is known."""
