//! Vectors on disk, by what they are the vectors of.
//!
//! A file of records of one length, append-only: key (32 bytes), density (f64), the first 8 bytes of the SHA-256 of the
//! rest, components (f32), all little-endian, after a header of 8 bytes and the number of components (u32). A record
//! cut off or damaged ends the file: it and what follows is dropped and made again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::results::ResultsError;

const MAGIC: &[u8; 8] = b"FPVEC\0\0\x01";
const HEADER_BYTES: u64 = 12;

/// What a vector is kept by.
pub(super) type Key = [u8; 32];

/// SHA-256 of the parts, each with its length before it.
pub(super) fn key(parts: [&str; 4]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A file of vectors, locked against other runs.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    file: File,
    /// Components of a vector; 0 while the file has none.
    width: usize,
    /// Number of each record.
    index: HashMap<Key, u64>,
    records: u64,
}

impl Store {
    /// Opens or creates a file of vectors.
    pub(super) fn open(path: &Path) -> Result<Self, ResultsError> {
        let name = path.display().to_string();
        let io = |error: std::io::Error| ResultsError::Io {
            path: name.clone(),
            cause: error.to_string(),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ResultsError::InUse { path: name }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut store = Self {
            path: path.to_owned(),
            file,
            width: 0,
            index: HashMap::new(),
            records: 0,
        };
        store.read_index().map_err(io)?;
        Ok(store)
    }

    fn read_index(&mut self) -> std::io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut header = [0; 12];
        let is_ours = reader.read_exact(&mut header).is_ok() && header.starts_with(MAGIC);
        if is_ours {
            let [.., a, b, c, d] = header;
            self.width = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(0);
            let mut record = vec![0; record_bytes(self.width)];
            while reader.read_exact(&mut record).is_ok() {
                let Some((key, _)) = parse(&record) else {
                    break;
                };
                self.index.insert(key, self.records);
                self.records += 1;
            }
        }
        drop(reader);
        let whole = if is_ours { self.end() } else { 0 };
        self.file.set_len(whole)
    }

    fn end(&self) -> u64 {
        HEADER_BYTES + self.records * u64::try_from(record_bytes(self.width)).unwrap_or(u64::MAX)
    }

    /// The vector and density kept by this key.
    pub(super) fn get(&mut self, key: &Key) -> Option<(Vec<f32>, f64)> {
        let number = *self.index.get(key)?;
        let bytes = record_bytes(self.width);
        let mut record = vec![0; bytes];
        let start = HEADER_BYTES + number * u64::try_from(bytes).ok()?;
        self.file.seek(SeekFrom::Start(start)).ok()?;
        self.file.read_exact(&mut record).ok()?;
        let (found, value) = parse(&record)?;
        (found == *key).then_some(value)
    }

    /// Appends vectors in one write, and hands them to the disk.
    pub(super) fn append(&mut self, added: &[(Key, &[f32], f64)]) -> Result<(), ResultsError> {
        let Some((_, first, _)) = added.first() else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        if self.width == 0 {
            self.width = first.len();
            bytes.extend(MAGIC);
            bytes.extend(u32::try_from(self.width).unwrap_or(0).to_le_bytes());
        }
        let start = if bytes.is_empty() { self.end() } else { 0 };
        for (key, vector, density) in added {
            // Vectors of another width are of another model: they are not kept.
            if vector.len() != self.width || self.index.contains_key(key) {
                continue;
            }
            let mut rest = key.to_vec();
            rest.extend(density.to_le_bytes());
            let components: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            let check = check(&rest, &components);
            bytes.extend(rest);
            bytes.extend(check);
            bytes.extend(components);
            self.index.insert(*key, self.records);
            self.records += 1;
        }
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.write_all(&bytes))
            .and_then(|()| self.file.sync_data())
            .map_err(|error| ResultsError::Io {
                path: self.path.display().to_string(),
                cause: error.to_string(),
            })
    }
}

fn record_bytes(width: usize) -> usize {
    32 + 8 + 8 + 4 * width
}

fn check(start: &[u8], components: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(start)
        .chain_update(components)
        .finalize()
        .into();
    let (first, _) = digest.split_first_chunk().expect("32 bytes start with 8");
    *first
}

fn parse(record: &[u8]) -> Option<(Key, (Vec<f32>, f64))> {
    let (start, rest) = record.split_at_checked(40)?;
    let (stored, components) = rest.split_first_chunk::<8>()?;
    if check(start, components) != *stored {
        return None;
    }
    let (key, density) = start.split_first_chunk::<32>()?;
    let (words, _) = components.as_chunks::<4>();
    let vector = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Some((*key, (vector, f64::from_le_bytes(density.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_back_and_a_torn_end_is_dropped() {
        let path = std::env::temp_dir().join(format!("flashproof-{}.vectors", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let keys = [0, 1, 2].map(|n| key(["model", "arm", "role", &n.to_string()]));
        let vectors = [[1.0_f32, -0.0], [f32::MIN_POSITIVE, 2.5], [3.0, 4.0]];
        let mut store = Store::open(&path).unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(ResultsError::InUse { .. })
        ));
        for (key, vector) in keys.iter().zip(&vectors) {
            store.append(&[(*key, vector, 0.25)]).unwrap();
        }
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut store = Store::open(&path).unwrap();
            let kept = (length.saturating_sub(12)) / record_bytes(2);
            for (number, (key, vector)) in keys.iter().zip(&vectors).enumerate() {
                let want = (number < kept).then(|| (vector.to_vec(), 0.25));
                assert_eq!(store.get(key), want, "cut at {length}");
            }
            store.append(&[(keys[0], &vectors[0], 0.25)]).unwrap();
            assert_eq!(store.get(&keys[0]).unwrap().0, vectors[0]);
        }
        let mut damaged = whole.clone();
        damaged[12 + record_bytes(2) + 50] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let mut store = Store::open(&path).unwrap();
        assert_eq!(
            keys.map(|key| store.get(&key).is_some()),
            [true, false, false]
        );
        drop(store);
        std::fs::remove_file(&path).unwrap();
    }
}
