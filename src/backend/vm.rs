//! A kernel's PTX in the virtual machine, with the launch its manifest states and every checker watching.

use super::{Settings, device, finding};
use crate::case::Contract;
use crate::diagnostic::{Blame, Diagnostic};
use crate::kernel::{Binding, Content, Kernel};
use crate::outcome::Outcome;
use crate::ptx::{self, Module};
use crate::vm::{self, Detectors, Initial, Launch, Memory, Options, Stop};
use flashproof_reference::Problem;
use std::sync::{Arc, Mutex, PoisonError};

/// How the virtual machine watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmOptions {
    /// Which checkers watch.
    pub detectors: Detectors,
    /// Most warp instructions of one CTA.
    pub instruction_budget: u64,
}

impl Default for VmOptions {
    fn default() -> Self {
        let Options {
            detectors,
            instruction_budget,
            ..
        } = Options::default();
        Self {
            detectors,
            instruction_budget,
        }
    }
}

/// Runs a kernel. Outputs are undefined when it starts: one that is not written is a finding.
pub fn run(
    kernel: &Kernel,
    problem: &Problem,
    settings: &Settings,
    options: &VmOptions,
) -> Outcome {
    if settings.contract == Contract::Ptxas {
        return Outcome::Unsupported(
            "contract=ptxas: the virtual machine executes PTX as it is written".to_owned(),
        );
    }
    let binding = match kernel.bind(problem) {
        Ok(binding) => binding,
        Err(error) => return Outcome::Unsupported(error.to_string()),
    };
    let module = match parsed(kernel) {
        Ok(module) => module,
        Err(reason) => return Outcome::Unsupported(reason),
    };
    let mut memory = Memory::new();
    let addresses: Vec<u64> = binding
        .buffers
        .iter()
        .map(|buffer| {
            let initial = match &buffer.content {
                Content::Bytes(bytes) => Initial::Bytes(bytes.clone()),
                Content::Uninitialised(count) => Initial::Uninitialised(*count),
            };
            memory.allocate(&buffer.name, initial, buffer.writable)
        })
        .collect();
    let launch = Launch {
        entry: binding.entry.clone(),
        grid: binding.grid,
        cta: binding.cta,
        shared_bytes: binding.shared_bytes,
        params: binding.param_bytes(|index| addresses[index]),
    };
    let options = Options {
        target: settings.target,
        seed: settings.schedule,
        instruction_budget: options.instruction_budget,
        detectors: options.detectors,
    };
    match vm::run(&module, &launch, &mut memory, &options) {
        Ok(report) => finish(
            kernel,
            problem,
            &binding,
            &memory,
            &addresses,
            report.findings,
        ),
        Err(Stop::Trap(found)) => Outcome::Trapped(found),
        Err(Stop::Unsupported(found)) => Outcome::Unsupported(found.message),
        Err(Stop::InvalidLaunch(error)) => Outcome::Unsupported(error.to_string()),
    }
}

/// Copies the outputs back, and says which bytes of them nothing has written.
fn finish(
    kernel: &Kernel,
    problem: &Problem,
    binding: &Binding,
    memory: &Memory,
    addresses: &[u64],
    mut findings: Vec<Diagnostic>,
) -> Outcome {
    let mut written = Vec::new();
    for (index, buffer) in binding
        .buffers
        .iter()
        .enumerate()
        .filter(|(_, buffer)| buffer.writable)
    {
        let len = match &buffer.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Uninitialised(count) => *count,
        };
        let undefined = memory.undefined_bytes(addresses[index], len).unwrap_or(len);
        if undefined > 0 {
            let message = format!(
                "{undefined} of {len} bytes of {} hold no defined value when the kernel ends",
                buffer.name
            );
            findings.push(finding("output-undefined", Blame::Kernel, message));
        }
        written.push((
            index,
            memory
                .bytes(addresses[index], len)
                .unwrap_or_default()
                .to_vec(),
        ));
    }
    match device::decode(kernel, problem, binding, &written) {
        Outcome::Finished(mut output) => {
            output.findings = findings;
            Outcome::Finished(output)
        }
        other @ (Outcome::Trapped(_) | Outcome::Unsupported(_)) => other,
    }
}

/// The kernel's PTX as a program: parsed once, however many cases follow.
fn parsed(kernel: &Kernel) -> Result<Arc<Module>, String> {
    static PARSED: Mutex<Vec<(String, Arc<Module>)>> = Mutex::new(Vec::new());
    /// A few kernels at a time is what a run uses.
    const KEPT: usize = 32;
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, module)) = parsed.iter().find(|(text, _)| text == kernel.ptx()) {
        return Ok(Arc::clone(module));
    }
    let name = format!("{}.ptx", kernel.name());
    let module = Arc::new(ptx::parse(&name, kernel.ptx()).map_err(|error| error.to_string())?);
    if parsed.len() == KEPT {
        parsed.remove(0);
    }
    parsed.push((kernel.ptx().to_owned(), Arc::clone(&module)));
    Ok(module)
}
