"""What lies in a store, typed: names, records, plans of runs, checkpoints, failures, claims."""
