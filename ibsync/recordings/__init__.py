"""From the recordings of two people to the study file."""
