"""The agent that runs one execution graph on one node. Standard library and unicorn_graph only, Python >= 3.9.

Each executor pays for its start, on a Raspberry Pi with most of a second, and most of it is imports (bench/executor_cpu.py).
So here, and in unicorn_graph, values are named tuples: dataclasses would bring `inspect` and its parsers.
"""
