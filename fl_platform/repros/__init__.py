"""What scheduled reproductions are made of: suites, references, drift, slots, their history."""
