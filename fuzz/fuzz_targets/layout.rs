//! Any bytes -> a layout -> what must hold of it: see `flashproof::oracle::fuzz_layout`.
#![no_main]

use flashproof::oracle::{Reached, fuzz_layout};
use std::sync::Mutex;

/// Inputs so far, and the kinds of layout they reached; said now and then, because libFuzzer never returns.
static SO_FAR: Mutex<(u64, Option<Reached>)> = Mutex::new((0, None));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut so_far = SO_FAR.lock().expect("a failed check ends the process");
    so_far.0 += 1;
    *so_far.1.get_or_insert_default() += fuzz_layout(bytes);
    if let (true, Some(reached)) = (so_far.0.is_power_of_two(), so_far.1) {
        flashproof_fuzz_say(&reached);
    }
});

#[expect(
    clippy::print_stderr,
    reason = "a fuzz target's report is its standard error; fuzz/run.sh reads it"
)]
fn flashproof_fuzz_say(reached: &Reached) {
    eprintln!("{reached}");
}
