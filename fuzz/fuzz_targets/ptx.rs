//! Any bytes -> PTX or a refusal -> what must hold of it: see `flashproof::oracle::fuzz_ptx`.
#![no_main]

use flashproof::oracle::fuzz_ptx;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_ptx(bytes);
});
