//! The target that the executable is named after.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_fuzz::run(env!("CARGO_BIN_NAME"), bytes));
