"""Inter-brain synchrony: wavelet transform coherence of many dyads, with null distributions."""
