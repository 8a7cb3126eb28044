"""What came out, as labelled arrays, files, words, pictures and pages."""
