//! A CUDA device: the same PTX and the same launch as every backend, on real hardware.
//!
//! The driver is loaded at run time (crate feature `cuda`), so nothing of CUDA is needed to build. Without the feature,
//! without a driver, or without a device, every call says so in a value.

#[cfg(feature = "cuda")]
mod driver;

use crate::kernel::Binding;

/// Why a launch gave no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no device to ask: says nothing about the kernel.
    #[error("{0}")]
    Absent(String),
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
        /// CUDA's name and text of the error.
        text: String,
    },
}

/// What a launch left in the buffers that the kernel may write, by index into [`Binding::buffers`].
///
/// Buffers that nothing has written hold `0xff` in every byte when the kernel starts: NaN in every format, so an output
/// that is not written cannot look right. One launch at a time.
///
/// # Errors
/// [`DeviceError::Absent`] without feature, driver or device; CUDA's own text otherwise.
pub fn run(ptx: &str, binding: &Binding) -> Result<Vec<(usize, Vec<u8>)>, DeviceError> {
    #[cfg(feature = "cuda")]
    return driver::run(ptx, binding);
    #[cfg(not(feature = "cuda"))]
    {
        let (_, _) = (ptx, binding);
        Err(DeviceError::Absent(
            "built without the feature cuda".to_owned(),
        ))
    }
}

/// The device's name and compute capability: `NVIDIA H200, sm_90`.
///
/// # Errors
/// As [`run`].
pub fn name() -> Result<String, DeviceError> {
    #[cfg(feature = "cuda")]
    return driver::name();
    #[cfg(not(feature = "cuda"))]
    Err(DeviceError::Absent(
        "built without the feature cuda".to_owned(),
    ))
}
