"""One run of a plan from beginning to end: what is left, who works on it, what becomes of it. No torch."""
