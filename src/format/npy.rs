//! The NumPy array format (`.npy`): bytes to numbers, and numbers to bytes.
//!
//! `\x93NUMPY`, a version of two bytes, the length of the header (two bytes in version 1.0, four in 2.0 and 3.0, little
//! endian), the header, the elements. The header is a Python dictionary of three keys: `descr`, `fortran_order`,
//! `shape`. (NumPy, NEP 1 and `numpy.lib.format`.)

mod integers;

pub use integers::{Integers, read_integers, write_bools, write_i32};

use half::f16;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read: what version 1.0 can say.
const HEADER_BYTES_MAX: usize = 65_535;
/// Most axes of an array: NumPy's own limit.
const AXES_MAX: usize = 64;

/// So many bytes from the start of a file are enough for [`Header::parse`].
pub const PREFIX_BYTES: usize = 12 + HEADER_BYTES_MAX;

/// Format of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// binary16.
    F16,
    /// binary32.
    F32,
    /// binary64.
    F64,
}

impl Element {
    fn size_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// What stands before the elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format of an element.
    pub element: Element,
    /// Whether the most significant byte of an element comes first.
    pub big_endian: bool,
    /// Whether the first axis is the contiguous one, not the last.
    pub fortran_order: bool,
    /// Extents.
    pub shape: Vec<usize>,
    /// Bytes before the first element.
    pub data_offset: usize,
    /// Elements: the product of the extents.
    count: usize,
}

/// An array, its elements widened without rounding, in C order whatever the file's.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Format of an element in the file.
    pub element: Element,
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements, the last axis contiguous.
    pub values: Vec<f64>,
}

/// Why bytes are not an array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// Another kind of file.
    #[error("not an .npy file: it begins with {found:02x?}, an .npy file with {magic:02x?}", magic = MAGIC)]
    Magic {
        /// Its first bytes, at most 6.
        found: Vec<u8>,
    },
    /// A version nobody has defined yet.
    #[error(
        ".npy version {major}.{minor} is not known: 1.0, 2.0 and 3.0 are; save the array again"
    )]
    Version {
        /// First byte.
        major: u8,
        /// Second byte.
        minor: u8,
    },
    /// The header is longer than any array of numbers needs.
    #[error("the header has {found} bytes, but at most {limit} are read", limit = HEADER_BYTES_MAX)]
    HeaderLength {
        /// Length it states.
        found: u32,
    },
    /// The header is not the dictionary it must be.
    #[error("the header at byte {offset} {reason}")]
    Header {
        /// Byte of the file.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Elements that are not read.
    #[error(
        "elements are {found}, but must be f2, f4 or f8 (f16, f32, f64) in either byte order; convert with .astype"
    )]
    Dtype {
        /// The header's words.
        found: String,
    },
    /// More elements than there are addresses.
    #[error("shape {shape:?} has more bytes than this machine can address")]
    TooLarge {
        /// Extents.
        shape: Vec<usize>,
    },
    /// The file ends too early.
    #[error("cut short: {found} bytes, but {expected} are needed; write or copy it again")]
    Truncated {
        /// Bytes needed.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// The file goes on after the last element.
    #[error("{found} bytes, but the array ends after {expected}; save one array to a file")]
    Trailing {
        /// Bytes of the array.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
}

/// A length in memory as a length of a file.
fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("addresses have at most 64 bits")
}

/// The header before anybody asks which elements it means.
struct Preamble {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
    data_offset: usize,
}

impl Preamble {
    fn parse(prefix: &[u8]) -> Result<Self, NpyError> {
        let Some(rest) = prefix.strip_prefix(MAGIC) else {
            let found = &prefix[..prefix.len().min(MAGIC.len())];
            return Err(if MAGIC.starts_with(found) {
                truncated(MAGIC.len() + 4, prefix)
            } else {
                NpyError::Magic {
                    found: found.to_vec(),
                }
            });
        };
        let (header_len, begin) = match *rest {
            [1, 0, a, b, ..] => (u32::from(u16::from_le_bytes([a, b])), 10),
            [2 | 3, 0, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]), 12),
            [1, 0, ..] => return Err(truncated(10, prefix)),
            [2 | 3, 0, ..] => return Err(truncated(12, prefix)),
            [major, minor, ..] => return Err(NpyError::Version { major, minor }),
            [] | [_] => return Err(truncated(10, prefix)),
        };
        let data_offset = usize::try_from(header_len)
            .ok()
            .filter(|&bytes| bytes <= HEADER_BYTES_MAX)
            .map(|bytes| begin + bytes)
            .ok_or(NpyError::HeaderLength { found: header_len })?;
        let text = prefix
            .get(begin..data_offset)
            .ok_or_else(|| truncated(data_offset, prefix))?;
        let (descr, fortran_order, shape) = Cursor { text, at: 0 }
            .dictionary()
            .map_err(|error| error.after(begin))?;
        Ok(Self {
            descr,
            fortran_order,
            shape,
            data_offset,
        })
    }
}

impl Header {
    /// Reads the header from the first bytes of a file: all of it, or at least [`PREFIX_BYTES`].
    ///
    /// # Errors
    /// [`NpyError`], each with what was found and what is allowed.
    pub fn parse(prefix: &[u8]) -> Result<Self, NpyError> {
        let Preamble {
            descr,
            fortran_order,
            shape,
            data_offset,
        } = Preamble::parse(prefix)?;
        let (big_endian, element) = match descr.as_str() {
            "<f2" => (false, Element::F16),
            "<f4" => (false, Element::F32),
            "<f8" => (false, Element::F64),
            ">f2" => (true, Element::F16),
            ">f4" => (true, Element::F32),
            ">f8" => (true, Element::F64),
            _ => return Err(NpyError::Dtype { found: descr }),
        };
        // An extent of 0 makes the array empty, whatever the others are.
        let count = if shape.contains(&0) {
            Some(0)
        } else {
            shape.iter().copied().try_fold(1, usize::checked_mul)
        };
        let count = count.filter(|count| {
            count
                .checked_mul(element.size_bytes())
                .and_then(|bytes| bytes.checked_add(data_offset))
                .is_some()
        });
        let Some(count) = count else {
            return Err(NpyError::TooLarge { shape });
        };
        Ok(Self {
            element,
            big_endian,
            fortran_order,
            shape,
            data_offset,
            count,
        })
    }

    /// Elements of the array.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Checks the length of the whole file.
    ///
    /// # Errors
    /// [`NpyError::Truncated`] and [`NpyError::Trailing`].
    pub fn check_length(&self, found: u64) -> Result<(), NpyError> {
        let expected = length(self.data_offset + self.count * self.element.size_bytes());
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => Err(NpyError::Truncated { expected, found }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(NpyError::Trailing { expected, found }),
        }
    }
}

fn truncated(expected: usize, bytes: &[u8]) -> NpyError {
    NpyError::Truncated {
        expected: length(expected),
        found: length(bytes.len()),
    }
}

/// Reads a file's bytes.
///
/// # Errors
/// [`NpyError`], each with what was found and what is allowed.
///
/// ```
/// use flashproof::format::npy;
/// let bytes = npy::write(&[1, 2], &[0.5, -1.0]);
/// assert_eq!(npy::read(&bytes)?.values, [0.5, -1.0]);
/// assert_eq!(
///     npy::read(&bytes[..140]).unwrap_err().to_string(),
///     "cut short: 140 bytes, but 144 are needed; write or copy it again"
/// );
/// # Ok::<(), npy::NpyError>(())
/// ```
pub fn read(bytes: &[u8]) -> Result<Array, NpyError> {
    let header = Header::parse(bytes)?;
    header.check_length(length(bytes.len()))?;
    let data = &bytes[header.data_offset..];
    let big_endian = header.big_endian;
    let values = match header.element {
        Element::F16 => words(data, big_endian, |word| f16::from_le_bytes(word).to_f64()),
        Element::F32 => words(data, big_endian, |word| f64::from(f32::from_le_bytes(word))),
        Element::F64 => words(data, big_endian, f64::from_le_bytes),
    };
    Ok(Array {
        element: header.element,
        values: if header.fortran_order {
            to_c_order(&values, &header.shape)
        } else {
            values
        },
        shape: header.shape,
    })
}

/// Words of `N` bytes, each through `value`, which takes the least significant byte first.
fn words<const N: usize>(
    data: &[u8],
    big_endian: bool,
    value: impl Fn([u8; N]) -> f64,
) -> Vec<f64> {
    let words = data.as_chunks::<N>().0.iter().copied();
    if big_endian {
        words
            .map(|mut word| {
                word.reverse();
                value(word)
            })
            .collect()
    } else {
        words.map(value).collect()
    }
}

/// Elements whose first axis is contiguous, with the last axis contiguous instead.
fn to_c_order<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for extent in shape {
        strides.push(stride);
        stride *= (*extent).max(1);
    }
    let mut place = vec![0; shape.len()];
    let mut from = 0;
    let mut ordered = Vec::with_capacity(values.len());
    while ordered.len() < values.len() {
        ordered.push(values[from]);
        // The next place: the last axis that has one, those after it back to 0.
        for axis in (0..shape.len()).rev() {
            place[axis] += 1;
            from += strides[axis];
            if place[axis] < shape[axis] {
                break;
            }
            from -= strides[axis] * shape[axis];
            place[axis] = 0;
        }
    }
    ordered
}

/// The bytes of a file, version 1.0: little-endian f64 in C order.
///
/// # Panics
/// Where the extents do not multiply to the number of values: a bug of the caller.
pub fn write(shape: &[usize], values: &[f64]) -> Vec<u8> {
    assert_eq!(
        shape.iter().product::<usize>(),
        values.len(),
        "shape {shape:?}"
    );
    let mut bytes = preamble("<f8", shape, 8 * values.len());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// What stands before the elements in version 1.0, C order.
fn preamble(descr: &str, shape: &[usize], data_bytes: usize) -> Vec<u8> {
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}")
            .into_bytes();
    // Elements begin at a multiple of 64 bytes, as NumPy's do; a line feed ends the header.
    let end = (10 + header.len() + 1).next_multiple_of(64);
    header.resize(end - 11, b' ');
    header.push(b'\n');
    let header_len = u16::try_from(header.len()).expect("a few axes of 20 digits");
    let mut bytes = Vec::with_capacity(end + data_bytes);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&header_len.to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes
}

/// What stands before a byte string of no axes, as scipy tags a matrix with its format.
pub(in crate::format) fn preamble_of_bytes(count: usize) -> Vec<u8> {
    preamble(&format!("|S{count}"), &[], count)
}

/// A place in the header's text.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// What is wrong with the header's text.
enum Complaint {
    At(usize, &'static str),
    Dtype(String),
}

impl Complaint {
    /// As an error of a file whose header begins at byte `begin`.
    fn after(self, begin: usize) -> NpyError {
        match self {
            Self::At(at, reason) => NpyError::Header {
                offset: begin + at,
                reason,
            },
            Self::Dtype(found) => NpyError::Dtype { found },
        }
    }
}

impl Cursor<'_> {
    /// `descr`, `fortran_order` and `shape`, each once, in any order, and nothing else.
    fn dictionary(mut self) -> Result<(String, bool, Vec<usize>), Complaint> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{', "must begin with {")?;
        while !self.takes(b'}') {
            let at = self.at;
            let key = self.string("needs a key in quotes")?;
            self.expect(b':', "needs a colon after a key")?;
            let twice = match key.as_str() {
                "descr" => descr.replace(self.descr()?).is_some(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => {
                    return Err(Complaint::At(
                        at,
                        "has a key other than descr, fortran_order and shape",
                    ));
                }
            };
            if twice {
                return Err(Complaint::At(at, "has a key twice"));
            }
            if !self.takes(b',') && self.peek() != Some(b'}') {
                return Err(self.complaint("needs a comma or }"));
            }
        }
        if self.peek().is_some() {
            return Err(self.complaint("goes on after }"));
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok((descr, fortran_order, shape)),
            _ => Err(self.complaint("ends without one of descr, fortran_order and shape")),
        }
    }

    fn complaint(&self, reason: &'static str) -> Complaint {
        Complaint::At(self.at, reason)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Complaint> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(self.complaint(reason))
        }
    }

    /// Text in quotes, without escapes.
    fn string(&mut self, reason: &'static str) -> Result<String, Complaint> {
        let quote = self
            .peek()
            .filter(|quote| b"'\"".contains(quote))
            .ok_or_else(|| self.complaint(reason))?;
        let inside = &self.text[self.at + 1..];
        let len = inside
            .iter()
            .position(|&byte| byte == quote)
            .ok_or_else(|| self.complaint("has a quote without an end"))?;
        self.at += len + 2;
        Ok(String::from_utf8_lossy(&inside[..len])
            .escape_debug()
            .collect())
    }

    fn descr(&mut self) -> Result<String, Complaint> {
        if self.peek() == Some(b'[') {
            return Err(Complaint::Dtype("structures of several fields".to_owned()));
        }
        self.string("needs a descr in quotes")
    }

    fn boolean(&mut self) -> Result<bool, Complaint> {
        self.peek();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.complaint("needs True or False for fortran_order"))
    }

    /// `()`, `(2,)`, `(2, 3)` or `(2, 3,)`.
    fn shape(&mut self) -> Result<Vec<usize>, Complaint> {
        self.expect(b'(', "needs a tuple for shape")?;
        let mut shape = Vec::new();
        while !self.takes(b')') {
            if shape.len() == AXES_MAX {
                return Err(self.complaint("has more than 64 axes"));
            }
            shape.push(self.extent()?);
            if !self.takes(b',') && (self.peek() != Some(b')') || shape.len() == 1) {
                return Err(self.complaint("needs a comma after an extent"));
            }
        }
        Ok(shape)
    }

    fn extent(&mut self) -> Result<usize, Complaint> {
        self.peek();
        let rest = &self.text[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = str::from_utf8(&rest[..digits])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.complaint("needs an extent: a whole number of at most 64 bits"))?;
        self.at += digits;
        Ok(value)
    }
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
