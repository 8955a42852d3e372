//! Files of the tree: written beside their place, checked, renamed.

use super::http::Stated;
use super::{Digest, FetchError, File, Observer};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file being written; removed unless kept.
#[derive(Debug)]
pub(super) struct Partial {
    place: PathBuf,
    partial: PathBuf,
    kept: bool,
}

impl Partial {
    /// Begins a file that will appear at `place`, making its folder.
    pub(super) fn beside(place: &Path) -> Result<Self, FetchError> {
        let folder = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|source| io("create", folder, source))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            place: place.to_owned(),
            // The process id, so that two fetches at once do not write into one file.
            partial: folder.join(format!(".{name}.{}.partial", std::process::id())),
            kept: false,
        })
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Renames to the final place; returns the size.
    pub(super) fn keep(mut self) -> Result<u64, FetchError> {
        let bytes = length(&self.partial).unwrap_or(0);
        fs::rename(&self.partial, &self.place)
            .map_err(|source| io("write", &self.place, source))?;
        self.kept = true;
        Ok(bytes)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing was written, or it is wrong; if it cannot be removed there is nothing more to do.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Names the file in an input or output error.
pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> FetchError {
    FetchError::Io {
        action,
        path: path.display().to_string(),
        source,
    }
}

/// Size of a file in bytes, where it can be asked.
pub(super) fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

/// Creates a file for writing.
pub(super) fn create(path: &Path) -> Result<fs::File, FetchError> {
    fs::File::create(path).map_err(|source| io("write", path, source))
}

/// Moves everything that `read` gives into `out`, telling `observer`; returns the bytes moved.
pub(super) fn pump(
    mut read: impl FnMut(&mut [u8]) -> Result<usize, FetchError>,
    out: &mut fs::File,
    path: &Path,
    observer: &mut dyn Observer,
) -> Result<u64, FetchError> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let count = read(&mut buffer)?;
        if count == 0 {
            return Ok(total);
        }
        out.write_all(&buffer[..count])
            .map_err(|source| io("write", path, source))?;
        let count = u64::try_from(count).expect("a buffer's length fits in 64 bits");
        total += count;
        observer.advance(count);
    }
}

/// Copies a file.
pub(super) fn copy(
    source: &Path,
    destination: &Path,
    observer: &mut dyn Observer,
) -> Result<(), FetchError> {
    let mut reader = fs::File::open(source).map_err(|error| io("read", source, error))?;
    let mut out = create(destination)?;
    pump(
        |buffer| {
            reader
                .read(buffer)
                .map_err(|error| io("read", source, error))
        },
        &mut out,
        destination,
        observer,
    )?;
    Ok(())
}

/// Those of `files` that `root` lacks or holds with another digest.
pub(super) fn absent<'a>(
    files: impl IntoIterator<Item = &'a File>,
    root: &Path,
) -> Result<Vec<&'a File>, FetchError> {
    let mut missing = Vec::new();
    for file in files {
        let path = root.join(file.relative());
        let there = path.is_file()
            && match file.digest {
                Digest::Sha256(expected) => digest_of(&path, Sha256::new())? == expected,
                Digest::Stated => true,
            };
        if !there {
            missing.push(file);
        }
    }
    Ok(missing)
}

/// Compares the bytes at `path` with the digest known for `file` and with those the server stated.
pub(super) fn check(
    file: &File,
    path: &Path,
    stated: &Stated,
    from: &str,
) -> Result<(), FetchError> {
    let wrong = |found: String, expected: &str| FetchError::Digest {
        name: file.name.to_owned(),
        found,
        expected: expected.to_owned(),
        from: from.to_owned(),
    };
    let known = match file.digest {
        Digest::Sha256(digest) => Some(digest),
        Digest::Stated => None,
    };
    if known.is_some() || stated.sha256.is_some() {
        let found = digest_of(path, Sha256::new())?;
        for expected in [known, stated.sha256.as_deref()].into_iter().flatten() {
            if found != expected {
                return Err(wrong(found, expected));
            }
        }
        return Ok(());
    }
    let Some(expected) = stated.git_blob.as_deref() else {
        return Err(FetchError::NoDigest {
            url: from.to_owned(),
        });
    };
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", length(path).unwrap_or(0)));
    let found = digest_of(path, hash)?;
    if found == expected {
        Ok(())
    } else {
        Err(wrong(found, expected))
    }
}

/// Lower-case hexadecimal digest of a file's bytes, after what `hash` has already seen.
fn digest_of<H: sha2::Digest>(path: &Path, mut hash: H) -> Result<String, FetchError> {
    let mut file = fs::File::open(path).map_err(|source| io("read", path, source))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file
            .read(&mut buffer)
            .map_err(|source| io("read", path, source))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    Ok(text)
}
