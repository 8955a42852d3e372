//! A CUDA device: the same PTX and the same launch as every backend, on real hardware.
//!
//! [`Attention`] chooses the kernel and checks a call; that needs no device. The driver is loaded at run time (crate
//! feature `cuda`), so nothing of CUDA is needed to build. Without the feature, without a driver, or without a device,
//! every call says so in a value.
//!
//! With the feature, `Session` opens a device, `Attention::run` takes and returns tensors of `cudarc` in its memory, and
//! `Prepared` launches one plan again and again. [`Attention::compute`] takes and returns tensors of this machine.

#[cfg(feature = "cuda")]
mod driver;
mod hardware;
mod plan;
pub mod probe;
#[cfg(feature = "cuda")]
mod session;
mod simulate;
mod tensor;
#[cfg(feature = "cuda")]
mod timing;

pub use hardware::Hardware;
pub use plan::{Attention, Plan, PlanError};
#[cfg(feature = "cuda")]
pub use session::{Attended, Element, Prepared, Session, Tensors};
pub use simulate::simulate;
pub use tensor::{TENSOR_ALIGN, View, ViewError, check_apart};
#[cfg(feature = "cuda")]
pub use timing::{Runs, Stopwatch};

use crate::kernel::{Binding, DecodeError, Outputs};
use flashproof_reference::Tensor;

/// Why a launch gave no bytes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// There is no device to ask: says nothing about the kernel.
    #[error("{0}")]
    Absent(String),
    /// The call is wrong, or no kernel does it; the device was not asked.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The driver refused something that is not the kernel's doing.
    #[error("{call}: {text}")]
    Driver {
        /// The driver's function.
        call: &'static str,
        /// CUDA's name and text of the error.
        text: String,
    },
    /// The kernel was stopped while it ran, or could not be loaded.
    #[error("{call}: {text}")]
    Kernel {
        /// The driver's function that reported it.
        call: &'static str,
        /// CUDA's name and text of the error; the assembler's own words where it refused.
        text: String,
    },
    /// The results are not those of the launch.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// What a launch left in the buffers that the kernel may write, by index into [`Binding::buffers`].
///
/// Buffers that nothing has written hold `0xff` in every byte when the kernel starts: NaN in every format, so an output
/// that is not written cannot look right. One launch at a time, on the first device.
///
/// # Errors
/// [`DeviceError::Absent`] without feature, driver or device; CUDA's own text otherwise.
pub fn run(ptx: &str, binding: &Binding) -> Result<Vec<(usize, Vec<u8>)>, DeviceError> {
    #[cfg(feature = "cuda")]
    return session::run(ptx, binding);
    #[cfg(not(feature = "cuda"))]
    {
        let (_, _) = (ptx, binding);
        Err(absent())
    }
}

/// The first device.
///
/// # Errors
/// As [`run`].
pub fn hardware() -> Result<Hardware, DeviceError> {
    #[cfg(feature = "cuda")]
    return session::hardware();
    #[cfg(not(feature = "cuda"))]
    Err(absent())
}

/// The device's name and compute capability: `NVIDIA H200, sm_90`.
///
/// # Errors
/// As [`run`].
pub fn name() -> Result<String, DeviceError> {
    hardware().map(|hardware| hardware.to_string())
}

#[cfg(not(feature = "cuda"))]
fn absent() -> DeviceError {
    DeviceError::Absent("built without the feature cuda".to_owned())
}

/// What [`Attention::compute`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// Outputs and log-sum-exps.
    pub outputs: Outputs,
    /// The kernel that was chosen.
    pub kernel: &'static str,
    /// Where it ran.
    pub hardware: Hardware,
}

impl Attention {
    /// Attention of tensors of this machine on the first device: copied there, computed, copied back.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn compute(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Computed, DeviceError> {
        let hardware = hardware()?;
        let plan = self.plan(&hardware)?.with_values([q, k, v])?;
        let written = run(plan.kernel().ptx(), plan.binding())?;
        let bytes = |name: &str| {
            let (index, _) = plan.binding().buffer(name)?;
            let found = written.iter().find(|(written, _)| *written == index);
            found.map(|(_, bytes)| bytes.as_slice())
        };
        let o = bytes("o").unwrap_or_default();
        let outputs = plan
            .kernel()
            .decode(&self.shape(), self.dtype(), o, bytes("lse"))?;
        Ok(Computed {
            outputs,
            kernel: plan.kernel().name(),
            hardware,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::{DType, Layout, Shape};

    #[test]
    fn without_a_device_a_call_says_so() {
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q: 2,
            seqlen_kv: 2,
            head_dim: 64,
        };
        let ones = Tensor::from_f32_rounded(DType::F16, &[1.0; 128]);
        let attention = Attention::new(shape, DType::F16, Layout::dense(2, 2));
        match attention.compute(&ones, &ones, &ones) {
            Err(DeviceError::Absent(reason)) => assert!(!reason.is_empty()),
            Err(error) => panic!("{error}"),
            Ok(computed) => assert_eq!(computed.outputs.o, ones, "a device was there"),
        }
    }
}
