"""Two signals become numbers: the wavelet transform, coherence and other measures, on the CPU or a GPU."""
