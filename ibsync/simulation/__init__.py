"""Studies with known truth: simulated data, calibration of tests, power."""
