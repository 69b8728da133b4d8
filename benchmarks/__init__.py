"""What following an archive costs: dicomcast beside its predecessor's algorithm and beside the least it could cost.

`python -m benchmarks` measures and prints; `benchmarks/mapping.py` measures the pure part alone.
"""
