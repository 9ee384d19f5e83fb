"""Recipes: one readable script per model and dataset; ``kgen train <name>`` runs one."""
