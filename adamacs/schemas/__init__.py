"""The spine: what every instrument has."""

import adamacs.database  # before DataJoint is imported
