//! `tests/run fuzz` runs it; what it does stands in the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| longshore_fuzz::docker_json::run(bytes));
