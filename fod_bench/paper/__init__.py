"""What the paper prints: its numbers, what its tables look like, where it contradicts itself."""
