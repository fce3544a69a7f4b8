"""From records and curves to trackers of experiments, whose libraries are optional and imported only when asked for."""
