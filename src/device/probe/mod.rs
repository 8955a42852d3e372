//! Questions that only a card can answer, asked of the virtual machine too: small PTX programs over chosen bits, whose
//! results are compared word by word.
//!
//! | probe | settles |
//! |---|---|
//! | [`program`] | random straight-line programs: integers, exact floats, conversions, shuffles |
//! | [`tensor_core`] | operands that published measurements leave open: subnormals, zeros beside huge partners, infinities, NaN |
//! | [`function`] | `ex2`, `rcp`, `lg2` and `rsqrt` on every input, as counts and digests by exponent |

pub mod function;
pub mod program;
pub mod tensor_core;

use super::{DeviceError, simulate};
use crate::kernel::{Arg, Binding, Buffer, Content};
use crate::vm::Target;
use flashproof_reference::random;

/// A program with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What it asks.
    pub name: String,
    /// PTX, with one entry `probe(in, out)`.
    pub ptx: String,
    /// Launch: buffer 0 is `in`, buffer 1 is `out`.
    pub binding: Binding,
}

/// Words of two runs of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What was asked.
    pub name: String,
    /// Words compared.
    pub words: usize,
    /// Those that differ.
    pub differing: usize,
    /// The first of them: index, here, there.
    pub first: Vec<(usize, u32, u32)>,
}

/// Differences that a comparison keeps.
const KEPT: usize = 16;

impl Probe {
    fn new(
        name: String,
        ptx: String,
        [grid, cta]: [u32; 2],
        input: &[u32],
        output_words: usize,
    ) -> Self {
        let bytes = input.iter().flat_map(|word| word.to_le_bytes()).collect();
        let buffer = |name: &str, content, writable| Buffer {
            name: name.to_owned(),
            content,
            writable,
        };
        Self {
            name,
            ptx,
            binding: Binding {
                entry: "probe".to_owned(),
                grid: [grid, 1, 1],
                cta: [cta, 1, 1],
                shared_bytes: 0,
                args: vec![(0, Arg::Pointer(0)), (8, Arg::Pointer(1))],
                buffers: vec![
                    buffer("in", Content::Bytes(bytes), false),
                    buffer("out", Content::Uninitialised(4 * output_words), true),
                ],
                tensor_maps: Vec::new(),
            },
        }
    }

    /// Its results in the virtual machine.
    ///
    /// # Errors
    /// Why there are none.
    pub fn in_vm(&self, target: Target) -> Result<Vec<u32>, String> {
        simulate(&self.ptx, &self.binding, target).map(|written| words(&written))
    }

    /// Its results on the device.
    ///
    /// # Errors
    /// As [`super::run`].
    pub fn on_device(&self) -> Result<Vec<u32>, DeviceError> {
        super::run(&self.ptx, &self.binding).map(|written| words(&written))
    }

    /// The inputs, as words.
    pub fn input(&self) -> Vec<u32> {
        match &self.binding.buffers[0].content {
            Content::Bytes(bytes) => bytes_to_words(bytes),
            Content::Uninitialised(_) => Vec::new(),
        }
    }

    /// Compares two results.
    pub fn compare(&self, here: &[u32], there: &[u32]) -> Comparison {
        let pairs = || here.iter().zip(there).enumerate();
        let differ = || pairs().filter(|(_, (here, there))| here != there);
        Comparison {
            name: self.name.clone(),
            words: here.len().max(there.len()),
            differing: differ().count() + here.len().abs_diff(there.len()),
            first: differ()
                .take(KEPT)
                .map(|(index, (&here, &there))| (index, here, there))
                .collect(),
        }
    }
}

fn words(written: &[(usize, Vec<u8>)]) -> Vec<u32> {
    written
        .iter()
        .find(|(index, _)| *index == 1)
        .map_or_else(Vec::new, |(_, bytes)| bytes_to_words(bytes))
}

fn bytes_to_words(bytes: &[u8]) -> Vec<u32> {
    let word = |word: &[u8]| u32::from_le_bytes(word.try_into().expect("chunks of 4 bytes"));
    bytes.chunks_exact(4).map(word).collect()
}

/// Draw `index` of a probe's stream.
fn draw(seed: u64, index: usize) -> u64 {
    random::bits(seed, u64::try_from(index).expect("an index of a list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_counted_and_shown() {
        let probe = program::random(1, 4);
        let one = probe.in_vm(Target::Sm90).unwrap();
        let mut other = one.clone();
        other[3] ^= 1;
        let found = probe.compare(&one, &other);
        assert_eq!((found.differing, found.words), (1, one.len()));
        assert_eq!(found.first, [(3, one[3], other[3])]);
        assert_eq!(probe.compare(&one, &one).differing, 0);
        assert_eq!(probe.compare(&one, &one[1..]).words, one.len());
    }
}
