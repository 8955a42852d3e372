//! Families whose numbers say more of a kernel than random ones do: see the table of [`super::values`].

use super::values::{Place, Role, Stream, Values};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, usize_to_f64};
use flashproof_reference::{DType, Layout, Shape, Tensor};

/// Keys that are poisoned together: no kernel reads more than this of a tile of which it needs nothing.
const POISON_RUN: usize = 128;

/// What a number depends on besides its place.
pub(super) struct Probe<'a> {
    pub(super) shape: &'a Shape,
    pub(super) dtype: DType,
    pub(super) seed: u64,
    /// Of the tensor.
    pub(super) stream: Stream,
}

impl Values {
    pub(super) fn probe_element(
        self,
        probe: &Probe<'_>,
        role: Role,
        counter: u64,
        place: Place,
    ) -> f64 {
        let bit = |on: bool| f64::from(u8::from(on));
        match (self, role) {
            (Self::TwoLevel, Role::Q) => 8.0 * bit(place.row % 2 == place.channel % 2),
            (Self::TwoLevel, Role::K) => {
                let parity = u64::from(place.channel % 2 == 1);
                let key = counter - u64::try_from(place.channel).expect("at most 64 bits");
                -8.0 * bit(probe.stream.bits(key + parity) % 2 == 1)
            }
            (Self::KeyIds, Role::Q) => 0.0,
            (Self::KeyIds, Role::V) => {
                let half = place.head_dim.div_ceil(2);
                bit(if place.channel < half {
                    place.row % half == place.channel
                } else {
                    place.row / half % (place.head_dim - half) == place.channel - half
                })
            }
            (Self::OneKey, Role::Q) => {
                // The key on the diagonal for even queries, any before it for odd ones; two channels a bit of it, so
                // that a bit that differs costs 2048.
                let diagonal = (place.row + probe.shape.seqlen_kv)
                    .saturating_sub(probe.shape.seqlen_q)
                    .min(probe.shape.seqlen_kv - 1);
                let first = counter - u64::try_from(place.channel).expect("at most 64 bits");
                let back = usize::try_from(probe.stream.bits(first) >> 32).expect("32 bits");
                let key = if place.row.is_multiple_of(2) {
                    diagonal
                } else {
                    diagonal - back % (diagonal + 1)
                };
                -2048.0 * bit(probe.is_off(key, place))
            }
            (Self::OneKey, Role::K) => bit(!probe.is_off(place.row, place)),
            (Self::OneKey, Role::V) => {
                let [low, ..] = probe.stream.bits(counter).to_le_bytes();
                f64::from(low).min(254.0) - 127.0
            }
            (Self::Coherent, Role::Q) => match place.channel {
                0 => usize_to_f64(place.head_dim).sqrt(),
                1 => usize_to_f64(place.head_dim).sqrt() / 1024.0,
                _ => 0.0,
            },
            (Self::Coherent, Role::K) if probe.is_low(place) => probe.low_key(place),
            (Self::Coherent, Role::K) => 0.0,
            // Keys above weigh 1 and those below nearly 1/4, which is a tie of the format: they cancel but for the
            // rounding of the weights below.
            (Self::Coherent, Role::V) if probe.is_low(place) => 1.0,
            (Self::Coherent, Role::V) => -0.25,
            (Self::TwoLevel, Role::V) | (Self::KeyIds, Role::K) => {
                probe.stream.small_integer(counter)
            }
            (
                Self::Gaussian
                | Self::Peaky
                | Self::NearUniform
                | Self::GrowingMax
                | Self::Integers
                | Self::QZero
                | Self::OneHotV
                | Self::Cancelling
                | Self::TinyV
                | Self::Poisoned,
                _,
            ) => unreachable!("families of `values`"),
        }
    }
}

impl Probe<'_> {
    /// Whether the channel is the one of its pair that a key's bit leaves 0. The bits are the key's number, in which the
    /// seed flips some.
    fn is_off(&self, key: usize, place: Place) -> bool {
        let bit = place.channel / 2;
        let key = u64::try_from(key).expect("at most 64 bits") ^ Stream::new(self.seed, 4).bits(0);
        let is_set = bit < 64 && key >> bit & 1 == 1;
        place.channel + 1 == place.head_dim && place.channel.is_multiple_of(2)
            || is_set == place.channel.is_multiple_of(2)
    }

    /// Whether a key is of the lower level: the same in k and v.
    fn is_low(&self, place: Place) -> bool {
        let row = u64::try_from(place.row).expect("at most 64 bits");
        Stream::new(self.seed, 5).bits(row) % 2 == 1
    }

    /// A key whose weight lies just below the tie between 1/4 and the next number of the format: what the first channel
    /// leaves over, the second adds.
    fn low_key(&self, place: Place) -> f64 {
        // ln(1/4 + half a unit of its last place), a little less.
        let score = match self.dtype {
            DType::Bf16 => -1.382_4,
            DType::F16 | DType::F32 | DType::F64 => -1.385_81,
        };
        let root = usize_to_f64(place.head_dim).sqrt();
        let [large, small] = [root, root / 1024.0].map(|q| self.rounded(q));
        let scale = f64::from(f64_to_f32(1.0 / root));
        let first = self.rounded(score / (scale * large));
        match place.channel {
            0 => first,
            1 => (score / scale - large * first) / small,
            _ => 0.0,
        }
    }

    fn rounded(&self, x: f64) -> f64 {
        match self.dtype {
            DType::F16 => f64_to_f16(x).to_f64(),
            DType::Bf16 => f64_to_bf16(x).to_f64(),
            DType::F32 => f64::from(f64_to_f32(x)),
            DType::F64 => x,
        }
    }
}

/// NaN in place of every key and value in an aligned run of keys of which no query of their head sees one.
pub(super) fn poison(shape: &Shape, layout: &Layout, tensors: [&mut Tensor; 2]) {
    let mut seen = vec![false; shape.num_kv_heads * shape.seqlen_kv];
    for q_head in 0..shape.num_q_heads {
        let first = shape.kv_head(q_head) * shape.seqlen_kv;
        for q in 0..shape.seqlen_q {
            for keys in layout.visible_keys(q_head, q) {
                seen[first + keys.start..first + keys.end].fill(true);
            }
        }
    }
    let hidden: Vec<bool> = seen
        .chunks(shape.seqlen_kv)
        .flat_map(|head| head.chunks(POISON_RUN))
        .flat_map(|run| std::iter::repeat_n(!run.contains(&true), run.len()))
        .collect();
    for tensor in tensors {
        for index in 0..tensor.len() {
            if hidden[index / shape.head_dim % hidden.len()] {
                match tensor {
                    Tensor::F16(x) => x[index] = half::f16::NAN,
                    Tensor::Bf16(x) => x[index] = half::bf16::NAN,
                    Tensor::F32(x) => x[index] = f32::NAN,
                    Tensor::F64(x) => x[index] = f64::NAN,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bound::{Arithmetic, Bound, Generation};
    use crate::case::{Case, Values};
    use crate::kernel;
    use crate::kernel::method::ScoreScaling;
    use flashproof_reference::attention;

    /// Shares of rows in which nothing is rounded, for both ways of scaling a score.
    fn exact(line: &str) -> [f64; 2] {
        let problem = line.parse::<Case>().unwrap().problem().unwrap();
        let answer = attention(&problem).unwrap();
        let manifest = kernel::by_name("block_sparse_sm80").unwrap().manifest();
        [ScoreScaling::SubtractThenScale, ScoreScaling::Fused].map(|score| {
            let mut method = manifest.method.for_inputs(problem.dtype());
            method.score = score;
            let arithmetic = Arithmetic::of(&method, manifest.lse_base, Generation::Ampere);
            let exact = Bound::of(&problem, &answer, &arithmetic).exact;
            let count = u32::try_from(exact.iter().filter(|exact| **exact).count()).unwrap();
            f64::from(count) / f64::from(u32::try_from(exact.len()).unwrap())
        })
    }

    #[test]
    fn families_are_as_exact_as_the_table_says() {
        for dtype in ["f16", "bf16", "f32"] {
            for d in ["32", "64", "128"] {
                for (family, least) in [
                    ("q_zero", 1.0),
                    ("key_ids", 1.0),
                    ("two_level", 0.95),
                    ("one_key", 1.0),
                    ("gaussian", 0.0),
                    ("integers", 0.0),
                ] {
                    let line = format!(
                        "kernel=k dtype={dtype} seqlen_q=40 seqlen_kv=150 head_dim={d} values={family}"
                    );
                    let found = exact(&line);
                    assert!(
                        found.iter().all(|&share| share >= least),
                        "{line}: {found:?}"
                    );
                    if least < 0.5 {
                        assert!(found.iter().all(|&share| share < 0.1), "{line}: {found:?}");
                    }
                }
            }
        }
        // A row whose own key is hidden compares what is left of it, within bounds.
        let hidden =
            exact("kernel=k seqlen_q=40 seqlen_kv=150 layout=causal+window(0,0) values=one_key");
        assert!(hidden[0] > 0.9, "{hidden:?}");
    }

    #[test]
    fn one_key_is_its_value() {
        let line = "kernel=k seqlen_q=7 seqlen_kv=7 layout=causal values=one_key seed=3";
        let problem = line.parse::<Case>().unwrap().problem().unwrap();
        let answer = attention(&problem).unwrap();
        let v = problem.v.to_f64();
        for q in (0..7).step_by(2) {
            assert_eq!(answer.o[q * 32..(q + 1) * 32], v[q * 32..(q + 1) * 32]);
        }
    }

    #[test]
    fn ids_name_the_key_that_is_missing() {
        let of = |n: usize| {
            let line = format!("kernel=k seqlen_kv={n} values=key_ids dtype=f32");
            let problem = line.parse::<Case>().unwrap().problem().unwrap();
            let counts = attention(&problem).unwrap().o;
            counts
                .iter()
                .map(|o| (o * f64::from(u32::try_from(n).unwrap())).round())
                .collect::<Vec<_>>()
        };
        let (all, without) = (of(200), of(199));
        let moved: Vec<usize> = (0..32).filter(|&c| all[c] - without[c] > 0.5).collect();
        assert_eq!(moved, [199 % 16, 16 + 199 / 16]);
    }

    #[test]
    fn poison_is_where_nobody_looks() {
        let line =
            "kernel=k num_q_heads=2 seqlen_q=300 seqlen_kv=300 layout=window(5,5) values=poisoned";
        let whole = line.parse::<Case>().unwrap().problem().unwrap();
        assert!(whole.k.to_f64().iter().all(|k| k.is_finite()));
        let line = "kernel=k num_q_heads=2 num_kv_heads=2 seqlen_q=20 seqlen_kv=300 layout=causal+window(5,5) values=poisoned";
        let problem = line.parse::<Case>().unwrap().problem().unwrap();
        for tensor in [&problem.k, &problem.v] {
            let rows: Vec<bool> = tensor
                .to_f64()
                .chunks(32)
                .map(|row| row[0].is_nan())
                .collect();
            assert_eq!(rows.iter().filter(|nan| **nan).count(), 2 * 256);
            assert!(rows[0] && rows[255] && !rows[256] && !rows[299]);
        }
        let answer = attention(&problem).unwrap();
        assert!(answer.o.iter().all(|o| o.is_finite()));
        assert_eq!(Values::ALL.len(), 14);
    }
}
