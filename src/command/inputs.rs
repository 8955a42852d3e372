//! A problem that the user gives as `.npy` files, a layout and flags.

use super::modules::read_text;
use super::{Failure, note};
use crate::cli::{self, NumberFormat};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, u64_to_f64, usize_to_f64};
use crate::format::npy::{self, Header, NpyError};
use flashproof_reference::{DType, Layout, Problem, Shape, Tensor, Window};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Bytes for each element of q: file, widened, as a tensor, as the reference has it, answer, bound, and an output to
/// judge as a file, a tensor and widened.
const Q_BYTES: u64 = 64;
/// Bytes for each element of k or v: file, widened, as a tensor, as the reference has it, transposed, and magnitudes.
const KV_BYTES: u64 = 48;
/// Bytes for each row: log-sum-exp of answer, bound and output.
const ROW_BYTES: u64 = 32;
/// Bytes for each key and thread: keys, scores, errors and weights of a row.
const KEY_BYTES: u64 = 64;

/// A file whose header has been read and fits the file's length.
pub(super) struct File<'a> {
    /// The flag that names it, without dashes.
    name: &'static str,
    path: &'a Path,
    header: Header,
    file_bytes: u64,
}

/// A problem and the shape its outputs have.
pub(super) struct Inputs {
    pub(super) problem: Problem,
    /// Shape of q as given, with or without a batch.
    pub(super) q_shape: Vec<usize>,
}

/// The format a flag names.
pub(super) fn dtype_of(format: NumberFormat) -> DType {
    match format {
        NumberFormat::F16 => DType::F16,
        NumberFormat::Bf16 => DType::Bf16,
        NumberFormat::F32 => DType::F32,
    }
}

impl<'a> File<'a> {
    /// Reads the header alone.
    pub(super) fn open(name: &'static str, path: &'a Path) -> Result<Self, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::Input(format!("cannot read {}: {error}", path.display()))
        };
        let file = fs::File::open(path).map_err(unreadable)?;
        let file_bytes = file.metadata().map_err(unreadable)?.len();
        let limit = u64::try_from(npy::PREFIX_BYTES).expect("a small constant");
        let mut prefix = Vec::new();
        file.take(limit)
            .read_to_end(&mut prefix)
            .map_err(unreadable)?;
        let header = Header::parse(&prefix).map_err(|error| malformed(path, &error))?;
        Ok(Self {
            name,
            path,
            header,
            file_bytes,
        })
    }

    /// Refuses another shape than `expected`, which is that of `whose`.
    pub(super) fn require_shape(&self, expected: &[usize], whose: &str) -> Result<(), Failure> {
        let found = &self.header.shape;
        if found == expected {
            return Ok(());
        }
        Err(Failure::Input(format!(
            "--{} has shape {found:?}, but must have that of {whose}, {expected:?}",
            self.name
        )))
    }

    /// (batch, heads, seqlen, `head_dim`).
    fn extents(&self) -> Result<[usize; 4], Failure> {
        match self.header.shape[..] {
            [heads, seqlen, head_dim] => Ok([1, heads, seqlen, head_dim]),
            [batch, heads, seqlen, head_dim] => Ok([batch, heads, seqlen, head_dim]),
            _ => Err(Failure::Input(format!(
                "--{} has shape {:?}, but must have 3 axes, heads x seqlen x head_dim, or 4 with a batch before them",
                self.name, self.header.shape
            ))),
        }
    }

    fn elements(&self) -> u64 {
        u64::try_from(self.header.count()).expect("addresses have at most 64 bits")
    }
}

fn malformed(path: &Path, error: &NpyError) -> Failure {
    Failure::Input(format!("{}: {error}", path.display()))
}

/// The numbers of a file in a format, all of which must be numbers of it; `flag` names another, where there is one.
pub(super) fn exactly(
    file: &File<'_>,
    dtype: DType,
    flag: Option<&str>,
) -> Result<Tensor, Failure> {
    let bytes = fs::read(file.path)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", file.path.display())))?;
    let array = npy::read(&bytes).map_err(|error| malformed(file.path, &error))?;
    drop(bytes);
    let values = array.values;
    let tensor = match dtype {
        DType::F16 => Tensor::F16(values.iter().map(|&x| f64_to_f16(x)).collect()),
        DType::Bf16 => Tensor::Bf16(values.iter().map(|&x| f64_to_bf16(x)).collect()),
        DType::F32 => Tensor::F32(values.iter().map(|&x| f64_to_f32(x)).collect()),
    };
    let kept = |index| tensor.get(index).expect("as many elements as values");
    let lost = (0..values.len()).find(|&index| {
        let value = values[index];
        kept(index).to_bits() != value.to_bits() && !value.is_nan()
    });
    if let Some(index) = lost {
        let value = values[index];
        let or = flag.map_or_else(String::new, |flag| {
            format!(", or name its format with {flag}")
        });
        return Err(Failure::Input(format!(
            "{}: element {:?} = {value:e} ({:#018x}) is no {dtype}: round it first{or}",
            file.path.display(),
            place(index, &array.shape),
            value.to_bits()
        )));
    }
    Ok(tensor)
}

/// An index of elements in C order as one of each axis.
fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let at = index % extent;
            index /= extent;
            at
        })
        .collect();
    place.reverse();
    place
}

impl Inputs {
    /// Reads a problem; `others` are files that will be read too, for the estimate of memory.
    pub(super) fn read(arguments: &cli::Inputs, others: &[&File<'_>]) -> Result<Self, Failure> {
        let [q, k, v] = [
            File::open("q", &arguments.q)?,
            File::open("k", &arguments.k)?,
            File::open("v", &arguments.v)?,
        ];
        let shape = shape(&q, &k, &v)?;
        let needed = estimate(&[&q], Q_BYTES)
            .saturating_add(estimate(&[&k, &v], KV_BYTES))
            .saturating_add(estimate(others, Q_BYTES))
            .saturating_add(scratch(&shape));
        let limit = u64::from(arguments.memory_gib) << 30;
        if needed > limit {
            let gib = |bytes: u64| u64_to_f64(bytes) / u64_to_f64(1 << 30);
            return Err(Failure::Input(format!(
                "q {:?} and k {:?} need about {:.1} GiB, more than the limit of {:.0} GiB; give fewer heads at a time, \
                 or raise --memory-gib",
                q.header.shape,
                k.header.shape,
                gib(needed),
                gib(limit)
            )));
        }
        for file in [&q, &k, &v].into_iter().chain(others.iter().copied()) {
            file.header
                .check_length(file.file_bytes)
                .map_err(|error| malformed(file.path, &error))?;
        }
        let layout = layout(arguments, &shape)?;
        let scale = arguments
            .scale
            .unwrap_or_else(|| f64_to_f32(1.0 / usize_to_f64(shape.head_dim).sqrt()));
        // Before the long part, what needs no numbers.
        if !scale.is_finite() && shape.head_dim > 0 {
            return Err(Failure::Input(format!(
                "--scale is {scale} as f32, but must be finite"
            )));
        }
        let dtype = dtype_of(arguments.dtype);
        let mut tensors = Vec::with_capacity(3);
        for file in [&q, &k, &v] {
            let tensor = exactly(file, dtype, Some("--dtype"))?;
            say_not_finite(file, &tensor);
            tensors.push(tensor);
        }
        let [q_tensor, k_tensor, v_tensor] =
            <[Tensor; 3]>::try_from(tensors).expect("three files, three tensors");
        let problem = Problem::new(shape, q_tensor, k_tensor, v_tensor, scale, layout)
            .map_err(Failure::input)?;
        Ok(Self {
            problem,
            q_shape: q.header.shape,
        })
    }

    /// Shape of the log-sum-exps: that of q without its last axis.
    pub(super) fn lse_shape(&self) -> &[usize] {
        self.q_shape
            .split_last()
            .map_or(&[], |(_, all_but_last)| all_but_last)
    }
}

/// Such rows have results too, by definition; but the user may not know that the files hold such numbers.
fn say_not_finite(file: &File<'_>, tensor: &Tensor) {
    let count = (0..tensor.len())
        .filter(|&index| tensor.get(index).is_some_and(|value| !value.is_finite()))
        .count();
    if count > 0 {
        note(&format!(
            "{}: {count} of {} elements are NaN or infinite; rows that see them have the results that the definition \
             gives, and are not judged",
            file.path.display(),
            tensor.len()
        ));
    }
}

/// The extents of the problem, where the three shapes agree.
fn shape(q: &File<'_>, k: &File<'_>, v: &File<'_>) -> Result<Shape, Failure> {
    let [batch, num_q_heads, seqlen_q, head_dim] = q.extents()?;
    let [k_batch, num_kv_heads, seqlen_kv, k_head_dim] = k.extents()?;
    v.require_shape(&k.header.shape, "k")?;
    let both = || format!("q has shape {:?}, k {:?}", q.header.shape, k.header.shape);
    if q.header.shape.len() != k.header.shape.len() {
        return Err(Failure::Input(format!(
            "{}: give both a batch, or neither",
            both()
        )));
    }
    for (name, of_q, of_k) in [
        ("batch", batch, k_batch),
        ("head_dim", head_dim, k_head_dim),
    ] {
        if of_q != of_k {
            return Err(Failure::Input(format!(
                "{}: {name} is {of_q} in one and {of_k} in the other, but must be the same",
                both()
            )));
        }
    }
    let shape = Shape {
        batch,
        num_q_heads,
        num_kv_heads,
        seqlen_q,
        seqlen_kv,
        head_dim,
    };
    shape
        .validate(q.header.count(), k.header.count(), v.header.count())
        .map_err(|error| Failure::Input(format!("{}: {error}", both())))?;
    Ok(shape)
}

fn estimate(files: &[&File<'_>], bytes_per_element: u64) -> u64 {
    files
        .iter()
        .map(|file| file.elements().saturating_mul(bytes_per_element))
        .fold(0, u64::saturating_add)
}

/// What depends on lengths alone.
fn scratch(shape: &Shape) -> u64 {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let rows = count(shape.row_count().unwrap_or(usize::MAX)).saturating_mul(ROW_BYTES);
    count(shape.seqlen_kv)
        .saturating_mul(count(rayon::current_num_threads()))
        .saturating_mul(KEY_BYTES)
        .saturating_add(rows)
}

/// The pairs that the layout file and the flags both show.
///
/// The flags say nothing of global tokens, and of sinks only if `--sinks` is there: then it must be the file's number,
/// because a pair that one shows for its window and the other for its sink could not be said.
fn layout(arguments: &cli::Inputs, shape: &Shape) -> Result<Layout, Failure> {
    let flags = Layout::dense(shape.seqlen_q, shape.seqlen_kv)
        .with_causal(arguments.causal)
        .with_window(
            arguments
                .window
                .map_or(Window::default(), |reaches| Window {
                    left: reaches.left,
                    right: reaches.right,
                }),
        );
    let Some(path) = &arguments.layout else {
        return Ok(flags.with_sinks(arguments.sinks.unwrap_or(0)));
    };
    let refuse =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
    let given = Layout::from_json(&read_text(path)?).map_err(|error| refuse(&error))?;
    shape
        .validate_layout(&given)
        .map_err(|error| refuse(&error))?;
    if let Some(sinks) = arguments.sinks.filter(|&sinks| sinks != given.sinks()) {
        return Err(refuse(&format!(
            "--sinks is {sinks}, but the layout has {} sinks; leave the flag out, or change the layout",
            given.sinks()
        )));
    }
    flags
        .with_sinks(given.sinks())
        .with_global(given.global().iter().copied())
        .and_then(|flags| given.intersection(&flags))
        .map_err(|error| refuse(&error))
}
