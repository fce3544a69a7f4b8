"""The network of *Focus the Discrepancy*, its training and its scores: torch and Numba, without files, Ray or a store."""
