//! Suites that cross the crates of edgepack: see `tests/tests`.
