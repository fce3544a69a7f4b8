"""Field types and the wording of faults, for the job file and for the methods' settings alike."""
