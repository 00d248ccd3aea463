"""Build the fake CUDA libraries for the torch of this Python.

    python tests/cuda/fake/fake_cuda.py [FOLDER]    default: ./build; prints the variables to export
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {
    "libcudart.so.13": "cudart.c",  # the core: the others link against it
    "libcublasLt.so.13": "cublaslt.c",
    "libcublas.so.13": "cublas.c",
    "libcudnn.so.9": "cudnn.c",
    "libcupti.so.13": "cupti.c",
    "libcuda.so.1": "cuda.c",
}
# The headers of NVIDIA's packages include this file, and the packages do not contain it.
SHIM = """#define __host__
#define __device__
#define __global__
#define __device_builtin__
#define __cudart_builtin__
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __align__(n) __attribute__((aligned(n)))
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDARTAPI_NO_EXCEPT
#define CUDA_CB
#define __inline__ inline
#define __forceinline__ inline
#define __noinline__
#define __specialization_static static
"""


def site_packages():
    "The folder that holds torch and NVIDIA's packages."
    return Path(find_spec("torch").origin).parents[1]


def wanted_symbols():
    "Symbol -> library, for everything that torch and NVIDIA's other libraries import."
    site = site_packages()
    users = [*site.glob("torch/lib/*.so"), *site.glob("nvidia/*/lib/libcusolver.so.*"), *site.glob("nvidia/*/lib/libnvshmem_host.so.*")]
    found = {}
    for user in users:
        listed = subprocess.run(["nm", "-D", "--undefined-only", user], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            name, _, version = line.split()[-1].partition("@")
            if version in LIBRARIES: found[name] = version
            elif not version and user.name == "libcaffe2_nvrtc.so" and name.startswith("cu"): found[name] = "libcuda.so.1"
    return found


def write_headers(folder):
    "Write the headers that are missing, and C versions of two that are C++."
    (folder / "crt").mkdir(parents=True, exist_ok=True)
    (folder / "crt/host_defines.h").write_text(SHIM)
    (folder / "crt/host_config.h").write_text("")
    for name, kind in ("cuda_fp16.h", "__half"), ("cuda_bf16.h", "__nv_bfloat16"):
        (folder / name).write_text(f"#pragma once\ntypedef struct {{ unsigned short x; }} {kind};\n")


def build_library(folder, soname, source, symbols, flags):
    "Build one library: its source, and a stub for each symbol that the source lacks."
    compiled = folder / f"{source}.o"
    subprocess.run(["cc", *flags, "-c", HERE / source, "-o", compiled], check=True)
    listed = subprocess.run(["nm", "--defined-only", compiled], capture_output=True, text=True, check=True).stdout
    written = {line.split()[-1] for line in listed.splitlines() if line.strip()}
    missing = sorted(name for name, library in symbols.items() if library == soname and name not in written)
    stubs, script = folder / f"{source}.stubs.c", folder / f"{source}.map"
    stubs.write_text("int fake_stub(const char *);\n" + "".join(f'int {n}(void) {{ return fake_stub("{n}"); }}\n' for n in missing))
    script.write_text(f"{soname} {{ global: *; }};\n")
    versioned = [] if soname == "libcuda.so.1" else [f"-Wl,--version-script={script}"]
    core = [] if source == "cudart.c" else [folder / "libcudart.so.13"]
    linked = ["-shared", "-o", folder / soname, compiled, stubs, *core, f"-Wl,-soname,{soname}", *versioned, "-lpthread", "-ldl"]
    subprocess.run(["cc", *flags, "-fno-builtin", *linked], check=True)


def build(folder):
    "Build all libraries; returns the variables that a program needs to run on them."
    write_headers(folder)
    includes = [f"-I{folder}", f"-I{HERE}", *(f"-isystem{path}" for path in sorted(site_packages().glob("nvidia/*/include")))]
    flags = ["-O2", "-fPIC", "-std=gnu17", "-Wall", "-Wno-unused-function", *includes]
    symbols = wanted_symbols()
    for soname, source in LIBRARIES.items(): build_library(folder, soname, source, symbols, flags)
    return dict(LD_PRELOAD=":".join(str(folder / soname) for soname in LIBRARIES), TORCH_CUDNN_V8_API_DISABLED="1")


if __name__ == "__main__":
    for variable, value in build(Path(sys.argv[1] if len(sys.argv) > 1 else "build").resolve()).items(): print(f"export {variable}={value}")
