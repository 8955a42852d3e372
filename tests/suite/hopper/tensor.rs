//! Tensor copies of every rank and swizzle against a plain walk over the box.

use super::execute;
use flashproof::vm::{Element, Initial, Launch, Memory, Swizzle, TensorMap};

/// Loads a box, copies shared memory as it lies to `out`, and stores the box to a second tensor.
fn kernel(rank: usize) -> String {
    let names: Vec<String> = (0..rank).map(|i| format!("%r{}", 10 + i)).collect();
    let loads: String = (0..rank)
        .map(|i| format!("ld.param.u32 %r{}, [c+{}];\n", 10 + i, 4 * i))
        .collect();
    let place = names.join(", ");
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .align 64 .b8 from[128], \
         .param .align 64 .b8 to[128], .param .u64 out, .param .u32 bytes, .param .align 4 .b8 c[20]) {{\n\
         .reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n.reg .pred %p<3>;\n.shared .align 1024 .b8 tile[32768];\n.shared .align 8 .b64 full;\n\
         mov.b64 %rd1, from;\ncvta.param.u64 %rd1, %rd1;\nmov.b64 %rd2, to;\ncvta.param.u64 %rd2, %rd2;\nld.param.u64 %rd3, [out];\n\
         ld.param.u32 %r1, [bytes];\n{loads}mov.u32 %r2, tile;\nmov.u32 %r3, full;\nmbarrier.init.shared::cta.b64 [%r3], 1;\n\
         fence.proxy.async;\nmbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], %r1;\n\
         cp.async.bulk.prefetch.tensor.{rank}d.L2.global [%rd1, {{{place}}}];\n\
         cp.async.bulk.tensor.{rank}d.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1, {{{place}}}], [%r3];\n\
         WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p1, [%r3], 0;\n@!%p1 bra WAIT;\nmov.u32 %r4, 0;\n\
         NEXT:\nadd.s32 %r5, %r2, %r4;\nld.shared.u32 %r6, [%r5];\ncvt.u64.u32 %rd4, %r4;\nadd.s64 %rd4, %rd3, %rd4;\n\
         st.global.u32 [%rd4], %r6;\nadd.s32 %r4, %r4, 4;\nsetp.lt.u32 %p2, %r4, %r1;\n@%p2 bra NEXT;\n\
         cp.async.bulk.tensor.{rank}d.global.shared::cta.bulk_group [%rd2, {{{place}}}], [%r2];\n\
         cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nret;\n}}\n"
    )
}

fn check(map: &TensorMap, coordinates: &[i32]) {
    let size = usize::try_from(map.element.bytes()).unwrap();
    let rank = map.sizes.len();
    let whole = |x: u64| usize::try_from(x).unwrap();
    let mut strides = vec![size];
    strides.extend(map.strides.iter().map(|&stride| whole(stride)));
    let extent = strides[rank - 1] * whole(map.sizes[rank - 1]);
    let source: Vec<u8> = (0..extent)
        .map(|i| (i * 37 % 251).to_le_bytes()[0] | 1)
        .collect();
    let mut memory = Memory::new();
    let from = memory.allocate("from", Initial::Bytes(source.clone()), false);
    let to = memory.allocate("to", Initial::Bytes(vec![0; extent]), true);
    let bytes = usize::try_from(map.box_bytes()).unwrap();
    let out = memory.allocate("out", Initial::Uninitialised(bytes), true);
    let at = |address| {
        TensorMap {
            address,
            ..map.clone()
        }
        .encode()
        .unwrap()
    };
    let mut params = at(from).to_vec();
    params.extend(at(to));
    params.extend(out.to_le_bytes());
    params.extend(map.box_bytes().to_le_bytes());
    let mut padded = coordinates.to_vec();
    padded.resize(5, 0);
    params.extend(padded.iter().flat_map(|c| c.to_le_bytes()));
    let launch = Launch {
        entry: String::new(),
        grid: [1; 3],
        cta: [1, 1, 1],
        shared_bytes: 0,
        params,
    };
    let report =
        execute(&kernel(rank), launch, &mut memory, 0).unwrap_or_else(|stop| panic!("{stop:#?}"));
    assert_eq!(report.findings, vec![], "{map:?} at {coordinates:?}");
    let mut shared = vec![0_u8; bytes];
    let mut copied = vec![0_u8; extent];
    // Element by element, innermost dimension first.
    let counts: Vec<u32> = (0..rank)
        .map(|d| {
            if d == 0 {
                map.box_sizes[0]
            } else {
                map.box_sizes[d].div_ceil(map.element_strides[d])
            }
        })
        .collect();
    let all: u32 = counts.iter().product();
    for element in 0..all {
        let (mut rest, mut source_at) = (element, Some(0_usize));
        for d in 0..rank {
            let step = if d == 0 { 1 } else { map.element_strides[d] };
            let c = i64::from(coordinates[d]) + i64::from(rest % counts[d] * step);
            rest /= counts[d];
            let inside = c >= 0 && c < i64::try_from(map.sizes[d]).unwrap();
            source_at = source_at
                .filter(|_| inside)
                .map(|at| at + usize::try_from(c).unwrap() * strides[d]);
        }
        let linear = usize::try_from(element).unwrap() * size;
        let row = linear / 128 % 8;
        let chunk = match map.swizzle {
            Swizzle::None => 0,
            Swizzle::B32 => row & 1,
            Swizzle::B64 => row & 3,
            Swizzle::B128 => row,
        };
        let place = linear ^ (chunk * 16);
        if let Some(at) = source_at {
            shared[place..place + size].copy_from_slice(&source[at..at + size]);
            copied[at..at + size].copy_from_slice(&source[at..at + size]);
        }
    }
    assert_eq!(
        memory.bytes(out, bytes).unwrap(),
        shared,
        "{map:?} at {coordinates:?}"
    );
    assert_eq!(
        memory.bytes(to, extent).unwrap(),
        copied,
        "{map:?} at {coordinates:?}"
    );
}

#[test]
fn every_rank_swizzle_and_edge() {
    let base = TensorMap {
        element: Element::F16,
        address: 0,
        sizes: vec![40, 9, 5, 3, 4],
        strides: vec![80, 800, 4800, 16000],
        box_sizes: vec![64, 4, 3, 2, 2],
        element_strides: vec![1, 1, 2, 1, 1],
        swizzle: Swizzle::B128,
    };
    for rank in 1..=5 {
        for (swizzle, width) in [
            (Swizzle::None, 24),
            (Swizzle::B32, 16),
            (Swizzle::B64, 32),
            (Swizzle::B128, 64),
        ] {
            let mut map = base.clone();
            map.swizzle = swizzle;
            map.box_sizes[0] = width;
            map.sizes.truncate(rank);
            map.strides.truncate(rank - 1);
            map.box_sizes.truncate(rank);
            map.element_strides.truncate(rank);
            for coordinates in [
                [0, 0, 0, 0, 0],
                [-3, 7, 2, -1, 3],
                [37, -2, 4, 2, 1],
                [90, 0, 0, 0, 0],
            ] {
                check(&map, &coordinates[..rank]);
            }
        }
    }
}

#[test]
fn every_size_of_element() {
    for element in [Element::U8, Element::F32, Element::F64] {
        let map = TensorMap {
            element,
            address: 0,
            sizes: vec![20, 6],
            strides: vec![160],
            box_sizes: vec![128 / element.bytes(), 8],
            element_strides: vec![1, 1],
            swizzle: Swizzle::B128,
        };
        check(&map, &[3, -1]);
    }
}
