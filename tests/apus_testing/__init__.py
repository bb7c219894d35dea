"""Clusters of real processes, faults to make in them, clients, and checks: what the tests share.

Each module has one subject, and none imports a test. Disks are read with Swift's own Python code, so that our files
are checked by Swift.
"""
