"""Many runs as one: which cells a grid has, who runs them, what they say meanwhile."""
