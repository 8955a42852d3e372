use super::*;
use crate::kernel::Content;
use flashproof_reference::{BlockPattern, Tensor, Window};

const SHAPE: Shape = Shape {
    batch: 2,
    num_q_heads: 4,
    num_kv_heads: 2,
    seqlen_q: 200,
    seqlen_kv: 300,
    head_dim: 64,
};

fn attention(shape: Shape, layout: Layout) -> Attention {
    Attention::new(shape, DType::F16, layout)
}

fn dense(shape: Shape) -> Attention {
    attention(shape, Layout::dense(shape.seqlen_q, shape.seqlen_kv))
}

fn blocks() -> Layout {
    let pattern = BlockPattern::from_fn(4, 5, |row, column| (row + column) % 2 == 0);
    Layout::dense(200, 300)
        .with_blocks(64, 64)
        .unwrap()
        .with_heads(vec![pattern])
        .unwrap()
}

#[track_caller]
fn refused(attention: &Attention, message: &str) {
    let error = attention.plan(&Hardware::a100()).unwrap_err();
    assert_eq!(error.to_string(), message);
}

#[test]
fn the_kernel_is_the_cards_and_the_layouts() {
    let chosen = |attention: &Attention| {
        let plan = attention.plan(&Hardware::a100()).unwrap();
        plan.kernel().name().to_owned()
    };
    assert_eq!(chosen(&dense(SHAPE)), "window_sm80");
    let window = Layout::dense(200, 300).with_window(Window {
        left: Some(9),
        right: Some(0),
    });
    assert_eq!(chosen(&attention(SHAPE, window)), "window_sm80");
    assert_eq!(chosen(&attention(SHAPE, blocks())), "block_sparse_sm80");
    let thresholds = dense(SHAPE).with_thresholds(vec![0.5; 4 * 4]);
    assert_eq!(chosen(&thresholds), "bsfa_sm80");
    // On Hopper, its own kernel where this program carries one, else the one for all.
    let on_h200 = attention(SHAPE, blocks()).plan(&Hardware::h200()).unwrap();
    let own = kernel::all()
        .iter()
        .any(|k| k.name() == "block_sparse_sm90");
    let expected = if own {
        "block_sparse_sm90"
    } else {
        "block_sparse_sm80"
    };
    assert_eq!(on_h200.kernel().name(), expected);
    // head_dim 32 has no kernel of Hopper's own.
    let narrow = dense(Shape {
        head_dim: 32,
        ..SHAPE
    });
    assert_eq!(
        narrow.plan(&Hardware::h200()).unwrap().kernel().name(),
        "window_sm80"
    );
}

#[test]
fn a_plan_has_the_launch_and_sizes() {
    let plan = attention(SHAPE, blocks()).plan(&Hardware::a100()).unwrap();
    let binding = plan.binding();
    assert_eq!(binding.entry, "block_sparse_sm80_f16_d64");
    assert_eq!((binding.grid, binding.shared_bytes), ([4, 4, 2], 40_960));
    let bytes = |name: &str| match &binding.buffer(name).unwrap().1.content {
        Content::Uninitialised(bytes) => *bytes,
        Content::Bytes(_) => panic!("{name} has no values yet"),
    };
    assert_eq!(bytes("q"), 2 * 4 * 200 * 64 * 2);
    assert_eq!(bytes("k"), 2 * 2 * 300 * 64 * 2);
    assert_eq!(bytes("lse"), 2 * 4 * 200 * 4);
}

#[test]
fn sizes_beyond_32_bits_have_a_plan() {
    // 2^33 elements, 16 GiB a tensor; every offset is 64-bit.
    let shape = Shape {
        batch: 64,
        num_q_heads: 64,
        num_kv_heads: 64,
        seqlen_q: 16_384,
        seqlen_kv: 16_384,
        head_dim: 128,
    };
    let plan = dense(shape).plan(&Hardware::a100()).unwrap();
    let (_, q) = plan.binding().buffer("q").unwrap();
    assert_eq!(q.content, Content::Uninitialised(1 << 34));
    let too_many = Shape {
        batch: 1 << 40,
        seqlen_q: 1 << 18,
        ..shape
    };
    refused(
        &dense(too_many),
        "q of shape [1099511627776, 64, 262144, 128] has more elements than this machine can address",
    );
}

#[test]
fn what_no_kernel_does_is_refused_with_its_value() {
    let with = |change: fn(&mut Shape)| {
        let mut shape = SHAPE;
        change(&mut shape);
        dense(shape)
    };
    refused(
        &with(|s| s.head_dim = 48),
        "head_dim = 48: the kernel takes 32, 64, 128",
    );
    refused(
        &with(|s| s.num_kv_heads = 3),
        "num_q_heads is 4, but must be a multiple of num_kv_heads, which is 3",
    );
    refused(
        &with(|s| s.num_kv_heads = 0),
        "num_kv_heads is 0, but must be at least 1",
    );
    refused(
        &with(|s| s.seqlen_q = 0),
        "seqlen_q = 0: a grid has at least one CTA",
    );
    refused(
        &with(|s| s.batch = 0),
        "batch = 0: a grid has at least one CTA",
    );
    refused(
        &with(|s| s.seqlen_kv = 1 << 30),
        "seqlen_q + seqlen_kv = 1073742024: the kernel takes up to 536870912",
    );
    refused(
        &with(|s| s.batch = 70_000),
        "grid[2] of the manifest is 70000, but it must be 1 to 65535",
    );
    refused(
        &attention(SHAPE, Layout::dense(200, 301)),
        "the layout is (200, 301), but the shape is (200, 300) (seqlen_q, seqlen_kv)",
    );
    refused(
        &Attention::new(SHAPE, DType::F32, Layout::dense(200, 300)),
        "dtype f32: the kernel takes f16, bf16",
    );
    refused(
        &dense(SHAPE).with_scale(f32::NAN),
        "scale is NaN (0x7fc00000), but must be finite",
    );
    refused(
        &dense(SHAPE).with_scale(-1.0),
        "scale = -1e0 (0xbf800000): the kernel takes 1e-30 to 1e20",
    );
    // Zero keys are a problem with an answer.
    let no_keys = with(|s| s.seqlen_kv = 0);
    assert!(no_keys.plan(&Hardware::a100()).is_ok());
}

#[test]
fn a_list_that_is_none_is_refused_before_there_is_a_layout() {
    let with = |row_ptr: Vec<usize>, col_idx: Vec<usize>| {
        Layout::dense(200, 300)
            .with_blocks(64, 64)
            .unwrap()
            .with_heads(vec![BlockPattern { row_ptr, col_idx }])
            .map_err(|error| error.to_string())
    };
    let error = with(vec![0, 2, 1, 2, 2], vec![0, 1]).unwrap_err();
    assert!(error.contains("row_ptr"), "{error}");
    let error = with(vec![0, 1, 1, 1, 1], vec![5]).unwrap_err();
    assert!(
        error.contains("col_idx[0] = 5") && error.contains("5 block columns"),
        "{error}"
    );
}

#[test]
fn thresholds_have_one_shape_and_are_numbers() {
    let with = |thresholds| dense(SHAPE).with_thresholds(thresholds);
    refused(
        &with(vec![0.0; 15]),
        "15 thresholds, but this kernel takes 16 here: num_q_heads times the tiles of queries, those of cached keys counted",
    );
    let mut nan = vec![0.0; 16];
    nan[6] = f32::NAN;
    refused(
        &with(nan),
        "the threshold of q_head 1, tile 2 is NaN (0x7fc00000): it must be a number or an infinity",
    );
    let infinite = vec![f32::INFINITY; 16];
    assert!(with(infinite).plan(&Hardware::a100()).is_ok());
    // 100 keys were there before the first query: one tile of 64, whose thresholds nobody reads.
    let causal = attention(SHAPE, Layout::dense_causal(200, 300));
    let mut thresholds = vec![0.0; 20];
    thresholds[5] = f32::NAN;
    let plan = causal.with_thresholds(thresholds).plan(&Hardware::a100());
    assert!(plan.is_ok(), "{plan:?}");
    // Blocks and thresholds at once: the kernel with thresholds has no lists.
    let both = attention(SHAPE, blocks()).with_thresholds(vec![0.0; 16]);
    refused(&both, "1 block patterns: the kernel has no such rule");
}

#[test]
fn a_card_that_cannot_is_named() {
    let old = Hardware::of("NVIDIA T4", (7, 5), 40, 4 << 20);
    let error = dense(SHAPE).plan(&old).unwrap_err().to_string();
    assert!(
        error.starts_with("NVIDIA T4, sm_75: the kernels need sm_80"),
        "{error}"
    );
    let mut small = Hardware::a100();
    small.shared_bytes_max = 40_000;
    assert_eq!(
        dense(SHAPE).plan(&small).unwrap_err().to_string(),
        "window_sm80 needs 40960 bytes of shared memory, but NVIDIA A100, sm_80 gives a CTA at most 40000"
    );
}

#[test]
fn tensors_are_checked_against_the_plan() {
    let plan = dense(SHAPE).plan(&Hardware::a100()).unwrap();
    let (q, kv) = (SHAPE.q_extents(), SHAPE.kv_extents());
    let count = |extents: [usize; 4]| extents.iter().product();
    let view = |name, extents, address| {
        View::contiguous(name, DType::F16, extents, address, count(extents))
    };
    let inputs = [
        view("q", q, 0x100_0000),
        view("k", kv, 0x200_0000),
        view("v", kv, 0x300_0000),
    ];
    let o = view("o", q, 0x400_0000);
    let lse = View::contiguous("lse", DType::F32, [2, 4, 200, 1], 0x500_0000, 1600);
    assert_eq!(plan.check(&inputs, &o, Some(&lse)), Ok(()));
    let over = view("o", q, 0x100_0000);
    assert_eq!(
        plan.check(&inputs, &over, None).unwrap_err().to_string(),
        "o (0x1000000, 204800 bytes) shares memory with q"
    );
    let swapped = [inputs[1], inputs[0], inputs[2]];
    assert_eq!(
        plan.check(&swapped, &o, None).unwrap_err().to_string(),
        "k has heads = 2, but the launch is for 4"
    );
}

#[test]
fn a_problem_and_its_attention_have_the_same_launch() {
    let count = |extents: [usize; 4]| extents.iter().product::<usize>();
    let [q, k] = [SHAPE.q_extents(), SHAPE.kv_extents()]
        .map(|extents| Tensor::from_f32_rounded(DType::F16, &vec![0.5; count(extents)]));
    let problem = Problem::new(SHAPE, q, k.clone(), k, 0.125, blocks()).unwrap();
    let plan = Attention::of(&problem).plan(&Hardware::a100()).unwrap();
    let full = plan.kernel().bind(&problem).unwrap();
    assert_eq!(plan.binding().args, full.args);
    let given = plan
        .clone()
        .with_values([&problem.q, &problem.k, &problem.v])
        .unwrap();
    assert_eq!(given.binding(), &full);
    let swapped = plan
        .clone()
        .with_values([&problem.q, &problem.q, &problem.v]);
    assert_eq!(
        swapped.unwrap_err().to_string(),
        "k has 102400 elements, but its shape needs 76800"
    );
    assert_eq!(plan.binding().grid, full.grid);
}
