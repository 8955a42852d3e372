//! Verdicts for people.

use super::{Agreement, Element, Elements, Fault, Rule, Suspicion, Verdict};
use crate::convert::usize_to_f64;
use std::fmt;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Agree(agreement) => {
                let Agreement {
                    compared,
                    exact,
                    skipped,
                    o_worst,
                    lse_worst,
                    suspicion,
                    ..
                } = agreement;
                write!(
                    f,
                    ": {compared} elements, worst at {o_worst:.2} (o) and {lse_worst:.2} (lse) of their bounds"
                )?;
                if *exact > 0 {
                    write!(f, "; {exact} without tolerance")?;
                }
                if *skipped > 0 {
                    write!(f, "; {skipped} not compared")?;
                }
                if suspicion.is_suspicious() {
                    write!(f, "\n  suspicious: {suspicion}")?;
                }
                Ok(())
            }
            Self::Disagree(faults) => {
                // The first fault of each kind says what happened; the rest say how often.
                let mut said = Vec::new();
                for fault in faults {
                    let kind = fault.kind();
                    if said.contains(&kind) {
                        continue;
                    }
                    write!(f, "\n  {fault}")?;
                    let more = faults.iter().filter(|other| other.kind() == kind).count() - 1;
                    if more > 0 {
                        write!(f, " (and {more} more of this kind)")?;
                    }
                    said.push(kind);
                }
                Ok(())
            }
            Self::Incomparable(reason) | Self::Unsupported(reason) => write!(f, ": {reason}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements(elements) => elements.fmt(f),
            Self::Finding(found) => write!(f, "{}: {}", found.code, found.message),
            Self::Trap(found) => write!(f, "stopped, {}: {}", found.code, found.message),
        }
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(worst) = &self.worst {
            write!(
                f,
                "{} outputs further away than independent roundings explain: {} is {}, the answer {:e} likely within {:.2e}",
                self.count, worst.place, worst.got_text, worst.expected, worst.bound
            )?;
        }
        if self.rms > Self::rms_max(self.of) {
            let and = if self.worst.is_some() { "; " } else { "" };
            write!(
                f,
                "{and}errors of {:.2} standard deviations in root mean square",
                self.rms
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.rule {
            Rule::Output => "outputs outside their bounds",
            Rule::Lse => "log-sum-exps outside their bounds",
            Rule::EmptyRow => "elements of rows without a key that are not o = 0, lse = -inf",
            Rule::Exact => "outputs that nothing rounds before the division are not the answer's",
            Rule::Replay => "outputs outside the bounds of the kernel's own schedule",
        };
        let Element {
            place,
            expected,
            got_text,
            bound,
            sources,
            ..
        } = &self.worst;
        let share = 100.0 * usize_to_f64(self.count) / usize_to_f64(self.of);
        write!(
            f,
            "{} of {} {what} ({share:.1} %): {place} is {got_text}, the answer {expected:e}",
            self.count, self.of
        )?;
        match self.rule {
            Rule::EmptyRow => {}
            Rule::Exact => write!(f, " rounded once: rule exact, no tolerance")?,
            Rule::Output | Rule::Lse | Rule::Replay => write!(
                f,
                " within {bound:.2e}: {:.1} bounds away",
                self.worst.bounds()
            )?,
        }
        let total: f64 = sources.iter().map(|source| source.1).sum();
        if total > 0.0 {
            let main: Vec<String> = sources
                .iter()
                .filter(|source| source.1 >= 0.1 * total)
                .map(|(source, part)| format!("{source} {:.0} %", 100.0 * part / total))
                .collect();
            write!(f, "; the bound is {}", main.join(", "))?;
        }
        Ok(())
    }
}
