"""Lightning callbacks around the mathematics: roles, metrics, progress, checkpoints."""
