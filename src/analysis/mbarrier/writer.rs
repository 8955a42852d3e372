//! The writer's side of a stage: it fills what it holds, with the bytes that it announces.

use super::super::walk::{Event, What};
use super::stage::{Fault, Stage, Stages};

/// The writer's part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writer {
    holds: bool,
    /// Parity of the phase of empty that is next.
    next: u64,
    /// Bytes expected and copied since the role last took the stage, and where it arrived.
    expected: u64,
    copied: u64,
    arrived: Option<usize>,
    filled: bool,
}

impl Stages<'_> {
    /// The writer's side of a stage.
    pub(super) fn written(&mut self, stage: &Stage) {
        if stage.writers.len() != 1 {
            self.fault(Fault::Open("several roles fill it"), vec![]);
            return;
        }
        let leaf = *stage.writers.first().expect("one");
        let start = Writer {
            holds: true,
            next: 0,
            expected: 0,
            copied: 0,
            arrived: None,
            filled: false,
        };
        self.follow(
            leaf,
            start,
            |this, state, event| this.write_step(stage, leaf, state, event),
            |this, state| this.account(state),
        );
    }

    /// Compares what a phase expects with what it gets.
    fn account(&mut self, state: &Writer) {
        if let Some(at) = state.arrived
            && state.expected != state.copied
        {
            self.fault(
                Fault::Bytes {
                    expected: state.expected,
                    copied: state.copied,
                },
                vec![(at, "the bytes are expected here".to_owned())],
            );
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else changes this part"
    )]
    fn write_step(
        &mut self,
        stage: &Stage,
        leaf: usize,
        mut state: Writer,
        event: &Event,
    ) -> Option<Writer> {
        match &event.what {
            What::Wait {
                barrier,
                parity,
                by,
            } if Some(*barrier) == stage.empty
                && self.count(leaf, by) > 0
                && *parity % 2 == state.next =>
            {
                if state.holds {
                    self.fault(
                        Fault::WaitsForNobody,
                        vec![(
                            event.at,
                            format!("it waits here for the phase of parity {parity}"),
                        )],
                    );
                    return None;
                }
                self.account(&state);
                state.holds = true;
                state.next ^= 1;
                (state.expected, state.copied, state.arrived) = (0, 0, None);
            }
            What::Arrive {
                barrier,
                by,
                times,
                expects,
            } if *barrier == stage.full => {
                let count = self.count(leaf, by);
                if count == 0 {
                    return Some(state);
                }
                if !state.holds {
                    self.refill(stage, &state, event.at);
                    return None;
                }
                let arrivals = count * times;
                if let Some((made_for, at)) = self.made.get(barrier).copied()
                    && made_for != arrivals
                {
                    self.fault(
                        Fault::Arrivals {
                            made_for,
                            arrive: arrivals,
                        },
                        vec![
                            (event.at, format!("{arrivals} threads arrive here")),
                            (at, "the barrier is made here".to_owned()),
                        ],
                    );
                }
                state.holds = false;
                state.filled = true;
                state.expected += expects;
                state.arrived = Some(event.at);
            }
            What::Copy {
                barrier, bytes, by, ..
            } if *barrier == stage.full => {
                if !state.holds && state.arrived.is_none() {
                    self.refill(stage, &state, event.at);
                    return None;
                }
                match self.bytes(*bytes) {
                    Some(bytes) => {
                        state.copied += bytes * self.count(leaf, by);
                        if state.copied > 1 << 20 {
                            self.fault(
                                Fault::Open("a phase may have any number of copies"),
                                vec![(event.at, "here".to_owned())],
                            );
                            return None;
                        }
                    }
                    None => state.copied = state.expected,
                }
            }
            _ => {}
        }
        Some(state)
    }

    fn refill(&mut self, stage: &Stage, state: &Writer, at: usize) {
        let mut sites = vec![(at, "the stage is filled here".to_owned())];
        sites.extend(
            state
                .arrived
                .map(|at| (at, "it was filled here before".to_owned())),
        );
        if stage.empty.is_none()
            && self.walk.roles[*stage.writers.first().expect("one")].len()
                == self.walk.roles[0].len()
        {
            // A barrier of the CTA may lie between.
            self.fault(
                Fault::Open("it is filled more than once, and nothing but barriers of the CTA hands it back"),
                sites,
            );
        } else {
            self.fault(Fault::Refilled, sites);
        }
    }
}
