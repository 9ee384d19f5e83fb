"""Marks that several files share."""

import pytest

# Of what a class learns, and of gradients: what follows from its trainable weights' steps alone. State that training keeps is no such thing.
TRAINED_ON_TORCH = pytest.mark.once(
    "test_same_everywhere holds its steps of training on every backend to the same numbers; on torch they cost least",
    on="torch",
)
