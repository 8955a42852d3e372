//! A stream of cases for one kernel: the same for the same seed, for ever.

use crate::case::{Blocks, Case};
use crate::kernel::Kernel;
use crate::kernel::manifest::Requires;
use crate::kernel::method::MaskRule;
use flashproof_reference::random;

/// Random cases that a kernel is meant to support, the smallest one first; endless.
///
/// Every case is [`Case::from_bytes`] of random bytes, with what the manifest excludes taken out: another number format
/// becomes its own, an unsupported rule disappears, blocks grow to a multiple of what it asks.
///
/// ```
/// use flashproof::{kernel, oracle};
/// let kernel = kernel::by_name("block_sparse_sm80")?;
/// let first = oracle::cases(kernel, 7).next().unwrap();
/// assert_eq!(first.to_string(), "kernel=block_sparse_sm80");
/// assert!(oracle::cases(kernel, 7).take(9).eq(oracle::cases(kernel, 7).take(9)));
/// # Ok::<(), kernel::UnknownKernel>(())
/// ```
pub fn cases(kernel: &Kernel, seed: u64) -> impl Iterator<Item = Case> + '_ {
    let words = u64::try_from(Case::BYTES.div_ceil(8)).expect("a few words");
    (0..).map(move |index: u64| {
        let word = |word: u64| {
            random::bits(seed, index.wrapping_mul(words).wrapping_add(word)).to_le_bytes()
        };
        let bytes: Vec<u8> = if index == 0 {
            Vec::new()
        } else {
            (0..words).flat_map(word).collect()
        };
        suited(kernel, Case::from_bytes(kernel.name(), &bytes))
    })
}

/// The case without what the kernel's manifest excludes, and with what it asks for.
pub fn suited(kernel: &Kernel, mut case: Case) -> Case {
    let manifest = kernel.manifest();
    let requires = &manifest.requires;
    if let (false, Some(&dtype)) = (requires.dtype.contains(&case.dtype), requires.dtype.first()) {
        case.dtype = dtype;
    }
    let head_dims: Vec<usize> = requires
        .head_dim
        .iter()
        .filter_map(|&count| usize::try_from(count).ok())
        .collect();
    if let (false, Some(&head_dim)) = (head_dims.contains(&case.shape.head_dim), head_dims.first())
    {
        case.shape.head_dim = head_dim;
    }
    fit_lengths(requires, &mut case);
    let layout = &mut case.layout;
    if manifest.always(MaskRule::Causal) {
        layout.causal = true;
    }
    if !manifest.supports(MaskRule::Causal) {
        layout.causal = false;
    }
    if !manifest.supports(MaskRule::Window) {
        layout.window = flashproof_reference::Window::default();
    }
    if !requires.window_right {
        layout.window.right = None;
    }
    if !manifest.supports(MaskRule::Sinks) {
        layout.sinks = 0;
    }
    if !manifest.supports(MaskRule::Global) {
        layout.global.clear();
    }
    let multiple = usize::try_from(requires.block_multiple)
        .expect("at least 32 bits")
        .max(1);
    match &mut layout.blocks {
        Blocks::All => {}
        Blocks::Random {
            block_q, block_kv, ..
        }
        | Blocks::Strided {
            block_q, block_kv, ..
        }
        | Blocks::BigBird {
            block_q, block_kv, ..
        } => {
            *block_q = block_q.next_multiple_of(multiple);
            *block_kv = block_kv.next_multiple_of(multiple);
        }
    }
    if !manifest.supports(MaskRule::Blocks) {
        layout.blocks = Blocks::All;
    }
    case
}

/// Lengths and heads as the manifest asks for them.
fn fit_lengths(requires: &Requires, case: &mut Case) {
    let fit = |extent: &mut usize, multiple: u32| {
        *extent =
            extent.next_multiple_of(usize::try_from(multiple).expect("at least 32 bits").max(1));
    };
    let shape = &mut case.shape;
    fit(&mut shape.seqlen_q, requires.seqlen_q_multiple);
    fit(&mut shape.seqlen_kv, requires.seqlen_kv_multiple);
    if requires.seqlen_equal {
        // The longer one is a multiple of its own; taken for both it must be of the other too.
        shape.seqlen_q = shape.seqlen_q.max(shape.seqlen_kv);
        while !shape
            .seqlen_q
            .is_multiple_of(usize::try_from(requires.seqlen_q_multiple).expect("at least 32 bits"))
            || !shape.seqlen_q.is_multiple_of(
                usize::try_from(requires.seqlen_kv_multiple).expect("at least 32 bits"),
            )
        {
            shape.seqlen_q += 1;
        }
        shape.seqlen_kv = shape.seqlen_q;
    }
    if requires.heads_equal {
        shape.num_kv_heads = shape.num_q_heads;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    #[test]
    fn every_case_of_the_stream_is_one_the_kernel_takes() {
        let kernel = kernel::by_name("block_sparse_sm80").unwrap();
        for case in cases(kernel, 3).take(300) {
            let problem = case.problem().unwrap();
            assert!(
                kernel.bind(&problem).is_ok(),
                "{case}: {:?}",
                kernel.bind(&problem).err()
            );
            assert_eq!(case.to_string().parse(), Ok(case));
        }
        assert!(
            !cases(kernel, 3)
                .skip(1)
                .take(9)
                .eq(cases(kernel, 4).skip(1).take(9))
        );
    }
}
