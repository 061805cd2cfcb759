"""The parts of an Optuna study: what a file says, trials, workers, the honest choice, the game."""
