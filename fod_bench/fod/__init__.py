"""The network of *Focus the Discrepancy*, its training and its scores: pure torch, without files, Ray or a store."""
