//! Attention on this machine: native at four densities, the CUDA kernel in the virtual machine, the f64 reference.
//!
//! Every case is judged before it is timed.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flashproof::backend::native::{NativeInputs, attention};
use flashproof::backend::{Backend, Settings};
use flashproof::case::Case;
use flashproof::oracle::check;
use flashproof::{kernel, ptx};
use std::hint::black_box;

const KERNEL: &str = "block_sparse_sm80";

/// A case of the kernel, right on a backend.
fn right(arguments: &str, backend: &Backend) -> Case {
    let case: Case = format!("kernel={KERNEL} head_dim=32 seed=1 {arguments}")
        .parse()
        .expect("the arguments of this file are a case");
    let report = check(&case, backend).expect("the kernel and the reference take it");
    assert_eq!(report.verdict.name(), "agree", "{report}");
    case
}

fn native(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("native, 12 heads, seqlen 512");
    for (name, layout) in [
        ("dense", "dense"),
        ("blocks 1/2", "blocks(500,16,16,1)"),
        ("blocks 1/4", "blocks(250,16,16,1)"),
        ("window 1/4", "window(64,64)"),
    ] {
        let heads = "num_q_heads=12 num_kv_heads=12 seqlen_q=512 seqlen_kv=512";
        let case = right(&format!("{heads} layout={layout}"), &Backend::Native);
        let problem = case.problem().expect("it was judged");
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f32());
        let inputs = NativeInputs {
            q: &q,
            k: &k,
            v: &v,
            shape: problem.shape,
            scale: problem.scale,
        };
        let pairs: usize = (0..12).map(|head| problem.layout.visible_pairs(head)).sum();
        group.throughput(Throughput::Elements(
            u64::try_from(4 * 32 * pairs).expect("fits"),
        ));
        let mut o = vec![0.0; q.len()];
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                attention(black_box(&inputs), &problem.layout, &mut o, None)
                    .expect("it was judged");
            });
        });
    }
    group.finish();
}

fn virtual_machine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vm, all checkers, 1 head");
    group.sample_size(10);
    let kernel = kernel::by_name(KERNEL).expect("it is in the table");
    for length in [64, 256] {
        let backend = Backend::default();
        let case = right(&format!("seqlen_q={length} seqlen_kv={length}"), &backend);
        let problem = case.problem().expect("it was judged");
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| backend.run(kernel, black_box(&problem), &Settings::of(&case)));
        });
    }
    group.finish();
}

fn reference(criterion: &mut Criterion) {
    let case = right("seqlen_q=256 seqlen_kv=256", &Backend::Native);
    let problem = case.problem().expect("it was judged");
    criterion.bench_function("reference, 1 head, seqlen 256", |bencher| {
        bencher.iter(|| flashproof_reference::attention(black_box(&problem)));
    });
}

fn parser(criterion: &mut Criterion) {
    let text = kernel::by_name(KERNEL).expect("it is in the table").ptx();
    let mut group = criterion.benchmark_group("ptx");
    group.throughput(Throughput::Bytes(u64::try_from(text.len()).expect("fits")));
    group.bench_function("parse the kernel", |bencher| {
        bencher.iter(|| ptx::parse(KERNEL, black_box(text)));
    });
    group.finish();
}

criterion_group!(benches, native, virtual_machine, reference, parser);
criterion_main!(benches);
