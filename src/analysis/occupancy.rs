//! How many CTAs of a kernel a multiprocessor holds at once, and what limits them.
//!
//! CUDA C++ Programming Guide 13.0, table "Technical Specifications per Compute Capability": registers are given to warps
//! in units of 256, shared memory to CTAs in units of 128 bytes, 1024 bytes of it are the system's for each CTA.

/// What a multiprocessor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    /// Name of the target, e.g. `sm_80`.
    pub target: &'static str,
    /// 32-bit registers.
    pub registers: u32,
    /// Bytes of shared memory for CTAs, the system's share included.
    pub shared_bytes: u32,
    /// Threads.
    pub threads: u32,
    /// CTAs.
    pub ctas: u32,
}

/// The targets that kernels are checked for.
pub const MULTIPROCESSORS: [Multiprocessor; 2] = [
    Multiprocessor {
        target: "sm_80",
        registers: 65_536,
        shared_bytes: 164 * 1024,
        threads: 2048,
        ctas: 32,
    },
    Multiprocessor {
        target: "sm_90",
        registers: 65_536,
        shared_bytes: 228 * 1024,
        threads: 2048,
        ctas: 32,
    },
];

/// What one CTA takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Threads.
    pub threads: u32,
    /// Registers of a thread; `None` where no assembler has said.
    pub registers: Option<u32>,
    /// Static and dynamic shared memory.
    pub shared_bytes: u32,
}

/// How many fit, and why no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// CTAs at once.
    pub ctas: u32,
    /// Warps at once.
    pub warps: u32,
    /// `registers`, `shared memory`, `threads` or `CTAs`.
    pub limit: &'static str,
}

/// CTAs of a footprint that a multiprocessor holds.
pub fn occupancy(of: Footprint, on: &Multiprocessor) -> Occupancy {
    let warps = of.threads.max(1).div_ceil(32);
    let shared = of.shared_bytes.next_multiple_of(128) + 1024;
    let mut least = (on.threads / (warps * 32), "threads");
    let by_registers = of.registers.map(|registers| {
        let of_warp = (registers.max(1) * 32).next_multiple_of(256);
        on.registers / of_warp / warps
    });
    for candidate in [
        (on.ctas, "CTAs"),
        (on.shared_bytes / shared, "shared memory"),
        (by_registers.unwrap_or(u32::MAX), "registers"),
    ] {
        if candidate.0 < least.0 {
            least = candidate;
        }
    }
    Occupancy {
        ctas: least.0,
        warps: least.0 * warps,
        limit: least.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_can_be_the_limit() {
        let of = |threads, registers, shared_bytes| {
            let found = occupancy(
                Footprint {
                    threads,
                    registers,
                    shared_bytes,
                },
                &MULTIPROCESSORS[0],
            );
            (found.ctas, found.limit)
        };
        assert_eq!(of(128, Some(135), 0), (3, "registers"));
        assert_eq!(of(128, Some(32), 40_960), (3, "shared memory"));
        assert_eq!(of(1024, Some(32), 0), (2, "threads"));
        assert_eq!(of(32, Some(16), 0), (32, "CTAs"));
        assert_eq!(of(128, None, 0), (16, "threads"));
    }
}
