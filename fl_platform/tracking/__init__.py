"""Runs on disk: journal, checkpoint, lock; and their upload. Only this package uses MLflow."""
