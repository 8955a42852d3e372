//! Whether a manifest and its PTX speak of the same kernel: entries, and the layout of the parameter space.

use super::manifest::Manifest;
use super::param::{Param, ParamValue};
use crate::ptx::{Extent, Function, Module, ScalarType};

/// How a manifest and its PTX disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The PTX has no such entry.
    #[error("the manifest's entry `{entry}` is not in the PTX, which has {}", found.join(", "))]
    NoEntry {
        /// The entry of the manifest, for one `head_dim`.
        entry: String,
        /// The entries of the PTX.
        found: Vec<String>,
    },
    /// A value lies across, between or after the parameters of the PTX.
    #[error("{key} covers bytes {} to {} of the parameters of `{entry}`, but {limit}", range[0], range[1])]
    Param {
        /// Which entry.
        entry: String,
        /// Where the manifest states it: `param[3]`.
        key: String,
        /// First byte, and the byte after the last.
        range: [u64; 2],
        /// What the PTX has there.
        limit: String,
    },
    /// A parameter of the PTX of which the manifest says nothing.
    #[error(
        "`{name}`, bytes {} to {} of the parameters of `{entry}`, has no value in the manifest", range[0], range[1]
    )]
    Unbound {
        /// Which entry.
        entry: String,
        /// Which parameter.
        name: String,
        /// First byte, and the byte after the last.
        range: [u64; 2],
    },
    /// Bytes that the PTX declares and the manifest leaves out.
    #[error(
        "the parameters of `{entry}` have {declared} bytes, but those of the manifest end at {covered}, {padded} with padding"
    )]
    Uncovered {
        /// Which entry.
        entry: String,
        /// Bytes the PTX declares.
        declared: u64,
        /// End of the manifest's last parameter.
        covered: u64,
        /// The same, rounded up to the alignment of the PTX's parameters.
        padded: u64,
    },
}

/// Compares the parameters of `manifest` with those of every entry it names in `module`.
///
/// # Errors
/// The first mismatch: the value with its bytes, and what the PTX has there.
pub(super) fn check_params(manifest: &Manifest, module: &Module) -> Result<(), Mismatch> {
    for entry in manifest.entries() {
        let function = module
            .functions
            .iter()
            .find(|function| function.name == entry)
            .ok_or_else(|| Mismatch::NoEntry {
                entry: entry.clone(),
                found: module.functions.iter().map(|f| f.name.clone()).collect(),
            })?;
        check_entry(&manifest.params, function)?;
    }
    Ok(())
}

/// A parameter of the PTX in its parameter space.
struct Declared {
    name: String,
    first: u64,
    end: u64,
    /// Its type where it is one value; `None` for a struct, an array of bytes.
    scalar: Option<ScalarType>,
}

fn check_entry(params: &[Param], function: &Function) -> Result<(), Mismatch> {
    let mut declared: Vec<Declared> = Vec::new();
    let mut end = 0;
    let mut align = 1;
    for param in &function.params {
        let first = u64::next_multiple_of(end, u64::from(param.alignment()));
        end = first + param.bytes();
        align = align.max(u64::from(param.alignment()));
        declared.push(Declared {
            name: param.name.clone(),
            first,
            end,
            scalar: (param.extent == Extent::Scalar).then_some(param.ty),
        });
    }
    for param in params {
        let range = [u64::from(param.offset), u64::from(param.end())];
        let mismatch = |limit: String| Mismatch::Param {
            entry: function.name.clone(),
            key: param.key.clone(),
            range,
            limit,
        };
        let holder = declared
            .iter()
            .find(|d| d.first <= range[0] && range[1] <= d.end)
            .ok_or_else(|| {
                mismatch(format!(
                    "no one parameter of the PTX holds them; they end at {end}"
                ))
            })?;
        let exact = [holder.first, holder.end] == range;
        match holder.scalar {
            Some(ty) if !(exact && may_hold(ty, &param.value)) => {
                let Declared {
                    name, first, end, ..
                } = holder;
                return Err(mismatch(format!(
                    "`{name}` is one {ty} at bytes {first} to {end}"
                )));
            }
            Some(_) | None => {}
        }
    }
    for found in &declared {
        let bound = params
            .iter()
            .any(|p| u64::from(p.offset) < found.end && found.first < u64::from(p.end()));
        if !bound && found.end > found.first {
            return Err(Mismatch::Unbound {
                entry: function.name.clone(),
                name: found.name.clone(),
                range: [found.first, found.end],
            });
        }
    }
    let covered = params.last().map_or(0, |param| u64::from(param.end()));
    let padded = covered.next_multiple_of(align);
    if padded < end {
        return Err(Mismatch::Uncovered {
            entry: function.name.clone(),
            declared: end,
            covered,
            padded,
        });
    }
    Ok(())
}

/// Whether a PTX parameter of this type, of the right size, may hold the value: only integers and floats are told apart.
fn may_hold(ty: ScalarType, value: &ParamValue) -> bool {
    match value {
        ParamValue::F32(_) => matches!(ty, ScalarType::F32 | ScalarType::B32),
        ParamValue::Pointer(_)
        | ParamValue::Null
        | ParamValue::Scratch { .. }
        | ParamValue::Integer(..)
        | ParamValue::TensorMap(_) => !matches!(ty, ScalarType::F32 | ScalarType::F64),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel;
    use crate::ptx::parse;

    #[test]
    fn every_embedded_kernel_agrees_with_its_manifest() {
        let bad = kernel::defects().iter().map(|defect| &defect.kernel);
        for kernel in kernel::all().iter().chain(bad).chain(kernel::twins()) {
            let module = parse(kernel.name(), kernel.ptx()).unwrap();
            assert_eq!(kernel.check_params(&module), Ok(()), "{}", kernel.name());
        }
    }

    /// What is said of the kernel's PTX after a replacement in it.
    #[track_caller]
    fn mismatch(from: &str, to: &str) -> String {
        let kernel = &kernel::all()[0];
        assert!(kernel.ptx().contains(from), "{from}");
        let module = parse("test", &kernel.ptx().replace(from, to)).unwrap();
        kernel.check_params(&module).unwrap_err().to_string()
    }

    #[test]
    fn mismatches_name_bytes_and_limits() {
        assert_eq!(
            mismatch("block_sparse_sm80_f16_d64", "other"),
            "the manifest's entry `block_sparse_sm80_f16_d64` is not in the PTX, which has block_sparse_sm80_f16_d32, other, block_sparse_sm80_f16_d128, block_sparse_sm80_bf16_d32, block_sparse_sm80_bf16_d64, block_sparse_sm80_bf16_d128"
        );
        assert_eq!(
            mismatch(
                "block_sparse_sm80_f16_d32_param_0[112]",
                "block_sparse_sm80_f16_d32_param_0[104]"
            ),
            "param[18] covers bytes 104 to 108 of the parameters of `block_sparse_sm80_f16_d32`, but no one parameter of the PTX holds them; they end at 104"
        );
        assert_eq!(
            mismatch(
                "block_sparse_sm80_f16_d32_param_0[112]",
                "block_sparse_sm80_f16_d32_param_0[120]"
            ),
            "the parameters of `block_sparse_sm80_f16_d32` have 120 bytes, but those of the manifest end at 108, 112 with padding"
        );
    }

    #[test]
    fn a_scalar_parameter_holds_one_value_of_its_kind() {
        let kernel = &kernel::all()[0];
        let flat = |types: [&str; 3]| {
            let mut text = String::from(".version 8.0\n.target sm_80\n.address_size 64\n");
            for entry in kernel.manifest().entries() {
                let params = |ty: &str, range: std::ops::Range<usize>| -> Vec<String> {
                    range.map(|i| format!(".param {ty} p{i}")).collect()
                };
                let all = [
                    params(".u64", 0..5),
                    params(".u32", 5..12),
                    types
                        .iter()
                        .enumerate()
                        .map(|(i, ty)| format!(".param {ty} q{i}"))
                        .collect(),
                    params(".u64", 15..18),
                    params(".u32", 18..19),
                ]
                .concat()
                .join(", ");
                text += &format!(".visible .entry {entry}({all})\n{{\nret;\n}}\n");
            }
            let module = parse("flat", &text).unwrap();
            kernel
                .check_params(&module)
                .map_err(|error| error.to_string())
        };
        assert_eq!(flat([".u32", ".f32", ".f32"]), Ok(()));
        let error = flat([".u32", ".u32", ".f32"]).unwrap_err();
        assert!(
            error.starts_with("param[13] covers bytes 72 to 76"),
            "{error}"
        );
        assert!(error.contains("`q1` is one"), "{error}");
        let error = flat([".u32", ".f32", ".f64"]).unwrap_err();
        assert!(error.contains("param[14] covers bytes 76 to 80"), "{error}");
    }
}
