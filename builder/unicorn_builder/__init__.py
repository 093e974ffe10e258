"""Builds one image: carries out the steps of a context (`unicorn_core.images`) with buildah, pushes it, and reports.

Standard library only, imports nothing of ours. It keeps no state, knows no queue and no deadline; whoever starts it does.
"""
