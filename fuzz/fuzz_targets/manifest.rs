//! Any text -> a manifest or an error; a manifest that is one binds the smallest problem it takes, or says why not.
#![no_main]

use flashproof::oracle::fuzz_manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_manifest(bytes));
