//! A card as the choice of a kernel needs it.

use std::fmt;

/// What a card can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Its name: `NVIDIA H200`.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most dynamic shared memory that a kernel may ask for, in bytes.
    pub shared_bytes_max: u32,
    /// Bytes of the L2 cache.
    pub l2_bytes: u64,
}

impl Hardware {
    /// A card by its compute capability; shared memory as CUDA C++ Programming Guide 13.0, "Technical Specifications per
    /// Compute Capability", has it. For plans made without the card.
    pub fn of(name: &str, capability: (u32, u32), multiprocessors: u32, l2_bytes: u64) -> Self {
        let shared_kib = match capability {
            (8, 0 | 7) => 163,
            (8, _) | (12, _) => 99,
            (9, _) | (10, _) => 227,
            (7, 0) => 96,
            (7, _) => 64,
            // Any other: what every card has without asking.
            _ => 48,
        };
        Self {
            name: name.to_owned(),
            capability,
            multiprocessors,
            shared_bytes_max: shared_kib * 1024,
            l2_bytes,
        }
    }

    /// NVIDIA H200: 132 multiprocessors, 60 MB of L2 as PyTorch reports it (data sheet: 50 MB).
    pub fn h200() -> Self {
        Self::of("NVIDIA H200", (9, 0), 132, 60 << 20)
    }

    /// NVIDIA A100: 108 multiprocessors, 40 MB of L2 (data sheet).
    pub fn a100() -> Self {
        Self::of("NVIDIA A100", (8, 0), 108, 40 << 20)
    }

    /// Whether PTX for a target runs here. `sm_90` runs on its and every later capability; `sm_90a` on its own alone, and
    /// `sm_100f` on its family.
    pub fn runs(&self, target: &str) -> bool {
        let digits = target.strip_prefix("sm_").unwrap_or_default();
        let number = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = &digits[number.len()..];
        let Ok(number) = number.parse::<u32>() else {
            return false;
        };
        let wanted = (number / 10, number % 10);
        match suffix {
            "" => self.capability >= wanted,
            "a" => self.capability == wanted,
            "f" => self.capability.0 == wanted.0 && self.capability >= wanted,
            // A suffix that no release of PTX has.
            _ => false,
        }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        write!(f, "{}, sm_{major}{minor}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_run_where_the_architecture_says() {
        let on = |capability| Hardware::of("card", capability, 1, 0);
        assert!(on((8, 0)).runs("sm_80") && on((9, 0)).runs("sm_80"));
        assert!(!on((7, 5)).runs("sm_80") && !on((8, 9)).runs("sm_90a"));
        assert!(on((9, 0)).runs("sm_90a") && !on((10, 0)).runs("sm_90a"));
        assert!(on((10, 3)).runs("sm_100f") && !on((12, 0)).runs("sm_100f"));
        assert!(!on((9, 0)).runs("sm_") && !on((9, 0)).runs("compute_80"));
    }
}
