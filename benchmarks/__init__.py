"""What Lamina costs in time, memory and space, against restic and borg on the same images and trees in the same run.

`python -m benchmarks` prints the table; docs/reference/benchmarks.md says how to read it.
"""
