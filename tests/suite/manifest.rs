//! Kernels of strangers: skeletons of manifests, and the shipped examples from their files to a verdict.

use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::kernel::manifest::{BufferName, MaskRule, ParamValue};
use flashproof::kernel::{self, Kernel, Manifest, skeleton};
use flashproof::oracle::{Exploration, attended, cases, explore};
use flashproof::ptx::parse;

fn inferred(kernel: &Kernel) -> Manifest {
    let module = parse(kernel.name(), kernel.ptx()).unwrap();
    let text = skeleton(&module, None).unwrap();
    Manifest::parse(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", kernel.name()))
}

#[test]
fn a_skeleton_parses_and_covers_every_parameter() {
    for kernel in kernel::all()
        .iter()
        .chain(kernel::twins())
        .chain(kernel::examples())
    {
        let own = kernel.manifest();
        let found = inferred(kernel);
        let place = |manifest: &Manifest| -> Vec<(u32, u32)> {
            let params = manifest.params.iter();
            params.map(|param| (param.offset, param.bytes())).collect()
        };
        assert_eq!(place(&found), place(own), "{}", kernel.name());
        let pointers = |manifest: &Manifest| -> Vec<ParamValue> {
            let params = manifest.params.iter().map(|param| param.value.clone());
            params
                .filter(|value| matches!(value, ParamValue::Pointer(_) | ParamValue::Null))
                .collect()
        };
        // What a threshold kernel is given besides, no one can tell from its loads and stores.
        if !own.supports(MaskRule::Threshold) {
            assert_eq!(pointers(&found), pointers(own), "{}", kernel.name());
        }
        let [a, b] = [&found.method, &own.method];
        let dtype = own.requires.dtype[0];
        assert_eq!(
            (a.exponential, a.reciprocal, a.for_inputs(dtype).p_dtype),
            (b.exponential, b.reciprocal, b.for_inputs(dtype).p_dtype),
            "{}",
            kernel.name()
        );
        assert_eq!(found.cta, own.cta, "{}", kernel.name());
    }
}

#[test]
fn the_skeleton_of_a_tile_list_kernel_needs_hardly_an_edit() {
    let kernel = &kernel::all()[0];
    let (found, own) = (inferred(kernel), kernel.manifest());
    assert_eq!(found.entry, own.entry);
    assert_eq!(found.requires.head_dim, own.requires.head_dim);
    assert_eq!(
        (&found.grid, &found.shared_bytes),
        (&own.grid, &own.shared_bytes)
    );
    assert_eq!(found.mask, own.mask);
    let differing: Vec<&str> = found
        .params
        .iter()
        .zip(&own.params)
        .filter(|(found, own)| found.value != own.value)
        .map(|(found, _)| found.key.as_str())
        .collect();
    assert!(differing.is_empty(), "{differing:?}");
}

#[test]
fn a_skeleton_needs_an_entry() {
    let module = parse("m", ".version 8.0\n.target sm_80\n.address_size 64\n").unwrap();
    assert!(
        skeleton(&module, None)
            .unwrap_err()
            .to_string()
            .contains("no entry")
    );
    let module = parse("m", kernel::all()[0].ptx()).unwrap();
    let error = skeleton(&module, Some("other")).unwrap_err().to_string();
    assert!(
        error.starts_with("the PTX has no entry `other`; it has block_sparse_sm80_f16_d32"),
        "{error}"
    );
}

#[test]
fn the_examples_agree_in_every_way_and_attend_to_their_layouts() {
    for kernel in kernel::examples() {
        let module = parse(kernel.name(), kernel.ptx()).unwrap();
        assert_eq!(kernel.check_params(&module), Ok(()), "{}", kernel.name());
        let mut pairs = 0;
        for (i, case) in cases(kernel, 11).take(6).enumerate() {
            let ways = if i == 1 {
                Exploration::all(1)
            } else {
                Exploration {
                    schedules: 2,
                    ..Exploration::default()
                }
            };
            for report in explore(kernel, &case, &Backend::default(), &ways).unwrap() {
                assert_eq!(report.verdict.name(), "agree", "{report}");
                assert!(
                    report.findings.is_empty(),
                    "{report}: {:?}",
                    report.findings
                );
            }
            let found = attended(kernel, &case).unwrap().unwrap();
            assert!(found.is_clean(), "{case}: {found:?}");
            assert!(found.work.is_some(), "{case}");
            pairs += found.pairs;
        }
        assert!(pairs > 1000, "{}: {pairs}", kernel.name());
    }
}

#[test]
fn the_examples_are_launched_as_their_readmes_say() {
    for name in ["triton_attention", "nvcc_attention"] {
        let folder = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let readme = std::fs::read_to_string(format!("{folder}/README.md")).unwrap();
        let commands: Vec<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("$ "))
            .collect();
        assert_eq!(commands.len(), 4, "{name}: {commands:?}");
        let verify = commands.last().unwrap();
        assert!(
            verify.starts_with("flashproof verify attention.ptx --manifest attention.toml"),
            "{verify}"
        );
    }
}

#[test]
fn parameters_of_a_stranger_are_refused_with_key_value_and_limit() {
    let text = kernel::examples()[1].name();
    assert_eq!(text, "nvcc_attention");
    let own = include_str!("../../examples/nvcc_attention/attention.toml");
    let error = |from: &str, to: &str| {
        assert!(own.contains(from), "{from}");
        Manifest::parse(&own.replacen(from, to, 1))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error("offset = 60, type", "offset = 62, type"),
        "param[0].field[10].offset = 62, but a value of 4 bytes lies at a multiple of 4"
    );
    assert_eq!(
        error("value = \"scale_log2\"", "value = \"scal\""),
        "param[0].field[10].value = \"scal\", but it is one of scale, scale_log2, a finite number (did you mean `scale`?)"
    );
    assert_eq!(
        error(
            "type = \"u8\", name = \"causal\", value = \"causal\"",
            "type = \"pointer\", value = \"scratch\""
        ),
        "param[0].field[11].bytes = missing, but a parameter of type \"pointer\" needs it"
    );
    assert_eq!(
        error(
            "type = \"u8\", name = \"causal\", value = \"causal\"",
            "type = \"u8\", value = \"1\", bytes = \"2\""
        ),
        "param[0].field[11].bytes = given, but a parameter of type \"u8\" takes value"
    );
    assert_eq!(
        error(
            "mask = [\"causal\", \"window\"]",
            "mask = [\"window\"]\nmask_always = [\"causal\"]"
        ),
        "mask_always = causal, but it may list \"causal\", and only with \"causal\" in mask"
    );
    // A hole where the PTX has a parameter.
    let triton = include_str!("../../examples/triton_attention/attention.toml");
    let without = triton.replace(
        "[[param]]\noffset = 80\ntype = \"f32\"\nvalue = \"scale_log2\"\n",
        "",
    );
    let kernel = Kernel::from_parts("t", kernel::examples()[0].ptx(), &without).unwrap();
    let module = parse("t", kernel.ptx()).unwrap();
    assert_eq!(
        kernel.check_params(&module).unwrap_err().to_string(),
        "`attention_param_15`, bytes 80 to 84 of the parameters of `attention`, has no value in the manifest"
    );
}

#[test]
fn sequences_of_variable_length_are_bound() {
    let own = include_str!("../../examples/nvcc_attention/attention.toml");
    let text = own
        .replace(
            "tensor_order = \"bshd\"",
            "tensor_order = \"varlen\"\nlse_order = \"hbs\"",
        )
        .replace(
            "{ offset = 64, type = \"u8\", name = \"causal\", value = \"causal\" },",
            "{ offset = 64, type = \"pointer\", value = \"cu_seqlens_q\" },\n\
             { offset = 72, type = \"pointer\", value = \"cu_seqlens_kv\" },\n\
             { offset = 80, type = \"i64\", value = \"0 - 3\" },",
        );
    let kernel = Kernel::from_parts("mine", "", &text).unwrap();
    let case: Case = "kernel=mine batch=3 num_q_heads=2 seqlen_q=5 seqlen_kv=7 head_dim=64"
        .parse()
        .unwrap();
    let binding = kernel.bind(&case.problem().unwrap()).unwrap();
    let starts = |name: BufferName| match &binding.buffer(name.text()).unwrap().1.content {
        kernel::Content::Bytes(bytes) => bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect::<Vec<_>>(),
        kernel::Content::Uninitialised(_) => panic!("starts have values"),
    };
    assert_eq!(starts(BufferName::CuSeqlensQ), [0, 5, 10, 15]);
    assert_eq!(starts(BufferName::CuSeqlensKv), [0, 7, 14, 21]);
    let space = binding.param_bytes(|_| 0);
    assert_eq!(space[80..88], (-3_i64).to_le_bytes());
    // lse (heads, tokens): head 1 of batch entry 0 comes after all of head 0.
    let lse: Vec<u8> = (0..30_u16)
        .flat_map(|x| f32::from(x).to_le_bytes())
        .collect();
    let problem = case.problem().unwrap();
    let o = vec![0; 3 * 2 * 5 * 64 * 2];
    let outputs = kernel
        .decode(&problem.shape, problem.dtype(), &o, Some(&lse))
        .unwrap();
    assert_eq!(outputs.lse[5..7], [15.0, 16.0]);
    assert_eq!(outputs.lse[10..12], [5.0, 6.0]);
}

#[test]
fn right_answers_with_too_much_work_are_a_finding() {
    let own = &kernel::examples()[1];
    // The loop over tiles starts at key 0 whatever the window.
    let (from, to) = ("max.s32 \t%r126, %r125, 0;", "mov.u32 \t%r126, 0;");
    assert_eq!(own.ptx().matches(from).count(), 1);
    let toml = include_str!("../../examples/nvcc_attention/attention.toml");
    let wasteful = Kernel::from_parts("wasteful", &own.ptx().replace(from, to), toml).unwrap();
    let case: Case =
        "kernel=wasteful seqlen_q=130 seqlen_kv=130 head_dim=64 layout=causal+window(20,-)"
            .parse()
            .unwrap();
    let right = explore(
        &wasteful,
        &case,
        &Backend::default(),
        &Exploration::default(),
    )
    .unwrap();
    assert_eq!(right[0].verdict.name(), "agree", "{}", right[0]);
    let found = attended(&wasteful, &case).unwrap().unwrap();
    assert_eq!(found.wrong, None, "the pairs are right");
    let work = found.work.unwrap();
    assert!(work.visited > work.needed, "{work:?}");
    let (cta, [_, _, key]) = work.extra.unwrap();
    assert!(cta[0] > 2 && key == 0, "{cta:?} {key}");
    let clean = attended(own, &case).unwrap().unwrap();
    assert!(clean.is_clean(), "{clean:?}");
}
