"""Marks that several files share."""

import pytest

# Of what a class learns, or keeps while it learns: such a test needs hundreds of steps or graphs that take longer to trace than to run.
TRAINED_ON_TORCH = pytest.mark.once(
    "test_same_everywhere holds its steps of training on every backend to the same numbers; on torch they cost least",
    on="torch",
)
