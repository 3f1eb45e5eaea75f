//! Benchmarks of the broker against a floor program, in one run.
