//! Passes against the virtual machine: what a pass refutes, a run must show; what a run shows, a pass that asks for it
//! must not have proved absent. Over the labelled programs (`tests/labelled`), the kernels, their defects and twins.

use crate::global_memory::{placements, rows_by_width};
use flashproof::analysis::{
    Answer, PassResult, analyze, analyze_under, copy_wait, divergence, index_overflow, mbarrier,
    sectors, shared_bounds, shared_init, shared_race,
};
use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::contract::{Contract, Promise, PromisedValue};
use flashproof::diagnostic::Diagnostic;
use flashproof::kernel::{self, Kernel};
use flashproof::oracle;
use flashproof::ptx::{Module, parse};
use flashproof::verdict::{Fault, Verdict};
use flashproof::vm::{Initial, Launch, Memory, Options, Stop, run};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Passes, and the codes of a run that each claims to decide.
const CLAIMS: [(&str, &[&str]); 8] = [
    (copy_wait::PASS, &["async-copy-read-early"]),
    (shared_race::PASS, &["shared-race"]),
    (
        divergence::PASS,
        &[
            "divergent-barrier",
            "deadlock",
            "barrier-after-exit",
            "barrier-arrival-repeated",
            "invalid-barrier",
            "missing-lanes",
        ],
    ),
    (
        shared_bounds::PASS,
        &["out-of-bounds", "misaligned-address"],
    ),
    (
        mbarrier::PASS,
        &[
            "bulk-copy-read-early",
            "bulk-copy-race",
            "mbarrier-init-unordered",
            "mbarrier-over-arrival",
            "wgmma-operand-overwritten",
        ],
    ),
    (
        shared_init::PASS,
        &[
            "uninitialised-store",
            "uninitialised-branch",
            "uninitialised-address",
            "output-undefined",
        ],
    ),
    // An access outside a buffer has other causes too: no run shows that an index has wrapped, only where it leads.
    (index_overflow::PASS, &[]),
    (sectors::PASS, &["uncoalesced-access-counted"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One program: its name, what is said of it without running, the codes of its runs.
struct Subject {
    name: String,
    results: Vec<PassResult>,
    codes: BTreeSet<String>,
}

impl Subject {
    fn answer(&self, pass: &str) -> Option<Answer> {
        let answers = self.results.iter().filter(|result| result.pass == pass);
        answers
            .map(|result| result.answer)
            .max_by_key(|answer| match answer {
                Answer::Proved => 0,
                Answer::Unknown => 1,
                Answer::Refuted => 2,
            })
    }
}

/// Labels of a program, by pass.
fn labels(text: &str) -> BTreeMap<String, String> {
    let line = text.lines().next().unwrap();
    let words = line.strip_prefix("// label:").unwrap();
    words
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap())
        .map(|(pass, label)| (pass.to_owned(), label.to_owned()))
        .collect()
}

fn programs() -> Vec<(String, BTreeMap<String, String>, Module)> {
    let folder = root().join("tests/labelled");
    let mut names: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let ptx = fs::read_to_string(folder.join(format!("ptx/{name}.ptx"))).unwrap();
            let module = parse(&name, &ptx).unwrap_or_else(|error| panic!("{error}"));
            (name, labels(&fs::read_to_string(&path).unwrap()), module)
        })
        .collect()
}

/// Values of the parameter that labelled programs are run with.
const PARAMETERS: [u32; 4] = [0, 1, 4, 6];
/// Bytes of the buffers of a labelled program: what it writes, what it reads.
const BUFFERS: [u64; 2] = [4096, 32_768];

/// What the passes say of a labelled program; under the launches of its runs where a label needs them.
fn read(module: &Module, labels: &BTreeMap<String, String>) -> Vec<PassResult> {
    if ![index_overflow::PASS, sectors::PASS]
        .iter()
        .any(|pass| labels.contains_key(*pass))
    {
        return analyze(module);
    }
    let buffers = [("out", true), ("in", false)].into_iter().zip(BUFFERS);
    let buffers = buffers
        .zip([0, 8])
        .map(|(((name, writable), bytes), offset)| Promise {
            offset,
            bytes: 8,
            value: PromisedValue::Buffer {
                name: name.to_owned(),
                bytes,
                align: 256,
                writable,
                entries: None,
            },
        });
    let buffers: Vec<Promise> = buffers.collect();
    analyze_under(module, &|function| {
        // A launch that names sizes is looked at for overflow alone: each one comes with and without.
        let launch = |(n, sizes): (u32, bool)| Contract {
            grid: [1; 3],
            cta: [function.directives.maxntid.unwrap()[0], 1, 1],
            params: buffers
                .iter()
                .cloned()
                .chain([Promise {
                    offset: 16,
                    bytes: 4,
                    value: PromisedValue::Bits(u64::from(n)),
                }])
                .collect(),
            sizes: sizes.then(|| format!("n = {n}")),
            ..Contract::default()
        };
        let launches = PARAMETERS.iter().flat_map(|n| [(*n, false), (*n, true)]);
        launches.map(launch).collect()
    })
}

/// Codes that runs of a labelled program show.
fn codes_of_runs(module: &Module) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let function = &module.functions[0];
    let threads = function.directives.maxntid.unwrap()[0];
    for n in PARAMETERS {
        let mut memory = Memory::new();
        let [out, input] = BUFFERS.map(|bytes| usize::try_from(bytes).unwrap());
        let input = (0..input / 4)
            .flat_map(|i| f32::from(u16::try_from(i % 97).unwrap()).to_le_bytes())
            .collect();
        let out = memory.allocate("out", Initial::Bytes(vec![0; out]), true);
        let input = memory.allocate("in", Initial::Bytes(input), false);
        let mut params = [out.to_le_bytes(), input.to_le_bytes()].concat();
        params.extend(n.to_le_bytes());
        let launch = Launch {
            entry: function.name.clone(),
            grid: [1, 1, 1],
            cta: [threads, 1, 1],
            shared_bytes: 0,
            params,
        };
        let options = Options {
            instruction_budget: 200_000,
            notes: true,
            ..Options::default()
        };
        let (found, notes) = match run(module, &launch, &mut memory, &options) {
            Ok(report) => (report.findings, report.notes),
            Err(Stop::Trap(found)) => (found, Vec::new()),
            Err(other) => panic!("{}: {other}", module.name),
        };
        codes.extend(found.iter().map(code_of));
        codes.extend(notes.into_iter().map(|note| note.code.0.to_owned()));
    }
    codes
}

/// The degree of the worst access, or the answer where there is none.
fn degree(results: &[PassResult]) -> String {
    let result = results
        .iter()
        .find(|result| result.pass == flashproof::analysis::bank_conflict::PASS)
        .unwrap();
    let degrees = result
        .findings
        .iter()
        .filter_map(|finding| finding.message.split('-').next()?.parse::<u32>().ok());
    match (result.answer, degrees.max()) {
        (_, Some(degree)) => degree.to_string(),
        (Answer::Proved, None) => "1".to_owned(),
        (Answer::Unknown | Answer::Refuted, None) => "unknown".to_owned(),
    }
}

fn word(answer: Option<Answer>) -> &'static str {
    match answer {
        Some(Answer::Proved) => "proved",
        Some(Answer::Refuted) => "refuted",
        Some(Answer::Unknown) => "unknown",
        None => "absent",
    }
}

/// A committed document that says what is so; `FLASHPROOF_UPDATE=1` writes it.
fn committed(name: &str, text: &str) {
    let path = root().join("reports/analysis").join(name);
    if std::env::var_os("FLASHPROOF_UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, text,
        "{name} is not what the passes say; FLASHPROOF_UPDATE=1 writes it"
    );
}

#[test]
fn labelled_programs_are_judged_as_their_labels_say() {
    let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut text = String::new();
    let mut missed_races = Vec::new();
    let programs = programs();
    assert!(programs.len() >= 60, "{} programs", programs.len());
    for (name, labels, module) in &programs {
        let subject = Subject {
            name: name.clone(),
            results: read(module, labels),
            codes: BTreeSet::new(),
        };
        for (pass, label) in labels {
            let said = if pass == "bank-conflict" {
                degree(&subject.results)
            } else {
                word(subject.answer(pass)).to_owned()
            };
            let at = match (said == *label, said.as_str()) {
                (true, _) => 0,
                (false, "unknown") => 2,
                (false, _) => 1,
            };
            counts.entry(pass.clone()).or_default()[at] += 1;
            if at > 0 {
                writeln!(text, "| {} | {pass} | {label} | {said} |", subject.name).unwrap();
            }
            if pass == shared_race::PASS && label == "refuted" && said == "proved" {
                missed_races.push(name.clone());
            }
        }
    }
    let mut table = format!(
        "# Labelled programs\n\n{} programs of `tests/labelled`, each labelled with what is true of it.\n\n| pass | right | wrong | unknown |\n|---|---|---|---|\n",
        programs.len()
    );
    let mut all = [0; 3];
    for (pass, [right, wrong, unknown]) in &counts {
        writeln!(table, "| {pass} | {right} | {wrong} | {unknown} |").unwrap();
        for (sum, count) in all.iter_mut().zip([right, wrong, unknown]) {
            *sum += count;
        }
    }
    let [right, wrong, unknown] = all;
    writeln!(table, "| all | {right} | {wrong} | {unknown} |").unwrap();
    write!(
        table,
        "\nNot right:\n\n| program | pass | label | said |\n|---|---|---|---|\n{text}"
    )
    .unwrap();
    assert!(missed_races.is_empty(), "missed races: {missed_races:?}");
    let total = right + wrong + unknown;
    assert!(
        right * 100 >= total * 95,
        "{right} of {total} right, {wrong} wrong, {unknown} unknown\n{text}"
    );
    committed("labelled.md", &table);
}

/// The code of a finding; of an access outside a buffer in global memory another than of one outside shared memory.
fn code_of(finding: &Diagnostic) -> String {
    let code = finding.code.0;
    if code == "out-of-bounds" && !format!("{finding:?}").contains("shared memory has") {
        return "out-of-bounds of a buffer".to_owned();
    }
    code.to_owned()
}

fn defect_subjects() -> Vec<Subject> {
    let of = |kernel: &Kernel, cases: &[String]| {
        let module = parse(kernel.name(), kernel.ptx()).unwrap();
        let mut codes = BTreeSet::new();
        let mut promised = Vec::new();
        for arguments in cases {
            let case: Case = format!("kernel={} {arguments}", kernel.name())
                .parse()
                .unwrap();
            // What tensor maps copy; not how many CTAs there are, so that no pass follows them one by one.
            let binding = kernel.bind(&case.problem().unwrap()).unwrap();
            promised.push((
                binding.entry.clone(),
                Contract {
                    grid: [0; 3],
                    ..binding.contract()
                },
            ));
            let report = oracle::check(&case, &Backend::default()).unwrap();
            codes.extend(report.findings.iter().map(code_of));
            if let Verdict::Disagree(faults) = &report.verdict {
                codes.insert("disagree".to_owned());
                codes.extend(faults.iter().filter_map(|fault| match fault {
                    Fault::Trap(finding) | Fault::Finding(finding) => Some(code_of(finding)),
                    Fault::Elements(_) => None,
                }));
            }
        }
        Subject {
            name: kernel.name().to_owned(),
            results: analyze_under(&module, &|function| {
                let own = promised.iter().filter(|(entry, _)| *entry == function.name);
                own.map(|(_, contract)| contract.clone()).collect()
            }),
            codes,
        }
    };
    let mut subjects: Vec<Subject> = kernel::all()
        .iter()
        .map(|kernel| {
            let head_dim = kernel.manifest().requires.head_dim[0];
            let case = format!("head_dim={head_dim} seqlen_q=70 seqlen_kv=130");
            of(kernel, &[case])
        })
        .collect();
    for defect in kernel::defects() {
        let cases = [defect.case.to_owned()];
        subjects.push(of(&defect.kernel, &cases));
    }
    for defect in kernel::defects() {
        if kernel::twins().any(|twin| twin.name() == defect.repaired.name()) {
            subjects.push(of(&defect.repaired, &[defect.case.to_owned()]));
        }
    }
    subjects
}

#[test]
fn passes_and_runs_agree() {
    let mut table = "# Passes and runs\n\nEvery kernel, defect, twin and labelled program, and programs whose accesses to global memory lie this way and that, read by the passes and run by the virtual machine. That the warps of a kernel agree how often a stage is filled is no pass's claim: such a deadlock counts nowhere.\n\n| pass | refuted, and a run shows it | refuted, no run shows it | a run shows it, unknown | a run shows it, proved, and no other pass refutes |\n|---|---|---|---|---|\n".to_owned();
    let labelled = programs().into_iter().map(|(name, labels, module)| {
        // Only what is labelled: behind a barrier that diverges nothing else means anything.
        let mut results = read(&module, &labels);
        results.retain(|result| labels.contains_key(result.pass));
        Subject {
            codes: codes_of_runs(&module),
            name,
            results,
        }
    });
    // Under what their launches promise; the kernels' are read without the grids that these passes walk.
    let placed = rows_by_width().into_iter().chain(placements());
    let placed = placed.map(|compared| Subject {
        name: compared.name,
        results: compared.results,
        codes: compared
            .found
            .iter()
            .map(code_of)
            .chain(compared.notes.iter().map(|note| note.code.0.to_owned()))
            .collect(),
    });
    let subjects: Vec<Subject> = labelled.chain(defect_subjects()).chain(placed).collect();
    let mut complaints = Vec::new();
    for (pass, codes) in CLAIMS {
        let mut counts = [0_usize; 4];
        for subject in &subjects {
            let Some(answer) = subject.answer(pass) else {
                continue;
            };
            // A run that hangs where stages are handed over need not be about barriers of the CTA: that roles agree how often a
            // stage is filled is no pass's claim.
            let rings = subject
                .results
                .iter()
                .any(|result| result.pass == mbarrier::PASS && result.states > 0);
            let shown = subject
                .codes
                .iter()
                .any(|code| codes.contains(&code.as_str()) && !(rings && code == "deadlock"));
            // Behind one defect others follow: a tile that is read too early is also undefined.
            let elsewhere = subject.results.iter().any(|result| {
                result.pass != pass
                    && result.answer == Answer::Refuted
                    && CLAIMS.iter().any(|claim| claim.0 == result.pass)
            });
            let confirmed = shown
                || (pass == index_overflow::PASS
                    && subject.codes.contains("out-of-bounds of a buffer"))
                || (pass == copy_wait::PASS && subject.codes.contains("shared-race"))
                || (pass == mbarrier::PASS
                    && ["deadlock", "disagree"]
                        .iter()
                        .any(|code| subject.codes.contains(*code)))
                || (pass == shared_init::PASS
                    && subject
                        .codes
                        .iter()
                        .any(|code| code.starts_with("uninitialised")));
            let at = match (answer, confirmed) {
                (Answer::Refuted, true) => 0,
                (Answer::Refuted, false) => 1,
                (Answer::Unknown, true) if shown => 2,
                (Answer::Proved, true) if shown && !elsewhere => 3,
                (Answer::Unknown | Answer::Proved, _) => continue,
            };
            counts[at] += 1;
            if at == 1 || at == 3 {
                complaints.push(format!(
                    "{}: {pass} {}, runs show {:?}",
                    subject.name,
                    word(Some(answer)),
                    subject.codes
                ));
            }
        }
        let [both, alone, unknown, missed] = counts;
        writeln!(
            table,
            "| {pass} | {both} | {alone} | {unknown} | {missed} |"
        )
        .unwrap();
    }
    assert!(complaints.is_empty(), "{}\n{table}", complaints.join("\n"));
    committed("agreement.md", &table);
}

/// Takes one line out of a right kernel or changes one number in it: whatever passes and machine both call clean must give
/// the outputs of the right kernel.
#[test]
fn no_mutant_is_called_clean_and_computes_something_else() {
    let right = kernel::by_name("wait_group_off_by_one.repaired").unwrap();
    let manifest = fs::read_to_string(root().join("cuda/kernels/block_sparse_sm80.toml")).unwrap();
    let entry = parse("right", right.ptx()).unwrap().functions[0]
        .name
        .clone();
    let manifest = manifest
        .replace("block_sparse_sm80_d{head_dim}", &entry)
        .replace("head_dim = [32, 64]", "head_dim = [32]");
    let lines: Vec<&str> = right.ptx().lines().collect();
    let order = ["bar.sync", "cp.async.wait_group", "cp.async.commit_group"];
    let mut counts = [0_usize; 3];
    for (at, line) in lines.iter().enumerate() {
        if !order.iter().any(|word| line.contains(word)) {
            continue;
        }
        let mut mutants = vec![String::new()];
        if line.contains("wait_group 0") {
            mutants.push(line.replace("wait_group 0", "wait_group 1"));
        }
        for changed in mutants {
            let mut text = lines.clone();
            text[at] = &changed;
            let mutant = Kernel::from_parts("mutant", &text.join("\n"), &manifest).unwrap();
            let module = parse("mutant", mutant.ptx()).unwrap();
            let refuted = analyze(&module)
                .iter()
                .any(|result| result.answer == Answer::Refuted);
            let case: Case = "kernel=mutant seqlen_q=64 seqlen_kv=256".parse().unwrap();
            let report = oracle::check_kernel(&mutant, &case, &Backend::default()).unwrap();
            let caught = report.verdict.name() == "disagree" && !report.findings.is_empty();
            let differs = report.verdict.name() == "disagree";
            assert!(
                refuted || caught || !differs,
                "line {}: {line} -> {changed:?}: {report}",
                at + 1
            );
            counts[0] += usize::from(refuted);
            counts[1] += usize::from(caught);
            counts[2] += 1;
        }
    }
    assert!(
        counts[2] >= 6 && counts[0] >= 3 && counts[1] >= 3,
        "{counts:?}"
    );
}

/// Texts that differ from a program in one statement: a barrier left out, or the last number of an integer instruction one
/// more or one less.
fn mutants(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let with = |at: usize, line: &str| {
        let mut changed = lines.clone();
        changed[at] = line;
        changed.join("\n")
    };
    let integer = [
        "add.s32",
        "and.b32",
        "shl.b32",
        "xor.b32",
        "setp.gt.s32",
        "setp.ne.s32",
        "setp.eq.s32",
    ];
    let mut mutants = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.contains("bar.sync") || line.contains("bar.warp.sync") {
            mutants.push(with(at, ""));
        } else if integer.iter().any(|opcode| line.contains(opcode))
            && let Some((before, last)) = line.rsplit_once(", ")
            && let Ok(number) = last.trim_end_matches(';').parse::<i32>()
        {
            for changed in [number.wrapping_add(1), number.wrapping_sub(1)] {
                mutants.push(with(at, &format!("{before}, {changed};")));
            }
        }
    }
    mutants
}

/// Whatever a run of a mutant shows, the pass that asks for it has not proved absent.
#[test]
fn no_mutant_of_a_labelled_program_is_wrong_unseen() {
    let folder = root().join("tests/labelled/ptx");
    let (mut complaints, mut shown, mut count) = (Vec::new(), 0, 0);
    for (name, ..) in programs() {
        let text = fs::read_to_string(folder.join(format!("{name}.ptx"))).unwrap();
        for (number, mutant) in mutants(&text).into_iter().enumerate().take(12) {
            let module = parse(&name, &mutant).unwrap();
            let subject = Subject {
                codes: codes_of_runs(&module),
                results: analyze(&module),
                name: format!("{name}, mutant {number}"),
            };
            count += 1;
            let refuted = subject.results.iter().any(|result| {
                result.answer == Answer::Refuted
                    && CLAIMS.iter().any(|claim| claim.0 == result.pass)
            });
            for (pass, codes) in CLAIMS {
                let seen = subject
                    .codes
                    .iter()
                    .any(|code| codes.contains(&code.as_str()));
                shown += usize::from(seen);
                // An index into global memory that a mutant moves is no question of these passes.
                let global = pass == shared_bounds::PASS || pass == shared_init::PASS;
                if seen && !global && !refuted && subject.answer(pass) == Some(Answer::Proved) {
                    complaints.push(format!(
                        "{}: {pass} proved, runs show {:?}\n{mutant}",
                        subject.name, subject.codes
                    ));
                }
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "{} of {count}\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    assert!(
        count >= 150 && shown >= 30,
        "{count} mutants, {shown} findings"
    );
}
