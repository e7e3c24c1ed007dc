"""Other programs that can answer the benchmark's criteria. Each script runs in an environment of its own, `setup.sh` makes them.

A script takes the form of the cohort (`ndjson` or `bundles`), its folder and the file to write: a line a patient with `patient`, `biopsy`,
`images`, `psa` (true, false or null) and, where something was thrown, `error`. On standard output it says `{"setup": seconds, "setup_cpu": seconds}`,
what it took before the first byte of data was read.
"""
