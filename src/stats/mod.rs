//! Means over pairs and their uncertainty: the cluster bootstrap over articles.
//!
//! Questions cluster in articles, and one question is asked in up to seven languages; drawing questions one by one
//! would take such repeats for new evidence. So articles are drawn, with all their questions in all pairs at once
//! (Miller 2024, "Adding Error Bars to Evals": clustered errors, paired differences).

mod bootstrap;
mod counter;
mod curve;
mod multiple;

pub use bootstrap::{Band, BandOptions, Observation, Sample, SampleError, percentiles};
pub use curve::{area_weights, critical_level};
pub use multiple::{benjamini_hochberg, holm};
