"""The wavelet transform of one signal, its definition and its fast form."""
