"The GPU acceptance plan of `benchmarks/gpu.py`, in parts."
