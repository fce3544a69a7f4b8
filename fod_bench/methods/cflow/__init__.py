"""CFLOW-AD (WACV 2022): a conditional normalizing flow of the features of every level."""
