"""The data that comes with the package. What belongs to the demo is tested with it."""

import numpy as np
from numpy.testing import assert_array_equal

from pysig.data import abalone


class TestAbalone:
    def test_shapes_and_types(self):
        data = abalone()
        assert data.measurements.shape == (4177, 7)
        assert data.measurements.dtype == np.float64
        assert data.sex.shape == data.rings.shape == (4177,)

    def test_values_of_the_source(self):
        measurements, sex, rings = abalone()
        assert_array_equal(measurements[0], [0.455, 0.365, 0.095, 0.514, 0.2245, 0.101, 0.15])
        assert_array_equal(measurements[-1], [0.71, 0.555, 0.195, 1.9485, 0.9455, 0.3765, 0.495])
        assert (sex[0], rings[0], sex[-1], rings[-1]) == ("M", 15, "M", 12)

    def test_summaries_that_the_source_states(self):
        measurements, sex, rings = abalone()
        assert_array_equal(measurements.min(0), [0.075, 0.055, 0, 0.002, 0.001, 0.0005, 0.0015])
        assert_array_equal(measurements.max(0), [0.815, 0.65, 1.13, 2.8255, 1.488, 0.76, 1.005])
        assert [int(np.sum(sex == each)) for each in "MFI"] == [1528, 1307, 1342]
        assert (rings.min(), rings.max()) == (1, 29)
        assert round(float(rings.mean()), 3) == 9.934
