"""What the tables of the chaos suite declare about themselves."""

from __future__ import annotations

from adamacs.core.modality import Modality

MODALITY = Modality(name="work", tables="adamacs.modalities.work.tables", fills={"cpu": ("Cheap", "Costly", "Total")})
