//! Static passes on the kernels we ship and on the defects they must tell from their repaired twins.

use flashproof::analysis::{
    Answer, analyze, analyze_under, bank_conflict, copy_wait, divergence, mbarrier, shared_bounds,
    shared_init, shared_race, softmax, unused, wgmma,
};
use flashproof::case::Case;
use flashproof::contract::Contract;
use flashproof::diagnostic::Blame;
use flashproof::kernel;
use flashproof::ptx::parse;
use std::path::Path;

/// Answers and codes of `copy-wait` for every entry of a text below `cuda/`.
fn copy_wait_of(path: &str) -> Vec<(Answer, Vec<&'static str>)> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cuda")
        .join(path);
    let text = std::fs::read_to_string(&full)
        .unwrap_or_else(|error| panic!("{}: {error}", full.display()));
    let module = parse(path, &text).unwrap_or_else(|error| panic!("{error}"));
    let results = analyze(&module);
    let of_pass = results
        .into_iter()
        .filter(|result| result.pass == copy_wait::PASS);
    of_pass
        .map(|result| {
            (
                result.answer,
                result
                    .findings
                    .iter()
                    .map(|finding| finding.code.0)
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn our_kernels_wait_for_their_copies() {
    assert_eq!(
        copy_wait_of("ptx/block_sparse_sm80.ptx"),
        vec![(Answer::Proved, vec![]); 6]
    );
}

/// Which tiles `bsfa_sm80` keeps depends on their scores, and how many tiles `window_sm80` has on the mask: flags and
/// counters that depend on data leave nothing of what the passes over paths ask undecided.
#[test]
fn kernels_that_decide_by_data_are_proved() {
    for name in ["window_sm80", "bsfa_sm80"] {
        let kernel = kernel::by_name(name).unwrap();
        let mut module = parse(name, kernel.ptx()).unwrap();
        module.functions.truncate(1);
        for result in analyze(&module) {
            // Without a launch nobody knows how long dynamic shared memory is.
            let length = result.pass == shared_bounds::PASS && result.findings.len() == 1;
            assert!(
                result.answer == Answer::Proved || length,
                "{name}: {}: {:?}",
                result.pass,
                result.findings.first()
            );
        }
    }
}

/// Of the kernels of `tests/ptx/hopper` those that misuse registers of products, and no others; ours is proved.
#[test]
fn products_in_flight_are_left_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ptx/hopper");
    let mut refuted = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ptx") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = parse(&name, &std::fs::read_to_string(&path).unwrap()).unwrap();
        let results = analyze(&module);
        let of = results.iter().find(|result| result.pass == wgmma::PASS);
        let of = of.unwrap();
        match of.answer {
            Answer::Refuted => refuted.push((name, of.findings[0].code)),
            answer @ (Answer::Proved | Answer::Unknown) => {
                assert_eq!(answer, Answer::Proved, "{name}");
            }
        }
    }
    refuted.sort();
    let expected = [
        ("attention.defect4", wgmma::UNWAITED),
        ("attention.defect8", wgmma::UNFENCED),
        ("gemm.defect4", wgmma::UNWAITED),
        ("gemm.defect5", wgmma::UNFENCED),
    ];
    assert_eq!(
        refuted,
        expected.map(|(name, code)| (name.to_owned(), code))
    );
    let ours = kernel::by_name("block_sparse_sm90").unwrap();
    let results = analyze(&parse("block_sparse_sm90", ours.ptx()).unwrap());
    let mut of_pass = results.iter().filter(|result| result.pass == wgmma::PASS);
    assert!(of_pass.all(|result| result.answer == Answer::Proved && result.states > 10));
}

/// Rings of four stages between a warp that copies and two warpgroups that compute: proved for any number of turns.
#[test]
fn kernels_whose_warps_have_tasks_of_their_own_are_proved() {
    for name in ["block_sparse_sm90", "window_sm90"] {
        let kernel = kernel::by_name(name).unwrap();
        let mut module = parse(name, kernel.ptx()).unwrap();
        module.functions.truncate(1);
        let case: Case = format!("kernel={name} head_dim=64 seqlen_q=70 seqlen_kv=130")
            .parse()
            .unwrap();
        let binding = kernel.bind(&case.problem().unwrap()).unwrap();
        assert_eq!(binding.entry, module.functions[0].name);
        let contract = Contract {
            grid: [0; 3],
            ..binding.contract()
        };
        for result in analyze_under(&module, &|_| vec![contract.clone()]) {
            assert_eq!(
                result.answer,
                Answer::Proved,
                "{name}: {}: {:?}",
                result.pass,
                result.findings.first()
            );
            if result.pass == mbarrier::PASS {
                assert!(result.states > 10_000, "{}", result.states);
            }
        }
    }
}

/// Of the kernels of `tests/ptx/hopper` those whose misuse of a barrier does not hang on a parity: theirs comes from a signed
/// counter, of whose remainder nothing is known once it has been counted far. Nothing is said of the right ones.
#[test]
fn rings_that_are_handed_over_wrongly_are_refuted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ptx/hopper");
    let mut refuted = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ptx") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = parse(&name, &std::fs::read_to_string(&path).unwrap()).unwrap();
        for result in analyze(&module) {
            // What it does about rows without keys is another matter.
            if (name == "gemm" || name == "attention") && result.pass != softmax::PASS {
                assert_ne!(
                    result.answer,
                    Answer::Refuted,
                    "{name}: {:?}",
                    result.findings
                );
            }
            if result.pass == mbarrier::PASS {
                let wrong = result
                    .findings
                    .iter()
                    .filter(|found| found.blame == Blame::Kernel);
                refuted.extend(wrong.map(|found| (name.clone(), found.code)));
            }
        }
    }
    refuted.sort();
    let expected = [
        ("gemm.defect7", mbarrier::UNPUBLISHED),
        ("attention.defect6", mbarrier::READ_EARLY),
    ];
    let mut expected = expected.map(|(name, code)| (name.to_owned(), code));
    expected.sort();
    assert_eq!(refuted, expected);
}

#[test]
fn copy_defects_are_refuted_and_their_twins_are_not() {
    for (defect, code) in [
        ("wait_group_off_by_one", copy_wait::DISTANCE),
        ("copy_barrier_missing", copy_wait::BARRIER),
    ] {
        assert_eq!(
            copy_wait_of(&format!("defects/ptx/{defect}.ptx")),
            [(Answer::Refuted, vec![code.0])],
            "{defect}"
        );
        assert_eq!(
            copy_wait_of(&format!("defects/ptx/{defect}.repaired.ptx")),
            [(Answer::Proved, vec![])],
            "{defect}"
        );
    }
}

/// Defects of copies are refuted; the others are about other things, and copies and waits are right in all of them. Of one
/// whose threads part around a barrier the pass says that it cannot follow the copies.
#[test]
fn other_defects_are_left_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/defects/ptx");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let expected = match name.as_str() {
            "wait_group_off_by_one.ptx" | "values_not_waited_for.ptx" => {
                (Answer::Refuted, vec![copy_wait::DISTANCE.0])
            }
            "copy_barrier_missing.ptx" | "maxima_not_ordered.ptx" => {
                (Answer::Refuted, vec![copy_wait::BARRIER.0])
            }
            "barrier_by_three_warps.ptx" => (Answer::Unknown, vec!["copy-wait-undecided"]),
            _ => (Answer::Proved, vec![]),
        };
        assert_eq!(
            copy_wait_of(&format!("defects/ptx/{name}")),
            [expected],
            "{name}"
        );
        count += 1;
    }
    assert!(count >= 70, "{count} texts");
}

/// Each defect that can be seen without running it, with the pass that refutes it; its twin is refuted by none.
#[test]
fn defects_are_refuted_by_their_passes_and_twins_by_none() {
    for (defect, pass) in [
        ("copy_barrier_missing", shared_race::PASS),
        ("trailing_barrier_missing", shared_race::PASS),
        ("empty_row_nan", softmax::PASS),
        ("finite_sentinel_fma", softmax::PASS),
    ] {
        let refuted = |name: &str| -> Vec<&'static str> {
            let kernel = kernel::by_name(name).unwrap();
            let results = analyze(&parse(name, kernel.ptx()).unwrap());
            let refuted = results
                .iter()
                .filter(|result| result.answer == Answer::Refuted);
            refuted.map(|result| result.pass).collect()
        };
        assert!(refuted(defect).contains(&pass), "{defect}");
        assert_eq!(
            refuted(&format!("{defect}.repaired")),
            [] as [&str; 0],
            "{defect}"
        );
    }
}

/// What depends on data in a defect is said to, and its twin is proved.
#[test]
fn a_tail_that_is_never_written_is_not_proved() {
    let answer = |name: &str| {
        let kernel = kernel::by_name(name).unwrap();
        let results = analyze(&parse(name, kernel.ptx()).unwrap());
        let of = results
            .iter()
            .find(|result| result.pass == shared_init::PASS);
        of.unwrap().answer
    };
    assert_eq!(answer("uninitialised_v_tail"), Answer::Unknown);
    assert_eq!(answer("uninitialised_v_tail.repaired"), Answer::Proved);
}

/// A loop of 25,000 instructions, a barrier every fifth.
#[test]
fn a_long_kernel_is_read_to_its_end() {
    use std::fmt::Write;
    let mut text = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry long(.param .u32 n)\n.maxntid 128, 1, 1\n{\n\
        .reg .pred %p<4>;\n.reg .b32 %r<64>;\n.reg .f32 %f<16>;\n.shared .align 16 .b8 s[32768];\n\
        mov.u32 %r1, %tid.x;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, s;\nadd.s32 %r4, %r3, %r2;\nld.param.u32 %r5, [n];\n\
        mov.u32 %r6, 0;\nmov.f32 %f1, 0f00000000;\nTOP:\n".to_owned();
    for step in 0..2500 {
        let (tile, lane) = (step % 60 * 512, step % 31 * 4);
        write!(
            text,
            "add.s32 %r10, %r4, {tile};\nst.shared.f32 [%r10], %f1;\nbar.sync 0;\nxor.b32 %r11, %r2, {lane};\n\
             add.s32 %r12, %r11, %r3;\nld.shared.f32 %f2, [%r12+{tile}];\nfma.rn.f32 %f1, %f2, %f2, %f1;\n\
             setp.gt.s32 %p1, %r5, {step};\n@%p1 add.s32 %r6, %r6, 1;\nbar.sync 0;\n"
        )
        .unwrap();
    }
    text += "add.s32 %r6, %r6, 1;\nsetp.lt.s32 %p2, %r6, %r5;\n@%p2 bra TOP;\nst.shared.f32 [%r4], %f1;\nret;\n}\n";
    let module = parse("long.ptx", &text).unwrap();
    assert!(module.functions[0].instructions.len() > 25_000);
    let started = std::time::Instant::now();
    let results = analyze(&module);
    assert!(
        started.elapsed().as_secs() < 60,
        "10 s on an idle machine: {:?}",
        started.elapsed()
    );
    let asked = [
        shared_race::PASS,
        divergence::PASS,
        bank_conflict::PASS,
        shared_init::PASS,
    ];
    for result in results.iter().filter(|result| asked.contains(&result.pass)) {
        assert_eq!(
            result.answer,
            Answer::Proved,
            "{}: {:?}",
            result.pass,
            result.findings.first()
        );
    }
    assert!(results.iter().any(|result| result.pass == unused::PASS));
}

/// A branch by a list is put in place as comparisons before the passes see it.
#[test]
fn a_branch_by_a_list_is_followed() {
    let text = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u32 n)\n.maxntid 64, 1, 1\n{\n\
        .reg .b32 %r<4>;\nld.param.u32 %r1, [n];\nTS: .branchtargets A, B;\nbrx.idx %r1, TS;\nA:\nbar.sync 0;\nB:\nret;\n}\n";
    let results = analyze(&parse("k.ptx", text).unwrap());
    let unknown = results
        .iter()
        .filter(|result| result.answer == Answer::Unknown);
    assert_eq!(unknown.count(), 0, "{results:?}");
}
