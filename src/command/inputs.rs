//! A problem that the user gives as `.npy` or safetensors files, a layout and flags.

use super::modules::read_text;
use super::{Failure, note};
use crate::cli::{self, NumberFormat};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, u64_to_f64, usize_to_f64};
use crate::format::npy::{self, Header};
use crate::format::safetensors::{Directory, Entry};
use flashproof_reference::{DType, Layout, Problem, Shape, Tensor, Window};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes for each element of q: file, widened, as a tensor, as the reference has it, answer, bound, and an output to
/// judge as a file, a tensor and widened.
const Q_BYTES: u64 = 64;
/// Bytes for each element of k or v: file, widened, as a tensor, as the reference has it, transposed, and magnitudes.
const KV_BYTES: u64 = 48;
/// Bytes for each row: log-sum-exp of answer, bound and output.
const ROW_BYTES: u64 = 32;
/// Bytes for each key and thread: keys, scores, errors and weights of a row.
const KEY_BYTES: u64 = 64;

/// A tensor in a file whose header has been read and fits the file's length.
pub(super) struct File {
    /// The flag that names it, without dashes.
    name: &'static str,
    path: PathBuf,
    /// Its name in a safetensors file.
    tensor: Option<String>,
    shape: Vec<usize>,
    contents: Contents,
}

enum Contents {
    Npy { header: Header, file_bytes: u64 },
    Safetensors(Entry),
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
        NumberFormat::F64 => DType::F64,
    }
}

impl File {
    /// Reads the header alone: of the file that a flag names, `FILE.npy` or `FILE.safetensors:NAME`, or else of the
    /// tensor of the flag's name (`-` as `_`) in the file of all tensors.
    pub(super) fn open(
        name: &'static str,
        path: Option<&Path>,
        tensors: Option<&Path>,
    ) -> Result<Self, Failure> {
        let given = path.or(tensors).ok_or_else(|| {
            Failure::Input(format!(
                "--{name} is missing, and so is --tensors to find it in"
            ))
        })?;
        match safetensors_name(given, name) {
            Some((path, tensor)) => Self::open_safetensors(name, path, tensor),
            None => Self::open_npy(name, given),
        }
    }

    fn open_npy(name: &'static str, path: &Path) -> Result<Self, Failure> {
        let unreadable = |error| unreadable(path, &error);
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
            path: path.to_owned(),
            tensor: None,
            shape: header.shape.clone(),
            contents: Contents::Npy { header, file_bytes },
        })
    }

    fn open_safetensors(
        name: &'static str,
        path: PathBuf,
        tensor: String,
    ) -> Result<Self, Failure> {
        let unreadable = |error| unreadable(&path, &error);
        let mut file = fs::File::open(&path).map_err(unreadable)?;
        let file_bytes = file.metadata().map_err(unreadable)?.len();
        let mut prefix = Vec::new();
        (&mut file)
            .take(8)
            .read_to_end(&mut prefix)
            .map_err(unreadable)?;
        let length = Directory::header_bytes(&prefix, file_bytes)
            .map_err(|error| malformed(&path, &error))?;
        let mut header = Vec::new();
        file.take(length)
            .read_to_end(&mut header)
            .map_err(unreadable)?;
        let entry = Directory::parse(&header, file_bytes)
            .and_then(|directory| directory.tensor(&tensor))
            .map_err(|error| malformed(&path, &error))?;
        Ok(Self {
            name,
            path,
            tensor: Some(tensor),
            shape: entry.shape.clone(),
            contents: Contents::Safetensors(entry),
        })
    }

    /// The file, and the tensor in it where it holds several.
    pub(super) fn label(&self) -> String {
        let path = self.path.display();
        match &self.tensor {
            None => path.to_string(),
            Some(tensor) => format!("{path}:{tensor}"),
        }
    }

    /// Whether the file is as long as its header says. (A safetensors header is held against the length when it is read.)
    fn check_length(&self) -> Result<(), Failure> {
        match &self.contents {
            Contents::Npy { header, file_bytes } => header
                .check_length(*file_bytes)
                .map_err(|error| malformed(&self.path, &error)),
            Contents::Safetensors(_) => Ok(()),
        }
    }

    /// The numbers, widened without rounding, in C order.
    fn values(&self) -> Result<Vec<f64>, Failure> {
        match &self.contents {
            Contents::Npy { .. } => {
                let bytes = fs::read(&self.path).map_err(|error| unreadable(&self.path, &error))?;
                let array = npy::read(&bytes).map_err(|error| malformed(&self.path, &error))?;
                Ok(array.values)
            }
            Contents::Safetensors(entry) => {
                let unreadable = |error| unreadable(&self.path, &error);
                let mut file = fs::File::open(&self.path).map_err(unreadable)?;
                file.seek(SeekFrom::Start(entry.bytes.start))
                    .map_err(unreadable)?;
                let mut bytes = Vec::new();
                file.take(entry.bytes.end - entry.bytes.start)
                    .read_to_end(&mut bytes)
                    .map_err(unreadable)?;
                Ok(entry.values(&bytes))
            }
        }
    }

    /// Refuses another shape than `expected`, which is that of `whose`.
    pub(super) fn require_shape(&self, expected: &[usize], whose: &str) -> Result<(), Failure> {
        let found = &self.shape;
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
        match self.shape[..] {
            [heads, seqlen, head_dim] => Ok([1, heads, seqlen, head_dim]),
            [batch, heads, seqlen, head_dim] => Ok([batch, heads, seqlen, head_dim]),
            _ => Err(Failure::Input(format!(
                "--{} has shape {:?}, but must have 3 axes, heads x seqlen x head_dim, or 4 with a batch before them",
                self.name, self.shape
            ))),
        }
    }

    fn elements(&self) -> u64 {
        self.shape
            .iter()
            .map(|&extent| u64::try_from(extent).unwrap_or(u64::MAX))
            .fold(1, u64::saturating_mul)
    }
}

/// `FILE.safetensors:NAME`, or `FILE.safetensors` with the name that the flag stands for.
fn safetensors_name(given: &Path, flag: &str) -> Option<(PathBuf, String)> {
    const EXTENSION: &str = ".safetensors";
    let text = given.to_str()?;
    if text.ends_with(EXTENSION) {
        return Some((given.to_owned(), flag.replace('-', "_")));
    }
    let at = text.rfind(".safetensors:")? + EXTENSION.len();
    Some((PathBuf::from(&text[..at]), text[at + 1..].to_owned()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!("cannot read {}: {error}", path.display()))
}

fn malformed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {error}", path.display()))
}

/// The numbers of a file in a format, all of which must be numbers of it; `flag` names another, where there is one.
pub(super) fn exactly(file: &File, dtype: DType, flag: Option<&str>) -> Result<Tensor, Failure> {
    let values = file.values()?;
    let tensor = match dtype {
        DType::F16 => Tensor::F16(values.iter().map(|&x| f64_to_f16(x)).collect()),
        DType::Bf16 => Tensor::Bf16(values.iter().map(|&x| f64_to_bf16(x)).collect()),
        DType::F32 => Tensor::F32(values.iter().map(|&x| f64_to_f32(x)).collect()),
        DType::F64 => Tensor::F64(values.clone()),
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
            file.label(),
            place(index, &file.shape),
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
    pub(super) fn read(arguments: &cli::Inputs, others: &[&File]) -> Result<Self, Failure> {
        let [q, k, v] = [
            File::open("q", arguments.q.as_deref(), arguments.tensors.as_deref())?,
            File::open("k", arguments.k.as_deref(), arguments.tensors.as_deref())?,
            File::open("v", arguments.v.as_deref(), arguments.tensors.as_deref())?,
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
                q.shape,
                k.shape,
                gib(needed),
                gib(limit)
            )));
        }
        for file in [&q, &k, &v].into_iter().chain(others.iter().copied()) {
            file.check_length()?;
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
            q_shape: q.shape,
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
fn say_not_finite(file: &File, tensor: &Tensor) {
    let count = (0..tensor.len())
        .filter(|&index| tensor.get(index).is_some_and(|value| !value.is_finite()))
        .count();
    if count > 0 {
        note(&format!(
            "{}: {count} of {} elements are NaN or infinite; rows that see them have the results that the definition \
             gives, and are not judged",
            file.label(),
            tensor.len()
        ));
    }
}

/// The extents of the problem, where the three shapes agree.
fn shape(q: &File, k: &File, v: &File) -> Result<Shape, Failure> {
    let [batch, num_q_heads, seqlen_q, head_dim] = q.extents()?;
    let [k_batch, num_kv_heads, seqlen_kv, k_head_dim] = k.extents()?;
    v.require_shape(&k.shape, "k")?;
    let both = || format!("q has shape {:?}, k {:?}", q.shape, k.shape);
    if q.shape.len() != k.shape.len() {
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
    let count = |file: &File| {
        usize::try_from(file.elements()).map_err(|_| {
            Failure::Input(format!(
                "{}: more elements than this machine can address",
                both()
            ))
        })
    };
    shape
        .validate(count(q)?, count(k)?, count(v)?)
        .map_err(|error| Failure::Input(format!("{}: {error}", both())))?;
    Ok(shape)
}

fn estimate(files: &[&File], bytes_per_element: u64) -> u64 {
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
