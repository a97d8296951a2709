"""The spine: what every instrument has."""
