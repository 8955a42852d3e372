//! The numbers of a case: a family and a seed give the same bits on every machine.
//!
//! Every element is a function of (seed, family, tensor, its index) alone, so no element depends on the order in which
//! others are made. The normal numbers are a sum of eight uniform ones
//! (Irwin-Hall), in integers: no library function decides a bit.
//!
//! # Which families have exact answers, and why
//!
//! Where nothing is rounded before the division by the row sum, one number alone is right (two, if the quotient is a tie),
//! and the verdict compares without tolerance (its rule `exact`). That is decided row by row from the numbers themselves
//! ([`crate::bound`]: whole numbers, scores equal to the largest or so far below it that their weight is 0), so the same
//! inputs are judged so wherever they come from.
//!
//! | family | exact | shows | why |
//! |---|---|---|---|
//! | `q_zero` | every output | a wrong number of keys: padding, ragged ends | all scores are 0, all weights 1, v whole: sums are exact in any order |
//! | `key_ids` | every output | which keys were read | the same; v says the key's remainder and its quotient by half of `head_dim`, so a key too many or too few moves two known channels |
//! | `two_level` | rows that see a key of the upper level | a wrong mask | scores are 0 or below -110, whose weight is 0 in f32 |
//! | `one_key` | rows that see their key | a wrong key, a stale tile | the score of one key is 0, of all others at most `-2048 / sqrt(head_dim)`: the output is that key's v, bit for bit |
//! | `one_hot_v` | zeros | keys that were read and should not have been | a channel whose visible values are all 0 is 0 whatever the weights |
//! | `integers` | scores, hence which keys a threshold would skip; not outputs | decisions that depend on a score | sums of whole numbers are exact in any order |
//! | rows that see no key, in any family | `o` and `lse` | leaks into empty rows | the manifest's convention, not arithmetic |
//! | `poisoned` | that no NaN appears | reading what no query sees | a key whose whole aligned run of 128 nobody sees is NaN in k and v |
//! | `gaussian` `peaky` `near_uniform` `growing_max` `cancelling` `tiny_v` `coherent` | nothing | errors of rounding | within bounds |
//!
//! Padding outside the tensors and outputs before the kernel writes them are poisoned by the virtual machine itself, in
//! every family: reading either is a finding (`uninitialised-global`) or an access out of bounds.

use super::{CaseError, probe};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, usize_to_f64};
use flashproof_reference::{DType, Shape, Tensor, random};

/// A family of inputs; each is there to make some fault visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Values {
    /// q, k, v normal: the ordinary case.
    #[default]
    Gaussian,
    /// Scores of standard deviation 4: a few keys take all the weight.
    Peaky,
    /// Scores near 0: every key has nearly the same weight, so a missing key shows in `lse`.
    NearUniform,
    /// Scores grow with the key by 60 over the sequence: every tile rescales what came before.
    GrowingMax,
    /// q, k, v whole numbers of -2 ..= 2: scores are exact in any order.
    Integers,
    /// q = 0 and v whole numbers: every weight is exactly 1 and every sum exact, so a wrong set of keys has no
    /// rounding to hide in.
    QZero,
    /// v of key `j` is 1 in channel `j mod head_dim`, else 0: the output says which keys were read.
    OneHotV,
    /// Scores and outputs that are small differences of large terms.
    Cancelling,
    /// v around the subnormal numbers of f16.
    TinyV,
    /// Scores of two levels, 0 and far below, by key and by parity of the query; v whole numbers.
    TwoLevel,
    /// q = 0, and v says which key it belongs to: its remainder and its quotient by half of `head_dim`, one-hot.
    KeyIds,
    /// Every query has one key of score 0, and all others are far below; v whole numbers of -127 ..= 127.
    OneKey,
    /// Gaussian, but NaN in k and v of the keys in aligned runs of 128 of which no query of their head sees one.
    Poisoned,
    /// Two levels of scores and values that make every rounding of a weight to 16 bits push the same way: a right kernel
    /// that a bound which takes roundings for random accuses.
    Coherent,
}

/// Which tensor an element belongs to; part of what its bits depend on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Q,
    K,
    V,
}

/// A stream of random bits, a function of its key and a counter (see [`flashproof_reference::random`]).
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// A stream for a seed and a purpose.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self {
            key: random::bits(seed, purpose),
        }
    }

    /// 64 bits for a counter.
    pub fn bits(self, counter: u64) -> u64 {
        random::bits(self.key, counter)
    }

    /// A number that is nearly normal (mean 0, variance 1, within 4.9 of 0).
    pub fn normal(self, counter: u64) -> f64 {
        let twice = counter.wrapping_mul(2);
        let uniform = |bits: u64| -> i32 { bits.to_le_bytes().chunks_exact(2).map(pair).sum() };
        let sum = uniform(self.bits(twice)) + uniform(self.bits(twice.wrapping_add(1)));
        // Eight uniform numbers of 0 ..= 65535: mean 4 * 65535, standard deviation 65536 * sqrt(8 / 12).
        f64::from(sum - 4 * 65535) * (1.224_744_871_391_589 / 65536.0)
    }

    /// A whole number of -2 ..= 2, nearly uniform.
    pub fn small_integer(self, counter: u64) -> f64 {
        let bits = self.bits(counter).to_le_bytes();
        f64::from(pair(&bits[..2]) * 5 / 65536 - 2)
    }
}

impl Values {
    /// Whether the family makes a tensor constant on purpose.
    fn is_constant(self, role: Role) -> bool {
        matches!(
            (self, role),
            (Self::QZero, Role::Q)
                | (
                    Self::TwoLevel | Self::KeyIds | Self::OneKey | Self::Coherent,
                    _
                )
        )
    }

    /// q, k and v.
    ///
    /// # Errors
    /// [`CaseError::Degenerate`] when a tensor could not tell a right kernel from a wrong one.
    pub(super) fn tensors(
        self,
        shape: &Shape,
        dtype: DType,
        seed: u64,
    ) -> Result<[Tensor; 3], CaseError> {
        let heads = [
            (Role::Q, shape.num_q_heads, shape.seqlen_q),
            (Role::K, shape.num_kv_heads, shape.seqlen_kv),
        ];
        let [q, k] = heads.map(|(role, heads, seqlen)| (role, shape.batch * heads, seqlen));
        let v = (Role::V, k.1, k.2);
        let mut tensors = Vec::with_capacity(3);
        for (role, heads, seqlen) in [q, k, v] {
            let numbers = self.numbers(role, (heads, seqlen), shape, dtype, seed);
            let tensor = match dtype {
                DType::F16 => Tensor::F16(numbers.iter().map(|&x| f64_to_f16(x)).collect()),
                DType::Bf16 => Tensor::Bf16(numbers.iter().map(|&x| f64_to_bf16(x)).collect()),
                DType::F32 => Tensor::F32(numbers.iter().map(|&x| f64_to_f32(x)).collect()),
                DType::F64 => Tensor::F64(numbers),
            };
            self.refuse_degenerate(role, &tensor)?;
            tensors.push(tensor);
        }
        Ok(tensors.try_into().expect("three tensors were pushed"))
    }

    /// The numbers of one tensor before rounding, (heads, seqlen, `head_dim`).
    fn numbers(
        self,
        role: Role,
        (heads, seqlen): (usize, usize),
        shape: &Shape,
        dtype: DType,
        seed: u64,
    ) -> Vec<f64> {
        let purpose = match role {
            Role::Q => 1,
            Role::K => 2,
            Role::V => 3,
        };
        let stream = Stream::new(seed, purpose);
        let head_dim = shape.head_dim;
        let mut numbers = Vec::with_capacity(heads * seqlen * head_dim);
        let mut counter = 0;
        for _head in 0..heads {
            for row in 0..seqlen {
                for channel in 0..head_dim {
                    let place = Place {
                        row,
                        channel,
                        seqlen,
                        head_dim,
                    };
                    numbers.push(match self {
                        Self::TwoLevel | Self::KeyIds | Self::OneKey | Self::Coherent => {
                            let probe = probe::Probe {
                                shape,
                                dtype,
                                seed,
                                stream,
                            };
                            self.probe_element(&probe, role, counter, place)
                        }
                        Self::Gaussian
                        | Self::Peaky
                        | Self::NearUniform
                        | Self::GrowingMax
                        | Self::Integers
                        | Self::QZero
                        | Self::OneHotV
                        | Self::Cancelling
                        | Self::TinyV
                        | Self::Poisoned => self.element(role, stream, counter, place),
                    });
                    counter += 1;
                }
            }
        }
        numbers
    }

    fn element(self, role: Role, stream: Stream, counter: u64, place: Place) -> f64 {
        let normal = || stream.normal(counter);
        let sign = if place.channel.is_multiple_of(2) {
            1.0
        } else {
            -1.0
        };
        match (self, role) {
            (
                Self::Gaussian
                | Self::Poisoned
                | Self::TwoLevel
                | Self::KeyIds
                | Self::OneKey
                | Self::Coherent,
                _,
            )
            | (Self::OneHotV | Self::TinyV, Role::Q | Role::K) => normal(),
            (Self::Peaky, Role::Q) => 4.0 * normal(),
            (Self::NearUniform, Role::Q) => normal() / 64.0,
            (Self::Peaky | Self::NearUniform, Role::K | Role::V) => normal(),
            (Self::GrowingMax, Role::Q) => sign + normal() / 8.0,
            (Self::GrowingMax, Role::K) => {
                let share = usize_to_f64(place.row + 1) / usize_to_f64(place.seqlen);
                sign * 60.0 / usize_to_f64(place.head_dim).sqrt() * share + normal() / 8.0
            }
            (Self::GrowingMax, Role::V) => normal(),
            (Self::Integers, _) | (Self::QZero, Role::K | Role::V) => stream.small_integer(counter),
            (Self::QZero, Role::Q) => 0.0,
            (Self::OneHotV, Role::V) => {
                f64::from(u8::from(place.row % place.head_dim == place.channel))
            }
            // Neighbouring channels of q are nearly equal and those of k nearly opposite.
            (Self::Cancelling, Role::Q) => 8.0 * stream.normal(counter / 2) + normal() / 8.0,
            (Self::Cancelling, Role::K) => {
                sign * 2.0 * stream.normal(counter / 2) + normal() / 16.0
            }
            (Self::Cancelling, Role::V) if place.row.is_multiple_of(2) => 8.0 + normal() / 8.0,
            (Self::Cancelling, Role::V) => -8.0 + normal() / 8.0,
            // The smallest normal f16 is 2^-14; its subnormal numbers are multiples of 2^-24.
            (Self::TinyV, Role::V) => normal() / 65536.0,
        }
    }

    fn refuse_degenerate(self, role: Role, tensor: &Tensor) -> Result<(), CaseError> {
        let numbers: Vec<f64> = match tensor {
            Tensor::F16(x) => x.iter().map(|x| x.to_f64()).collect(),
            Tensor::Bf16(x) => x.iter().map(|x| x.to_f64()).collect(),
            Tensor::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Tensor::F64(x) => x.clone(),
        };
        let what = if !numbers.iter().all(|x| x.is_finite()) {
            "not finite"
        } else if numbers.len() >= 16
            && !self.is_constant(role)
            && numbers
                .windows(2)
                .all(|two| two[0].total_cmp(&two[1]).is_eq())
        {
            "all equal"
        } else {
            return Ok(());
        };
        let tensor = match role {
            Role::Q => "q",
            Role::K => "k",
            Role::V => "v",
        };
        Err(CaseError::Degenerate {
            values: self.to_string(),
            tensor,
            what,
        })
    }
}

/// Where an element stands in its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) channel: usize,
    seqlen: usize,
    pub(super) head_dim: usize,
}

/// Two bytes as a number of 0 ..= 65535.
fn pair(bytes: &[u8]) -> i32 {
    i32::from(bytes[0]) | i32::from(bytes[1]) << 8
}
