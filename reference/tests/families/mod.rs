//! Families of problems, by what they put in the way of a reference. Shared by tests, the soak and the MPFR comparison.

use flashproof_reference::convert::{f32_from_f64, f64_from_count};
use flashproof_reference::random::Draws;
use flashproof_reference::{DType, Extents, Layout, Problem, Shape, Tensor, Window};

/// One family: its name, the format of its inputs, and how its numbers are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) dtype: DType,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Near normal; queries times the first number, values plus the second.
    Normal(f64, f64),
    /// Queries and keys near 3e4: scores near 1e9 times `head_dim`.
    Offset,
    /// Keys in equal pairs, values in opposite ones.
    Cancelling,
    /// Queries and keys 0: plain means.
    Mean,
    /// Two values whose mean lies halfway between two floats, and a key that is that much lower (0: none).
    Tie(f64),
    /// The smallest numbers of the format.
    Subnormal,
    /// Factors of the queries and of the keys.
    Factors(f64, f64),
    /// Numbers that many binades apart.
    Binades(usize),
    /// The key with the largest score has the value 0.
    LargestIsZero,
    /// Few different keys and values.
    Equal,
    /// Values like one row of a unit matrix.
    OneHot,
    /// Finite bits of any kind.
    AnyFinite,
    /// Bits of any kind.
    Any,
}

const fn family(name: &'static str, dtype: DType, kind: Kind) -> Family {
    Family { name, dtype, kind }
}

/// Every family.
pub(crate) const FAMILIES: [Family; 27] = [
    family("plain f16", DType::F16, Kind::Normal(1.0, 0.0)),
    family("plain bf16", DType::Bf16, Kind::Normal(1.0, 0.0)),
    family("plain f32", DType::F32, Kind::Normal(1.0, 0.0)),
    family("scores x 8", DType::F32, Kind::Normal(8.0, 0.0)),
    family("scores x 60", DType::F16, Kind::Normal(60.0, 0.0)),
    family("values near 5", DType::Bf16, Kind::Normal(1.0, 5.0)),
    family("scores near 1e9", DType::F32, Kind::Offset),
    family("scores near 1e9, f16", DType::F16, Kind::Offset),
    family("cancelling values", DType::F32, Kind::Cancelling),
    family("cancelling values, f16", DType::F16, Kind::Cancelling),
    family("q = k = 0", DType::F32, Kind::Mean),
    family("ties", DType::F32, Kind::Tie(0.0)),
    family("ties and e^-20", DType::F32, Kind::Tie(20.0)),
    family("ties and e^-300", DType::F32, Kind::Tie(300.0)),
    family("ties and e^-1400", DType::F32, Kind::Tie(1400.0)),
    family("subnormal f16", DType::F16, Kind::Subnormal),
    family("subnormal f32", DType::F32, Kind::Subnormal),
    family("1e15 and 1e-41", DType::F32, Kind::Factors(1e15, 1e-41)),
    family("1e-20 and 1e20", DType::Bf16, Kind::Factors(1e-20, 1e20)),
    family("40 binades", DType::Bf16, Kind::Binades(40)),
    family("200 binades", DType::Bf16, Kind::Binades(200)),
    family("largest score, value 0", DType::Bf16, Kind::LargestIsZero),
    family("few keys", DType::F16, Kind::Equal),
    family("one-hot values", DType::F32, Kind::OneHot),
    family("any finite f16", DType::F16, Kind::AnyFinite),
    family("any finite f32", DType::F32, Kind::AnyFinite),
    family("any bits f32", DType::F32, Kind::Any),
];

/// Uniform in `0..1`.
fn uniform(draws: &mut Draws) -> f64 {
    f64::from_bits(0x3ff0_0000_0000_0000 | (draws.bits() >> 12)) - 1.0
}

/// Near normal: a sum of twelve uniform numbers.
fn normal(draws: &mut Draws) -> f64 {
    (0..12).map(|_| uniform(draws)).sum::<f64>() - 6.0
}

fn bits_of_any(draws: &mut Draws, dtype: DType) -> f32 {
    let word = u32::try_from(draws.bits() >> 32).expect("32 bits");
    let half = u16::try_from(word >> 16).expect("16 bits");
    match dtype {
        DType::F16 => half::f16::from_bits(half).to_f32(),
        DType::Bf16 => f32::from_bits(word & 0xffff_0000),
        DType::F32 | DType::F64 => f32::from_bits(word),
    }
}

impl Family {
    /// Problem number `seed`, with up to `most` keys, any layout, any number of heads.
    pub(crate) fn problem(self, seed: u64, most: usize) -> Problem {
        let draws = &mut Draws::from_seed(seed);
        let num_kv_heads = 1 + draws.below(2);
        let shape = Shape {
            batch: 1,
            num_q_heads: num_kv_heads * (1 + draws.below(2)),
            num_kv_heads,
            seqlen_q: 1 + draws.below(most.min(12)),
            seqlen_kv: 1 + draws.below(most),
            head_dim: [1, 2, 3, 5, 17, 32][draws.below(6)],
        };
        let layout = layout(draws, shape);
        let scale = [1.0, 0.125, 0.176_776_7, -0.3, 0.0, 0.111_803_4][draws.below(6)];
        self.fill(draws, shape, layout, scale)
    }

    /// One head with a dense layout and the usual scale.
    pub(crate) fn dense(
        self,
        seed: u64,
        seqlen_q: usize,
        seqlen_kv: usize,
        head_dim: usize,
    ) -> Problem {
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q,
            seqlen_kv,
            head_dim,
        };
        let scale = f32_from_f64(1.0 / f64_from_count(head_dim).sqrt());
        let layout = Layout::dense(seqlen_q, seqlen_kv);
        self.fill(&mut Draws::from_seed(seed), shape, layout, scale)
    }

    fn fill(self, draws: &mut Draws, shape: Shape, layout: Layout, scale: f32) -> Problem {
        let count = |extents: [usize; 4]| extents.iter().product::<usize>();
        let (q_len, kv_len) = (count(shape.q_extents()), count(shape.kv_extents()));
        let mut q = self.numbers(draws, 0, q_len);
        let mut k = self.numbers(draws, 1, kv_len);
        let mut v = self.numbers(draws, 2, kv_len);
        let d = shape.head_dim;
        match self.kind {
            Kind::Cancelling => {
                for key in (1..kv_len / d).step_by(2) {
                    k.copy_within((key - 1) * d..key * d, key * d);
                    for c in 0..d {
                        v[key * d + c] = -v[(key - 1) * d + c];
                    }
                }
            }
            Kind::Tie(lower) => {
                // Scores 0 and -lower; where as many keys are seen of both kinds, means are 1 + m 2^-53 with m odd.
                let small = |c: usize| f64_from_count(2 * (c % 3) + 1) * 2.0_f64.powi(-52);
                for (index, v) in v.iter_mut().enumerate() {
                    let of_both = [2.0, f32_from_f64(small(index % d))];
                    *v = of_both[index / d % 2];
                }
                q.fill(0.0);
                k.fill(0.0);
                q.iter_mut().step_by(d).for_each(|q| *q = 1.0);
                for key in (2..kv_len / d).step_by(3).filter(|_| lower > 0.0) {
                    let size = f64::from(scale).abs().max(1e-3);
                    k[key * d] = f32_from_f64(-lower / size) * scale.signum();
                }
            }
            Kind::LargestIsZero => {
                for (k, v) in k.chunks_exact_mut(d).zip(v.chunks_exact_mut(d)).step_by(5) {
                    k.copy_from_slice(&q[..d]);
                    k.iter_mut().for_each(|k| *k *= 8.0 * scale.signum());
                    v.fill(0.0);
                }
            }
            Kind::Normal(..)
            | Kind::Offset
            | Kind::Mean
            | Kind::Subnormal
            | Kind::Factors(..)
            | Kind::Binades(_)
            | Kind::Equal
            | Kind::OneHot
            | Kind::AnyFinite
            | Kind::Any => {}
        }
        let [q, k, v] = [q, k, v].map(|x| Tensor::from_f32_rounded(self.dtype, &x));
        Problem::new(shape, q, k, v, scale, layout).expect("extents and lengths agree")
    }

    /// Queries (role 0), keys (1) or values (2).
    fn numbers(self, draws: &mut Draws, role: usize, count: usize) -> Vec<f32> {
        let least = match self.dtype {
            DType::F16 => half::f16::from_bits(1).to_f32(),
            DType::Bf16 => f32::from_bits(1 << 16),
            DType::F32 | DType::F64 => f32::from_bits(1),
        };
        let one_hot = draws.below(count.max(1));
        let mut number = |index: usize| match self.kind {
            Kind::Normal(factor, offset) => {
                f32_from_f64(normal(draws) * [factor, 1.0, 1.0][role] + [0.0, 0.0, offset][role])
            }
            Kind::Offset if role < 2 => f32_from_f64(3e4 + normal(draws)),
            Kind::Mean if role < 2 => 0.0,
            Kind::Tie(_) => 0.0,
            Kind::Offset | Kind::Cancelling | Kind::Mean | Kind::LargestIsZero => {
                f32_from_f64(normal(draws))
            }
            Kind::Subnormal => least * f32_from_f64(f64_from_count(draws.below(5)) - 2.0),
            Kind::Factors(of_q, of_k) => f32_from_f64(normal(draws) * [of_q, of_k, of_k][role]),
            Kind::Binades(count) => {
                let binade = i32::try_from(draws.below(count)).expect("few");
                let half = i32::try_from(count / 2).expect("few");
                f32_from_f64(normal(draws) * 2.0_f64.powi((binade - half) / [2, 2, 1][role]))
            }
            Kind::Equal => f32_from_f64(f64_from_count(draws.below(3)) - 1.0),
            Kind::OneHot if role == 2 => f32::from(u8::from(index == one_hot)),
            Kind::OneHot => f32_from_f64(normal(draws)),
            Kind::AnyFinite => {
                let value = bits_of_any(draws, self.dtype);
                if value.is_finite() { value } else { 1.0 }
            }
            Kind::Any => {
                let value = bits_of_any(draws, self.dtype);
                // Mostly finite, or every row is NaN.
                let keep = value.is_finite() || draws.below(4) == 0;
                if keep { value } else { 0.5 }
            }
        };
        (0..count).map(&mut number).collect()
    }
}

/// Any layout: dense or blocks, perhaps with a window or causal, with rows that see nothing.
fn layout(draws: &mut Draws, shape: Shape) -> Layout {
    let extents = Extents {
        seqlen_q: shape.seqlen_q,
        seqlen_kv: shape.seqlen_kv,
        block_q: 1 + draws.below(12),
        block_kv: 1 + draws.below(20),
    };
    let mut layout = Layout::from_extents(extents).expect("blocks are not empty");
    if draws.below(3) == 0 {
        layout = Layout::random(extents, 0.4, draws.bits()).expect("a density in 0..=1");
    }
    if draws.below(3) == 0 {
        let left = Some(draws.below(shape.seqlen_kv));
        layout = layout.with_window(Window { left, right: None });
    }
    layout.with_causal(draws.below(3) == 0)
}
