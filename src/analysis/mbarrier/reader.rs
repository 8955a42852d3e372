//! A reader's side of a stage: it reads what it holds, and hands it back when its products are done.

use super::super::walk::{Event, What};
use super::stage::{Fault, Stage, Stages};
use std::collections::BTreeMap;

/// A reader's part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reader {
    holds: bool,
    next: u64,
    /// The youngest product that reads, and the groups committed since; `None`: its own is not.
    flight: Option<(usize, Option<u32>)>,
    waited: Option<usize>,
    released: Option<usize>,
    /// Threads that have read since the wait, by warpgroup.
    read_by: u32,
}

/// Groups committed after which a product's age is not counted further.
const AGE_MAX: u32 = 64;

impl Stages<'_> {
    /// A reader's side of a stage: how many arrivals hand it back, and where.
    pub(super) fn read(&mut self, stage: &Stage, leaf: usize) -> Option<(u64, usize)> {
        let start = Reader {
            holds: false,
            next: 0,
            flight: None,
            waited: None,
            released: None,
            read_by: 0,
        };
        let mut handed_back: BTreeMap<u64, usize> = BTreeMap::new();
        let is_writer = stage.writers.contains(&leaf);
        self.follow(
            leaf,
            start,
            |this, state, event| {
                this.read_step((stage, leaf, is_writer), state, event, &mut handed_back)
            },
            |_, _| {},
        );
        if handed_back.len() > 1 {
            let sites = handed_back.values().map(|at| (*at, "here".to_owned()));
            let sites = sites.collect();
            self.fault(
                Fault::Open("it is handed back by so many threads here and so many there"),
                sites,
            );
        }
        handed_back.into_iter().next()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else changes this part"
    )]
    fn read_step(
        &mut self,
        (stage, leaf, is_writer): (&Stage, usize, bool),
        mut state: Reader,
        event: &Event,
        handed_back: &mut BTreeMap<u64, usize>,
    ) -> Option<Reader> {
        match &event.what {
            What::Wait {
                barrier,
                parity,
                by,
            } if *barrier == stage.full && self.count(leaf, by) > 0 => {
                state.waited = Some(event.at);
                if *parity % 2 == state.next {
                    if state.holds && stage.empty.is_some() && !is_writer {
                        self.fault(
                            Fault::WaitedTwice,
                            vec![(event.at, "it waits here, on a way on which it has not arrived at the empty barrier since its last wait".to_owned())],
                        );
                        return None;
                    }
                    state.holds = true;
                    state.next ^= 1;
                    state.read_by = 0;
                }
            }
            What::Arrive {
                barrier, by, times, ..
            } if Some(*barrier) == stage.empty && self.count(leaf, by) > 0 => {
                if !state.holds {
                    let mut sites = vec![(event.at, "it arrives here".to_owned())];
                    sites.extend(
                        state
                            .released
                            .map(|at| (at, "it has arrived here before".to_owned())),
                    );
                    self.fault(Fault::ReleasedTwice, sites);
                    return None;
                }
                if let Some((product, _)) = state.flight {
                    self.fault(
                        Fault::Released,
                        vec![
                            (event.at, "the stage is handed back here".to_owned()),
                            (product, "this product reads it, and a way leads on with no wait for its group".to_owned()),
                        ],
                    );
                    return None;
                }
                let groups = by
                    .iter()
                    .fold(0_u32, |set, thread| set | 1 << (thread / 128));
                if state.read_by & !groups != 0 {
                    self.fault(
                        Fault::Open("a warpgroup reads it that does not hand it back itself"),
                        vec![(event.at, "here".to_owned())],
                    );
                }
                handed_back.insert(self.count(leaf, by) * times, event.at);
                state.holds = false;
                state.released = Some(event.at);
            }
            What::Read { start, end, by }
                if stage.has(*start, *end) && self.count(leaf, by) > 0 =>
            {
                if !state.holds {
                    let mut sites = vec![(event.at, "the stage is read here".to_owned())];
                    match (state.waited, state.released) {
                        (Some(wait), Some(_)) => sites.push((
                            wait,
                            "the last wait is here: its phase was complete before the stage was handed back".to_owned(),
                        )),
                        (Some(wait), None) => sites.push((
                            wait,
                            "the last wait is here: for the phase before the first, which counts as complete".to_owned(),
                        )),
                        (None, _) => {}
                    }
                    sites.extend(
                        state
                            .released
                            .map(|at| (at, "it was handed back here".to_owned())),
                    );
                    self.fault(Fault::ReadEarly, sites);
                    return None;
                }
                state.flight = Some((event.at, None));
                state.read_by |= by
                    .iter()
                    .fold(0_u32, |set, thread| set | 1 << (thread / 128));
            }
            What::Commit => {
                state.flight = state
                    .flight
                    .map(|(at, age)| (at, Some(age.map_or(0, |age| (age + 1).min(AGE_MAX)))));
            }
            What::Complete { groups } => {
                state.flight = state
                    .flight
                    .filter(|(_, age)| age.is_none_or(|age| age < *groups));
            }
            _ => {}
        }
        Some(state)
    }
}
