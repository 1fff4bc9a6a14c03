"""Whether the project works on this machine: its backends, its kernels, their speed, a few runs; one report of it all.

Each stage is a process of its own (`driver.py`), so that none can stop the next, and writes what it finds as it goes on
(`report.py`). What a stage does is one file: `machine`, `kernels`, `speed`, `grid`.
"""
