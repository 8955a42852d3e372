//! The four verdicts, counted: a run that compared too little has shown nothing.

use crate::verdict::Verdict;
use std::fmt;

/// How many cases came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Right, as far as they can tell.
    pub agree: usize,
    /// Those of them with outputs further away than independent roundings explain: not wrong, but worth a look.
    pub suspicious: usize,
    /// Wrong.
    pub disagree: usize,
    /// Nothing could be compared.
    pub incomparable: usize,
    /// Nothing could be run.
    pub unsupported: usize,
}

/// Fewer cases were compared than a run needs to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only {} of {} cases were compared, but at least {floor} must be ({tally})", .tally.compared(), .tally.total())]
pub struct TooFew {
    /// What came out.
    pub tally: Tally,
    /// How many had to be compared.
    pub floor: usize,
}

impl Tally {
    /// Counts one verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        if let Verdict::Agree(agreement) = verdict
            && agreement.suspicion.is_suspicious()
        {
            self.suspicious += 1;
        }
        let count = match verdict {
            Verdict::Agree(_) => &mut self.agree,
            Verdict::Disagree(_) => &mut self.disagree,
            Verdict::Incomparable(_) => &mut self.incomparable,
            Verdict::Unsupported(_) => &mut self.unsupported,
        };
        *count += 1;
    }

    /// Cases that agreed or disagreed.
    pub fn compared(&self) -> usize {
        self.agree + self.disagree
    }

    /// All cases.
    pub fn total(&self) -> usize {
        self.compared() + self.incomparable + self.unsupported
    }

    /// Whether enough was compared.
    ///
    /// ```
    /// # use flashproof::oracle::Tally;
    /// let tally = Tally { agree: 1, ..Tally::default() };
    /// assert!(tally.require(1).is_ok() && tally.require(2).is_err());
    /// ```
    ///
    /// # Errors
    /// [`TooFew`] below `floor` compared cases.
    pub fn require(&self, floor: usize) -> Result<(), TooFew> {
        if self.compared() < floor {
            Err(TooFew {
                tally: *self,
                floor,
            })
        } else {
            Ok(())
        }
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            agree: self.agree + other.agree,
            suspicious: self.suspicious + other.suspicious,
            disagree: self.disagree + other.disagree,
            incomparable: self.incomparable + other.incomparable,
            unsupported: self.unsupported + other.unsupported,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            agree,
            suspicious,
            disagree,
            incomparable,
            unsupported,
        } = self;
        write!(f, "{agree} agree")?;
        if *suspicious > 0 {
            write!(f, " ({suspicious} suspicious)")?;
        }
        write!(
            f,
            ", {disagree} disagree, {incomparable} incomparable, {unsupported} unsupported"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn a_run_that_compared_too_little_fails() {
        let mut tally = Tally::default();
        tally.add(&Verdict::Unsupported(
            "no CUDA driver on this machine".to_owned(),
        ));
        tally.add(&Verdict::Disagree(Vec::new()));
        assert_eq!(tally.require(1), Ok(()));
        assert_eq!(
            tally.require(2).unwrap_err().to_string(),
            "only 1 of 2 cases were compared, but at least 2 must be (0 agree, 1 disagree, 0 incomparable, 1 unsupported)"
        );
    }

    #[test]
    fn suspicion_is_counted_and_changes_nothing_else() {
        let mut agreement = crate::verdict::Agreement::default();
        agreement.suspicion.count = 1;
        let mut tally = Tally::default();
        tally.add(&Verdict::Agree(agreement));
        assert_eq!((tally.agree, tally.suspicious, tally.total()), (1, 1, 1));
        assert_eq!(
            tally.to_string(),
            "1 agree (1 suspicious), 0 disagree, 0 incomparable, 0 unsupported"
        );
    }

    quickcheck! {
        fn every_verdict_is_counted_once(kinds: Vec<u8>) -> bool {
            let mut tally = Tally::default();
            for kind in &kinds {
                tally.add(&match kind % 3 {
                    0 => Verdict::Disagree(Vec::new()),
                    1 => Verdict::Incomparable(String::new()),
                    _ => Verdict::Unsupported(String::new()),
                });
            }
            tally.total() == kinds.len() && tally.compared() == kinds.iter().filter(|kind| *kind % 3 == 0).count()
        }
    }
}
