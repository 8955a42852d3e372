//! The committed PTX of our own kernels and defects reads, and prints back as the same program.

use flashproof::ptx::{parse, print};
use std::path::{Path, PathBuf};

/// Every `.ptx` below a folder.
fn texts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "ptx") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn committed_ptx_comes_back_as_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let found = texts(&folder);
    for path in &found {
        let text = std::fs::read_to_string(path).unwrap();
        let module =
            parse(&path.display().to_string(), &text).unwrap_or_else(|error| panic!("{error}"));
        assert!(!module.functions.is_empty(), "{}: no entry", path.display());
        let printed = print(&module);
        assert_eq!(
            parse(&module.name, &printed).as_ref(),
            Ok(&module),
            "{}",
            path.display()
        );
    }
    println!("{} texts read and printed back", found.len());
}
