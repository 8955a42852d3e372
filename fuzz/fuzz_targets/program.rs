//! Any bytes -> a straight-line program -> the virtual machine and the scalar one of `tests/suite/scalar` say the same.
#![no_main]
#![expect(clippy::unwrap_used, reason = "the files of a test are shared")]

#[path = "../../tests/suite/scalar/exact.rs"]
mod exact;
#[path = "../../tests/suite/scalar/interpreter.rs"]
mod interpreter;
#[path = "../../tests/suite/scalar/program.rs"]
mod program;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(difference) = program::check_bytes(bytes) {
        panic!("{difference}");
    }
});
