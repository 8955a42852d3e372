//! A kernel's PTX on a CUDA device, with the launch its manifest states.

use super::finding;
use crate::device::{self, DeviceError, Plan};
use crate::diagnostic::Blame;
use crate::kernel::method::MaskRule;
use crate::kernel::selection::Kept;
use crate::kernel::{Binding, Kernel};
use crate::outcome::{Outcome, Output};
use flashproof_reference::Problem;

/// Runs a kernel on the first device; [`Outcome::Unsupported`] where there is none.
pub fn run(kernel: &Kernel, problem: &Problem) -> Outcome {
    let binding = match kernel.bind(problem) {
        Ok(binding) => binding,
        Err(error) => return Outcome::Unsupported(error.to_string()),
    };
    let ran = device::hardware().and_then(|hardware| {
        let plan = Plan::of(kernel, binding, (problem.shape, problem.dtype()), &hardware)?;
        let written = device::run(kernel.ptx(), plan.binding())?;
        Ok((plan, written))
    });
    match ran {
        Ok((plan, written)) => decode(kernel, problem, plan.binding(), &written),
        Err(
            error @ (DeviceError::Absent(_) | DeviceError::Driver { .. } | DeviceError::Plan(_)),
        ) => Outcome::Unsupported(error.to_string()),
        Err(error @ DeviceError::Decode(_)) => {
            Outcome::Trapped(vec![finding("decode", Blame::Toolkit, error.to_string())])
        }
        Err(error @ DeviceError::Kernel { .. }) => Outcome::Trapped(vec![finding(
            "device-error",
            Blame::Kernel,
            error.to_string(),
        )]),
    }
}

fn kept(kernel: &Kernel, bytes: &[u8]) -> Kept {
    let words = bytes.chunks_exact(4);
    Kept {
        words: words
            .map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")))
            .collect(),
        tile: kernel.manifest().tile_shape(),
    }
}

/// The outputs among the buffers that a launch has written, by their index.
pub(super) fn decode(
    kernel: &Kernel,
    problem: &Problem,
    binding: &Binding,
    written: &[(usize, Vec<u8>)],
) -> Outcome {
    let bytes = |name: &str| {
        let (index, _) = binding.buffer(name)?;
        written
            .iter()
            .find(|(written, _)| *written == index)
            .map(|(_, bytes)| bytes.as_slice())
    };
    let o = bytes("o").unwrap_or_default();
    if kernel.manifest().supports(MaskRule::Threshold) && bytes("kept").is_none() {
        let message = "the kernel chooses its tiles, and the run does not say which".to_owned();
        return Outcome::Trapped(vec![finding("decode", Blame::Toolkit, message)]);
    }
    match kernel.decode(&problem.shape, problem.dtype(), o, bytes("lse")) {
        Ok(outputs) => Outcome::Finished(Output {
            o: outputs.o,
            lse: outputs.lse,
            kept: bytes("kept").map(|bytes| kept(kernel, bytes)),
            findings: Vec::new(),
        }),
        Err(error) => Outcome::Trapped(vec![finding("decode", Blame::Toolkit, error.to_string())]),
    }
}
