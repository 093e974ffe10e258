"""The agent that runs one execution graph on one node. Standard library and unicorn_graph only, Python >= 3.9."""
