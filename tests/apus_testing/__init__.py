"""A cluster of real processes on this machine, the faults that can be made in it, and what must hold after them.

Each module has one subject. Nothing here knows a test; disks are read with Swift's own Python code, so that our
files are judged by Swift.
"""
