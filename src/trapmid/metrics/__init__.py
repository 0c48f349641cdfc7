"""Measures: judges, attack accuracy, distances, fidelity, utility, and the tidy table they all write into."""
