//! The same launch in the virtual machine: what a device's results are compared with, bit by bit.

use crate::kernel::{Binding, BoundMap, Content, manifest};
use crate::ptx;
use crate::vm::{
    self, Detectors, Element, Initial, Launch, Memory, Options, Swizzle, Target, TensorMap,
};
use flashproof_reference::DType;

/// What a launch leaves in the buffers that it may write, by index, with the tensor cores of `target`.
///
/// Buffers that nothing has written hold `0xff` in every byte, as on a device ([`super::run`]). No checker watches.
///
/// # Errors
/// Why the virtual machine did not finish it.
pub fn simulate(
    text: &str,
    binding: &Binding,
    target: Target,
) -> Result<Vec<(usize, Vec<u8>)>, String> {
    let module = ptx::parse("launch.ptx", text).map_err(|error| error.to_string())?;
    let mut memory = Memory::new();
    let addresses: Vec<u64> = binding
        .buffers
        .iter()
        .map(|buffer| {
            let bytes = match &buffer.content {
                Content::Bytes(bytes) => bytes.clone(),
                Content::Uninitialised(count) => vec![0xff; *count],
            };
            memory.allocate(&buffer.name, Initial::Bytes(bytes), buffer.writable)
        })
        .collect();
    let mut params = binding.param_bytes(|index| addresses[index]);
    binding
        .put_tensor_maps(&mut params, |map| {
            encoded(map, addresses[map.buffer]).encode()
        })
        .map_err(|error| error.to_string())?;
    if let Some(function) = module.function(&binding.entry) {
        params.resize(
            usize::try_from(function.param_bytes()).unwrap_or(params.len()),
            0,
        );
    }
    let launch = Launch {
        entry: binding.entry.clone(),
        grid: binding.grid,
        cta: binding.cta,
        shared_bytes: binding.shared_bytes,
        params,
    };
    let options = Options {
        target,
        detectors: Detectors::NONE,
        ..Options::default()
    };
    vm::run(&module, &launch, &mut memory, &options).map_err(|stop| stop.to_string())?;
    let mut written = Vec::new();
    for (index, buffer) in binding.buffers.iter().enumerate() {
        if buffer.writable {
            let len = match &buffer.content {
                Content::Bytes(bytes) => bytes.len(),
                Content::Uninitialised(count) => *count,
            };
            let bytes = memory.bytes(addresses[index], len).unwrap_or_default();
            written.push((index, bytes.to_vec()));
        }
    }
    Ok(written)
}

fn encoded(map: &BoundMap, address: u64) -> TensorMap {
    TensorMap {
        element: match map.dtype {
            DType::F16 => Element::F16,
            DType::Bf16 => Element::Bf16,
            DType::F32 => Element::F32,
            DType::F64 => Element::F64,
        },
        address,
        sizes: map.sizes.clone(),
        strides: map.strides.clone(),
        box_sizes: map.box_elements.clone(),
        element_strides: vec![1; map.sizes.len()],
        swizzle: match map.swizzle {
            manifest::Swizzle::None => Swizzle::None,
            manifest::Swizzle::B32 => Swizzle::B32,
            manifest::Swizzle::B64 => Swizzle::B64,
            manifest::Swizzle::B128 => Swizzle::B128,
        },
    }
}
