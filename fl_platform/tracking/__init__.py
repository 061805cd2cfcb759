"""Runs on disk and in MLflow: journal, checkpoint, lock, forwarding. Only here is MLflow known."""
