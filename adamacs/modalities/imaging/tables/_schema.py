"""The one database schema of the imaging tables."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()  # named and connected by adamacs.pipeline
