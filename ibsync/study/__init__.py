"""The verbs of arrays and of a study: coherence, null distributions, and who runs them."""
