//! What somebody meets who brings a kernel of their own: files that are none, guesses, and too much work.

use flashproof::analysis::{Answer, analyze, shared_race};
use flashproof::kernel::{self, Manifest, skeleton};
use flashproof::ptx::parse;
use std::path::{Path, PathBuf};
use std::process::Command;

const TRITON: &str = include_str!("../../examples/triton_attention/attention.ptx");
const MANIFEST: &str = include_str!("../../examples/triton_attention/attention.toml");

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("flashproof-stranger-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// Exit code, standard output, standard error of a command line.
    fn run(&self, line: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .current_dir(&self.0)
            .args(line.split_whitespace())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn refused(&self, line: &str, why: &str) {
        let (code, out, error) = self.run(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {error}");
        assert!(error.contains(why), "{line}: {error}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_that_are_no_ptx_or_manifest_are_refused_with_what_they_should_be() {
    let folder = Folder::new("files");
    folder.write("a.ptx", TRITON);
    folder.write("a.toml", MANIFEST);
    folder.write("elf.ptx", b"\x7fELF\x02\x01\xff\x00");
    folder.write("elf.toml", b"version\xff");
    folder.write("long.toml", vec![b'#'; (1 << 20) + 1]);
    folder.write("text.toml", "grid");
    std::fs::create_dir_all(folder.0.join("folder.ptx")).unwrap();
    let ptx = "cannot read elf.ptx: byte 6 is 0xff, which is not UTF-8; it should be PTX, which is text: `nvcc -ptx` writes it";
    for line in [
        "verify elf.ptx --manifest a.toml",
        "analyze elf.ptx",
        "manifest init elf.ptx",
    ] {
        folder.refused(line, ptx);
    }
    let toml = "byte 7 is 0xff, which is not UTF-8; it should be a manifest, which is TOML text: `flashproof manifest init FILE.ptx` writes a skeleton";
    folder.refused("verify a.ptx --manifest elf.toml", toml);
    folder.refused("analyze a.ptx --manifest elf.toml", toml);
    folder.refused(
        "verify a.ptx --manifest long.toml",
        "it has more than 1048576 bytes, the most that are read",
    );
    folder.refused(
        "verify a.ptx --manifest none.toml",
        "cannot read none.toml: No such file",
    );
    folder.refused(
        "verify folder.ptx --manifest a.toml",
        "cannot read folder.ptx: it is a folder; name a file of PTX",
    );
    folder.refused("verify a.ptx --manifest text.toml", "text.toml: line 1");
    folder.refused("analyze a.ptx --manifest text.toml", "text.toml: line 1");
    // A device without an end is read to the limit.
    if Path::new("/dev/zero").exists() {
        folder.refused(
            "verify a.ptx --manifest /dev/zero",
            "it has more than 1048576 bytes",
        );
    }
}

/// Stores that Triton lets several lanes make of one value are no race, and are one where the values differ.
#[test]
fn lanes_that_store_one_value_do_not_race() {
    let race = |text: &str| {
        let results = analyze(&parse("t", text).unwrap());
        let found = results
            .into_iter()
            .find(|found| found.pass == shared_race::PASS);
        found.unwrap().answer
    };
    assert_eq!(race(TRITON), Answer::Proved);
    // One step of each butterfly less, and lanes hold what only half of their group has summed.
    let step = ", 1, 31, -1;";
    assert!(TRITON.contains(step));
    assert_eq!(race(&TRITON.replace(step, ", 4, 31, -1;")), Answer::Refuted);
}

/// What a manifest promises is asked of kernels too that apply a rule always.
#[test]
fn a_manifest_answers_what_only_a_launch_can() {
    let folder = Folder::new("launch");
    folder.write("a.ptx", TRITON);
    folder.write("a.toml", MANIFEST);
    let (_, alone, _) = folder.run("analyze a.ptx");
    assert!(alone.contains("shared-bounds: unknown"), "{alone}");
    assert!(
        alone.contains("global-bounds, sectors, index-overflow: not asked: no manifest"),
        "{alone}"
    );
    let (code, out, _) = folder.run("analyze a.ptx --manifest a.toml");
    assert!(out.contains("shared-bounds: proved"), "{out}");
    assert!(out.contains("global-bounds: proved"), "{out}");
    assert!(!out.contains("not asked"), "{out}");
    folder.write("without.toml", MANIFEST.replace("version = 1", ""));
    folder.refused(
        "analyze a.ptx --manifest without.toml",
        "help: without --manifest every pass is asked but",
    );
    // The bound of a loop over keys is no constant of the launch: that alone is left.
    assert!(out.contains("index-overflow: unknown"), "{out}");
    assert_eq!(out.matches(": unknown").count(), 1, "{out}");
    assert!(!out.contains("kernel bug"), "{out}");
    assert_eq!(code, 3, "{out}");
}

#[test]
fn too_much_work_is_a_finding_though_every_answer_is_right() {
    let folder = Folder::new("work");
    let line = "verify a.ptx --manifest a.toml --attended --case";
    let case = "kernel=a seqlen_q=128 seqlen_kv=200 head_dim=32 layout=causal";
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .current_dir(&folder.0)
            .args(line.split(' '))
            .arg(case)
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), out)
    };
    folder.write("a.toml", MANIFEST);
    folder.write("a.ptx", TRITON);
    let (code, out) = run();
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("attended: pass"), "{out}");

    // Every tile of keys, whatever the diagonal: masked, so the weights are right.
    let bound = "min.s32 \t%r14, %r47, %r85;";
    assert!(TRITON.contains(bound));
    folder.write("a.ptx", TRITON.replace(bound, "mov.u32 \t%r14, %r47;"));
    let (code, out) = run();
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("1 agree, 0 disagree"), "{out}");
    assert!(out.contains("[extra-work]"), "{out}");
    assert!(out.contains("tiles visited"), "{out}");
}

#[test]
fn guesses_that_are_left_are_named_beside_a_disagreement() {
    let folder = Folder::new("guesses");
    folder.write("a.ptx", TRITON);
    let (_, skeleton, _) = folder.run("manifest init a.ptx");
    let guessed = skeleton
        .replace("head_dim = [64]", "head_dim = [32]")
        .replace("(tile_q + 4 * tile_kv) * head_dim * 2", "12288");
    folder.write("a.toml", &guessed);
    let (code, out, _) = folder.run("verify a.ptx --manifest a.toml --cases 2");
    assert_eq!(code, 1, "{out}");
    let count = guessed.matches("# guess").count();
    let advice = format!("{count} lines of a.toml are still marked `guess`");
    assert!(out.contains(&advice), "{out}");
    folder.write("a.toml", guessed.replace("# guess", "#"));
    let (_, out, _) = folder.run("verify a.ptx --manifest a.toml --cases 2");
    assert!(!out.contains("still marked"), "{out}");
}

/// A kernel with three strides for each of its four tensors, whose scale it multiplies by log2(e) itself, and which reads q
/// and v by words.
#[test]
fn a_skeleton_guesses_strides_and_scale() {
    let strides: Vec<u32> = (0..12).collect();
    let params = strides.iter().map(|i| format!(".param .u32 s{i},\n"));
    let loads = strides.iter().map(|i| {
        format!("ld.param.u32 %r2, [s{i}];\nmul.lo.s32 %r3, %r2, %r1;\nadd.s32 %r4, %r4, %r3;\n")
    });
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 q, .param .u64 k_, .param .u64 v,\n\
         .param .u64 o, {}.param .f32 scale)\n{{\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<4>;\n\
         mov.u32 %r1, %ctaid.x;\nmov.u32 %r4, 0;\n{}ld.param.u64 %rd1, [q];\nld.global.u32 %r5, [%rd1];\n\
         ld.param.u64 %rd2, [k_];\nld.global.v4.u32 {{%r5, %r6, %r7, %r8}}, [%rd2];\nld.param.u64 %rd3, [v];\n\
         ld.global.u32 %r5, [%rd3];\nld.param.f32 %f1, [scale];\nmul.f32 %f2, %f1, 0f3FB8AA3B;\n\
         ld.param.u64 %rd4, [o];\nst.global.f32 [%rd4], %f2;\nret;\n}}\n",
        params.collect::<String>(),
        loads.collect::<String>(),
    );
    let found = skeleton(&parse("k", &text).unwrap(), None).unwrap();
    let values: Vec<&str> = found
        .lines()
        .filter_map(|line| line.strip_prefix("value = \"")?.split('"').next())
        .collect();
    let (q, kv) = (
        [
            "num_q_heads * seqlen_q * head_dim",
            "seqlen_q * head_dim",
            "head_dim",
        ],
        [
            "num_kv_heads * seqlen_kv * head_dim",
            "seqlen_kv * head_dim",
            "head_dim",
        ],
    );
    let expected = [&["q", "k", "v", "o"][..], &q, &kv, &kv, &q, &["scale"]].concat();
    assert_eq!(values, expected, "{found}");
    assert!(found.contains("mask = [\"causal\"]"), "{found}");
}

/// What a textbook has: the warp matrix functions, with everything in shared memory.
#[test]
fn a_kernel_of_warp_matrix_functions_is_verified() {
    let ptx = include_str!("../wmma/attention.ptx");
    let folder = Folder::new("wmma");
    folder.write("w.toml", include_str!("../wmma/attention.toml"));
    folder.write("w.ptx", ptx);
    let (_, skeleton, _) = folder.run("manifest init w.ptx");
    for name in ["q", "k", "v", "o", "seqlen_q", "seqlen_kv", "scale_log2"] {
        assert!(
            skeleton.contains(&format!("value = \"{name}\"")),
            "{skeleton}"
        );
    }
    let line = "verify w.ptx --manifest w.toml --cases 3 --schedules 2 --contract both --attended";
    let (code, out, _) = folder.run(line);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("12 agree, 0 disagree"), "{out}");
    assert!(out.contains("attended: pass"), "{out}");

    // Nothing between weights and sums that lanes write, and the fragments that the warp reads of them.
    let barriers: Vec<usize> = ptx
        .match_indices("bar.warp.sync")
        .map(|(at, _)| at)
        .collect();
    let (before, after) = ptx.split_at(barriers[3]);
    folder.write("w.ptx", before.to_owned() + "//" + after);
    let (code, out, _) = folder.run(line);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("[shared-race]"), "{out}");

    // Values taken as if they lay by columns.
    folder.write(
        "w.ptx",
        ptx.replace(
            "wmma.load.b.sync.aligned.row",
            "wmma.load.b.sync.aligned.col",
        ),
    );
    let (code, out, _) = folder.run(line);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("outside their bounds"), "{out}");
}

/// A CTA may compute any number of rows, as long as no list of tiles has to say which.
#[test]
fn a_warp_for_a_row_is_a_tile() {
    let own = include_str!("../../examples/nvcc_attention/attention.toml");
    let kernel = kernel::by_name("nvcc_attention").unwrap();
    assert_eq!(kernel.manifest().method.tile_q, 16);
    let narrow = own
        .replace("tile_q = 16", "tile_q = 4")
        .replace("tile_kv = 32", "tile_kv = 1");
    assert!(Manifest::parse(&narrow).is_ok());
    let lists = narrow.replace(
        "[\"causal\", \"window\"]",
        "[\"causal\", \"window\", \"blocks\"]",
    );
    assert_eq!(
        Manifest::parse(&lists).unwrap_err().to_string(),
        "method.tile_q = 4, but a tile is a multiple of 16 from 16 to 1024 where the kernel reads lists of tiles"
    );
}
