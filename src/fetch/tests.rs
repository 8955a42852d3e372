//! Downloads against a server on the loopback interface.

use super::store::{Partial, check};
use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

/// SHA-256 of `hello\n`.
const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
/// Git blob SHA-1 of `hello\n`.
const HELLO_BLOB: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

struct Quiet;
impl Observer for Quiet {
    fn begin(&mut self, _: &str, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
}

/// Serves each answer once, in order, and returns the address.
fn serve(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn folder(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("flashproof-fetch-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Downloads into a fresh folder; returns the result and the names of the files left there.
fn get(name: &str, answers: Vec<String>, digest: Digest) -> (Result<u64, FetchError>, Vec<String>) {
    let root = folder(name);
    let file = File {
        folder: "",
        name: "hello.txt",
        digest,
    };
    let url = serve(answers) + "/hello.txt";
    let result = Partial::beside(&root.join(file.name)).and_then(|partial| {
        let stated = http::download(&url, Collection::Xquad, partial.path(), &mut Quiet)?;
        check(&file, partial.path(), &stated, &url)?;
        partial.keep()
    });
    let left = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    std::fs::remove_dir_all(&root).unwrap();
    (result, left)
}

#[test]
fn a_good_file_arrives() {
    let good = answer("200 OK", "content-length: 6\r\n", "hello\n");
    let (result, left) = get("good", vec![good], Digest::Sha256(HELLO));
    assert_eq!(result.unwrap(), 6);
    assert_eq!(left, ["hello.txt"]);
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let other = answer("200 OK", "content-length: 6\r\n", "hellO\n");
    let (result, left) = get("digest", vec![other], Digest::Sha256(HELLO));
    assert!(matches!(result, Err(FetchError::Digest { expected, .. }) if expected == HELLO));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_truncated_body_leaves_nothing() {
    let short = answer("200 OK", "content-length: 60\r\n", "hello\n");
    let (result, left) = get("short", vec![short], Digest::Sha256(HELLO));
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Length {
                found: 6,
                expected: 60,
                ..
            }
        ),
        "{error}"
    );
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_error_status_is_named() {
    let gone = answer("404 Not Found", "content-length: 0\r\n", "");
    let (result, left) = get("status", vec![gone], Digest::Sha256(HELLO));
    let error = result.unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 404, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("--from DIR"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_hubs_digest_is_read_from_the_redirecting_answer() {
    let redirect = |digest: &str| {
        let headers =
            format!("location: /blob\r\nx-linked-etag: \"{digest}\"\r\ncontent-length: 0\r\n");
        answer("302 Found", &headers, "")
    };
    let body = || answer("200 OK", "content-length: 6\r\n", "hello\n");
    let (result, left) = get("hub", vec![redirect(HELLO), body()], Digest::Stated);
    assert_eq!(result.unwrap(), 6);
    assert_eq!(left, ["hello.txt"]);

    let wrong = "0".repeat(64);
    let (result, left) = get("hub-wrong", vec![redirect(&wrong), body()], Digest::Stated);
    assert!(matches!(result, Err(FetchError::Digest { expected, .. }) if expected == wrong));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_small_file_of_the_hub_is_checked_as_a_git_blob() {
    let body = |digest: &str| {
        let headers = format!("etag: \"{digest}\"\r\ncontent-length: 6\r\n");
        answer("200 OK", &headers, "hello\n")
    };
    let (result, _) = get("blob", vec![body(HELLO_BLOB)], Digest::Stated);
    assert_eq!(result.unwrap(), 6);
    let (result, _) = get("blob-wrong", vec![body(&"0".repeat(40))], Digest::Stated);
    assert!(matches!(result, Err(FetchError::Digest { .. })));
    let (result, _) = get("blob-none", vec![body("none")], Digest::Stated);
    assert!(matches!(result, Err(FetchError::NoDigest { .. })));
}

#[test]
fn endless_redirections_end() {
    let again = answer("302 Found", "location: /again\r\ncontent-length: 0\r\n", "");
    let (result, _) = get("endless", vec![again; 9], Digest::Sha256(HELLO));
    assert!(matches!(result, Err(FetchError::Redirects { .. })));
}

#[test]
fn no_server_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let root = folder("offline");
    let sources = Sources {
        xquad: closed,
        ..Sources::default()
    };
    let error = fetch(
        Collection::Xquad,
        &Origin::Network(sources),
        &Tree::at(&root),
        &mut Quiet,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("flashproof fetch xquad") && error.contains("--from DIR"),
        "{error}"
    );
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_folder_is_copied_and_checked() {
    let (from, root) = (folder("from"), folder("into"));
    let origin = Origin::Folder(from.clone());
    let tree = Tree::at(&root);
    let error = fetch(Collection::Xquad, &origin, &tree, &mut Quiet).unwrap_err();
    assert!(matches!(error, FetchError::NotInFolder { .. }), "{error}");
    std::fs::write(from.join("xquad.ar.json"), "{}").unwrap();
    let error = fetch(Collection::Xquad, &origin, &tree, &mut Quiet).unwrap_err();
    assert!(matches!(error, FetchError::Digest { .. }), "{error}");
    assert!(!root.join("xquad/xquad.ar.json").exists());
    for folder in [from, root] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_file_leaves_an_archive_whole_or_not_at_all() {
    let root = folder("archive");
    let zip = root.join("data.zip");
    let mut writer = ::zip::ZipWriter::new(std::fs::File::create(&zip).unwrap());
    let options = ::zip::write::SimpleFileOptions::default();
    writer
        .start_file("__MACOSX/dev/hello.txt", options)
        .unwrap();
    writer.write_all(b"shadow").unwrap();
    writer.start_file("top/dev/hello.txt", options).unwrap();
    writer.write_all(b"hello\n").unwrap();
    writer.finish().unwrap();
    let out = root.join("out.txt");
    archive::extract(&zip, "data.zip", "hello.txt", &out, &mut Quiet).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), b"hello\n");
    let absent = archive::extract(&zip, "data.zip", "ello.txt", &out, &mut Quiet);
    assert!(matches!(absent, Err(FetchError::NotInArchive { .. })));
    std::fs::write(&zip, "no zip").unwrap();
    let broken = archive::extract(&zip, "data.zip", "hello.txt", &out, &mut Quiet);
    assert!(matches!(broken, Err(FetchError::Archive { .. })));
    std::fs::remove_dir_all(&root).unwrap();
}
