//! The machine as a whole: launches, grids, determinism. Single instructions and detectors are in `isa`.

use flashproof::ptx::{Module, parse};
use flashproof::vm::{
    Detectors, Initial, InvalidLaunch, Launch, Memory, Options, Report, Stop, run,
};

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

fn module(body: &str) -> Module {
    parse("test.ptx", &format!("{HEAD}{body}")).unwrap_or_else(|error| panic!("{error:?}\n{body}"))
}

/// Each thread of a grid of CTAs of 32 stores `code` (in `%r9`) at element `index` (in `%r8`) of the output.
fn kernel(code: &str) -> Module {
    module(&format!(
        ".visible .entry k(.param .u64 out) {{\n.reg .b32 %r<10>;\n.reg .b64 %rd<4>;\n.reg .pred %p<3>;\n\
         .shared .align 16 .b8 tile[256];\n\
         ld.param.u64 %rd1, [out];\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %tid.x;\nmad.lo.s32 %r8, %r1, 32, %r2;\n\
         mov.u32 %r9, %r8;\n{code}\nmul.wide.u32 %rd2, %r8, 4;\nadd.s64 %rd2, %rd1, %rd2;\n\
         st.global.u32 [%rd2], %r9;\nret;\n}}\n"
    ))
}

fn launch(module: &Module, ctas: u32, memory: &mut Memory, bytes: usize) -> (Launch, u64) {
    let out = memory.allocate("out", Initial::Uninitialised(bytes), true);
    let launch = Launch {
        entry: module.functions[0].name.clone(),
        grid: [ctas, 1, 1],
        cta: [32, 1, 1],
        shared_bytes: 0,
        params: out.to_le_bytes().to_vec(),
    };
    (launch, out)
}

fn words(memory: &Memory, address: u64, count: usize) -> Vec<u32> {
    let bytes = memory.bytes(address, 4 * count).expect("allocated");
    bytes
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

fn go(code: &str, ctas: u32, options: &Options) -> (Result<Report, Stop>, Vec<u32>) {
    let module = kernel(code);
    let mut memory = Memory::new();
    let count = usize::try_from(32 * ctas).unwrap();
    let (launch, out) = launch(&module, ctas, &mut memory, 4 * count);
    let result = run(&module, &launch, &mut memory, options);
    (result, words(&memory, out, count))
}

#[test]
fn every_cta_writes_its_part() {
    let (report, out) = go("", 300, &Options::default());
    let report = report.unwrap();
    assert_eq!(out, (0..9600).collect::<Vec<u32>>());
    assert_eq!((report.findings, report.stats.ctas), (vec![], 300));
    assert_eq!(report.stats.thread_instructions, 9600 * 9);
}

#[test]
fn a_run_does_not_depend_on_the_number_of_threads() {
    // A race and an overlap, so that there is something to merge.
    let code = "mov.u32 %r3, tile;\nst.shared.u32 [%r3], %r8;\nld.shared.u32 %r9, [%r3];\nand.b32 %r8, %r8, 63;";
    let results: Vec<_> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| go(code, 40, &Options::default()))
        })
        .collect();
    let codes: Vec<&str> = results[0]
        .0
        .as_ref()
        .unwrap()
        .findings
        .iter()
        .map(|f| f.code.0)
        .collect();
    assert!(
        codes.contains(&"shared-race") && codes.contains(&"grid-overlap"),
        "{codes:?}"
    );
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

/// The last CTA to count itself adds up what all have written: partial results of a split sequence.
fn last_cta_adds_up(fence: &str) -> (Vec<&'static str>, u32) {
    let module = module(&format!(
        ".visible .entry k(.param .u64 out) {{\n.reg .b32 %r<10>;\n.reg .b64 %rd<6>;\n.reg .pred %p<3>;\n\
         ld.param.u64 %rd1, [out];\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %tid.x;\nmov.u32 %r3, %nctaid.x;\n\
         setp.ne.u32 %p1, %r2, 0;\n@%p1 ret;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd2, %rd1, %rd2;\n\
         add.u32 %r4, %r1, 1;\nst.global.u32 [%rd2+8], %r4;\n{fence}\n\
         atom.global.add.u32 %r5, [%rd1], 1;\n{fence}\nadd.u32 %r5, %r5, 1;\nsetp.ne.u32 %p1, %r5, %r3;\n\
         @%p1 ret;\nmov.u32 %r6, 0;\nmov.u32 %r7, 0;\nmov.u64 %rd3, %rd1;\nagain:\n\
         ld.global.u32 %r8, [%rd3+8];\nadd.u32 %r6, %r6, %r8;\nadd.s64 %rd3, %rd3, 4;\nadd.u32 %r7, %r7, 1;\n\
         setp.lt.u32 %p2, %r7, %r3;\n@%p2 bra again;\nst.global.u32 [%rd1+4], %r6;\nret;\n}}\n"
    ));
    let mut memory = Memory::new();
    let out = memory.allocate("out", Initial::Bytes(vec![0; 4 * 7]), true);
    let launch = Launch {
        entry: "k".to_owned(),
        grid: [5, 1, 1],
        cta: [32, 1, 1],
        shared_bytes: 0,
        params: out.to_le_bytes().to_vec(),
    };
    let report = run(&module, &launch, &mut memory, &Options::default()).unwrap();
    let codes = report.findings.iter().map(|finding| finding.code.0);
    (codes.collect(), words(&memory, out, 7)[1])
}

#[test]
fn fences_around_a_counter_order_ctas() {
    assert_eq!(last_cta_adds_up("membar.gl;"), (vec![], 15));
    assert_eq!(last_cta_adds_up("fence.acq_rel.gpu;"), (vec![], 15));
    // At the scope of the CTA, or with none, another CTA's partial result may not be there yet.
    assert_eq!(last_cta_adds_up("membar.cta;").0, ["grid-overlap"]);
    assert_eq!(last_cta_adds_up("").0, ["grid-overlap"]);
}

#[test]
fn ctas_that_write_the_same_bytes_are_found() {
    let (report, _) = go("mov.u32 %r8, %r2;", 3, &Options::default());
    let findings = report.unwrap().findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].code.0, "grid-overlap");
    assert!(
        findings[0].sites[1].label.contains("cta (0,0,0)"),
        "{findings:?}"
    );
    let quiet = Options {
        detectors: Detectors::NONE,
        ..Options::default()
    };
    assert_eq!(
        go("mov.u32 %r8, %r2;", 3, &quiet).0.unwrap().findings,
        vec![]
    );
}

#[test]
fn the_seed_orders_ctas_that_talk() {
    // The order in which CTAs take tickets is theirs alone; each takes one.
    let code = "setp.ne.u32 %p1, %r2, 0;\n@%p1 ret;\nmov.u32 %r9, 0;\n\
                atom.global.add.u32 %r9, [%rd1], 1;\nadd.s32 %r8, %r8, 32;";
    let run = |seed| {
        let module = kernel(code);
        let mut memory = Memory::new();
        let (mut launch, _) = launch(&module, 4, &mut memory, 4);
        let out = memory.allocate("tickets", Initial::Bytes(vec![0; 4 * 32 * 5]), true);
        launch.params = out.to_le_bytes().to_vec();
        run(
            &module,
            &launch,
            &mut memory,
            &Options {
                seed,
                ..Options::default()
            },
        )
        .unwrap();
        let all = words(&memory, out, 160);
        (all[0], [all[32], all[64], all[96], all[128]])
    };
    assert_eq!(run(0), (4, [0, 1, 2, 3]));
    let mut shuffled = run(5);
    assert_eq!(run(5), shuffled);
    shuffled.1.sort_unstable();
    assert_eq!(shuffled, (4, [0, 1, 2, 3]));
}

#[test]
fn module_variables_have_their_initial_values() {
    let module = module(
        ".global .align 4 .u32 table[3] = {7, 8, 9};\n.const .align 4 .u32 factor = 10;\n\
         .visible .entry k(.param .u64 out) {\n.reg .b32 %r<6>;\n.reg .b64 %rd<6>;\n\
         ld.param.u64 %rd1, [out];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nmov.u64 %rd3, table;\n\
         add.s64 %rd3, %rd3, %rd2;\nld.global.u32 %r2, [%rd3];\nld.const.u32 %r3, [factor];\n\
         mul.lo.s32 %r2, %r2, %r3;\nadd.s64 %rd1, %rd1, %rd2;\nst.global.u32 [%rd1], %r2;\nret;\n}\n",
    );
    let mut memory = Memory::new();
    let (mut launch, out) = launch(&module, 1, &mut memory, 12);
    launch.cta = [3, 1, 1];
    assert_eq!(
        run(&module, &launch, &mut memory, &Options::default())
            .unwrap()
            .findings,
        vec![]
    );
    assert_eq!(words(&memory, out, 3), [70, 80, 90]);
    launch.cta = [4, 1, 1];
    // The fourth thread reads beyond the table.
    let Err(Stop::Trap(diagnostics)) = run(&module, &launch, &mut memory, &Options::default())
    else {
        panic!("not stopped")
    };
    assert_eq!(diagnostics[0].code.0, "out-of-bounds");
    assert!(
        diagnostics[0].message.contains("`table`"),
        "{}",
        diagnostics[0].message
    );
}

#[test]
fn launches_no_gpu_would_start() {
    let module = kernel("");
    let mut memory = Memory::new();
    let (good, _) = launch(&module, 1, &mut memory, 128);
    let mut check = |change: &dyn Fn(&mut Launch), wanted: &dyn Fn(&InvalidLaunch) -> bool| {
        let mut launch = good.clone();
        change(&mut launch);
        match run(&module, &launch, &mut memory, &Options::default()) {
            Err(Stop::InvalidLaunch(error)) => assert!(wanted(&error), "{error}"),
            other => panic!("{other:?}"),
        }
    };
    check(&|l| l.entry = "nothing".into(), &|e| {
        matches!(e, InvalidLaunch::NoEntry { .. })
    });
    check(&|l| l.grid[1] = 0, &|e| {
        matches!(e, InvalidLaunch::Empty { what: "grid", .. })
    });
    for grid in [[(1 << 20) + 1, 1, 1], [u32::MAX, u32::MAX, 2]] {
        check(&|l| l.grid = grid, &|e| {
            matches!(e, InvalidLaunch::TooManyCtas { .. })
        });
    }
    check(&|l| l.cta = [1024, 2, 1], &|e| {
        matches!(e, InvalidLaunch::TooManyThreads { .. })
    });
    check(&|l| l.cta = [u32::MAX, u32::MAX, 2], &|e| {
        matches!(e, InvalidLaunch::TooManyThreads { .. })
    });
    check(&|l| l.params.push(0), &|e| {
        matches!(
            e,
            InvalidLaunch::ParamBytes {
                given: 9,
                wanted: 8,
                ..
            }
        )
    });
    check(&|l| l.shared_bytes = 1 << 20, &|e| {
        matches!(e, InvalidLaunch::TooMuchShared { .. })
    });
}

#[test]
fn freed_memory_is_named() {
    let module = kernel("");
    let mut memory = Memory::new();
    let (launch, out) = launch(&module, 1, &mut memory, 128);
    assert!(memory.free(out));
    let Err(Stop::Trap(diagnostics)) = run(&module, &launch, &mut memory, &Options::default())
    else {
        panic!("not stopped")
    };
    assert_eq!(diagnostics[0].code.0, "freed-memory");
    assert!(
        diagnostics[0].message.contains("`out`"),
        "{}",
        diagnostics[0].message
    );
}

#[test]
fn an_unsupported_form_says_nothing_about_the_kernel() {
    let code = ".reg .f32 %f<5>;\n.reg .b32 %x<7>;\n\
        mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f1, %f2, %f3, %f4}, {%x1, %x2, %x3, %x4}, {%x5, %x6}, {%f1, %f2, %f3, %f4};";
    match go(code, 1, &Options::default()).0 {
        Err(Stop::Unsupported(diagnostic)) => {
            assert_eq!(diagnostic.blame, flashproof::diagnostic::Blame::Unsupported);
            assert!(
                diagnostic.sites[0]
                    .ptx
                    .as_ref()
                    .is_some_and(|place| place.line > 3)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_finding_names_both_places_and_threads() {
    let code = "mov.u32 %r3, tile;\nshl.b32 %r4, %r2, 2;\nadd.s32 %r4, %r4, %r3;\nst.shared.u32 [%r4], %r2;\n\
                xor.b32 %r5, %r2, 1;\nshl.b32 %r5, %r5, 2;\nadd.s32 %r5, %r5, %r3;\nld.shared.u32 %r9, [%r5];";
    let findings = go(code, 1, &Options::default()).0.unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    let race = &findings[0];
    assert_eq!(
        (race.code.0, race.count, race.sites.len()),
        ("shared-race", 32, 2)
    );
    assert_eq!(
        race.sites[0].label,
        "read here by thread (0,0,0) of cta (0,0,0)"
    );
    assert_eq!(
        race.sites[1].label,
        "written here by thread (1,0,0) of cta (0,0,0)"
    );
    assert_eq!(
        race.sites[1].statement.as_deref(),
        Some("st.shared.u32 [%r4], %r2;")
    );
}
