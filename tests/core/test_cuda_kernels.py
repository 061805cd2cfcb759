"""The CUDA sources without a card: built as C++ with a loop for the threads, and by NVRTC."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from fl_platform.core import Updates, coordinatewise, generator
from fl_platform.core.native import cuda, cuda_kernels
from fl_platform.core.native.cuda_kernels import MOST_EIGEN, ranks_source, variances_source

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
# One lane a warp: what a warp adds up by exchanging registers, one thread adds up alone.
PRELUDE = r"""
#include <cmath>
#define __global__
#define __restrict__ __restrict
#define __launch_bounds__(threads)
#define __shared__ static
#define __syncthreads()
#define __shfl_xor_sync(mask, value, apart) (value)
#define LANES 1
static struct { unsigned x; } blockIdx, blockDim, threadIdx, gridDim;
template <class F> static void launch(long blocks, long threads, F f) {
  gridDim.x = blocks;
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) f();
}
"""
SIZES = [*range(1, 65), 128]
DOUBLE = [1, 2, 7, 16, 33, 64]


def ranges(m):
    """The median, for some sizes the lower one too, or all but the outer quarters."""
    found = {(m // 4, m - m // 4) if m % 3 else ((m - 1) // 2, m // 2 + 1)}
    if m in DOUBLE or m == 50:
        found |= {((m - 1) // 2, m // 2 + 1), ((m - 1) // 2, (m - 1) // 2 + 1)}
    return found


def values(m, d, dtype, seed=0):
    """Entries of many sizes, with ties, zeros of both signs and infinities."""
    draws = generator(seed, "cuda-values")
    matrix = torch.randn(m, d, generator=draws, dtype=dtype)
    matrix *= 10.0 ** torch.randint(-30, 30, (m, d), generator=draws)
    matrix[:, 0::7] = matrix[:, 0::7].sign()
    matrix[:, 3::7] = torch.where(matrix[:, 3::7] > 0, 0.0, -0.0)
    matrix[: m // 3, 5::7] = torch.inf
    return matrix


def namespaced(name, source, call):
    """A kernel under a name of its own, with a function that launches it."""
    body = source.replace('extern "C" ', "").replace("#pragma unroll", "#pragma GCC unroll")
    body = re.sub(r"#pragma GCC unroll *\n", "#pragma GCC unroll 8\n", body)
    return f'namespace {name} {{\n{body}\n}}\nextern "C" void run_{name}{call}\n'


def columns(name, source, word):
    call = f"(const {word}* const* rows, long d, {word}* out)"
    return namespaced(
        name,
        source,
        f"{call} {{ launch((d + 127) / 128, 128, [&] {{ {name}::columns(rows, d, out); }}); }}",
    )


def everything():
    parts = [PRELUDE]
    for dtype, word, sizes in (
        (torch.float32, "float", SIZES),
        (torch.float64, "double", DOUBLE),
    ):
        for m in sizes:
            for first, stop in ranges(m):
                source = ranks_source(m, first, stop, dtype)
                parts.append(columns(f"ranks_{word}_{m}_{first}_{stop}", source, word))
            if m in DOUBLE:
                parts.append(columns(f"var_{word}_{m}", variances_source(m, dtype), word))
        source = cuda_kernels.source("weighted", dtype)
        parts.append(
            namespaced(
                f"weighted_{word}",
                source,
                f"(const {word}* const* rows, const {word}* w, long m, long d, {word}* out) {{"
                f" launch((d + 127) / 128, 128, [&] {{ weighted_{word}::weighted(rows, w, m, d,"
                " out); }); }",
            )
        )
        source = cuda_kernels.source("offsets", dtype)
        parts.append(
            namespaced(
                f"offsets_{word}",
                source,
                f"(const {word}* const* rows, long m, const {word}* point, const {word}* along,"
                f" long d, double* sums) {{ launch((d + 4095) / 4096, 8, [&] {{"
                f" offsets_{word}::offsets(rows, m, point, along, d, sums); }}); }}",
            )
        )
    parts.append(
        namespaced(
            "leading",
            cuda_kernels.source("leading"),
            "(const double* matrix, long m, double* out) {"
            " launch(1, 1, [&] { leading::leading(matrix, m, out); }); }",
        )
    )
    return "\n".join(parts)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("cuda")
    (folder / "all.cpp").write_text(everything())
    flags = ["-O0", "-ffp-contract=off", "-std=c++17", "-fPIC", "-shared", "-Wno-unknown-pragmas"]
    command = ["g++", *flags, str(folder / "all.cpp"), "-o", str(folder / "all.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return ctypes.CDLL(str(folder / "all.so"))


def pointers(matrix):
    return (ctypes.c_void_p * len(matrix))(*(row.data_ptr() for row in matrix))


def address(tensor):
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def run_columns(library, name, matrix):
    out = torch.full((matrix.shape[1],), 7.0, dtype=matrix.dtype)
    run = getattr(library, f"run_{name}")
    run(pointers(matrix), ctypes.c_long(matrix.shape[1]), address(out))
    return out


def bits(vector):
    return vector.view(torch.int32 if vector.dtype == torch.float32 else torch.int64)


@needs_compiler
@pytest.mark.parametrize(("word", "sizes"), [("float", SIZES), ("double", DOUBLE)])
def test_ranks_have_the_bits_of_the_form_for_a_processor(library, word, sizes):
    dtype = torch.float32 if word == "float" else torch.float64
    for m in sizes:
        matrix = values(m, 137, dtype, seed=m)
        for first, stop in ranges(m):
            found = run_columns(library, f"ranks_{word}_{m}_{first}_{stop}", matrix)
            expected = coordinatewise.mean_of_ranks(Updates(matrix), first, stop)
            lost = expected.isnan()  # infinities of both signs
            assert torch.equal(found.isnan(), lost)
            assert torch.equal(bits(found)[~lost], bits(expected)[~lost]), (m, first, stop)


@needs_compiler
def test_a_column_with_a_nan_has_no_rank_and_the_others_keep_theirs(library):
    matrix = values(20, 137, torch.float32)
    first, stop = 5, 15
    whole = run_columns(library, f"ranks_float_20_{first}_{stop}", matrix)
    assert not whole.isnan().any()
    for row in range(20):
        matrix[row, row] = torch.nan
    found = run_columns(library, f"ranks_float_20_{first}_{stop}", matrix)
    assert found[:20].isnan().all()
    assert torch.equal(found[20:], whole[20:])


@needs_compiler
@pytest.mark.parametrize("word", ["float", "double"])
def test_variances_have_the_bits_of_the_form_for_a_processor(library, word):
    dtype = torch.float32 if word == "float" else torch.float64
    for m in DOUBLE:
        matrix = torch.randn(m, 137, generator=generator(m, "v"), dtype=dtype)
        found = run_columns(library, f"var_{word}_{m}", matrix)
        expected = coordinatewise.deviation(Updates(matrix))
        assert torch.equal(bits(found.sqrt_()), bits(expected))


@needs_compiler
@pytest.mark.parametrize("word", ["float", "double"])
def test_weighted_sums_read_no_row_of_weight_zero(library, word):
    dtype = torch.float32 if word == "float" else torch.float64
    matrix = torch.randn(9, 300, generator=generator(0, "w"), dtype=dtype)
    weights = torch.rand(9, generator=generator(1, "w"), dtype=dtype)
    weights[4] = 0
    expected = weights @ matrix
    matrix[4] = torch.nan
    out = torch.full((300,), 7.0, dtype=dtype)
    sizes = ctypes.c_long(9), ctypes.c_long(300)
    run = getattr(library, f"run_weighted_{word}")
    run(pointers(matrix), address(weights), *sizes, address(out))
    torch.testing.assert_close(out, expected)
    weights[4] = 1  # control
    run(pointers(matrix), address(weights), *sizes, address(out))
    assert out.isnan().all()


@needs_compiler
@pytest.mark.parametrize("word", ["float", "double"])
@pytest.mark.parametrize("d", [1, 4096, 10_001])
def test_offsets_are_exact_sums_of_rounded_differences(library, word, d):
    dtype = torch.float32 if word == "float" else torch.float64
    draws = generator(d, "offsets")
    matrix = 1e3 + torch.randn(5, d, generator=draws, dtype=dtype)
    point, along = matrix[0].clone(), torch.randn(d, generator=draws, dtype=dtype)
    blocks = -(-d // cuda_kernels.SPAN)
    for way in (along, None):
        sums = torch.full((5, 8 * blocks), torch.nan, dtype=torch.float64)
        sizes = ctypes.c_long(5), ctypes.c_long(d)
        getattr(library, f"run_offsets_{word}")(
            pointers(matrix), sizes[0], address(point), address(way), sizes[1], address(sums)
        )
        apart = (matrix - point).double()
        exact = (apart * (apart if way is None else way.double())).sum(1)
        torch.testing.assert_close(sums.sum(1), exact, rtol=1e-12, atol=1e-9)


def spectrum(m, seed):
    rows = torch.randn(m, m + 2, generator=generator(seed, "eigen"), dtype=torch.float64)
    rows *= 0.8 ** torch.arange(m + 2)
    return rows @ rows.T


@needs_compiler
@pytest.mark.parametrize("m", [1, 2, 3, 10, 40, MOST_EIGEN])
@pytest.mark.parametrize("scale", [1.0, 1e-40, 1e40])
def test_the_leading_eigenvector_is_that_of_an_eigensolver(library, m, scale):
    matrix = scale * spectrum(m, m)
    out = torch.full((1 + m,), torch.nan, dtype=torch.float64)
    library.run_leading(address(matrix), ctypes.c_long(m), address(out))
    exact, vectors = torch.linalg.eigh(matrix)
    assert float(out[0]) == pytest.approx(float(exact[-1]), rel=1e-12)
    assert float((out[1:] @ vectors[:, -1]).abs()) == pytest.approx(1, abs=1e-12)


@needs_compiler
def test_a_matrix_of_zeros_has_an_eigenvector_too(library):
    zeros, out = (torch.full((k,), 0.0, dtype=torch.float64) for k in (16, 5))
    library.run_leading(address(zeros), ctypes.c_long(4), address(out))
    assert out[0] == 0
    assert out[1:].norm() == 1


@pytest.mark.skipif(cuda._bindings("nvrtc") is None, reason="no cuda.bindings here")
def test_nvrtc_makes_machine_code_of_every_source(tmp_path, monkeypatch):
    monkeypatch.setenv("FL_PLATFORM_NATIVE_CACHE", str(tmp_path))
    try:
        cuda._bindings("nvrtc").nvrtcVersion()
    except RuntimeError as reason:
        pytest.skip(f"no NVRTC here: {reason}")
    sources = [
        (ranks_source(50, 24, 26, torch.float32), cuda.SAME_BITS),
        (ranks_source(64, 20, 44, torch.float64), cuda.SAME_BITS),
        (variances_source(50, torch.float32), cuda.SAME_BITS),
        (cuda_kernels.source("leading"), cuda.FUSED),
    ]
    for name in ("weighted", "offsets"):
        sources += [
            (cuda_kernels.source(name, dtype), cuda.FUSED)
            for dtype in (torch.float32, torch.float64)
        ]
    for source, contraction in sources:
        code = cuda.machine_code(source, contraction, "sm_90")
        assert code[:4] == b"\x7fELF"
        assert cuda.machine_code(source, contraction, "sm_90") == code  # from the cache
    assert len(list(tmp_path.glob("*.cubin"))) == len(sources)
    with pytest.raises(RuntimeError, match="error"):
        cuda.machine_code("no CUDA at all", cuda.FUSED, "sm_90")


def test_without_a_card_there_is_no_kernel():
    assert cuda.kernel("", "columns", cuda.FUSED, torch.device("cpu")) is None
    assert cuda_kernels.addresses(torch.ones(2, 2)) is None
