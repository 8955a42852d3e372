//! What must hold of any bytes as a manifest.

use super::cases;
use crate::kernel::Kernel;

/// Most bytes that a scratch buffer may ask for before binding is left out.
const BYTES_MAX: usize = 1 << 16;

/// Reads `bytes` as a manifest. One that is accepted must bind the first cases of its own stream or refuse them with words,
/// and what it binds must be a launch: threads and CTAs in range, every argument inside the parameter space.
///
/// # Panics
/// Something of this does not hold.
pub fn fuzz_manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let kernel = match Kernel::from_parts("fuzzed", "", &text) {
        Ok(kernel) => kernel,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error says something");
            return;
        }
    };
    if text.len() > BYTES_MAX {
        return;
    }
    for case in cases(&kernel, 0).take(3) {
        let Ok(problem) = case.problem() else {
            continue;
        };
        match kernel.bind(&problem) {
            Ok(binding) => {
                let threads: u32 = binding.cta.iter().product();
                assert!((1..=1024).contains(&threads), "{threads} threads");
                assert!(binding.grid.iter().all(|&n| n > 0), "an empty grid");
                let space = binding.param_bytes(|_| 0);
                let ends = binding
                    .args
                    .iter()
                    .map(|(offset, arg)| offset + arg.bytes());
                let covered = ends.max().and_then(|end| usize::try_from(end).ok());
                assert!(
                    covered <= Some(space.len()),
                    "an argument outside its space"
                );
            }
            Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [&str; 3] = [
        include_str!("../../fuzz/seeds/manifest/scratch.toml"),
        include_str!("../../fuzz/seeds/manifest/tensor_map.toml"),
        include_str!("../../fuzz/seeds/manifest/varlen.toml"),
    ];

    fn bound(text: &str) -> Result<crate::kernel::Binding, String> {
        let kernel = Kernel::from_parts("seed", "", text).unwrap();
        let case = cases(&kernel, 0).next().unwrap();
        let problem = case.problem().unwrap();
        kernel.bind(&problem).map_err(|error| error.to_string())
    }

    #[test]
    fn seeds_become_launches() {
        for text in SEEDS {
            fuzz_manifest(text.as_bytes());
            assert!(!bound(text).unwrap().args.is_empty());
        }
    }

    #[test]
    fn scratch_is_limited_as_a_whole() {
        let of = |first: &str, second: &str| {
            let text = SEEDS[0]
                .replace("batch * num_q_heads * seqlen_q * 4", first)
                .replace("max(1, seqlen_kv)", second);
            bound(&text).map(|_| ())
        };
        assert_eq!(of("1073741824", "0"), Ok(()));
        let error = of("1073741820", "8").unwrap_err();
        assert!(
            error.contains("param[6].bytes of the manifest is 8, but"),
            "{error}"
        );
    }

    #[test]
    fn shipped_manifests_with_any_byte_replaced_hold() {
        for text in [
            include_str!("../../examples/nvcc_attention/attention.toml"),
            include_str!("../../cuda/kernels/block_sparse_sm80.toml"),
            SEEDS[0],
        ] {
            for at in (0..text.len()).step_by(17) {
                for byte in [b'0', b'"', b'-', b'=', 0xff] {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes[at] = byte;
                    fuzz_manifest(&bytes);
                }
            }
        }
    }
}
