//! Detectors: observers of the machine's events, one a file. Each file states what it finds, by which definition, from
//! which source, and what it can miss.

mod async_copies;
mod async_proxy;
mod barriers;
mod clocks;
mod grid_order;
mod grid_overlap;
mod initcheck;
mod mbarrier;
mod memcheck;
mod performance;
mod racecheck;
mod traffic;
mod wgmma;

pub(crate) use grid_order::{Sync, talks};
pub(crate) use grid_overlap::{CtaTouches, overlaps};
pub(crate) use memcheck::diagnose;
pub(crate) use performance::performance_notes;

use super::event::{Observer, Observers};
use super::exec::Program;
use super::launch::Options;
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::ptx::InstructionId;
use std::collections::BTreeMap;

/// One of the places of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Where {
    /// Index of the instruction.
    pub(crate) at: usize,
    /// What happened there, and who did it.
    pub(crate) label: String,
}

/// A finding before it is tied to source lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// Culprit first.
    pub(crate) places: Vec<Where>,
    pub(crate) help: &'static str,
    pub(crate) count: u64,
}

/// What makes two findings the same: the code and the instructions.
type Key = (Code, usize, Option<usize>);

/// Findings of one detector, each pair of instructions once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    found: BTreeMap<Key, Finding>,
}

impl Ledger {
    /// Counts a finding; its text is made for the first one only.
    pub(crate) fn report(
        &mut self,
        code: Code,
        at: usize,
        other: Option<usize>,
        make: impl FnOnce() -> (String, Vec<Where>, &'static str),
    ) {
        self.found
            .entry((code, at, other))
            .and_modify(|finding| finding.count += 1)
            .or_insert_with(|| {
                let (message, places, help) = make();
                Finding {
                    code,
                    message,
                    places,
                    help,
                    count: 1,
                }
            });
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.found.into_values().collect()
    }
}

/// Merges the findings of CTAs in order: the first text, the sum of counts.
pub(crate) fn merge(all: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
    let mut order: Vec<Finding> = Vec::new();
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    for finding in all {
        let at = finding.places.first().map_or(0, |place| place.at);
        let key = (
            finding.code,
            at,
            finding.places.get(1).map(|place| place.at),
        );
        match known.get(&key) {
            Some(&index) => order[index].count += finding.count,
            None => {
                known.insert(key, order.len());
                order.push(finding);
            }
        }
    }
    order
}

/// Ties a finding to lines of PTX and CUDA.
pub(crate) fn to_diagnostic(program: &Program<'_>, finding: &Finding) -> Diagnostic {
    Diagnostic {
        code: finding.code,
        blame: Blame::Kernel,
        message: finding.message.clone(),
        sites: finding
            .places
            .iter()
            .map(|place| site(program, place.at, &place.label))
            .collect(),
        help: Some(finding.help.to_owned()),
        count: finding.count,
    }
}

fn site(program: &Program<'_>, at: usize, label: &str) -> crate::diagnostic::Site {
    let id = InstructionId(u32::try_from(at).unwrap_or(u32::MAX));
    program.module.site(program.function, id, label)
}

/// The observers that the options ask for.
pub(crate) fn observers(program: &Program<'_>, cta: [u32; 3], options: &Options) -> Observers {
    let wanted = options.detectors;
    let mut all: Vec<Box<dyn Observer>> = Vec::new();
    let names = Names::new(program, cta);
    if wanted.races {
        all.push(Box::new(racecheck::Racecheck::new(program, names)));
    }
    if wanted.async_copies {
        all.push(Box::new(async_copies::AsyncCopies::new(program, names)));
        all.push(Box::new(async_proxy::AsyncProxy::new(program, names)));
        all.push(Box::new(wgmma::WgmmaRegisters::new(program, names)));
    }
    if wanted.uninitialised {
        all.push(Box::new(initcheck::Initcheck::new(program, names)));
    }
    if wanted.barriers {
        all.push(Box::new(barriers::Barriers::new(names)));
        all.push(Box::new(mbarrier::Mbarriers::new(program, names)));
    }
    if wanted.grid_overlap {
        all.push(Box::new(grid_overlap::GridOverlap::new(program)));
    }
    if options.notes {
        all.push(Box::new(performance::Performance::default()));
    }
    if options.traffic {
        all.push(Box::new(traffic::TrafficLog::default()));
    }
    Observers::new(all)
}

/// How threads of a CTA are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    shape: [u32; 3],
    cta: [u32; 3],
}

impl Names {
    pub(crate) fn new(program: &Program<'_>, cta: [u32; 3]) -> Self {
        Self {
            shape: program.launch.cta,
            cta,
        }
    }

    /// `thread (1,0,0) of cta (0,2,0)`.
    pub(crate) fn thread(self, thread: u32) -> String {
        let [width, height, _] = self.shape;
        let [x, y, z] = [
            thread % width,
            thread / width % height,
            thread / width / height,
        ];
        format!("thread ({x},{y},{z}) of {}", self.cta())
    }

    /// `cta (0,2,0)`.
    pub(crate) fn cta(self) -> String {
        let [x, y, z] = self.cta;
        format!("cta ({x},{y},{z})")
    }
}
