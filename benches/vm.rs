//! The virtual machine: thread instructions a second, by class of instruction and by kernel.
//!
//! A class is a loop of one kind of instruction in eight CTAs of 128 threads, whose results are compared with the same
//! arithmetic here before it is timed. Kernels are one head of 512 queries and keys, `head_dim` 64, without detectors and with
//! all; every output is judged first.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::kernel::{self, Content};
use flashproof::oracle::check;
use flashproof::ptx::{self, Module};
use flashproof::vm::{self, Detectors, Initial, Launch, Memory, Options, Report};
use std::hint::black_box;

/// Times the loop runs, and copies of the instructions in it.
const ROUNDS: u32 = 32;
const COPIES: u32 = 16;
const CTAS: u32 = 8;

/// Instructions on `%r2`, at first the thread's number, and what is there after `n` executions.
struct Class {
    name: &'static str,
    before: &'static str,
    body: &'static str,
    result: fn(thread: u32, n: u32) -> u32,
}

const CLASSES: [Class; 9] = [
    Class {
        name: "integer",
        before: "",
        body: "mad.lo.u32 %r2, %r2, 5, %r0;",
        result: |thread, n| (0..n).fold(thread, |x, _| x.wrapping_mul(5).wrapping_add(thread)),
    },
    Class {
        name: "predicate",
        before: "",
        body: "setp.gt.u32 %p1, %r2, 63;\nselp.b32 %r2, %r0, %r2, %p1;",
        result: |thread, _| thread,
    },
    Class {
        name: "float",
        before: "mov.f32 %f1, 0f3f800000;\nmov.b32 %f2, %r2;",
        body: "fma.rn.f32 %f2, %f2, 0f3f000000, %f1;\nmov.b32 %r2, %f2;",
        result: |thread, n| {
            let half = |x: f32, _| x.mul_add(0.5, 1.0);
            (0..n).fold(f32::from_bits(thread), half).to_bits()
        },
    },
    Class {
        name: "function",
        before: "cvt.rn.f32.u32 %f1, %r2;",
        body: "ex2.approx.f32 %f2, %f1;\nmov.b32 %r2, %f2;",
        result: |thread, _| (thread + 127).min(255) << 23,
    },
    Class {
        name: "shared memory",
        before: "shl.b32 %r3, %r0, 2;\nmov.u32 %r4, tile;\nadd.u32 %r3, %r3, %r4;",
        body: "st.shared.u32 [%r3], %r2;\nld.shared.u32 %r2, [%r3];",
        result: |thread, _| thread,
    },
    Class {
        name: "global memory",
        before: "",
        body: "st.global.u32 [%rd1], %r2;\nld.global.u32 %r2, [%rd1];",
        result: |thread, _| thread,
    },
    Class {
        name: "matrix load",
        before: "mov.u32 %r4, tile;\nshl.b32 %r3, %r0, 4;\nadd.u32 %r3, %r3, %r4;\n\
                 mov.u32 %r5, %r2;\nst.shared.v4.u32 [%r3], {%r5, %r5, %r5, %r5};\n\
                 bar.sync 0;",
        body: "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2, %r5, %r6, %r7}, [%r3];",
        // Row `lane / 4` of the first matrix is what that lane's thread has stored.
        result: |thread, _| thread / 32 * 32 + thread % 32 / 4,
    },
    Class {
        name: "mma",
        before: "mov.u32 %r3, 0x3c003c00;\nmov.f32 %f1, 0f00000000;\nmov.f32 %f2, %f1;\n\
                 mov.f32 %f3, %f1;\nmov.f32 %f4, %f1;",
        body: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, \
               {%r3, %r3, %r3, %r3}, {%r3, %r3}, {%f1, %f2, %f3, %f4};\nmov.b32 %r2, %f1;",
        result: |_, n| (0..n).fold(0.0_f32, |sum, _| sum + 16.0).to_bits(),
    },
    Class {
        name: "shuffle",
        before: "",
        body: "shfl.sync.bfly.b32 %r2, %r2, 1, 31, 0xffffffff;",
        // An even number of exchanges.
        result: |thread, _| thread,
    },
];

/// A module whose kernel executes a class, and its launch in fresh memory, with the address of the results.
fn of_class(class: &Class) -> (Module, Launch, Memory, u64) {
    let body = format!("{}\n", class.body).repeat(usize::try_from(COPIES).expect("small"));
    let before = class.before;
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out) {{\n\
         .reg .pred %p<4>;\n.reg .b32 %r<16>;\n.reg .f32 %f<8>;\n.reg .b64 %rd<4>;\n\
         .shared .align 16 .b8 tile[2048];\n\
         mov.u32 %r0, %tid.x;\nmov.u32 %r1, 0;\nmov.u32 %r2, %r0;\nmov.u32 %r8, %ctaid.x;\n\
         mad.lo.u32 %r8, %r8, 128, %r0;\nld.param.u64 %rd1, [out];\nmul.wide.u32 %rd2, %r8, 4;\n\
         add.u64 %rd1, %rd1, %rd2;\n{before}\n\
         LOOP:\n{body}add.u32 %r1, %r1, 1;\nsetp.lt.u32 %p0, %r1, {ROUNDS};\n@%p0 bra LOOP;\n\
         st.global.u32 [%rd1], %r2;\nret;\n}}\n"
    );
    let module = ptx::parse(class.name, &text).expect("the text of this file is PTX");
    let mut memory = Memory::new();
    let bytes = usize::try_from(CTAS * 128 * 4).expect("small");
    let out = memory.allocate("out", Initial::Uninitialised(bytes), true);
    let launch = Launch {
        entry: "k".to_owned(),
        grid: [CTAS, 1, 1],
        cta: [128, 1, 1],
        shared_bytes: 0,
        params: out.to_le_bytes().to_vec(),
    };
    (module, launch, memory, out)
}

fn run(module: &Module, launch: &Launch, memory: &mut Memory, detectors: Detectors) -> Report {
    let options = Options {
        detectors,
        ..Options::default()
    };
    vm::run(module, launch, memory, &options).expect("it was checked")
}

fn classes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vm, thread instructions of a class");
    group.sample_size(10);
    for class in &CLASSES {
        let (module, launch, mut memory, out) = of_class(class);
        let report = run(&module, &launch, &mut memory, Detectors::ALL);
        assert_eq!(report.findings, [], "{}", class.name);
        let count = usize::try_from(CTAS * 128 * 4).expect("small");
        let results = memory.bytes(out, count).expect("allocated");
        for (thread, result) in (0..).zip(results.as_chunks::<4>().0) {
            let expected = (class.result)(thread % 128, ROUNDS * COPIES);
            assert_eq!(
                u32::from_le_bytes(*result),
                expected,
                "{} {thread}",
                class.name
            );
        }
        group.throughput(Throughput::Elements(report.stats.thread_instructions));
        group.bench_function(BenchmarkId::from_parameter(class.name), |bencher| {
            bencher.iter(|| run(&module, &launch, black_box(&mut memory), Detectors::NONE));
        });
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vm, 1 head of 512 x 512 x 64");
    group.sample_size(10);
    for name in ["block_sparse_sm80", "window_sm80", "bsfa_sm80"] {
        let text = format!("kernel={name} head_dim=64 seed=1 seqlen_q=512 seqlen_kv=512");
        let case: Case = text.parse().expect("the text of this file is a case");
        let report = check(&case, &Backend::default()).expect("the kernel takes it");
        assert_eq!(report.verdict.name(), "agree", "{report}");
        let kernel = kernel::by_name(name).expect("it is in the table");
        let binding = kernel
            .bind(&case.problem().expect("it was judged"))
            .expect("so was this");
        let module = ptx::parse(name, kernel.ptx()).expect("it ran");
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
        let launch = Launch {
            entry: binding.entry.clone(),
            grid: binding.grid,
            cta: binding.cta,
            shared_bytes: binding.shared_bytes,
            params: binding.param_bytes(|index| addresses[index]),
        };
        for (watch, detectors) in [("alone", Detectors::NONE), ("watched", Detectors::ALL)] {
            let report = run(&module, &launch, &mut memory, detectors);
            group.throughput(Throughput::Elements(report.stats.thread_instructions));
            group.bench_function(BenchmarkId::new(name, watch), |bencher| {
                bencher.iter(|| run(&module, &launch, black_box(&mut memory), detectors));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, classes, kernels);
criterion_main!(benches);
