"""From draws to p-values: permutation tests, corrections, clusters, intervals."""
