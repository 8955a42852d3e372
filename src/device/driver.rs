//! The calls into the CUDA driver that cudarc has no safe function for: every `unsafe` block of the device side.
#![expect(
    unsafe_code,
    reason = "the driver's API is a C library; each block says why it may be called"
)]

use super::DeviceError;
use crate::kernel::Binding;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaStream, sys};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

/// PTX version that a driver is given which does not know the text's own: the first with `sm_90a`. The kernels use no
/// word of a later one; ptxas accepts them so.
const OLDER_VERSION: &str = ".version 8.0";

/// Bytes for the assembler's words.
const LOG_BYTES: usize = 8192;

/// Whether there is a driver to load.
pub(super) fn is_present() -> bool {
    // SAFETY: only looks whether a shared library of that name can be loaded; its initialisers are the driver's own.
    unsafe { sys::is_culib_present() }
}

/// A loaded module.
#[derive(Debug)]
pub(super) struct Module {
    module: sys::CUmodule,
    context: Arc<CudaContext>,
}

// SAFETY: a CUmodule is a handle that the driver lets any thread use whose current context is its own; every use binds it.
unsafe impl Send for Module {}
// SAFETY: as above; no method changes the handle.
unsafe impl Sync for Module {}

impl Module {
    /// Assembles and loads a PTX text.
    pub(super) fn load(context: &Arc<CudaContext>, ptx: &str) -> Result<Self, DeviceError> {
        context
            .bind_to_thread()
            .map_err(refused("cuCtxSetCurrent"))?;
        let module = match load(ptx) {
            Err((sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, _)) => load(&older(ptx)),
            other => other,
        };
        match module {
            Ok(module) => Ok(Self {
                module,
                context: Arc::clone(context),
            }),
            Err((_, text)) => Err(DeviceError::Kernel {
                call: "cuModuleLoadDataEx",
                text,
            }),
        }
    }

    /// An entry point that may use so much dynamic shared memory.
    pub(super) fn function(
        &self,
        entry: &str,
        shared_bytes: u32,
    ) -> Result<sys::CUfunction, DeviceError> {
        let wrong = |call, text: &str| DeviceError::Kernel {
            call,
            text: text.to_owned(),
        };
        let name = CString::new(entry)
            .map_err(|_| wrong("cuModuleGetFunction", "the entry's name holds a zero byte"))?;
        let shared = i32::try_from(shared_bytes).map_err(|_| {
            wrong(
                "cuFuncSetAttribute",
                "more shared memory than any device has",
            )
        })?;
        self.context
            .bind_to_thread()
            .map_err(refused("cuCtxSetCurrent"))?;
        // SAFETY: the module is loaded until `drop`.
        let function = unsafe { result::module::get_function(self.module, name) }
            .map_err(stopped("cuModuleGetFunction"))?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: `function` belongs to this module, which is loaded.
        unsafe { result::function::set_function_attribute(function, attribute, shared) }
            .map_err(stopped("cuFuncSetAttribute"))?;
        Ok(function)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // An error here has nobody left to hear it: the context may already be gone with a kernel that was stopped.
        let _ = self.context.bind_to_thread();
        // SAFETY: loaded in `load`, unloaded once; whoever has a function of it also holds this.
        let _ = unsafe { result::module::unload(self.module) };
    }
}

/// The text under an older version of PTX.
fn older(ptx: &str) -> String {
    let Some(begin) = ptx.find(".version") else {
        return ptx.to_owned();
    };
    let end = ptx[begin..].find('\n').map_or(ptx.len(), |end| begin + end);
    format!("{}{OLDER_VERSION}{}", &ptx[..begin], &ptx[end..])
}

/// Assembles; on failure the driver's code, its text and the assembler's own words.
fn load(ptx: &str) -> Result<sys::CUmodule, (sys::CUresult, String)> {
    let Ok(text) = CString::new(ptx) else {
        let code = sys::CUresult::CUDA_ERROR_INVALID_PTX;
        return Err((code, "the PTX holds a zero byte".to_owned()));
    };
    let mut log = vec![0_u8; LOG_BYTES];
    let mut options = [
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
    ];
    let mut values = [
        log.as_mut_ptr().cast::<c_void>(),
        ptr::without_provenance_mut::<c_void>(LOG_BYTES),
    ];
    let count = u32::try_from(options.len()).expect("two");
    let mut module = ptr::null_mut();
    // SAFETY: `text` is a zero-terminated PTX text; the options are the log's buffer and its size, passed by value as the
    // driver's API documents; all of them outlive the call.
    let code = unsafe {
        sys::cuModuleLoadDataEx(
            &raw mut module,
            text.as_ptr().cast::<c_void>(),
            count,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match code.result() {
        Ok(()) => Ok(module),
        Err(error) => {
            let said: Vec<u8> = log.into_iter().take_while(|byte| *byte != 0).collect();
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            let words = if said.is_empty() {
                self::text(error)
            } else {
                format!("{}: {said}", self::text(error))
            };
            Err((code, words))
        }
    }
}

/// Launches on a stream, with the address of each of the binding's buffers. Does not wait.
pub(super) fn launch(
    stream: &CudaStream,
    function: sys::CUfunction,
    binding: &Binding,
    addresses: &[u64],
) -> Result<(), DeviceError> {
    stream
        .context()
        .bind_to_thread()
        .map_err(refused("cuCtxSetCurrent"))?;
    let mut params = binding.param_bytes(|index| addresses[index]);
    let mut size = params.len();
    let tag = |tag: u32| {
        ptr::without_provenance_mut::<c_void>(usize::try_from(tag).expect("at least 32 bits"))
    };
    let mut extra = [
        tag(sys::CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT),
        params.as_mut_ptr().cast::<c_void>(),
        tag(sys::CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT),
        ptr::from_mut(&mut size).cast::<c_void>(),
        tag(sys::CU_LAUNCH_PARAM_END_AS_INT),
    ];
    let ([grid_x, grid_y, grid_z], [cta_x, cta_y, cta_z]) = (binding.grid, binding.cta);
    // SAFETY: `extra` is the list that cuLaunchKernel documents: the parameter buffer and its size, both alive until the
    // call returns, which copies them. The stream and the function are of the context that is bound. What the kernel does
    // with its pointers is the device's to police: a wrong address is an error of the launch, and no memory of this
    // process is mapped there.
    unsafe {
        sys::cuLaunchKernel(
            function,
            grid_x,
            grid_y,
            grid_z,
            cta_x,
            cta_y,
            cta_z,
            binding.shared_bytes,
            stream.cu_stream(),
            ptr::null_mut(),
            extra.as_mut_ptr(),
        )
    }
    .result()
    .map_err(stopped("cuLaunchKernel"))
}

/// CUDA's name and text of an error.
pub(super) fn text(error: DriverError) -> String {
    let words = |found: Result<&std::ffi::CStr, DriverError>| {
        found.map_or_else(
            |_| format!("{:?}", error.0),
            |text| text.to_string_lossy().into_owned(),
        )
    };
    format!(
        "{}: {}",
        words(error.error_name()),
        words(error.error_string())
    )
}

pub(super) fn refused(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver {
        call,
        text: text(error),
    }
}

pub(super) fn stopped(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Kernel {
        call,
        text: text(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_is_all_that_changes() {
        let text = "//\n.version 9.0\n.target sm_90a\n";
        assert_eq!(older(text), "//\n.version 8.0\n.target sm_90a\n");
        assert_eq!(older("nothing"), "nothing");
    }
}
