"""What a lab asks of synchrony: more than chance, growth, outcome, transfer, and other contrasts."""
