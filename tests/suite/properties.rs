//! Properties of whole cases, over random bytes.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may panic as the test itself may"
)]

use flashproof::backend::{Backend, Settings};
use flashproof::case::{Blocks, Case};
use flashproof::kernel;
use flashproof::oracle;
use flashproof::outcome::{Outcome, Output};
use flashproof_reference::Window;
use proptest::prelude::*;

fn any_case() -> impl Strategy<Value = Case> {
    prop::collection::vec(any::<u8>(), 0..=Case::BYTES)
        .prop_map(|bytes| Case::from_bytes("block_sparse_sm80", &bytes))
}

/// The case without what the kernel does not take.
fn for_the_kernel(mut case: Case) -> Case {
    case.dtype = flashproof_reference::DType::F16;
    case.layout.global.clear();
    match &mut case.layout.blocks {
        Blocks::All => {}
        Blocks::Random {
            block_q, block_kv, ..
        }
        | Blocks::Strided {
            block_q, block_kv, ..
        }
        | Blocks::BigBird {
            block_q, block_kv, ..
        } => {
            *block_q = block_q.next_multiple_of(16);
            *block_kv = block_kv.next_multiple_of(16);
        }
    }
    case
}

fn output(case: &Case, backend: &Backend) -> Output {
    let kernel = kernel::by_name(&case.kernel).unwrap();
    match backend.run(kernel, &case.problem().unwrap(), &Settings::of(case)) {
        Outcome::Finished(output) => output,
        other @ (Outcome::Trapped(_) | Outcome::Unsupported(_)) => panic!("{other:?}: {case}"),
    }
}

fn bits(output: &Output) -> (Vec<u64>, Vec<u32>) {
    (
        output.o.to_f64().iter().map(|x| x.to_bits()).collect(),
        output.lse.iter().map(|x| x.to_bits()).collect(),
    )
}

/// Fixed cases on every machine; a failure prints a case, which is stronger than a seed file.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn native_attention_agrees(case in any_case()) {
        let report = oracle::check(&case, &Backend::Native).unwrap();
        prop_assert_eq!(report.verdict.name(), "agree", "{}", report);
    }

    #[test]
    fn absent_blocks_never_enter_native_attention(case in any_case()) {
        // All blocks on is dense, bit for bit.
        let with = |blocks| Case { layout: flashproof::case::LayoutSpec { blocks, ..case.layout.clone() }, ..case.clone() };
        let all = Blocks::Random { per_mille: 1000, block_q: 16, block_kv: 48, seed: 1, per_head: true };
        let (dense, blocks) = (output(&with(Blocks::All), &Backend::Native), output(&with(all), &Backend::Native));
        prop_assert_eq!(bits(&dense), bits(&blocks));
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn the_kernel_agrees_in_the_virtual_machine(case in any_case().prop_map(for_the_kernel)) {
        let report = oracle::check(&case, &Backend::default()).unwrap();
        prop_assert_eq!(report.verdict.name(), "agree", "{}", report);
        prop_assert!(report.findings.is_empty(), "{:?}", report.findings);
    }

    #[test]
    fn all_blocks_on_or_a_window_over_everything_is_dense_to_the_kernel(case in any_case().prop_map(for_the_kernel)) {
        let dense = Case { layout: flashproof::case::LayoutSpec::default(), ..case };
        let mut blocks = dense.clone();
        blocks.layout.blocks = Blocks::Random { per_mille: 1000, block_q: 16, block_kv: 32, seed: 1, per_head: false };
        let mut window = dense.clone();
        let whole = dense.shape.seqlen_q + dense.shape.seqlen_kv;
        window.layout.window = Window { left: Some(whole), right: Some(whole) };
        let vm = Backend::default();
        let expected = bits(&output(&dense, &vm));
        prop_assert_eq!(&bits(&output(&blocks, &vm)), &expected);
        prop_assert_eq!(&bits(&output(&window, &vm)), &expected);
    }

    #[test]
    fn the_order_of_ctas_and_warps_does_not_matter(case in any_case().prop_map(for_the_kernel), schedule in 1_u64..100) {
        let vm = Backend::default();
        let expected = bits(&output(&Case { schedule: 0, ..case.clone() }, &vm));
        prop_assert_eq!(bits(&output(&Case { schedule, ..case }, &vm)), expected);
    }
}
