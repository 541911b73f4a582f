import numpy as np
import pytest
from numba import njit
from PDFFMapperLib.diffusion import vector_math
from PDFFMapperLib.diffusion.noise import _TABLE_STEP, INFORMATION_TABLE
from scipy import special, stats


@njit
def _all(x, large, out):
    for k in range(x.size):
        out[0, k] = vector_math.exp_negative(-x[k])
        out[1, k] = vector_math.log_positive(x[k])
        out[2, k], out[3, k] = vector_math.bessel(x[k], large)
        out[4, k] = vector_math.rician_information(x[k])


@njit
def _all_single(x, large, out):
    for k in range(x.size):
        out[0, k] = vector_math.exp_single(-x[k])
        out[1, k] = vector_math.log_single(x[k])
        out[2, k], out[3, k] = vector_math.bessel_single(x[k], large)
        out[4, k] = vector_math.rician_information_single(x[k])


@njit
def _powers(x, out):
    for k in range(x.size):
        out[k] = vector_math.power_of_two(x[k])


def test_powers_of_two():
    x = np.linspace(-125, 125, 20_001, dtype=np.float32)
    found = np.empty_like(x)
    _powers(x, found)
    assert np.abs(found / np.exp2(x.astype(float)) - 1).max() < 7.9e-5


@pytest.mark.parametrize("large", [False, True])
def test_single_precision_is_near_double(answers, large):
    x, out = answers
    single = x.astype(np.float32)
    found = np.empty((5, x.size), np.float32)
    _all_single(single, large, found)
    small = x < 60
    assert np.abs(found[0, small] / np.exp(-single[small].astype(float)) - 1).max() < 4e-6
    assert np.all(found[0, ~small] < 1e-26)
    logs = np.abs(found[1] - np.log(single.astype(float))) / np.maximum(np.abs(np.log(x)), 1)
    assert logs.max() < 1e-6
    where = x >= (3.75 if large else vector_math.LEAST_SINGLE)
    expected = out[int(large)][2:, where]
    allowed = np.array([[4e-6], [4e-6], [1e-4]])
    assert np.all(np.abs(found[2:, where] - expected) < allowed * np.maximum(1, np.abs(expected)))


def test_powers_are_finite_at_the_least_argument_of_single_precision():
    with np.errstate(over="raise"):
        assert (np.float32(3.75) / np.float32(vector_math.LEAST_SINGLE)) ** 8 > 1


@pytest.fixture(scope="module")
def answers():
    x = np.geomspace(1e-30, 1e12, 4000)
    out = np.empty((2, 5, x.size))
    for n, large in enumerate((False, True)):
        _all(x, large, out[n])
    return x, out


def test_exponential_and_logarithm(answers):
    x, (out, _) = answers
    small = x < 60
    assert np.abs(out[0, small] / np.exp(-x[small]) - 1).max() < 1e-8
    assert np.all(out[0, ~small] < 1e-26)
    assert np.abs(out[1] - np.log(x)).max() < 1e-9


@pytest.mark.parametrize("large", [False, True])
def test_bessel_functions(answers, large):
    x, out = answers
    where = x >= 3.75 if large else x > 0
    logs, ratios = out[int(large)][2:4][:, where]
    x = x[where]
    assert np.abs(logs - np.log(special.i0e(x))).max() < 1e-6
    assert np.abs(ratios - special.i1e(x) / special.i0e(x)).max() < 2e-6


def test_rician_information_is_that_of_the_integrals(answers):
    nu = np.arange(INFORMATION_TABLE.size) * _TABLE_STEP
    out = np.empty((5, nu.size))
    _all(np.maximum(nu, 1e-30), False, out)
    assert np.abs(out[4] - INFORMATION_TABLE).max() < 3e-5
    x, (out, _) = answers
    far = x > 30
    assert np.abs(out[4, far] - (1 - 0.5 / x[far] ** 2)).max() < 3e-5


@pytest.mark.parametrize("nu", [0.5, 1.0, 3.0, 8.0, 30.0])
def test_information_is_the_variance_of_the_score(nu):
    m = stats.rice(nu).rvs(400_000, random_state=1)
    score = m * special.i1e(m * nu) / special.i0e(m * nu) - nu
    out = np.empty((5, 1))
    _all(np.array([nu]), False, out)
    assert out[4, 0] == pytest.approx(score.var(), rel=0.01)
