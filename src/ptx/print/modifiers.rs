//! Modifiers as text.

use crate::ptx::ScalarType::{S16, S32, S64, U16, U32, U64};
use crate::ptx::{Accuracy, CacheHints, Ordering, Rounding, ScalarType, Space};

/// The type a `wide` product has; only 16- and 32-bit integers have one.
/// Spelling of the modifier, with its dot; nothing where there is none.
pub(super) fn widened(ty: ScalarType) -> ScalarType {
    // `wide` is parsed for these four alone.
    if ty == U16 {
        U32
    } else if ty == S16 {
        S32
    } else if ty == U32 {
        U64
    } else {
        S64
    }
}

/// Spelling of the modifier, with its dot; nothing where there is none.
pub(super) fn rounding(rounding: Option<Rounding>) -> String {
    rounding.map_or_else(String::new, |rounding| format!(".{rounding}"))
}

/// Spelling of the modifier, with its dot; nothing where there is none.
pub(super) fn accuracy(accuracy: Accuracy) -> String {
    match accuracy {
        Accuracy::Approx => ".approx".to_owned(),
        Accuracy::Full => ".full".to_owned(),
        Accuracy::Rounded(rounding) => format!(".{rounding}"),
    }
}

/// Spelling of the modifier, with its dot; nothing where there is none.
pub(super) fn ordering(ordering: Ordering) -> String {
    match ordering {
        Ordering::Weak => String::new(),
        Ordering::Volatile => ".volatile".to_owned(),
        Ordering::Relaxed(scope) => format!(".relaxed.{scope}"),
        Ordering::Acquire(scope) => format!(".acquire.{scope}"),
        Ordering::Release(scope) => format!(".release.{scope}"),
    }
}

/// Spelling of the modifier, with its dot; nothing where there is none.
pub(super) fn hints(hints: &CacheHints) -> String {
    let mut text = String::new();
    for part in [
        hints.operator.map(|operator| operator.text()),
        hints.eviction.map(|eviction| eviction.text()),
        hints.policy.map(|_| "L2::cache_hint"),
        hints.prefetch.map(|prefetch| prefetch.text()),
    ]
    .into_iter()
    .flatten()
    {
        text.push('.');
        text.push_str(part);
    }
    text
}

/// Spelling of the modifier, with its dot; nothing where there is none.
pub(super) fn elements(count: usize) -> String {
    if count > 1 {
        format!(".v{count}")
    } else {
        String::new()
    }
}

/// Spelling of a space as a modifier: nothing for a generic address.
pub(super) fn space(space: Space) -> String {
    match space {
        Space::Generic => String::new(),
        Space::Global | Space::Shared | Space::Local | Space::Const | Space::Param => {
            format!(".{space}")
        }
    }
}

/// `.{text}` if `present`.
pub(super) fn flag(present: bool, text: &'static str) -> &'static str {
    if present { text } else { "" }
}
