//! A manifest skeleton from PTX: what the text says is filled in, what it only suggests is filled in and marked.
//!
//! Parameters are followed from `ld.param` through moves, `cvta` and additions to the addresses of loads and stores, and to
//! the comparisons, products and quotients that integers meet. So a pointer that is only stored to is an output, one that
//! is read 16 bytes at a time is a tensor, one that is read word by word is a list; an integer that is compared may
//! be a length, one that divides a count of heads, one that only multiplies a stride. Names follow the usual order: q, k,
//! v; o, lse; `row_ptr`, `col_idx`, `tile_mask`.

use super::extents::Name;
use super::trace::{Field, Role, trace};
use crate::ptx::{
    Accuracy, Function, Linkage, MathFunction, Module, Op, ScalarType, Sm90, Space,
    SpecialRegister, inline,
};
use std::borrow::Cow;
use std::fmt::Write;

/// Why there is no skeleton.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The PTX has no entry function.
    #[error("the PTX has no entry function, so there is nothing to launch")]
    NoEntry,
    /// It has none of that name.
    #[error("the PTX has no entry `{entry}`; it has {}", found.join(", "))]
    UnknownEntry {
        /// As asked for.
        entry: String,
        /// Those there are.
        found: Vec<String>,
    },
}

/// A manifest for an entry of `module` (its first one if none is named), as TOML that parses, guesses marked.
///
/// # Errors
/// There is no such entry.
pub fn skeleton(module: &Module, entry: Option<&str>) -> Result<String, InferError> {
    let found: Vec<String> = module.functions.iter().map(|f| f.name.clone()).collect();
    let function = match entry {
        None => module.functions.first().ok_or(InferError::NoEntry)?,
        Some(name) => module
            .function(name)
            .ok_or_else(|| InferError::UnknownEntry {
                entry: name.to_owned(),
                found: found.clone(),
            })?,
    };
    let mut out = String::new();
    // What a callee or a `wmma` does with a pointer counts too; code that cannot be made plain is read as it stands.
    let plain = inline(module, function).unwrap_or(Cow::Borrowed(function));
    Skeleton {
        module,
        function: &plain,
        names: &found,
    }
    .write(&mut out)
    .expect("writing to a string does not fail");
    Ok(out)
}

struct Skeleton<'a> {
    module: &'a Module,
    function: &'a Function,
    names: &'a [String],
}

impl Skeleton<'_> {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let fields = trace(self.function);
        let count = |wanted: fn(Role) -> bool| fields.iter().filter(|f| wanted(f.role)).count();
        // With fewer than three tensors besides, lists of words are tensors too (of pairs of halves, say).
        let has_lists = count(|role| role == Role::List) > 1 && count(is_tensor) >= 3;
        writeln!(
            out,
            "# How an entry of {} is launched. Lines marked `guess` are worth a look; the others",
            self.module.name
        )?;
        writeln!(
            out,
            "# are what the PTX says; EDIT marks what can hardly be right. A formula has + - * /, ceil_div, min, max and the names"
        )?;
        writeln!(out, "# {}.", Name::ALL.map(|(_, text)| text).join(", "))?;
        writeln!(
            out,
            "# examples/*/attention.toml and cuda/kernels/*.toml are complete manifests."
        )?;
        writeln!(out, "version = 1")?;
        let (entry, head_dims) = self.entry();
        let formats = self.formats(&entry);
        let entry = formats.as_ref().map_or(&entry, |(entry, _)| entry);
        writeln!(out, "entry = \"{entry}\"")?;
        if self.names.len() > 1 {
            writeln!(
                out,
                "# The PTX has these entries: {}",
                self.names.join(", ")
            )?;
        }
        writeln!(
            out,
            "target = \"{}\"",
            self.module
                .target
                .first()
                .map_or("sm_80", |target| target.trim_end_matches(['a', 'f']))
        )?;
        let axes = [
            SpecialRegister::CtaidX,
            SpecialRegister::CtaidY,
            SpecialRegister::CtaidZ,
        ]
        .map(|axis| self.reads(axis));
        let grid = match axes {
            [_, true, true] => ["ceil_div(seqlen_q, tile_q)", "num_q_heads", "batch"],
            [_, true, false] => ["ceil_div(seqlen_q, tile_q)", "num_q_heads * batch", "1"],
            [_, false, true] => ["ceil_div(seqlen_q, tile_q)", "1", "num_q_heads * batch"],
            [_, false, false] => ["ceil_div(seqlen_q, tile_q) * num_q_heads * batch", "1", "1"],
        };
        writeln!(
            out,
            "grid = {grid:?} # guess: from the axes of %ctaid that are read"
        )?;
        let directives = &self.function.directives;
        let (cta, source) = match (directives.reqntid, directives.maxntid) {
            (Some(cta), _) => (cta, ".reqntid"),
            (None, Some(cta)) => (cta, "guess: .maxntid, its upper bound"),
            (None, None) => ([128, 1, 1], "guess: the PTX does not say"),
        };
        writeln!(out, "cta = {:?} # {source}", cta.map(|n| n.to_string()))?;
        let (static_bytes, dynamic) = self.shared();
        let declared = format!("{static_bytes} bytes are declared besides");
        if dynamic {
            writeln!(
                out,
                "shared_bytes = \"(tile_q + 4 * tile_kv) * head_dim * 2\" # guess: dynamic, its size is the host's; {declared}"
            )?;
        } else {
            writeln!(out, "shared_bytes = \"0\" # none dynamic; {declared}")?;
        }
        writeln!(out, "tensor_order = \"bhsd\" # guess: or bshd, varlen")?;
        writeln!(out, "lse_base = \"e\" # guess: or 2")?;
        writeln!(
            out,
            "empty_row = \"zero\" # guess: o = 0, lse = -inf; or undefined"
        )?;
        if has_lists {
            writeln!(
                out,
                "mask = [\"causal\", \"window\", \"sinks\", \"blocks\"] # guess: it reads lists"
            )?;
        } else {
            writeln!(
                out,
                "mask = [\"causal\"] # guess: of causal, window, sinks, blocks; a compiled-in one goes into mask_always too"
            )?;
        }
        self.write_method(out, formats.is_some())?;
        let dtype = self.dtype();
        match &formats {
            Some((_, formats)) => writeln!(out, "\n[requires]\ndtype = {formats:?} # entries")?,
            None => writeln!(out, "\n[requires]\ndtype = [\"{}\"] # {}", dtype.0, dtype.1)?,
        }
        match head_dims {
            Some(head_dims) => writeln!(out, "head_dim = {head_dims:?}")?,
            None => writeln!(out, "head_dim = [64] # guess: the PTX does not say")?,
        }
        self.write_params(out, &fields, has_lists)
    }

    /// The entry with `{head_dim}` for the number after `_d` or `hd`, where several entries differ by it alone.
    fn entry(&self) -> (String, Option<Vec<u32>>) {
        let own = &self.function.name;
        for marker in ["_d", "_hd", "hdim"] {
            let Some((before, rest)) = own.rsplit_once(marker) else {
                continue;
            };
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            if number.is_empty() {
                continue;
            }
            let numbers: Vec<u32> = self
                .names
                .iter()
                .filter_map(|name| {
                    name.strip_prefix(before)?
                        .strip_prefix(marker)?
                        .strip_suffix(after)?
                        .parse()
                        .ok()
                })
                .filter(|number| (1..=1024).contains(number))
                .collect();
            if !numbers.is_empty() {
                return (
                    format!("{before}{marker}{{head_dim}}{after}"),
                    Some(numbers),
                );
            }
        }
        (own.clone(), None)
    }

    /// The entry with `{dtype}` for the name of a format in it, where several entries differ by it, and those formats.
    fn formats(&self, entry: &str) -> Option<(String, Vec<&'static str>)> {
        const FORMATS: [&str; 3] = ["f16", "bf16", "f32"];
        let own = &self.function.name;
        FORMATS.iter().find_map(|format| {
            let word = format!("_{format}_");
            let found: Vec<&str> = FORMATS
                .into_iter()
                .filter(|other| {
                    let name = own.replacen(&word, &format!("_{other}_"), 1);
                    self.module.functions.iter().any(|f| f.name == name)
                })
                .collect();
            (own.contains(&word) && found.len() > 1)
                .then(|| (entry.replacen(&word, "_{dtype}_", 1), found))
        })
    }

    fn reads(&self, register: SpecialRegister) -> bool {
        self.function.instructions.iter().any(|instruction| {
            matches!(instruction.op, Op::Mov { a: crate::ptx::Operand::Special(found), .. } if found == register)
        })
    }

    /// Static shared bytes, and whether there is dynamic shared memory.
    fn shared(&self) -> (u64, bool) {
        let variables = self.module.variables.iter().chain(&self.function.variables);
        let shared: Vec<_> = variables
            .filter(|variable| variable.space == Space::Shared)
            .collect();
        let bytes = shared.iter().map(|variable| variable.bytes()).sum();
        (
            bytes,
            shared
                .iter()
                .any(|variable| variable.linkage == Linkage::Extern || variable.bytes() == 0),
        )
    }

    fn any(&self, wanted: impl Fn(&Op) -> bool) -> bool {
        self.function
            .instructions
            .iter()
            .any(|instruction| wanted(&instruction.op))
    }

    fn dtype(&self) -> (&'static str, &'static str) {
        // The narrowest format that code names: tensor cores and conversions both do.
        let names = |ty: &str| {
            self.function.instructions.iter().any(|i| {
                crate::ptx::statement(self.module, self.function, i)
                    .split('.')
                    .any(|word| word.starts_with(ty))
            })
        };
        if names("bf16") {
            ("bf16", "guess: the code has bf16 instructions")
        } else if names("f16") {
            ("f16", "guess: the code has f16 instructions")
        } else {
            ("f32", "guess: the code has no 16-bit floats")
        }
    }

    fn write_method(&self, out: &mut String, of_inputs: bool) -> std::fmt::Result {
        let math = |wanted: MathFunction| move |op: &Op| matches!(op, Op::Math { function, .. } if *function == wanted);
        let flushed = |wanted: MathFunction| move |op: &Op| matches!(op, Op::Math { function, flush: true, .. } if *function == wanted);
        let divided = |wanted: Accuracy| move |op: &Op| matches!(op, Op::FloatDiv { accuracy, ty: ScalarType::F32, .. } if *accuracy == wanted);
        let suffix = |function| {
            if self.any(flushed(function)) {
                ".ftz"
            } else {
                ""
            }
        };
        let has_mma = self.any(|op| {
            matches!(op, Op::Mma(_)) || matches!(op, Op::Sm90(op) if matches!(**op, Sm90::Wgmma(_)))
        });
        let dtype = self.dtype().0;
        writeln!(out, "\n[method]")?;
        writeln!(out, "tile_q = 64 # guess: queries of a CTA")?;
        writeln!(
            out,
            "tile_kv = 64 # guess: keys between two updates of the row maximum; 16 is safe, and wider"
        )?;
        writeln!(
            out,
            "p_dtype = \"{}\" # guess: {}",
            match (has_mma, of_inputs) {
                (true, true) => "input",
                (true, false) => dtype,
                (false, _) => "f32",
            },
            if has_mma {
                "operands of mma"
            } else {
                "no mma, so weights stay f32"
            }
        )?;
        writeln!(
            out,
            "score = \"subtract_then_scale\" # guess: or fused, where fma(score, scale_log2, -row_max * scale_log2)"
        )?;
        writeln!(
            out,
            "exponential = \"ex2.approx{}\"",
            suffix(MathFunction::Ex2)
        )?;
        writeln!(
            out,
            "logarithm = \"lg2.approx{}\"{}",
            suffix(MathFunction::Lg2),
            if self.any(math(MathFunction::Lg2)) {
                ""
            } else {
                " # guess: none is there, or a library's"
            }
        )?;
        let reciprocal = if self.any(divided(Accuracy::Full)) {
            ("div.full", "")
        } else if self.any(math(MathFunction::Rcp))
            && self.any(|op| {
                matches!(
                    op,
                    Op::Math {
                        function: MathFunction::Rcp,
                        accuracy: Accuracy::Approx,
                        ..
                    }
                )
            })
        {
            ("rcp.approx.ftz", "")
        } else if self.any(math(MathFunction::Rcp)) {
            ("rcp.rn", "")
        } else if self.any(|op| matches!(op, Op::FloatDiv { .. })) {
            ("div.rn", "")
        } else {
            (
                "rcp.approx.ftz",
                " # guess: no division found; this is the widest",
            )
        };
        writeln!(out, "reciprocal = \"{}\"{}", reciprocal.0, reciprocal.1)?;
        writeln!(
            out,
            "output_rounding = \"rn\"\nrow_sum_lanes = 1 # nothing promised about the order of the sum of weights"
        )
    }

    fn write_params(
        &self,
        out: &mut String,
        fields: &[Field],
        has_lists: bool,
    ) -> std::fmt::Result {
        let values = values(fields, has_lists);
        let mut described = fields.iter().zip(&values).peekable();
        for (index, (param, first)) in self
            .function
            .params
            .iter()
            .zip(self.function.param_offsets())
            .enumerate()
        {
            let end = first + param.bytes();
            writeln!(out, "\n# {}: {} bytes", param.name, param.bytes())?;
            let mut own = Vec::new();
            while let Some(found) = described.next_if(|(field, _)| u64::from(field.offset) < end) {
                own.push(found);
            }
            let is_struct = param.extent != crate::ptx::Extent::Scalar;
            if is_struct && param.bytes() == 128 && param.alignment() >= 64 && own.is_empty() {
                writeln!(
                    out,
                    "[[param]]\noffset = {first}\ntype = \"tensor_map\"\ntensor = \"{}\" # guess\nbox = [64, 64] # guess\nswizzle = \"128B\" # guess",
                    ["q", "k", "v", "o"][index.min(3)]
                )?;
                continue;
            }
            let (maps, own): (Vec<_>, Vec<_>) = own
                .into_iter()
                .partition(|(field, _)| matches!(field.role, Role::Map { .. }));
            for (field, value) in maps {
                write_map(out, field, value)?;
            }
            if own.is_empty() {
                continue;
            }
            if !is_struct {
                for (field, value) in own {
                    writeln!(
                        out,
                        "[[param]]\noffset = {first}\ntype = \"{}\"\nvalue = \"{}\" # {}",
                        field.type_name(),
                        value.0,
                        value.1
                    )?;
                }
                continue;
            }
            writeln!(
                out,
                "[[param]]\noffset = {first}\ntype = \"struct\"\nfield = ["
            )?;
            for (field, value) in own {
                let offset = u64::from(field.offset) - first;
                writeln!(
                    out,
                    "    {{ offset = {offset}, type = \"{}\", value = \"{}\" }}, # {}",
                    field.type_name(),
                    value.0,
                    value.1
                )?;
            }
            writeln!(out, "]")?;
        }
        Ok(())
    }
}

/// The map of a tensor, by boxes of as many axes as the code gives coordinates.
fn write_map(out: &mut String, field: &Field, value: &(String, String)) -> std::fmt::Result {
    let Role::Map { axes, .. } = field.role else {
        return Ok(());
    };
    let sides = (0..axes).map(|axis| if axis < 2 { "64" } else { "1" });
    writeln!(
        out,
        "[[param]]\noffset = {}\ntype = \"tensor_map\"\ntensor = \"{}\" # {}\nbox = [{}] # guess: head_dim, then seqlen\nswizzle = \"128B\" # guess",
        field.offset,
        value.0,
        value.1,
        sides.collect::<Vec<_>>().join(", ")
    )
}

const Q_AXES: (&str, &str) = ("num_q_heads", "seqlen_q");
const KV_AXES: (&str, &str) = ("num_kv_heads", "seqlen_kv");

/// Whether it is read as q, k and v are.
fn is_tensor(role: Role) -> bool {
    matches!(role, Role::Tensor | Role::Map { stored: false, .. })
}

/// Strides of a tensor (batch, heads, seqlen, `head_dim`) in elements, but for the last, which is 1.
fn strides(heads: &'static str, seqlen: &'static str) -> [String; 3] {
    [
        format!("{heads} * {seqlen} * head_dim"),
        format!("{seqlen} * head_dim"),
        "head_dim".to_owned(),
    ]
}

/// A value for each field, and why.
fn values(fields: &[Field], has_lists: bool) -> Vec<(String, String)> {
    let mut tensors = ["q", "k", "v"].into_iter();
    let mut outputs = ["o", "lse"].into_iter();
    let mut lists = ["row_ptr", "col_idx", "tile_mask", "order"].into_iter();
    let mut heads = ["num_q_heads", "num_kv_heads"].into_iter();
    let mut lengths = ["seqlen_q", "seqlen_kv"].into_iter();
    // With lists, the order in which this project's own kernels take them.
    let mut usual = [
        "num_q_heads",
        "num_kv_heads",
        "seqlen_q",
        "seqlen_kv",
        "causal",
        "window_left",
        "window_right",
        "sinks",
        "row_ptr_stride",
    ]
    .into_iter();
    let integers = fields.iter().filter(|field| field.is_integer()).count();
    let in_usual_order = has_lists && integers == 9;
    let floats = fields
        .iter()
        .filter(|field| field.role == Role::Float)
        .count();
    let mut scales = if floats == 1 {
        ["scale_log2", "1"]
    } else {
        ["scale", "scale_log2"]
    }
    .into_iter();
    let few = fields.iter().filter(|field| is_tensor(field.role)).count() < 3;
    // Three strides for each of four tensors are usually those of q, k, v and o, from the outermost axis inwards.
    let multiplying = fields.iter().filter(|f| f.role == Role::Stride).count();
    let mut four = [Q_AXES, KV_AXES, KV_AXES, Q_AXES]
        .into_iter()
        .flat_map(|(heads, seqlen)| strides(heads, seqlen))
        .filter(|_| multiplying == 12);
    let mut next = |field: &Field| -> (String, String) {
        let guess = |text: &str| format!("guess: {text}");
        let (value, why) = match field.role {
            Role::Output => (
                outputs.next().unwrap_or("null"),
                guess("a pointer that is stored to"),
            ),
            Role::Tensor => (
                tensors.next().unwrap_or("null"),
                guess("a pointer that is read"),
            ),
            Role::Map { stored: true, .. } => (
                outputs.next().unwrap_or("o"),
                guess("a tensor map that is stored by"),
            ),
            Role::Map { stored: false, .. } => (
                tensors.next().unwrap_or("q"),
                guess("a tensor map that is loaded by"),
            ),
            Role::List if few => (
                tensors.next().unwrap_or("null"),
                guess("a pointer that is read"),
            ),
            Role::List => (
                lists.next().unwrap_or("null"),
                guess("a pointer that is read word by word"),
            ),
            Role::Unused => ("null", guess("a pointer that nothing uses: hidden scratch")),
            Role::Scale => (
                "scale",
                "the code multiplies it by log2(e) itself".to_owned(),
            ),
            Role::Float => (
                scales.next().unwrap_or("1"),
                guess("scale, or scale_log2 = scale * log2(e)"),
            ),
            _ if in_usual_order => (usual.next().unwrap_or("1"), guess("the usual order")),
            Role::Divisor => (
                heads.next().unwrap_or("num_q_heads"),
                guess("it divides: a count of heads, or num_q_heads / num_kv_heads?"),
            ),
            Role::Length => (
                lengths.next().unwrap_or("seqlen_kv"),
                guess("it is compared: a length?"),
            ),
            Role::Stride => match four.next() {
                Some(stride) => {
                    return (stride, guess("a stride in elements, of q, k, v, o in turn"));
                }
                None => (
                    "head_dim",
                    guess("EDIT: it only multiplies: a stride in elements?"),
                ),
            },
            Role::Integer => ("1", guess("EDIT: an integer")),
        };
        (value.to_owned(), why)
    };
    fields.iter().map(&mut next).collect()
}
