"""Recording folders become relational answers: ingest, process and query laboratory data."""

import os

__version__ = "0.1.0"

# The lab's adamacs.toml says where the database is. Told so before its first import, DataJoint neither reads a stray
# datajoint.json nor warns that there is none.
os.environ.setdefault("DJ_IGNORE_CONFIG_FILE", "true")

# A connection to the lab sets DataJoint's log level. One that is no level, or in small letters, ended that import in a
# traceback.
if "DJ_LOG_LEVEL" in os.environ:
    os.environ["DJ_LOG_LEVEL"] = "WARNING"
