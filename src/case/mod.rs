//! A case: one line of text, or any bits, that stands for one attention problem and one way to run it.
//!
//! ```text
//! kernel=block_sparse_sm80 seqlen_q=17 seqlen_kv=64 layout=causal+window(4,-) seed=9
//! ```
//!
//! | key | values | where omitted |
//! |---|---|---|
//! | `kernel` | a name of the table of kernels | must be there |
//! | `dtype` | `f16` `bf16` `f32` | `f16` |
//! | `batch` `num_q_heads` `num_kv_heads` `seqlen_q` `seqlen_kv` | counts | 1 |
//! | `head_dim` | a count | 32 |
//! | `layout` | terms joined by `+`, see [`layout`] | `dense` |
//! | `values` | a family, see [`values`] | `gaussian` |
//! | `seed` | which numbers of the family | 0 |
//! | `schedule` | order in which the virtual machine runs its warps | 0 |
//! | `target` | whose arithmetic the virtual machine has | `sm_80` |
//! | `contract` | `none`, or `ptxas`: products and sums that the assembler may fuse are fused | `none` |
//! | `async` | when asynchronous copies arrive: `late` `early` `reordered` | `late` |
//! | `approx` | values of approximate functions: `nearest` `low` `high` `seeded` | `nearest` |
//!
//! Keys may come in any order, each once, one space between; printing uses the order above and omits what equals the
//! last column. Defaults never change and keys are only appended, so a stored line means the same case for ever.

mod bits;
mod error;
pub mod layout;
mod probe;
mod shrink;
mod text;
pub mod values;

pub use error::CaseError;
pub use layout::{Blocks, LayoutSpec};
pub use values::Values;

use crate::convert::{f64_to_f32, usize_to_f64};
use crate::vm::{Approx, AsyncOrder, Target};
use flashproof_reference::{DType, Problem, Shape};

/// Whether a product and a sum may become one rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contract {
    /// As the PTX is written.
    #[default]
    None,
    /// As the assembler may do it.
    Ptxas,
}

/// One problem and one way to run it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// Name of the kernel.
    pub kernel: String,
    /// Number format of inputs and output.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
    /// Which pairs attend.
    pub layout: LayoutSpec,
    /// Family of numbers.
    pub values: Values,
    /// Which numbers of the family.
    pub seed: u64,
    /// Order in which the virtual machine runs its warps.
    pub schedule: u64,
    /// Whose arithmetic the virtual machine has.
    pub target: Target,
    /// Whether products and sums are fused.
    pub contract: Contract,
    /// When asynchronous copies arrive in the virtual machine.
    pub async_order: AsyncOrder,
    /// Which values the virtual machine's approximate functions give.
    pub approx: Approx,
}

/// Largest extent a case may name.
const EXTENT_MAX: usize = 1 << 20;
/// Most elements of one tensor, about a gigabyte of `f32`.
const ELEMENTS_MAX: usize = 1 << 28;

impl Case {
    /// The smallest case of a kernel: every key at its default.
    ///
    /// ```
    /// # use flashproof::case::Case;
    /// assert_eq!("kernel=k".parse(), Ok(Case::smallest("k")));
    /// ```
    pub fn smallest(kernel: &str) -> Self {
        Self {
            kernel: kernel.to_owned(),
            dtype: DType::F16,
            shape: Shape {
                batch: 1,
                num_q_heads: 1,
                num_kv_heads: 1,
                seqlen_q: 1,
                seqlen_kv: 1,
                head_dim: 32,
            },
            layout: LayoutSpec::default(),
            values: Values::default(),
            seed: 0,
            schedule: 0,
            target: Target::default(),
            contract: Contract::default(),
            async_order: AsyncOrder::default(),
            approx: Approx::default(),
        }
    }

    /// Whether the extents and the layout fit together, without building anything.
    ///
    /// # Errors
    /// The key at fault, its value and its limit.
    pub fn validate(&self) -> Result<(), CaseError> {
        let shape = self.shape;
        for (key, value) in text::extents(&shape) {
            if value == 0 || value > EXTENT_MAX {
                return Err(CaseError::value(
                    key,
                    &value,
                    format!("must be between 1 and {EXTENT_MAX}"),
                ));
            }
        }
        if !shape.num_q_heads.is_multiple_of(shape.num_kv_heads) {
            let limit = format!("must be a multiple of num_kv_heads={}", shape.num_kv_heads);
            return Err(CaseError::value("num_q_heads", &shape.num_q_heads, limit));
        }
        let seqlen = shape.seqlen_q.max(shape.seqlen_kv);
        let elements = [shape.batch, shape.num_q_heads, seqlen, shape.head_dim]
            .into_iter()
            .try_fold(1_usize, usize::checked_mul)
            .filter(|&elements| elements <= ELEMENTS_MAX);
        if elements.is_none() {
            let limit =
                format!("must keep batch * num_q_heads * seqlen * head_dim within {ELEMENTS_MAX}");
            return Err(CaseError::value("seqlen_kv", &shape.seqlen_kv, limit));
        }
        self.layout.validate(&shape)
    }

    /// The problem this case stands for: the same bits everywhere.
    ///
    /// The scale is `1 / sqrt(head_dim)`, rounded to `f32`, as a host would pass it.
    ///
    /// ```
    /// # use flashproof::case::Case;
    /// let problem = "kernel=k seqlen_kv=2 head_dim=4".parse::<Case>()?.problem()?;
    /// assert_eq!((problem.k.len(), problem.scale), (8, 0.5));
    /// # Ok::<(), flashproof::case::CaseError>(())
    /// ```
    ///
    /// # Errors
    /// A case that [`Case::validate`] refuses, or inputs that came out degenerate (a bug of this crate).
    pub fn problem(&self) -> Result<Problem, CaseError> {
        self.validate()?;
        let [q, mut k, mut v] = self.values.tensors(&self.shape, self.dtype, self.seed)?;
        let layout = self.layout.build(&self.shape)?;
        if self.values == Values::Poisoned {
            probe::poison(&self.shape, &layout, [&mut k, &mut v]);
        }
        Ok(Problem {
            shape: self.shape,
            q,
            k,
            v,
            scale: f64_to_f32(1.0 / usize_to_f64(self.shape.head_dim).sqrt()),
            layout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Tensor;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    impl Arbitrary for Case {
        fn arbitrary(g: &mut Gen) -> Self {
            let bytes: Vec<u8> = (0..Self::BYTES).map(|_| u8::arbitrary(g)).collect();
            Self::from_bytes("k", &bytes)
        }

        fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
            Box::new(self.simpler().into_iter())
        }
    }

    fn refusal(line: &str) -> String {
        line.parse::<Case>().map_or_else(
            |error| error.to_string(),
            |case| format!("accepted: {case}"),
        )
    }

    #[test]
    fn a_line_reads_as_it_is_written() {
        let line = "kernel=block_sparse_sm80 dtype=bf16 batch=2 num_q_heads=4 num_kv_heads=2 seqlen_q=17 seqlen_kv=65 \
                    head_dim=64 layout=head_blocks(500,16,32,7)+causal+window(4,-)+sinks(2)+global(0,9) \
                    values=growing_max seed=9 schedule=3 target=sm_90 contract=ptxas async=reordered approx=low";
        assert_eq!(line.parse::<Case>().unwrap().to_string(), line);
        let loose = "seed=9 kernel=k layout=causal+blocks(1000,16,16,0) seqlen_q=1";
        assert_eq!(
            loose.parse::<Case>().unwrap().to_string(),
            "kernel=k layout=blocks(1000,16,16,0)+causal seed=9"
        );
        assert_eq!(
            "kernel=k layout=window(-,inf)".parse::<Case>().unwrap(),
            Case::smallest("k")
        );
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong_with_it() {
        assert_eq!(
            refusal(""),
            "word 1 of the case is \"\", but every word is key=value with one space between"
        );
        assert_eq!(
            refusal("seed=1"),
            "the case names no kernel; begin with kernel=NAME"
        );
        assert!(refusal("kernel=k seqlen_k=3").starts_with(
            "unknown key \"seqlen_k\" in the case, did you mean seqlen_kv; keys are kernel dtype"
        ));
        assert_eq!(
            refusal("kernel=k seed=1 seed=2"),
            "key seed is given twice, as \"1\" and as \"2\"; give it once"
        );
        assert_eq!(
            refusal("kernel=k seed=-1"),
            "seed=-1: must be a whole number without sign or leading zero"
        );
        assert_eq!(
            refusal("kernel=k seqlen_q=0"),
            "seqlen_q=0: must be between 1 and 1048576"
        );
        assert_eq!(
            refusal("kernel=k num_q_heads=3 num_kv_heads=2"),
            "num_q_heads=3: must be a multiple of num_kv_heads=2"
        );
        assert_eq!(
            refusal("kernel=k values=peeky"),
            format!(
                "values=peeky: must be one of {}, did you mean peaky",
                Values::ALL.map(|(name, _)| name).join(" ")
            )
        );
        assert_eq!(
            refusal("kernel=k layout=windw(1,2)").rsplit(", ").next(),
            Some("did you mean window")
        );
        assert_eq!(
            refusal("kernel=k layout=window(1)"),
            "layout term \"window(1)\": write window(LEFT,RIGHT), `-` for unbounded"
        );
        assert_eq!(
            refusal("kernel=k layout=causal+causal"),
            "layout term \"causal\": a term of kind causal is already there; give one"
        );
        assert_eq!(
            refusal("kernel=k layout=sinks(2"),
            "layout term \"sinks(2\": a parenthesis is open; close it at the end of the term"
        );
        assert_eq!(
            refusal("kernel=k layout=blocks(1001,16,16,0)"),
            "layout term \"blocks(1001,16,16,0)\": PER_MILLE is 1001, but at most 1000"
        );
        assert_eq!(
            refusal("kernel=k seqlen_kv=2 layout=sinks(3)"),
            "layout term \"sinks(3)\": 3 sinks, but seqlen_kv is 2"
        );
        assert_eq!(
            refusal("kernel=k batch=1048576 head_dim=1048576"),
            format!(
                "seqlen_kv=1: must keep batch * num_q_heads * seqlen * head_dim within {ELEMENTS_MAX}"
            )
        );
    }

    #[test]
    fn no_bytes_and_all_zeros_are_the_smallest_case() {
        assert_eq!(Case::from_bytes("k", &[]), Case::smallest("k"));
        assert_eq!(Case::from_bytes("k", &[0; 100]), Case::smallest("k"));
    }

    #[test]
    fn random_bytes_reach_every_family_and_every_kind_of_layout() {
        let stream = values::Stream::new(1, 1);
        let cases: Vec<Case> = (0..2000)
            .map(|i| {
                let bytes: Vec<u8> = (0..4)
                    .flat_map(|j| stream.bits(i * 4 + j).to_le_bytes())
                    .collect();
                Case::from_bytes("k", &bytes)
            })
            .collect();
        for (name, values) in Values::ALL {
            assert!(cases.iter().any(|case| case.values == values), "{name}");
        }
        for term in [
            "dense",
            "+",
            "blocks(",
            "head_blocks(",
            "strided(",
            "bigbird(",
            "causal",
            "window(",
            "sinks(",
            "global(",
        ] {
            assert!(
                cases
                    .iter()
                    .any(|case| case.layout.to_string().contains(term)),
                "{term}"
            );
        }
        assert!(
            cases
                .iter()
                .any(|case| case.shape.seqlen_q > case.shape.seqlen_kv)
        );
        assert!(
            cases
                .iter()
                .any(|case| case.shape.num_q_heads > case.shape.num_kv_heads
                    && case.shape.num_kv_heads > 1)
        );
    }

    #[test]
    fn values_are_pinned_and_look_as_their_family_says() {
        let shape = Shape {
            batch: 1,
            num_q_heads: 2,
            num_kv_heads: 1,
            seqlen_q: 64,
            seqlen_kv: 96,
            head_dim: 32,
        };
        for (name, values) in Values::ALL {
            let [q, k, v] = values.tensors(&shape, DType::F16, 7).unwrap();
            assert_ne!(k, v, "{name}");
            assert_eq!(
                values.tensors(&shape, DType::F16, 7).unwrap(),
                [q, k, v],
                "{name}"
            );
            assert_ne!(
                values.tensors(&shape, DType::F16, 8).unwrap()[1],
                values.tensors(&shape, DType::F16, 7).unwrap()[1]
            );
        }
        let stream = values::Stream::new(0, 1);
        let normal: Vec<f64> = (0..4096).map(|i| stream.normal(i)).collect();
        let mean = normal.iter().sum::<f64>() / 4096.0;
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / 4096.0;
        assert!(
            mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1,
            "{mean} {variance}"
        );
        // The same bits on every machine, for ever: stored cases rest on it.
        let [q, _, _] = Values::Gaussian.tensors(&shape, DType::F32, 0).unwrap();
        let Tensor::F32(q) = q else {
            panic!("f32 was asked for")
        };
        assert_eq!([q[0].to_bits(), q[1].to_bits(), q[4095].to_bits()], PINNED);
    }

    /// First, second and last number of q (gaussian, seed 0, 2 x 64 x 32), as bits.
    const PINNED: [u32; 3] = [0xbf4f_5ae4, 0x3eb3_7914, 0x3eaa_e8c9];

    quickcheck! {
        fn text_round_trip(case: Case) -> bool {
            case.to_string().parse::<Case>() == Ok(case)
        }

        fn any_bytes_are_a_legal_case(bytes: Vec<u8>) -> bool {
            Case::from_bytes("k", &bytes).validate().is_ok()
        }

        fn simpler_cases_are_legal_and_shrinking_ends(case: Case) -> bool {
            let mut case = case;
            for _ in 0..5000 {
                match case.simpler().pop() {
                    Some(next) if next.validate().is_ok() => case = next,
                    Some(_) => return false,
                    None => return case == Case::smallest("k"),
                }
            }
            false
        }

        fn garbage_is_refused_not_a_panic(line: String) -> bool {
            line.parse::<Case>().map_or(true, |case| case.to_string().parse() == Ok(case))
        }

        fn garbage_layouts_are_refused_not_a_panic(text: String) -> bool {
            LayoutSpec::parse(&text).map_or(true, |spec| LayoutSpec::parse(&spec.to_string()) == Ok(spec))
        }
    }
}
