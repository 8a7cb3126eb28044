"""Sessions, outcomes and partners: change over sessions, what goes with it, and whether it carries over."""
