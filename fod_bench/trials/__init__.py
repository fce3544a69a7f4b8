"""A trial from data to record: fit, evaluate, checkpoint, measure. No Ray."""
