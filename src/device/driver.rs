//! The calls into the CUDA driver that cudarc has no safe function for: every `unsafe` block of the device side.
#![expect(
    unsafe_code,
    reason = "the driver's API is a C library; each block says why it may be called"
)]

use super::DeviceError;
use crate::kernel::manifest::Swizzle;
use crate::kernel::{Binding, BoundMap};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtrMut, sys};
use flashproof_reference::DType;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

/// PTX version that a driver is given which does not know the text's own, CUDA 12.3's: the first with every word that the
/// kernels use. `cuda/build.sh` has ptxas accept them so.
const OLDER_VERSION: &str = ".version 8.3";

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
    binding.put_tensor_maps(&mut params, |map| encode(map, addresses[map.buffer]))?;
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

/// So many bytes of the device's memory, all of one value.
pub(super) fn fill(
    stream: &Arc<CudaStream>,
    count: usize,
    value: u8,
) -> Result<CudaSlice<u8>, DeviceError> {
    // SAFETY: the memory is written by the call below, in the stream's order, before anybody reads it.
    let mut slice = unsafe { stream.alloc::<u8>(count) }.map_err(refused("cuMemAlloc"))?;
    {
        let (address, _guard) = slice.device_ptr_mut(stream);
        // SAFETY: `address` has `count` bytes, and the stream is of the context that `alloc` has bound.
        unsafe { result::memset_d8_async(address, value, count, stream.cu_stream()) }
            .map_err(refused("cuMemsetD8Async"))?;
    }
    Ok(slice)
}

/// A tensor map as the device takes it. No interleaving, no promotion beyond 128 bytes of L2 (which changes no value), and
/// zeros beyond the tensor's edge.
fn encode(map: &BoundMap, address: u64) -> Result<[u8; 128], DeviceError> {
    let format = match map.dtype {
        DType::F16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DType::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::F64 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
    };
    let swizzle = match map.swizzle {
        Swizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::B32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        Swizzle::B64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        Swizzle::B128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let rank = map.sizes.len();
    if rank == 0 || map.strides.len() + 1 != rank || map.box_elements.len() != rank {
        return Err(DeviceError::Driver {
            call: "cuTensorMapEncodeTiled",
            text: format!("a map of {rank} axes with {} strides", map.strides.len()),
        });
    }
    let steps = vec![1_u32; rank];
    // The driver looks at strides even where a map of one axis has none.
    let mut strides = map.strides.clone();
    strides.push(0);
    let base = ptr::without_provenance_mut::<c_void>(
        usize::try_from(address).expect("an address of 64 bits on a machine of 64 bits"),
    );
    let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: the lists have as many entries as the map has axes, as was just checked, and all outlive the call; `encoded`
    // has the alignment of its type. The address is the device's and only written down.
    let code = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
            format,
            u32::try_from(rank).expect("at most five"),
            base,
            map.sizes.as_ptr(),
            strides.as_ptr(),
            map.box_elements.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    code.result().map_err(refused("cuTensorMapEncodeTiled"))?;
    let mut bytes = [0; 128];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(encoded.opaque) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(bytes)
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
        assert_eq!(older(text), "//\n.version 8.3\n.target sm_90a\n");
        assert_eq!(older("nothing"), "nothing");
    }
}
