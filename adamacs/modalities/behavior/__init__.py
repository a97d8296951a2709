"""Behaviour: what the animal did and what was done to it, on the clocks of the rig."""
