"""Figures without each group of samples are those of the samples that are left."""

import numpy as np
import pytest

from kgen.metrics import density_coverage, precision_recall
from kgen.metrics.leaving_out import neighbour_figures, squared_radii


@pytest.mark.parametrize("groups", [10, 2])  # without half of the points, many have to be looked for among all
def test_they_are_those_of_what_is_left(groups):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(80, 3)), 1.2 * rng.normal(size=(90, 3))
    generated[1] = generated[2] = generated[3]
    left_out = np.array_split(rng.permutation(90), groups)
    found = neighbour_figures(real, generated, 4, left_out)
    for figures, group in zip(found, [[], *left_out], strict=True):
        rest = np.delete(generated, group, axis=0)
        np.testing.assert_allclose(
            figures, [*precision_recall(real, rest, 4), *density_coverage(real, rest, 4)], rtol=1e-12
        )
    assert len(np.unique(found[:, 2])) > 1
    np.testing.assert_array_equal(neighbour_figures(real, generated, 4, left_out, squared_radii(real, 4)[0]), found)


def test_a_neighbour_beyond_the_nearest_few_is_found():
    points = np.arange(60.0)[:, None]  # of point 0, the nearest 40 are left out
    radii = squared_radii(points, 2, [np.arange(1, 41)])
    assert radii[0, 0] == 4 and radii[1, 0] == 42**2
