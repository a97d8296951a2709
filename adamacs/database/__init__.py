"""The server, the one connection to it, and every touch of DataJoint's private parts."""

import os

# The lab's adamacs.toml says where the database is. Told so before its first import, DataJoint neither reads a stray
# datajoint.json nor warns that there is none.
os.environ.setdefault("DJ_IGNORE_CONFIG_FILE", "true")
