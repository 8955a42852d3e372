//! GPU generations whose numerics the machine knows.

use std::fmt;
use std::str::FromStr;

/// A compute capability: which tensor-core numerics an `mma` has. The same PTX has different bits on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Target {
    /// A100.
    #[default]
    Sm80,
    /// `GA10x` (RTX 30, A10, A40).
    Sm86,
    /// Ada (RTX 40, L4, L40S).
    Sm89,
    /// Hopper (H100, H200).
    Sm90,
    /// Blackwell (B100, B200): its `mma.sync` only; `tcgen05` is not supported.
    Sm100,
}

impl Target {
    /// Every target, oldest first.
    pub const ALL: [Self; 5] = [Self::Sm80, Self::Sm86, Self::Sm89, Self::Sm90, Self::Sm100];

    /// The number in `sm_NN`.
    pub fn capability(self) -> u32 {
        match self {
            Self::Sm80 => 80,
            Self::Sm86 => 86,
            Self::Sm89 => 89,
            Self::Sm90 => 90,
            Self::Sm100 => 100,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.capability())
    }
}

/// A text that names no known target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target `{0}` is not known; known are sm_80, sm_86, sm_89, sm_90, sm_100")]
pub struct UnknownTarget(pub String);

impl FromStr for Target {
    type Err = UnknownTarget;

    /// Reads `sm_80` and the architecture-specific spelling `sm_90a`.
    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        Self::ALL
            .into_iter()
            .find(|target| {
                let name = target.to_string();
                text == name || text.strip_suffix('a').is_some_and(|t| t == name)
            })
            .ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for target in Target::ALL {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        assert_eq!("sm_90a".parse(), Ok(Target::Sm90));
        assert_eq!("sm_100a".parse(), Ok(Target::Sm100));
        assert!("sm_70".parse::<Target>().is_err());
    }
}
