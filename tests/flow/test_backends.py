"""Where flows do not run they say so."""

import keras
import pytest

from kgen.flow import MAF, ActNorm, Flow


@pytest.mark.skipif(keras.config.backend() != "torch", reason="the other backends have flows")
@pytest.mark.parametrize("make", [lambda: Flow((2,), [ActNorm()]), lambda: MAF((2,))], ids=["flow", "maf"])
def test_on_torch_a_flow_says_where_it_runs(make):
    with pytest.raises(NotImplementedError, match="run on the backends 'tensorflow' and 'jax'; the backend is 'torch'"):
        make()
