"""Print the requirements of one extra of setup.cfg, for installing them without the rest."""

import configparser
import sys
from pathlib import Path

config = configparser.ConfigParser()
config.read(Path(__file__).resolve().parent.parent / "setup.cfg")
print(*config["options.extras_require"][sys.argv[1]].split())  # noqa: T201
