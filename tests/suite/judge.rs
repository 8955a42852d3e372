//! `answer` and `judge`, run as a user runs them, on problems given as `.npy` files.

mod probes;

use flashproof::backend::{Backend, Settings};
use flashproof::case::Case;
use flashproof::format::npy;
use flashproof::kernel;
use flashproof::outcome::Outcome;
use flashproof_reference::{DType, Problem, Tensor, attention};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flashproof-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    fn array(&self, name: &str) -> npy::Array {
        npy::read(&fs::read(self.0.join(name)).unwrap()).unwrap()
    }

    /// q, k and v of a case as files, without a batch.
    fn problem(&self, line: &str) -> Problem {
        let problem = line.parse::<Case>().unwrap().problem().unwrap();
        let (q, kv) = (problem.shape.q_extents(), problem.shape.kv_extents());
        for (name, tensor, extents) in [
            ("q.npy", &problem.q, q),
            ("k.npy", &problem.k, kv),
            ("v.npy", &problem.v, kv),
        ] {
            self.write(name, npy::write(&extents[1..], &tensor.to_f64()));
        }
        problem
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .args(arguments.split(' '))
            .current_dir(&self.0)
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the temporary one harms nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ANSWER: &str =
    "answer --q q.npy --k k.npy --v v.npy --dtype f16 --causal --o o.npy --lse lse.npy";
const JUDGE: &str = "judge --q q.npy --k k.npy --v v.npy --dtype f16 --causal --output o.npy --output-lse lse.npy \
                     --target sm_80 --p-dtype f16";
const CASE: &str =
    "kernel=k num_q_heads=4 num_kv_heads=2 seqlen_q=9 seqlen_kv=21 layout=causal seed=5";

/// Rounded once to a format, as f64.
fn rounded(dtype: DType, values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|&x| match dtype {
            DType::F16 => flashproof::convert::f64_to_f16(x).to_f64(),
            DType::Bf16 => flashproof::convert::f64_to_bf16(x).to_f64(),
            DType::F32 => f64::from(flashproof::convert::f64_to_f32(x)),
            DType::F64 => x,
        })
        .collect()
}

/// Rounds the files that `answer` wrote as a kernel would have; returns o.
fn round_files(folder: &Folder, dtype: DType) -> npy::Array {
    let lse = folder.array("lse.npy");
    folder.write(
        "lse.npy",
        npy::write(&lse.shape, &rounded(DType::F32, &lse.values)),
    );
    let mut o = folder.array("o.npy");
    o.values = rounded(dtype, &o.values);
    folder.write("o.npy", npy::write(&o.shape, &o.values));
    o
}

#[test]
fn the_answer_is_the_references_and_its_rounding_agrees() {
    let folder = Folder::new("answer");
    let problem = folder.problem(CASE);
    let (code, out, err) = folder.run(ANSWER);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "o.npy: f64 [4, 9, 32]\nlse.npy: f64 [4, 9]\n", "")
    );
    let expected = attention(&problem).unwrap();
    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&folder.array("o.npy").values), bits(&expected.o));
    assert_eq!(bits(&folder.array("lse.npy").values), bits(&expected.lse));

    let o = round_files(&folder, DType::F16);
    let (code, out, _) = folder.run(JUDGE);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("o.npy: agree: 1188 elements"), "{out}");
    assert!(
        out.ends_with("bound: sm_80, inputs f16, weights f16, tiles of 8 keys (the smallest, as none is stated)\n"),
        "{out}"
    );

    // One wrong element: by 1/16 of a row whose values are of ordinary size.
    let disagrees = |values: &[f64], expected: &str| {
        folder.write("o.npy", npy::write(&o.shape, values));
        let (code, out, err) = folder.run(JUDGE);
        assert_eq!((code, err.as_str()), (1, ""), "{out}");
        assert!(out.contains(expected), "{out}");
    };
    let mut values = o.values.clone();
    values[700] = rounded(DType::F16, &[values[700] + 0.0625])[0];
    disagrees(
        &values,
        "1 of 1152 outputs outside their bounds (0.1 %): o[0, 2, 3, 28] is ",
    );
    // Two rows swapped.
    let mut values = o.values.clone();
    let (first, second) = values.split_at_mut(64);
    first[32..].swap_with_slice(&mut second[..32]);
    disagrees(&values, "outputs outside their bounds");
    let mut values = o.values.clone();
    values[1151] = f64::NAN;
    disagrees(&values, "o[0, 3, 8, 31] is NaN");
    // The right outputs of another mask.
    folder.write("o.npy", npy::write(&o.shape, &o.values));
    let (code, out, _) = folder.run(&format!("{JUDGE} --window 3,-"));
    assert_eq!(code, 1, "{out}");
}

#[test]
fn a_kernels_outputs_agree_without_the_kernel() {
    let folder = Folder::new("kernel");
    let case: Case = "kernel=block_sparse_sm80 num_q_heads=2 num_kv_heads=2 seqlen_q=20 seqlen_kv=150 head_dim=64 \
                      layout=causal values=peaky"
        .parse()
        .unwrap();
    let problem = folder.problem(&case.to_string());
    let kernel = kernel::by_name(&case.kernel).unwrap();
    let Outcome::Finished(output) = Backend::default().run(kernel, &problem, &Settings::of(&case))
    else {
        panic!("the kernel ran");
    };
    folder.write("o.npy", npy::write(&[2, 20, 64], &output.o.to_f64()));
    let lse: Vec<f64> = output.lse.iter().map(|&x| f64::from(x)).collect();
    folder.write("lse.npy", npy::write(&[2, 20], &lse));
    for flags in ["", " --tile-kv 64 --tile-q 64"] {
        let (code, out, err) = folder.run(&format!("{JUDGE}{flags}"));
        assert_eq!(code, 0, "{out}{err}");
    }
    // The wrong base is not a rounding.
    let (code, out, _) = folder.run(&format!("{JUDGE} --lse-base 2"));
    assert_eq!(code, 1, "{out}");
    let base2: Vec<f64> = lse.iter().map(|x| x / std::f64::consts::LN_2).collect();
    folder.write(
        "lse.npy",
        npy::write(&[2, 20], &rounded(DType::F32, &base2)),
    );
    let (code, out, err) = folder.run(&format!("{JUDGE} --lse-base 2"));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn layouts_and_flags_intersect() {
    let folder = Folder::new("layout");
    let problem = folder.problem(
        "kernel=k dtype=bf16 num_q_heads=2 seqlen_q=32 seqlen_kv=32 layout=blocks(500,16,16,3)+causal+window(9,-)+sinks(2)",
    );
    let free = "kernel=k seqlen_q=32 seqlen_kv=32 layout=blocks(500,16,16,3)+sinks(2)";
    let free = free.parse::<Case>().unwrap().problem().unwrap().layout;
    folder.write("layout.json", free.to_json());
    let inputs =
        "--q q.npy --k k.npy --v v.npy --dtype bf16 --layout layout.json --causal --window 9,none";
    let (code, out, err) = folder.run(&format!("answer {inputs} --o o.npy --lse lse.npy"));
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(folder.array("o.npy").values, attention(&problem).unwrap().o);
    round_files(&folder, DType::Bf16);
    let judge = format!("judge {inputs} --output o.npy --target sm_90 --p-dtype bf16");
    let (code, out, err) = folder.run(&judge);
    assert_eq!(code, 0, "{out}{err}");
    // The same outputs as f32 are not within f32 of the answer: they were rounded to bf16.
    let precise = judge.replace("--p-dtype bf16", "--p-dtype f32 --output-dtype f32");
    let (code, out, _) = folder.run(&precise);
    assert_eq!(code, 1, "{out}");
    let (code, _, err) = folder.run(&format!("{judge} --sinks 3"));
    assert_eq!(code, 2);
    assert!(
        err.contains("--sinks is 3, but the layout has 2 sinks"),
        "{err}"
    );
}

#[test]
fn fortran_order_is_the_same_problem() {
    let folder = Folder::new("fortran");
    folder.problem(CASE);
    folder.run(ANSWER);
    let before = folder.array("o.npy");
    // The transposed array, in a file that says so.
    let k = folder.array("k.npy");
    let [heads, seqlen, head_dim] = [k.shape[0], k.shape[1], k.shape[2]];
    let mut turned = Vec::new();
    for c in 0..head_dim {
        for j in 0..seqlen {
            turned.extend((0..heads).map(|h| k.values[(h * seqlen + j) * head_dim + c]));
        }
    }
    let mut bytes = npy::write(&k.shape, &turned);
    // The padding pays for the shorter word.
    let at = bytes.windows(5).position(|word| word == b"False").unwrap();
    bytes[at..at + 5].copy_from_slice(b"True ");
    folder.write("k.npy", bytes);
    let (code, _, err) = folder.run(ANSWER);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(folder.array("o.npy"), before);
}

#[test]
fn numbers_that_are_not_finite_have_defined_results() {
    let folder = Folder::new("nan");
    folder.problem(CASE);
    let mut k = folder.array("k.npy");
    // The last key of the last head: only the last query of its heads sees it.
    *k.values.last_mut().unwrap() = f64::NAN;
    folder.write("k.npy", npy::write(&k.shape, &k.values));
    let (code, _, err) = folder.run(ANSWER);
    assert_eq!(code, 0);
    assert!(
        err.starts_with("note: k.npy: 1 of 1344 elements are NaN or infinite"),
        "{err}"
    );
    let o = round_files(&folder, DType::F16);
    assert_eq!(o.values.iter().filter(|x| x.is_nan()).count(), 2 * 32);
    let (code, out, _) = folder.run(JUDGE);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("; 66 not compared"), "{out}");
    // Nothing to compare at all: neither right nor wrong.
    let q = folder.array("q.npy");
    folder.write(
        "q.npy",
        npy::write(&q.shape, &vec![f64::NAN; q.values.len()]),
    );
    let (code, out, _) = folder.run(JUDGE);
    assert_eq!(code, 3, "{out}");
}

/// One line on standard error that holds `expected`, exit code 2, nothing on standard output.
fn refused(folder: &Folder, arguments: &str, expected: &str) {
    let (code, out, err) = folder.run(arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{arguments}: {err}");
    assert!(
        err.contains(expected),
        "{arguments}: {err:?} lacks {expected:?}"
    );
    assert_eq!(err.lines().count(), 1, "{arguments}: {err}");
    assert!(err.starts_with("error: "), "{err}");
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let folder = Folder::new("bad");
    folder.problem(CASE);
    folder.run(ANSWER);
    refused(
        &folder,
        JUDGE,
        "is no f16: round it first, or name its format with --output-dtype",
    );
    round_files(&folder, DType::F16);

    let with = |name: &str, shape: &[usize], arguments: &str, expected: &str| {
        let kept = fs::read(folder.0.join(name)).unwrap();
        folder.write(name, npy::write(shape, &vec![0.5; shape.iter().product()]));
        refused(&folder, arguments, expected);
        folder.write(name, kept);
    };
    with(
        "v.npy",
        &[2, 20, 32],
        ANSWER,
        "--v has shape [2, 20, 32], but must have that of k, [2, 21, 32]",
    );
    with(
        "q.npy",
        &[4, 9, 16],
        ANSWER,
        "q has shape [4, 9, 16], k [2, 21, 32]: head_dim is 16 in one",
    );
    with(
        "q.npy",
        &[3, 9, 32],
        ANSWER,
        "q has shape [3, 9, 32], k [2, 21, 32]: num_q_heads is 3",
    );
    with(
        "q.npy",
        &[1, 4, 9, 32],
        ANSWER,
        "give both a batch, or neither",
    );
    with("q.npy", &[9, 32], ANSWER, "must have 3 axes");
    with(
        "o.npy",
        &[4, 9, 31],
        JUDGE,
        "--output has shape [4, 9, 31], but must have that of q, [4, 9, 32]",
    );
    with(
        "lse.npy",
        &[4],
        JUDGE,
        "--output-lse has shape [4], but must have that of q without its last axis, [4, 9]",
    );

    let scaled = |scale: &str| format!("{ANSWER} --scale {scale}");
    refused(
        &folder,
        &scaled("NaN"),
        "--scale is NaN as f32, but must be finite",
    );
    refused(&folder, &scaled("1e39"), "--scale is inf as f32");
    for scale in ["0", "-0.5"] {
        let (code, _, err) = folder.run(
            &scaled(scale)
                .replace("o.npy", "o2.npy")
                .replace("lse.npy", "lse2.npy"),
        );
        assert_eq!((code, err.as_str()), (0, ""), "{scale}");
    }
    refused(
        &folder,
        &JUDGE.replace("--p-dtype f16", "--p-dtype bf16"),
        "weights in bf16 with inputs in f16",
    );
    refused(
        &folder,
        &ANSWER.replace("lse.npy", "o.npy"),
        "name two files",
    );
    refused(
        &folder,
        &ANSWER.replace("--q q.npy", "--q none.npy"),
        "cannot read none.npy",
    );
    folder.write("layout.json", "{\"version\":1}");
    refused(
        &folder,
        &format!("{ANSWER} --layout layout.json"),
        "layout.json: layout JSON",
    );
    let other = flashproof_reference::Layout::dense(9, 22).to_json();
    folder.write("layout.json", other);
    refused(
        &folder,
        &format!("{ANSWER} --layout layout.json"),
        "the layout is (9, 22), but the shape is (9, 21)",
    );

    let k = fs::read(folder.0.join("k.npy")).unwrap();
    let with_bytes = |bytes: &[u8], expected: &str| {
        folder.write("k.npy", bytes);
        refused(&folder, ANSWER, expected);
    };
    with_bytes(
        &k[..k.len() - 1],
        "k.npy: cut short: 10879 bytes, but 10880 are needed",
    );
    with_bytes(&k[..5], "k.npy: cut short: 5 bytes");
    with_bytes(b"not an array", "k.npy: not an .npy file");
    let mut wrong = k.clone();
    let at = wrong.windows(3).position(|word| word == b"<f8").unwrap();
    wrong[at + 1] = b'i';
    with_bytes(&wrong, "k.npy: elements are <i8, but must be f2, f4 or f8");
    // A header alone may claim anything: refused by the estimate, before memory or the file's length matter.
    let header = npy::write(&[2, 0, 32], &[]);
    let claim = String::from_utf8_lossy(&header[10..])
        .replace("(2, 0, 32, ), }        ", "(2, 99999999, 32), }   ");
    let mut huge = header[..10].to_vec();
    huge.extend(claim.as_bytes());
    assert_eq!(huge.len(), header.len());
    folder.write("v.npy", &huge);
    with_bytes(&huge, "k [2, 99999999, 32] need about ");
}

#[test]
fn a_window_is_two_sides() {
    let folder = Folder::new("window");
    folder.problem(CASE);
    for window in ["3", "3,x", "-1,2", ""] {
        let arguments: Vec<&str> = ANSWER.split(' ').chain(["--window", window]).collect();
        let (code, _, err) = folder.run(&arguments.join(" "));
        assert_eq!(code, 2, "{window:?}: {err}");
    }
    let (code, _, err) = folder.run(&format!("{ANSWER} --window -,0"));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn halves_are_read_as_they_are() {
    let folder = Folder::new("halves");
    let problem = folder.problem(CASE);
    folder.run(ANSWER);
    let before = folder.array("o.npy");
    let Tensor::F16(values) = &problem.v else {
        panic!("the case is of f16");
    };
    let mut bytes = fs::read(folder.0.join("v.npy")).unwrap();
    bytes.truncate(bytes.len() - 8 * values.len());
    let at = bytes.windows(3).position(|word| word == b"<f8").unwrap();
    bytes[at + 2] = b'2';
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    folder.write("v.npy", bytes);
    let (code, _, err) = folder.run(ANSWER);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(folder.array("o.npy"), before);
}

/// A safetensors file of bf16 tensors.
fn safetensors_of(tensors: &[(&str, Vec<usize>, &[f64])]) -> Vec<u8> {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| {
            let words = values.iter().map(|&x| flashproof::convert::f64_to_bf16(x));
            words.flat_map(half::bf16::to_le_bytes).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn one_safetensors_file_is_a_problem_and_its_result() {
    let folder = Folder::new("safetensors");
    let problem = folder.problem(&format!("{CASE} dtype=bf16"));
    let npy = ANSWER.replace("--dtype f16", "--dtype bf16");
    let (code, _, err) = folder.run(&npy);
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = folder.array("o.npy");
    let o = rounded(DType::Bf16, &expected.values);
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(Tensor::to_f64);
    let write = |o: &[f64]| {
        let file = safetensors_of(&[
            ("q", vec![4, 9, 32], &q),
            ("k", vec![2, 21, 32], &k),
            ("v", vec![2, 21, 32], &v),
            ("output", vec![4, 9, 32], o),
            ("attention.out", vec![4, 9, 32], o),
        ]);
        folder.write("all.safetensors", file);
    };
    write(&o);
    let all = "--tensors all.safetensors --dtype bf16 --causal";
    let (code, _, err) = folder.run(&format!("answer {all} --o again.npy"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(folder.array("again.npy"), expected);
    let judge = format!("judge {all} --target sm_90 --p-dtype bf16");
    let (code, out, _) = folder.run(&judge);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("all.safetensors:output: agree: 1152 elements"),
        "{out}"
    );
    // Both kinds of file in one problem, and a tensor by its name.
    let mixed = "judge --q q.npy --k all.safetensors:k --v v.npy --output all.safetensors:attention.out --dtype bf16 \
                 --causal --target sm_90 --p-dtype bf16";
    let (code, out, err) = folder.run(mixed);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.starts_with("all.safetensors:attention.out: agree"),
        "{out}"
    );
    let mut wrong = o;
    wrong[77] += 0.5;
    write(&wrong);
    let (code, out, _) = folder.run(&judge);
    assert_eq!(code, 1, "{out}");

    refused(
        &folder,
        &mixed.replace(":k ", ":keys "),
        "all.safetensors: tensor keys is missing from the 5 tensors of the file",
    );
    refused(
        &folder,
        &judge.replace("--tensors all.safetensors", "--tensors none.safetensors"),
        "cannot read none.safetensors",
    );
    let (code, _, err) = folder.run("answer --dtype bf16 --o o.npy --q q.npy");
    assert_eq!(code, 2);
    assert!(err.contains("--k <K.npy>"), "{err}");
    let whole = fs::read(folder.0.join("all.safetensors")).unwrap();
    folder.write("all.safetensors", &whole[..whole.len() - 1]);
    // The last tensor is cut, whichever it is; a header cut short is no header.
    let (code, _, err) = folder.run(&mixed.replace("q.npy", "all.safetensors:q"));
    assert!(code == 2 || err.is_empty(), "{err}");
    folder.write("all.safetensors", &whole[..100]);
    refused(
        &folder,
        &judge,
        "all.safetensors: not a safetensors file of 100 bytes",
    );
}

#[test]
fn inputs_of_64_bits_have_an_answer_and_no_bound() {
    let folder = Folder::new("f64");
    let third = 1.0 / 3.0; // no number of f32
    for (name, numbers) in [
        ("q", [1.0, third]),
        ("k", [third, 0.1]),
        ("v", [0.2, third]),
    ] {
        folder.write(&format!("{name}.npy"), npy::write(&[1, 2, 1], &numbers));
    }
    let files = "--q q.npy --k k.npy --v v.npy --dtype f64";
    let (code, _, error) = folder.run(&format!("answer {files} --o o.npy --lse lse.npy"));
    assert_eq!((code, error.as_str()), (0, ""));
    let tensor = |name: &str| Tensor::F64(folder.array(name).values);
    let [q, k, v] = ["q.npy", "k.npy", "v.npy"].map(tensor);
    let shape = flashproof_reference::Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: 2,
        seqlen_kv: 2,
        head_dim: 1,
    };
    let layout = flashproof_reference::Layout::dense(2, 2);
    let expected = attention(&Problem::new(shape, q, k, v, 1.0, layout).unwrap()).unwrap();
    assert_eq!(folder.array("o.npy").values, expected.o);
    assert_eq!(folder.array("lse.npy").values, expected.lse);
    let judge = format!("judge {files} --output o.npy --target sm_80 --p-dtype f64");
    refused(&folder, &judge, "f64: every bound is one of sums in f32");
}
