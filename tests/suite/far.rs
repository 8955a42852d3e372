//! Offsets beyond 2^31: a kernel on a sequence so long that its last keys lie more than 2^31 elements behind the first,
//! of which only the last two tiles exist. It must compute bit by bit what it does on these two tiles alone.

use flashproof::case::Case;
use flashproof::kernel::{self, Arg, Binding, Content, Kernel};
use flashproof::ptx::parse;
use flashproof::vm::{Initial, Launch, Memory, Options, run};

/// Keys before those that exist: with 32 numbers each, 2^31 of them.
const KEYS_BEFORE: u32 = 1 << 26;
const HEAD_DIM: u32 = 32;
const TILE: u32 = 64;
const TILES_BEFORE: usize = 1 << 20;

/// What the kernel writes, with the pointers to keys and values moved back by the keys that do not exist.
fn outputs(kernel: &Kernel, binding: &Binding, keys_before: u32) -> Vec<Vec<u8>> {
    let module = parse(kernel.name(), kernel.ptx()).unwrap();
    let mut memory = Memory::new();
    let place = |buffer: &kernel::Buffer| {
        let initial = match &buffer.content {
            Content::Bytes(bytes) => Initial::Bytes(bytes.clone()),
            Content::Uninitialised(count) => Initial::Uninitialised(*count),
        };
        let address = memory.allocate(&buffer.name, initial, buffer.writable);
        let before = match buffer.name.as_str() {
            "k" | "v" => u64::from(keys_before) * u64::from(HEAD_DIM) * 2,
            _ => 0,
        };
        (address, address - before)
    };
    let addresses: Vec<(u64, u64)> = binding.buffers.iter().map(place).collect();
    let launch = Launch {
        entry: binding.entry.clone(),
        grid: binding.grid,
        cta: binding.cta,
        shared_bytes: binding.shared_bytes,
        params: binding.param_bytes(|index| addresses[index].1),
    };
    let report = run(&module, &launch, &mut memory, &Options::default()).unwrap();
    assert_eq!(report.findings, [], "{}", kernel.name());
    binding
        .outputs()
        .map(|(index, buffer)| {
            let Content::Uninitialised(count) = buffer.content else {
                panic!("an output is not initialised");
            };
            memory.bytes(addresses[index].0, count).unwrap().to_vec()
        })
        .collect()
}

#[test]
fn keys_beyond_two_to_the_31st_element_are_found() {
    for name in ["block_sparse_sm80", "window_sm80", "bsfa_sm80"] {
        let kernel = kernel::by_name(name).unwrap();
        let case: Case = format!(
            "kernel={name} seqlen_q=64 seqlen_kv=128 head_dim={HEAD_DIM} layout=window(63,-)"
        )
        .parse()
        .unwrap();
        let near = kernel.bind(&case.problem().unwrap()).unwrap();
        let mut far = near.clone();
        let mut raise = |offset: u32, before: u32, by: u32| {
            let found = far.args.iter_mut().find(|(at, _)| *at == offset);
            let (_, value) = found.unwrap();
            assert_eq!(*value, Arg::U32(before), "{name}: the manifest changed");
            *value = Arg::U32(before + by);
        };
        raise(52, 128, KEYS_BEFORE); // seqlen_kv
        if name == "bsfa_sm80" {
            raise(108, 1, KEYS_BEFORE / TILE / 32); // words of a row of kept bits
        }
        for buffer in &mut far.buffers {
            match (&mut buffer.content, buffer.name.as_str()) {
                (Content::Bytes(bytes), "col_idx") => {
                    for tile in bytes.chunks_exact_mut(4) {
                        let number = u32::from_le_bytes(tile.try_into().unwrap());
                        tile.copy_from_slice(&(number + KEYS_BEFORE / TILE).to_le_bytes());
                    }
                }
                // A bit a tile; a kernel writes zeros for those outside the window.
                (Content::Uninitialised(bytes), "kept") => *bytes += TILES_BEFORE / 8,
                _ => {}
            }
        }
        for (near, far) in outputs(kernel, &near, 0)
            .iter()
            .zip(outputs(kernel, &far, KEYS_BEFORE))
        {
            assert!(far.ends_with(near), "{name}");
            let rest = &far[..far.len() - near.len()];
            assert!(rest.iter().all(|&byte| byte == 0), "{name}");
        }
    }
}
