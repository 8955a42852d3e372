//! What a path does to barriers in memory, and by copies and products that run beside it.

use super::explore::Explorer;
use super::state::State;
use crate::analysis::descriptor::footprint;
use crate::analysis::value::Value;
use crate::ptx::{Address, ArriveKind, Operand, Sm90, WgmmaA};

/// One thing that happens on a path, in the order of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::analysis) struct Event {
    /// The instruction.
    pub(in crate::analysis) at: usize,
    /// What it does.
    pub(in crate::analysis) what: What,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::analysis) enum What {
    /// A barrier of the whole CTA.
    Barrier,
    /// A barrier in memory is made, for so many arrivals.
    Init {
        barrier: u64,
        count: u64,
        by: Vec<usize>,
    },
    /// Threads arrive, each so many times, and expect so many bytes more.
    Arrive {
        barrier: u64,
        by: Vec<usize>,
        times: u64,
        expects: u64,
    },
    /// The phase of a parity is complete from here on.
    Wait {
        barrier: u64,
        parity: u64,
        by: Vec<usize>,
    },
    /// A copy of so many bytes begins, or of a box of the tensor map at that offset of the parameters.
    Copy {
        barrier: u64,
        start: u64,
        bytes: CopyBytes,
        by: Vec<usize>,
    },
    /// A product reads shared memory from here until it is waited for.
    Read {
        start: u64,
        end: u64,
        by: Vec<usize>,
    },
    /// The products so far are a group.
    Commit,
    /// Groups are waited for until at most so many are pending.
    Complete { groups: u32 },
    /// Something of this kind that depends on what is not known.
    Lost(&'static str),
}

/// How many bytes a copy brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::analysis) enum CopyBytes {
    /// So many.
    Known(u64),
    /// A box of the map at this offset of the parameters.
    Map(u64),
    /// Not known.
    Unknown,
}

impl Event {
    pub(super) fn of_barrier(at: usize) -> Self {
        Self {
            at,
            what: What::Barrier,
        }
    }
}

/// Threads that do something, by a number that each has.
type Groups = Vec<(Vec<u64>, Vec<usize>)>;

impl Explorer<'_, '_> {
    /// Notes what an instruction of Hopper's does to barriers and shared memory.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others neither touch a barrier nor start or end anything"
    )]
    pub(super) fn note(&mut self, state: &mut State, (at, op): (usize, &Sm90), doing: &Value) {
        match op {
            Sm90::MbarrierInit { address, count } => {
                let address = self.touch(state, at, *address, doing);
                let count = self.read_operand(state, *count);
                self.each(at, doing, &[&address, &count], |n, by| What::Init {
                    barrier: n[0],
                    count: n[1],
                    by,
                });
            }
            Sm90::MbarrierArrive(arrive) if !arrive.drop && !arrive.remote => {
                let address = self.touch(state, at, arrive.address, doing);
                let one = Operand::Immediate(1);
                let none = Operand::Immediate(0);
                let (times, expects) = match arrive.kind {
                    ArriveKind::Count(count) => (count.unwrap_or(one), none),
                    ArriveKind::NoComplete(count) => (count, none),
                    ArriveKind::ExpectTx(bytes) => (one, bytes),
                };
                let times = self.read_operand(state, times);
                let expects = self.read_operand(state, expects);
                self.loosen(state);
                self.each(at, doing, &[&address, &times, &expects], |n, by| {
                    let each = u64::try_from(by.len()).expect("at most 1024");
                    What::Arrive {
                        barrier: n[0],
                        by,
                        times: n[1],
                        expects: n[2] * each,
                    }
                });
            }
            Sm90::MbarrierWait(wait) => {
                let address = self.touch(state, at, wait.address, doing);
                self.loosen(state);
                if !self.spins.contains(&at) || !wait.parity {
                    self.lose(at, "a wait that is not repeated until it succeeds, or is for a state and not for a parity");
                    return;
                }
                let parity = self.read_operand(state, wait.phase);
                self.each(at, doing, &[&address, &parity], |n, by| What::Wait {
                    barrier: n[0],
                    parity: n[1],
                    by,
                });
            }
            Sm90::BulkLoad {
                d, bytes, mbarrier, ..
            } => {
                let count = self.read_operand(state, *bytes);
                let length = count.uniform();
                self.copy(
                    state,
                    at,
                    (*d, *mbarrier),
                    doing,
                    length.map_or(CopyBytes::Unknown, CopyBytes::Known),
                );
            }
            Sm90::TensorLoad {
                d, place, mbarrier, ..
            } => {
                let map = self.read_address(state, place.map);
                let bytes = map.uniform().map_or(CopyBytes::Unknown, CopyBytes::Map);
                self.copy(state, at, (*d, *mbarrier), doing, bytes);
            }
            Sm90::Wgmma(product) => {
                let shared = match &product.a {
                    WgmmaA::Shared(a) => {
                        Some((*a, 64, product.transpose_a, product.a_type.bytes()))
                    }
                    WgmmaA::Registers(_) => None,
                };
                let b = (
                    product.b,
                    product.n,
                    product.transpose_b,
                    product.b_type.bytes(),
                );
                for (operand, rows, transposed, bytes) in shared.into_iter().chain([b]) {
                    let descriptor = self.read_operand(state, operand);
                    self.each(at, doing, &[&descriptor], |n, by| {
                        footprint(n[0], rows, transposed, bytes).map_or(
                            What::Lost("a matrix descriptor with a base offset"),
                            |(start, end)| What::Read { start, end, by },
                        )
                    });
                }
            }
            Sm90::WgmmaCommit => self.event(at, What::Commit),
            Sm90::WgmmaWait { groups } => self.event(at, What::Complete { groups: *groups }),
            Sm90::MbarrierArrive(_) => self.lose(
                at,
                "an arrival that drops out, or at a barrier of another CTA",
            ),
            Sm90::MbarrierInvalidate { .. } => self.lose(at, "a barrier that is taken apart"),
            Sm90::MbarrierTx { .. } => self.lose(
                at,
                "bytes that are expected or completed without an arrival",
            ),
            Sm90::CpAsyncArrive { .. } => self.lose(at, "an arrival by `cp.async`"),
            _ => {}
        }
    }

    fn copy(
        &mut self,
        state: &mut State,
        at: usize,
        (d, mbarrier): (Address, Address),
        doing: &Value,
        bytes: CopyBytes,
    ) {
        self.touch(state, at, mbarrier, doing);
        let start = self.read_address(state, d);
        let barrier = self.read_address(state, mbarrier);
        let (id, guard) = (
            self.walk.values.id(start.clone()),
            self.walk.values.id(doing.clone()),
        );
        self.walk
            .copies
            .entry(at)
            .or_default()
            .insert((id, guard, bytes));
        // What it writes is there some time later.
        state.wild = true;
        self.each(at, doing, &[&start, &barrier], |n, by| What::Copy {
            start: n[0],
            barrier: n[1],
            bytes,
            by,
        });
    }

    /// The address of a barrier, noted as an access of its bytes.
    fn touch(&mut self, state: &State, at: usize, address: Address, doing: &Value) -> Value {
        let address = self.read_address(state, address);
        let met = (
            self.walk.values.id(address.clone()),
            self.walk.values.id(doing.clone()),
        );
        self.walk.barriers.entry(at).or_default().insert(met);
        address
    }

    fn read_operand(&self, state: &State, operand: Operand) -> Value {
        let read = |register| self.register(state, register);
        self.roles[state.role].view(&self.context.operand(operand, &read))
    }

    fn read_address(&self, state: &State, address: Address) -> Value {
        let read = |register| self.register(state, register);
        self.roles[state.role].view(&self.context.address(address, &read))
    }

    fn event(&mut self, at: usize, what: What) {
        self.events.push(Event { at, what });
    }

    fn lose(&mut self, at: usize, why: &'static str) {
        self.event(at, What::Lost(why));
    }

    /// One event for each group of threads that do the same.
    fn each(
        &mut self,
        at: usize,
        doing: &Value,
        values: &[&Value],
        make: impl Fn(&[u64], Vec<usize>) -> What,
    ) {
        let mut groups: Groups = Vec::new();
        for thread in 0..self.context.threads() {
            match doing.number(thread) {
                Some(0) => continue,
                Some(_) => {}
                None => return self.lose(at, "an instruction that depends on data"),
            }
            let numbers: Option<Vec<u64>> =
                values.iter().map(|value| value.number(thread)).collect();
            let Some(numbers) = numbers else {
                return self.lose(at, "an address, a parity or a count that depends on data");
            };
            match groups.iter_mut().find(|(known, _)| *known == numbers) {
                Some((_, threads)) => threads.push(thread),
                None => groups.push((numbers, vec![thread])),
            }
        }
        for (numbers, by) in groups {
            self.event(at, make(&numbers, by));
        }
    }
}
