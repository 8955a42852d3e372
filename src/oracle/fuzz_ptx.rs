//! What must hold of any text that is offered as PTX.

use crate::ptx::{inline, parse, print};

/// Reads bytes as PTX: no panic, and what is read prints as a text that reads as the same program, calls in place or not.
/// True where the bytes are a program.
///
/// # Panics
/// If printing and reading back changes the program.
pub fn fuzz_ptx(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(module) = parse("fuzz.ptx", &text) else {
        return false;
    };
    let printed = print(&module);
    let again = parse("fuzz.ptx", &printed);
    assert!(
        again.as_ref() == Ok(&module),
        "printing changes the program: {again:?} for\n{printed}"
    );
    for function in &module.functions {
        // Recursion is refused, never followed.
        drop(inline(&module, function));
    }
    true
}
