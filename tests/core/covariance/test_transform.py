from __future__ import annotations

import pytest
import torch

from xvar.core.covariance import transform as module
from xvar.core.covariance.transform import Transform, basis, eigenvalues

EDGES = ("free", "zero", "appended_zero", "periodic")


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("points", [1, 2, 7, 8, 300, 401])
def test_orthonormal_and_by_fourier_the_same(edges: str, points: int) -> None:
    rows = basis(points, edges)
    identity = torch.eye(points, dtype=torch.float64)
    assert float((rows @ rows.T - identity).abs().max()) < 1e-12
    field = torch.randn(2, 3, points, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    half = points // 2
    for modes in sorted({points, max(points - 1, 1), min(half + 2, points), min(half + 1, points), max(half, 1)}):
        forward, inverse = module._fast_pair(points, modes, edges, torch.float64, None)
        torch.testing.assert_close(forward(field, -1), field @ rows[:modes].T, rtol=0, atol=1e-12)
        torch.testing.assert_close(
            inverse(field[..., :modes], -1), field[..., :modes] @ rows[:modes], rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("edges", EDGES)
def test_eigenvalues_are_in_the_order_of_the_vectors(edges: str) -> None:
    rows = basis(12, edges)
    squares = torch.zeros(12, 12, dtype=torch.float64)
    for i in range(12):
        squares[i, i] = 2
        for j in (i - 1, i + 1):
            if 0 <= j < 12 or edges == "periodic":
                squares[i, j % 12] = -1
    if edges in ("free", "appended_zero"):
        squares[0, 0] = 1
    if edges == "free":
        squares[-1, -1] = 1
    torch.testing.assert_close(rows @ squares @ rows.T, torch.diag(eigenvalues(12, edges)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("shape", [(64, 64), (131, 133), (101, 399), (400, 387), (240, 240)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_bits_do_not_depend_on_the_batch(
    edges: str, shape: tuple[int, int], dtype: torch.dtype, truncation: float
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transform = Transform(shape, edges, dtype=dtype, device=None, truncation=truncation)
    for method, points in ((transform.forward, shape), (transform.inverse, transform.modes)):
        # One value before the fields, so that no window begins where a cache line does.
        flat = torch.randn(1 + 6 * points[0] * points[1], dtype=dtype, generator=torch.Generator().manual_seed(0))
        field = flat[1:].reshape(3, 2, *points)
        together = method(field)
        for k in range(3):
            assert torch.equal(method(field[k : k + 1])[0], together[k])
            assert torch.equal(method(field[k : k + 1].clone())[0], together[k])
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # within torch itself
def test_forward_mode_and_vjp() -> None:
    transform = Transform((6, 5), "free", dtype=torch.float64, device=None)
    x, t = torch.randn(2, 1, 2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, tangent = torch.func.jvp(transform.forward, (x,), (t,))
    torch.testing.assert_close(tangent, transform.forward(t))
    _, pull = torch.func.vjp(transform.forward, x)
    torch.testing.assert_close(pull(t)[0], transform.inverse(t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_fill_whole_cache_lines_with_no_more_columns_than_it_takes(dtype: torch.dtype) -> None:
    for rows in (1, 2, 3, 8, 12, 16, 17, 64):
        for columns in (1, 5, 8, 16, 33):
            enough = next(n for n in range(64) if rows * (columns + n) * dtype.itemsize % module.CACHE_LINE == 0)
            assert module._padding(rows, columns, dtype) == enough


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("shape", [(9, 12), (9, 1100), (1100, 12), (200, 1030)], ids=str)
@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_by_matrices_and_by_fourier_along_either_axis(edges: str, shape: tuple[int, int], truncation: float) -> None:
    transform = Transform(shape, edges, dtype=torch.float64, device=None, truncation=truncation)
    rows, columns = (basis(n, edges)[:m] for n, m in zip(shape, transform.modes, strict=True))
    field = torch.randn(2, 1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spectrum = rows @ field @ columns.T
    torch.testing.assert_close(transform.forward(field), spectrum, rtol=0, atol=1e-11)
    torch.testing.assert_close(transform.inverse(spectrum), rows.T @ spectrum @ columns, rtol=0, atol=1e-11)


@pytest.mark.parametrize("edges", EDGES)
def test_both_ways_of_a_transform_are_on_its_device(edges: str) -> None:
    for shape in ((9, 12), (1100, 12)):
        transform = Transform(shape, edges, dtype=torch.float32, device="meta")
        found = transform.forward(torch.empty(2, 1, *shape, device="meta"))
        assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (2, 1, *shape))
        assert transform.inverse(found).device.type == "meta"


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("shape", [(7,), (9, 12), (8, 15), (2, 40)], ids=str)
@pytest.mark.parametrize("truncation", [1.0, 0.8, 0.3])
def test_variances_at_points_of_independent_waves(edges: str, shape: tuple[int, ...], truncation: float) -> None:
    transform = Transform(shape, edges, dtype=torch.float64, device=None, truncation=truncation)
    variances = torch.rand(transform.modes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    *rows, columns = (basis(n, edges)[:m].square() for n, m in zip(shape, transform.modes, strict=True))
    along_columns = variances @ columns
    expected = rows[0].T @ along_columns if rows else along_columns
    torch.testing.assert_close(transform.diagonal(variances), expected, rtol=0, atol=1e-12)
