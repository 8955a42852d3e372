//! Random mutations of a clean kernel: none is called clean by the passes and by the machine while it gives different numbers.
//!
//! What that means. A mutation takes one statement out of a right kernel's text, changes a number in it, swaps two of its
//! operands or takes its guard away. A mutant is *called clean* if no pass refutes it and a run under all checkers ends with no
//! finding and no trap. Mutations are of two kinds:
//!
//! * Those of *order* (a barrier, a wait for copies or a commit is changed) leave what is computed from what as it was. Called
//!   clean, such a mutant must give the bits of the right kernel, in every order of warps and at every moment at which copies may
//!   arrive: the claim that passes and checkers together miss no race.
//! * Those of *arithmetic* compute something else without any disorder, which is no question of passes and checkers. Called clean,
//!   such a mutant must give the same bits in every order and at every moment; and where its numbers are not the right
//!   kernel's, the machine's verdict must say so: `verify` disagrees, unless no element is farther off than rounding.
//!
//! A mutant whose run ends at the budget of instructions has no numbers. That the test can fail: without passes and checkers,
//! and without the verdict, mutants of both kinds would be called clean (asserted at the end).

use flashproof::analysis::{Answer, analyze};
use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::kernel::{self, Binding, Content, Kernel};
use flashproof::oracle;
use flashproof::ptx::{Module, parse};
use flashproof::vm::{AsyncOrder, Initial, Launch, Memory, Options, run};
use std::fs;
use std::path::Path;

/// Mutants that are tried; more with another seed.
const MUTANTS: u64 = 40;
const SEED: u64 = 11;

/// Farther off than this is another number: outputs are means of values of size 1 in f16.
const ROUNDING: f32 = 1.0 / 64.0;

/// A stream of random numbers (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(count).unwrap()).unwrap()
    }
}

const ORDER: [&str; 3] = ["bar.sync", "cp.async.wait_group", "cp.async.commit_group"];

/// Whether a line is a statement that a mutation may change.
fn is_statement(line: &str) -> bool {
    let line = line.trim();
    line.ends_with(';')
        && !line.starts_with(['.', '/', '$'])
        && !["bra", "ret", "ld.param", "st.global", "mov.b64", "mov.u64"]
            .iter()
            .any(|word| line.contains(word))
}

/// One statement changed: the text, whether order is concerned, what was done.
fn mutated(text: &str, random: &mut Random) -> Option<(String, bool, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let of_order = random.below(3) == 0;
    let candidates: Vec<usize> = (0..lines.len())
        .filter(|at| is_statement(lines[*at]))
        .filter(|at| ORDER.iter().any(|word| lines[*at].contains(word)) == of_order)
        .collect();
    let at = candidates[random.below(candidates.len())];
    let line = lines[at];
    let changed = match random.below(4) {
        0 => String::new(),
        1 => {
            let (before, last) = line.trim_end_matches(';').rsplit_once([' ', '\t'])?;
            let number: i64 = last.parse().ok()?;
            let other = [number + 1, (number - 1).max(0), number * 2][random.below(3)];
            format!("{before} {other};")
        }
        2 => {
            let (before, last) = line.trim_end_matches(';').rsplit_once(", ")?;
            let (before, other) = before.rsplit_once(", ")?;
            if [last, other]
                .iter()
                .any(|word| word.contains(['[', ']', '{', '}']))
            {
                return None;
            }
            format!("{before}, {last}, {other};")
        }
        _ => {
            let (guard, rest) = line.trim().split_once(' ')?;
            guard.starts_with('@').then(|| rest.to_owned())?
        }
    };
    if changed.trim() == line.trim() {
        return None;
    }
    let mut text = lines.clone();
    text[at] = &changed;
    Some((
        text.join("\n"),
        of_order,
        format!("line {}: {line} -> {changed}", at + 1),
    ))
}

/// The outputs of a run and whether it was called clean; `None` where it did not end.
fn outputs(module: &Module, binding: &Binding, options: &Options) -> Option<(Vec<Vec<u8>>, bool)> {
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
    let report = run(module, &launch, &mut memory, options).ok()?;
    let bytes = binding.outputs().map(|(index, buffer)| {
        let Content::Uninitialised(count) = buffer.content else {
            panic!("an output is not initialised");
        };
        memory.bytes(addresses[index], count).unwrap().to_vec()
    });
    Some((bytes.collect(), report.findings.is_empty()))
}

/// Whether the outputs, o in f16 and lse in f32, are farther apart than rounding.
fn apart(one: &[Vec<u8>], other: &[Vec<u8>]) -> bool {
    let near = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a - b).abs() <= ROUNDING;
    let o = |bytes: &[u8]| half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    let lse = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let pairs = |index: usize, width: usize| {
        one[index]
            .chunks_exact(width)
            .zip(other[index].chunks_exact(width))
    };
    !pairs(0, 2).all(|(one, other)| near(o(one), o(other)))
        || !pairs(1, 4).all(|(one, other)| near(lse(one), lse(other)))
}

#[test]
fn no_random_mutant_is_called_clean_and_gives_different_numbers() {
    let right = kernel::by_name("wait_group_off_by_one.repaired").unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/kernels/block_sparse_sm80.toml");
    let entry = parse("right", right.ptx()).unwrap().functions[0]
        .name
        .clone();
    let manifest = fs::read_to_string(folder)
        .unwrap()
        .replace("block_sparse_sm80_{dtype}_d{head_dim}", &entry)
        .replace("head_dim = [32, 64, 128]", "head_dim = [32]")
        .replace("dtype = [\"f16\", \"bf16\"]", "dtype = [\"f16\"]");
    let case: Case = "kernel=mutant head_dim=32 seqlen_q=40 seqlen_kv=136 layout=causal"
        .parse()
        .unwrap();
    let original = Kernel::from_parts("mutant", right.ptx(), &manifest).unwrap();
    let binding = original.bind(&case.problem().unwrap()).unwrap();
    let options = Options {
        instruction_budget: 60_000,
        ..Options::default()
    };
    let module = parse("right", right.ptx()).unwrap();
    let (expected, clean) = outputs(&module, &binding, &options).unwrap();
    assert!(clean);
    let mut random = Random(SEED);
    let (mut tried, mut refuted_alone, mut found, mut judged, mut same) = (0, 0, 0, 0, 0);
    while tried < MUTANTS {
        let Some((text, of_order, what)) = mutated(right.ptx(), &mut random) else {
            continue;
        };
        // What is no PTX any more is no mutant.
        let Ok(module) = parse("mutant", &text) else {
            continue;
        };
        tried += 1;
        let ended = outputs(&module, &binding, &options);
        let Some((bytes, true)) = ended else {
            found += 1;
            continue;
        };
        let differs = apart(&bytes, &expected);
        let refuted = || {
            let results = analyze(&module);
            results
                .iter()
                .any(|result| result.answer == Answer::Refuted)
        };
        let others: Vec<_> = [(1, AsyncOrder::Early), (2, AsyncOrder::Reordered)]
            .into_iter()
            .map(|(seed, async_order)| {
                let options = Options {
                    seed,
                    async_order,
                    ..options
                };
                outputs(&module, &binding, &options)
            })
            .collect();
        if others.iter().any(|other| !matches!(other, Some((_, true)))) {
            found += 1;
            continue;
        }
        let depends = others.iter().flatten().any(|(other, _)| *other != bytes);
        if !depends && bytes == expected {
            same += 1;
            continue;
        }
        if refuted() {
            refuted_alone += 1;
            continue;
        }
        assert!(!depends, "{what}: its numbers depend on the order");
        assert!(!of_order, "{what}: it gives other numbers");
        if differs {
            let mutant = Kernel::from_parts("mutant", &text, &manifest).unwrap();
            let report = oracle::check_kernel(&mutant, &case, &Backend::default()).unwrap();
            assert_eq!(report.verdict.name(), "disagree", "{what}");
            judged += 1;
        }
    }
    let counts = format!(
        "{tried} mutants: {found} found by a run, {refuted_alone} refuted and not found, {judged} by the verdict alone, {same} the same"
    );
    assert!(found >= 5 && judged >= 1 && same >= 3, "{counts}");
    println!("{counts}");
}
