//! A kernel's PTX in the virtual machine, with the launch its manifest states and every checker watching.

use super::{Settings, device, finding};
use crate::case::Contract;
use crate::diagnostic::{Blame, Diagnostic};
use crate::kernel::{Binding, Content, Kernel};
use crate::outcome::Outcome;
use crate::ptx::{self, Module};
use crate::vm::{self, Detectors, Initial, Launch, Memory, Options, Report, Stop};
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

/// What a run showed besides its outcome.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Where memory is used badly, worst first.
    pub notes: Vec<Diagnostic>,
    /// Bytes of the launch's buffers that each CTA read or wrote.
    pub touched: Vec<Touched>,
}

/// A run of bytes of one buffer, read or written by one CTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The CTA.
    pub cta: [u32; 3],
    /// Name of the buffer.
    pub buffer: String,
    /// Written, not only read.
    pub write: bool,
    /// Offset of the first byte in the buffer.
    pub first: usize,
    /// How many.
    pub bytes: usize,
}

/// Runs a kernel. Outputs are undefined when it starts: one that is not written is a finding.
pub fn run(
    kernel: &Kernel,
    problem: &Problem,
    settings: &Settings,
    options: &VmOptions,
) -> Outcome {
    run_watched(kernel, problem, settings, options, false).0
}

/// As [`run`]; with `watch`, also counts how memory is used and says which bytes each CTA touched.
pub fn run_watched(
    kernel: &Kernel,
    problem: &Problem,
    settings: &Settings,
    options: &VmOptions,
    watch: bool,
) -> (Outcome, Watched) {
    let prepared = kernel
        .bind(problem)
        .map_err(|error| error.to_string())
        .and_then(|binding| Ok((binding, parsed(kernel, settings.contract)?)));
    let (binding, module) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return (Outcome::Unsupported(reason), Watched::default()),
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
    let mut params = binding.param_bytes(|index| addresses[index]);
    let encoded = binding.put_tensor_maps(&mut params, |map| map.encode(addresses[map.buffer]));
    if let Err(error) = encoded {
        return (Outcome::Unsupported(error.to_string()), Watched::default());
    }
    // A struct ends in padding, a scalar does not: what the PTX declares beyond the last value, and no more. Where that is more
    // than padding can be, the check against the manifest has failed.
    if let Some(function) = module.function(&binding.entry) {
        let covered = u64::from(binding.covered_bytes());
        let declared = function.param_bytes();
        if (covered..=covered.next_multiple_of(16)).contains(&declared) {
            params.resize(usize::try_from(declared).expect("a few kilobytes"), 0);
        }
    }
    let launch = Launch {
        entry: binding.entry.clone(),
        grid: binding.grid,
        cta: binding.cta,
        shared_bytes: binding.shared_bytes,
        params,
    };
    let options = Options {
        target: settings.target,
        seed: settings.schedule,
        instruction_budget: options.instruction_budget,
        async_order: settings.async_order,
        approx: settings.approx,
        detectors: options.detectors,
        notes: watch,
        traffic: watch,
    };
    match vm::run(&module, &launch, &mut memory, &options) {
        Ok(report) => {
            let watched = Watched {
                notes: report.notes.clone(),
                touched: touched(&report, &binding, &addresses),
            };
            let outcome = finish(
                kernel,
                problem,
                &binding,
                &memory,
                &addresses,
                report.findings,
            );
            (outcome, watched)
        }
        Err(stop) => {
            let outcome = match stop {
                Stop::Trap(found) => Outcome::Trapped(found),
                Stop::Unsupported(found) => Outcome::Unsupported(found.message),
                Stop::InvalidLaunch(error) => Outcome::Unsupported(error.to_string()),
            };
            (outcome, Watched::default())
        }
    }
}

/// Global addresses as offsets in buffers.
fn touched(report: &Report, binding: &Binding, addresses: &[u64]) -> Vec<Touched> {
    let mut touched = Vec::new();
    for (cta, runs) in &report.traffic {
        for run in runs {
            let found = addresses
                .iter()
                .zip(&binding.buffers)
                .find_map(|(&base, buffer)| {
                    let first = usize::try_from(run.address.checked_sub(base)?).ok()?;
                    let len = length(&buffer.content);
                    (first < len).then_some((buffer, first))
                });
            // Module variables are no buffers.
            if let Some((buffer, first)) = found {
                touched.push(Touched {
                    cta: *cta,
                    buffer: buffer.name.clone(),
                    write: run.write,
                    first,
                    bytes: usize::try_from(run.bytes).unwrap_or(usize::MAX),
                });
            }
        }
    }
    touched
}

fn length(content: &Content) -> usize {
    match content {
        Content::Bytes(bytes) => bytes.len(),
        Content::Uninitialised(count) => *count,
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
    for (index, buffer) in binding.outputs() {
        let len = length(&buffer.content);
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

/// The kernel's PTX as a program: parsed (and its products fused) once, however many cases follow.
fn parsed(kernel: &Kernel, contract: Contract) -> Result<Arc<Module>, String> {
    static PARSED: Mutex<Vec<(Contract, String, Arc<Module>)>> = Mutex::new(Vec::new());
    /// A few kernels at a time is what a run uses.
    const KEPT: usize = 32;
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = |(rule, text, _): &&(Contract, String, Arc<Module>)| {
        *rule == contract && text == kernel.ptx()
    };
    if let Some((_, _, module)) = parsed.iter().find(known) {
        return Ok(Arc::clone(module));
    }
    let name = format!("{}.ptx", kernel.name());
    let module = ptx::parse(&name, kernel.ptx()).map_err(|error| error.to_string())?;
    let module = Arc::new(match contract {
        Contract::None => module,
        Contract::Ptxas => vm::fused(&module),
    });
    if parsed.len() == KEPT {
        parsed.remove(0);
    }
    parsed.push((contract, kernel.ptx().to_owned(), Arc::clone(&module)));
    Ok(module)
}
