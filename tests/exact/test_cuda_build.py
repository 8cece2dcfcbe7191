"""NVRTC without a GPU: architectures, cache, messages, parameters. With one: launch, stream,
arithmetic."""

from __future__ import annotations

import ctypes
import multiprocessing
from pathlib import Path

import pytest

from engine import settings
from engine.jit import cuda

SCALE = """
typedef long long i64;
struct ScaleArgs { i64 items; float* y; const float* x; float factor; int warp; };
extern "C" __global__ void scale(const ScaleArgs a) {
  i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / (a.warp ? 32 : 1);
  if (i >= a.items || (a.warp && threadIdx.x % 32)) return;
  a.y[i] = a.x[i] * a.factor;
}
"""
MULTIPLY_ADD = (
    'extern "C" __global__ void f(float* y, float a, float b) '
    "{ *y = a * b + *y; y[1] = a / b; y[2] = sqrtf(b); }"
)


class ScaleArgs(ctypes.Structure):
    """What `scale` takes, in C's layout."""

    _fields_ = (
        ("items", ctypes.c_int64),
        ("y", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("factor", ctypes.c_float),
        ("warp", ctypes.c_int),
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty kernel cache."""
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cuda"


def kept(cache: Path) -> set[str]:
    """The compiled files in a cache, without their checksums and the locks."""
    return {path.name for path in cache.iterdir() if path.suffix in (".cubin", ".ptx")}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_a_real_architecture_gives_an_elf_file(cache: Path, arch: str) -> None:
    assert cuda.compile(SCALE, arch).startswith(b"\x7fELF")


@pytest.mark.parametrize("arch", ["compute_80", "compute_90"])
def test_ptx_declares_the_struct_that_python_packs(cache: Path, arch: str) -> None:
    ptx = cuda.compile(SCALE, arch).decode()
    assert f".target sm_{arch[-2:]}" in ptx
    assert cuda.parameter_size(ptx, "scale") == (
        ctypes.sizeof(ScaleArgs),
        ctypes.alignment(ScaleArgs),
    )
    with pytest.raises(ValueError, match="no kernel named scal"):
        cuda.parameter_size(ptx, "scal")


def test_a_kernel_with_loose_arguments_is_refused(cache: Path) -> None:
    ptx = cuda.compile(MULTIPLY_ADD, "compute_80").decode()
    with pytest.raises(ValueError, match="exactly one struct"):
        cuda.parameter_size(ptx, "f")


def test_arithmetic_is_correctly_rounded_and_keeps_subnormals(cache: Path) -> None:
    ptx = cuda.compile(MULTIPLY_ADD, "compute_80").decode()
    assert "mul.rn.f32" in ptx or "mul.f32" in ptx
    assert "div.rn.f32" in ptx and "sqrt.rn.f32" in ptx
    assert "fma" not in ptx and ".ftz" not in ptx and ".approx" not in ptx


def test_second_build_reads_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cuda.build(SCALE, "sm_80")
    monkeypatch.setattr(
        cuda, "_run_compiler", lambda text, arch: pytest.fail("compiled again")
    )
    assert cuda.build(SCALE, "sm_80") == first
    assert kept(cache) == {first.name}


def test_text_architecture_and_options_have_files_of_their_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {
        cuda.build(SCALE, "sm_80"),
        cuda.build(SCALE, "sm_90"),
        cuda.build(SCALE + "\n", "sm_80"),
    }
    monkeypatch.setattr(
        cuda, "OPTIONS", (*cuda.OPTIONS, "--extra-device-vectorization")
    )
    paths.add(cuda.build(SCALE, "sm_80"))
    assert len(paths) == 4


def _build_in_process(folder: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIHW_CACHE", folder)
        return cuda.build(SCALE, "sm_80").name


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        names = set(pool.map(_build_in_process, [str(tmp_path)] * 4))
    assert len(names) == 1
    assert kept(tmp_path / "cuda") == names


def test_errors_point_into_the_snippet(cache: Path) -> None:
    text = 'extern "C" __global__ void f(float* y) {\n#line 7 "my/device.py"\n  *y = undeclared;\n}'
    with pytest.raises(
        cuda.CompileError, match=r'my/device\.py:7: identifier "undeclared"'
    ) as caught:
        cuda.build(text, "sm_80")
    assert (
        "sm_80" in caught.value.log and "my/device.py(7): error: " in caught.value.log
    )
    assert not kept(cache)


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIHW_CACHE", str(tmp_path / "file"))
    with pytest.raises(settings.UserError, match="set AIHW_CACHE"):
        cuda.build(SCALE, "sm_80")


def test_availability_is_explained_in_one_line() -> None:
    usable, reason = cuda.available()
    assert usable == (
        cuda.driver_version() is not None and "CUDA" in reason and "pip" not in reason
    )
    assert reason and "\n" not in reason


@pytest.mark.parametrize(("driver", "extra"), [(12040, "cuda12"), (13000, "cuda13")])
def test_without_cupy_the_right_extra_is_named(
    driver: int, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'cupy_backends'")

    monkeypatch.setattr(cuda, "driver_version", lambda: driver)
    monkeypatch.setattr(cuda, "_nvrtc", missing)
    usable, reason = cuda.available()
    assert not usable
    assert f"aihw[{extra}]" in reason


@pytest.mark.gpu
@pytest.mark.parametrize("warp", [False, True])
@pytest.mark.parametrize("items", [0, 1, 255, 256, 257, 100_000])
def test_launch_reaches_every_item_and_no_other(items: int, warp: bool) -> None:
    import torch

    x = torch.randn(items + 1, device="cuda")
    y = torch.full_like(x, torch.nan)
    function = cuda.load(cuda.build(SCALE, cuda.device_arch())).get_function("scale")
    args = ScaleArgs(items, y.data_ptr(), x.data_ptr(), 3.0, warp)
    cuda.launch(function, args, items=items, warp=warp)
    assert torch.equal(y[:items], x[:items] * 3)
    assert torch.isnan(y[items])


@pytest.mark.gpu
def test_launch_takes_torchs_current_stream_in_every_thread() -> None:
    import threading

    import torch

    function = cuda.load(cuda.build(SCALE, cuda.device_arch())).get_function("scale")
    results = []

    def work() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            x = torch.ones(1 << 20, device="cuda")
            torch.cuda._sleep(50_000_000)
            y = x * 2
            cuda.launch(
                function,
                ScaleArgs(x.numel(), y.data_ptr(), y.data_ptr(), 2.0, 0),
                items=x.numel(),
            )
            results.append(bool((y == 4).all()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 3


@pytest.mark.gpu
def test_a_captured_launch_replays() -> None:
    import torch

    function = cuda.load(cuda.build(SCALE, cuda.device_arch())).get_function("scale")
    x = torch.ones(1000, device="cuda")
    args = ScaleArgs(1000, x.data_ptr(), x.data_ptr(), 2.0, 0)
    cuda.launch(function, args, items=1000)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        cuda.launch(function, args, items=1000)
    for _ in range(3):
        graph.replay()
    assert torch.equal(x, torch.full_like(x, 16.0))


@pytest.mark.gpu
def test_subnormals_survive_on_the_gpu() -> None:
    import torch

    x = torch.tensor([1e-40, 1.5e-45, -3e-39], device="cuda")
    y = torch.zeros_like(x)
    function = cuda.load(cuda.build(SCALE, cuda.device_arch())).get_function("scale")
    cuda.launch(function, ScaleArgs(3, y.data_ptr(), x.data_ptr(), 0.5, 0), items=3)
    expected = torch.tensor([1e-40, 1.5e-45, -3e-39]) * 0.5
    assert torch.equal(y.cpu().view(torch.int32), expected.view(torch.int32))
