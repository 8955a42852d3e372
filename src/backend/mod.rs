//! Kernel and problem to outcome, three ways: the virtual machine, this machine's CPU, a CUDA device.

pub mod device;
pub mod native;
pub mod vm;

use crate::case::{Case, Contract};
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::kernel::Kernel;
use crate::outcome::{Outcome, Output};
use crate::vm::{Approx, AsyncOrder, Target};
use flashproof_reference::Problem;

/// Where a kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Its PTX in the virtual machine, with every checker.
    Vm(vm::VmOptions),
    /// The crate's own attention in f32 on the CPU; the kernel only lends its name.
    Native,
    /// Its PTX on a CUDA device.
    Device,
}

/// What a case says of a run beyond the problem; only the virtual machine can choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whose tensor cores.
    pub target: Target,
    /// Order of CTAs and warps.
    pub schedule: u64,
    /// Whether products and sums are fused.
    pub contract: Contract,
    /// When asynchronous copies arrive.
    pub async_order: AsyncOrder,
    /// Values of approximate functions.
    pub approx: Approx,
}

impl Settings {
    /// Those of a case.
    pub fn of(case: &Case) -> Self {
        Self {
            target: case.target,
            schedule: case.schedule,
            contract: case.contract,
            async_order: case.async_order,
            approx: case.approx,
        }
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self::Vm(vm::VmOptions::default())
    }
}

impl Backend {
    /// `vm`, `native` or `device`, as the command line spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vm(_) => "vm",
            Self::Native => "native",
            Self::Device => "device",
        }
    }

    /// Runs a kernel on a problem. What cannot be run is an outcome too.
    pub fn run(&self, kernel: &Kernel, problem: &Problem, settings: &Settings) -> Outcome {
        match self {
            Self::Vm(options) => vm::run(kernel, problem, settings, options),
            Self::Native => match native::run(problem) {
                Ok((o, lse)) => Outcome::Finished(Output {
                    o,
                    lse,
                    kept: None,
                    findings: Vec::new(),
                }),
                Err(error) => Outcome::Unsupported(error.to_string()),
            },
            Self::Device => device::run(kernel, problem),
        }
    }
}

/// A finding that has no place in the program.
fn finding(code: &'static str, blame: Blame, message: String) -> Diagnostic {
    Diagnostic {
        code: Code(code),
        blame,
        message,
        sites: Vec::new(),
        help: None,
        count: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_device_is_a_value() {
        let case: Case = "kernel=block_sparse_sm80".parse().unwrap();
        let kernel = crate::kernel::by_name(&case.kernel).unwrap();
        match Backend::Device.run(kernel, &case.problem().unwrap(), &Settings::of(&case)) {
            Outcome::Unsupported(reason) => assert!(!reason.is_empty()),
            Outcome::Finished(output) => assert!(
                output.findings.is_empty(),
                "a device was there, and it works"
            ),
            Outcome::Trapped(found) => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_problem_that_a_kernel_does_not_take_is_unsupported() {
        let case: Case = "kernel=block_sparse_sm80 dtype=f32".parse().unwrap();
        let kernel = crate::kernel::by_name(&case.kernel).unwrap();
        for backend in [Backend::default(), Backend::Device] {
            let outcome = backend.run(kernel, &case.problem().unwrap(), &Settings::of(&case));
            assert!(
                matches!(&outcome, Outcome::Unsupported(reason) if reason.contains("dtype f32")),
                "{outcome:?}"
            );
        }
    }
}
