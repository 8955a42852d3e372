//! The calls into the CUDA driver: every `unsafe` block of the crate's device side.
#![expect(
    unsafe_code,
    reason = "the driver's API is a C library; each block says why it may be called"
)]

use super::DeviceError;
use crate::kernel::{Binding, Content};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Mutex;

/// Byte that fills what the kernel has to write: NaN in every format.
const UNWRITTEN: u8 = 0xff;

/// One launch at a time: the driver could do more, but a kernel that is stopped takes its whole context with it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn run(ptx: &str, binding: &Binding) -> Result<Vec<(usize, Vec<u8>)>, DeviceError> {
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !binding.tensor_maps.is_empty() {
        let text = "tensor maps are not encoded for a device yet";
        return Err(DeviceError::Absent(text.to_owned()));
    }
    let _context = Context::primary()?;
    let module = Module::load(ptx)?;
    let function = module.function(&binding.entry)?;
    let allocations = binding
        .buffers
        .iter()
        .map(|buffer| match &buffer.content {
            Content::Bytes(bytes) => Allocation::of(bytes),
            Content::Uninitialised(count) => Allocation::of(&vec![UNWRITTEN; *count]),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let params = binding.param_bytes(|index| allocations[index].address);
    launch(function, binding, params)?;
    let written = binding
        .buffers
        .iter()
        .zip(&allocations)
        .enumerate()
        .filter(|(_, (buffer, _))| buffer.writable);
    written
        .map(|(index, (_, allocation))| Ok((index, allocation.bytes()?)))
        .collect()
}

pub(super) fn name() -> Result<String, DeviceError> {
    let context = Context::primary()?;
    let device = context.device;
    let name = result::device::get_name(device).map_err(refused("cuDeviceGetName"))?;
    let attribute = |attribute| {
        // SAFETY: `device` came from cuDeviceGet.
        unsafe { result::device::get_attribute(device, attribute) }
            .map_err(refused("cuDeviceGetAttribute"))
    };
    let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(format!("{name}, sm_{major}{minor}"))
}

/// The first device's primary context, current on this thread while this lives.
struct Context {
    device: sys::CUdevice,
}

impl Context {
    fn primary() -> Result<Self, DeviceError> {
        // SAFETY: only looks whether a shared library of that name can be loaded; its initialisers are the driver's own.
        if !unsafe { sys::is_culib_present() } {
            return Err(DeviceError::Absent(
                "no CUDA driver on this machine".to_owned(),
            ));
        }
        result::init().map_err(absent("cuInit"))?;
        let device = result::device::get(0).map_err(absent("cuDeviceGet"))?;
        // SAFETY: `device` came from cuDeviceGet; released in `drop`.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(refused("cuDevicePrimaryCtxRetain"))?;
        let this = Self { device };
        // SAFETY: the context was retained above and is released only in `drop`.
        unsafe { result::ctx::set_current(context) }.map_err(refused("cuCtxSetCurrent"))?;
        Ok(this)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `primary`. An error here has nobody left to hear it, and the process goes on.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// A loaded module.
struct Module(sys::CUmodule);

impl Module {
    fn load(ptx: &str) -> Result<Self, DeviceError> {
        let text = CString::new(ptx).map_err(|_| DeviceError::Kernel {
            call: "cuModuleLoadData",
            text: "the PTX holds a zero byte".to_owned(),
        })?;
        // SAFETY: `text` is a zero-terminated PTX text that outlives the call.
        unsafe { result::module::load_data(text.as_ptr().cast::<c_void>()) }
            .map(Self)
            .map_err(stopped("cuModuleLoadData"))
    }

    fn function(&self, entry: &str) -> Result<sys::CUfunction, DeviceError> {
        let name = CString::new(entry).map_err(|_| DeviceError::Kernel {
            call: "cuModuleGetFunction",
            text: "the entry's name holds a zero byte".to_owned(),
        })?;
        // SAFETY: the module is loaded until `drop`.
        unsafe { result::module::get_function(self.0, name) }
            .map_err(stopped("cuModuleGetFunction"))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`, unloaded once; no function of it is used afterwards.
        let _ = unsafe { result::module::unload(self.0) };
    }
}

/// Device memory.
struct Allocation {
    address: sys::CUdeviceptr,
    len: usize,
}

impl Allocation {
    fn of(bytes: &[u8]) -> Result<Self, DeviceError> {
        // SAFETY: the memory is written below before anybody reads it. An empty buffer still gets an address.
        let address =
            unsafe { result::malloc_sync(bytes.len().max(1)) }.map_err(refused("cuMemAlloc"))?;
        let this = Self {
            address,
            len: bytes.len(),
        };
        // SAFETY: `address` has `bytes.len()` bytes.
        unsafe { result::memcpy_htod_sync(address, bytes) }.map_err(refused("cuMemcpyHtoD"))?;
        Ok(this)
    }

    fn bytes(&self) -> Result<Vec<u8>, DeviceError> {
        let mut bytes = vec![0_u8; self.len];
        // SAFETY: the allocation has `len` bytes, and every bit pattern is a byte.
        unsafe { result::memcpy_dtoh_sync(&mut bytes, self.address) }
            .map_err(stopped("cuMemcpyDtoH"))?;
        Ok(bytes)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: allocated in `of`, freed once.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// Launches and waits.
fn launch(
    function: sys::CUfunction,
    binding: &Binding,
    mut params: Vec<u8>,
) -> Result<(), DeviceError> {
    let shared = i32::try_from(binding.shared_bytes).map_err(|_| DeviceError::Kernel {
        call: "cuFuncSetAttribute",
        text: format!(
            "{} bytes of shared memory are more than any device has",
            binding.shared_bytes
        ),
    })?;
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    // SAFETY: `function` belongs to a module that the caller keeps loaded.
    unsafe { result::function::set_function_attribute(function, attribute, shared) }
        .map_err(stopped("cuFuncSetAttribute"))?;
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
    // call returns, which copies them. What the kernel does with its pointers is the device's to police: a wrong
    // address is an error of the launch, and no memory of this process is mapped there.
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
            ptr::null_mut(),
            ptr::null_mut(),
            extra.as_mut_ptr(),
        )
    }
    .result()
    .map_err(stopped("cuLaunchKernel"))?;
    result::ctx::synchronize().map_err(stopped("cuCtxSynchronize"))
}

fn text(error: DriverError) -> String {
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

fn absent(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| {
        DeviceError::Absent(format!(
            "no CUDA device on this machine: {call}: {}",
            text(error)
        ))
    }
}

fn refused(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver {
        call,
        text: text(error),
    }
}

fn stopped(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Kernel {
        call,
        text: text(error),
    }
}
