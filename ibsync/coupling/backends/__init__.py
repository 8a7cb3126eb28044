"""Devices that compute features and coherence."""
