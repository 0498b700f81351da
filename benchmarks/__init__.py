"""What Lamina costs in time, memory and space, against restic and borg on the same data in the same run.

`python -m benchmarks` prints the table; docs/reference/benchmarks.md says how to read it.
"""
