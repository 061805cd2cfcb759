"""The exporter to MLflow: the only package that imports it."""
