"""Arrays to arrays: edges, levels, wheels and rates."""
