//! What each diagnostic code means, what causes it, and what its checker can miss.
//!
//! A test compares this list with the codes that the sources raise.

mod examples;
mod table;
mod texts;

pub use examples::example;
pub use table::ALL;

/// One code, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: &'static str,
    /// Who raises it.
    pub checker: &'static str,
    /// What was seen.
    pub meaning: &'static str,
    /// What usually causes it, and the repair.
    pub cause: &'static str,
    /// What the checker does not see.
    pub misses: &'static str,
}

/// The explanation of a code.
pub fn explanation(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|explanation| explanation.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_complete_in_itself() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(explanation("shared-race").unwrap().code, "shared-race");
        assert_eq!(explanation("no-such-code"), None);
    }
}
