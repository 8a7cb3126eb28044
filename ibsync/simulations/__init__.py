"""Studies whose truth is known, in signals and in numbers, and how large a study has to be."""
