"""What might have been: re-pairing, surrogate signals, and the random numbers behind them."""
