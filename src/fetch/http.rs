//! One download over HTTP, with the digest the server states.
//!
//! Redirections are followed here and not by the library, because a Hugging Face hub states the digest of a large
//! file (`x-linked-etag`) on the redirecting answer only.

use super::{Collection, FetchError, Observer, store};
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, header};

/// Redirections followed: a hub makes two, a proxy may add some.
const REDIRECTS_MAX: u32 = 8;

/// Digests in a server's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stated {
    /// SHA-256 from `x-linked-etag`.
    pub(super) sha256: Option<String>,
    /// Git blob SHA-1 from `etag`.
    pub(super) git_blob: Option<String>,
}

impl Stated {
    /// Adds what `headers` state to what is known; the first answer of a chain wins, since it is the hub's own.
    fn add(&mut self, headers: &HeaderMap) {
        let digest = |name: &str, digits: usize| {
            let value = headers.get(name)?.to_str().ok()?;
            let value = value.strip_prefix("W/").unwrap_or(value).trim_matches('"');
            let is_digest =
                value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest.then(|| value.to_ascii_lowercase())
        };
        let sha256 = digest("x-linked-etag", 64);
        self.sha256 = self.sha256.take().or(sha256);
        let git_blob = digest("x-linked-etag", 40).or_else(|| digest("etag", 40));
        self.git_blob = self.git_blob.take().or(git_blob);
    }
}

/// Writes what `url` serves to `destination`, and returns the digests the server stated.
pub(super) fn download(
    url: &str,
    collection: Collection,
    destination: &Path,
    observer: &mut dyn Observer,
) -> Result<Stated, FetchError> {
    let network = |reason: String| FetchError::Network {
        url: url.to_owned(),
        reason,
        collection,
    };
    let mut stated = Stated::default();
    let response = follow(url, &mut stated, &network)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(FetchError::Status {
            url: url.to_owned(),
            status,
            collection,
        });
    }
    let expected = response.body().content_length();
    observer.begin(url.rsplit('/').next().unwrap_or(url), expected);
    let mut out = store::create(destination)?;
    let mut body = response.into_body().into_reader();
    let mut found = 0;
    store::pump(
        |buffer| match body.read(buffer) {
            Ok(count) => {
                found += u64::try_from(count).expect("a buffer's length fits in 64 bits");
                Ok(count)
            }
            // The library reports an early end as an error; with the sizes it is a clearer one.
            Err(error) => Err(match expected {
                Some(expected) if found < expected => FetchError::Length {
                    url: url.to_owned(),
                    found,
                    expected,
                },
                _ => network(error.to_string()),
            }),
        },
        &mut out,
        destination,
        observer,
    )?;
    match expected {
        Some(expected) if expected != found => Err(FetchError::Length {
            url: url.to_owned(),
            found,
            expected,
        }),
        _ => Ok(stated),
    }
}

fn follow(
    url: &str,
    stated: &mut Stated,
    network: &impl Fn(String) -> FetchError,
) -> Result<Response<ureq::Body>, FetchError> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Digests and lengths are of the bytes as stored.
        .accept_encoding("identity")
        .user_agent(concat!("flashproof/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut address = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let response = agent
            .get(&address)
            .call()
            .map_err(|error| network(error.to_string()))?;
        stated.add(response.headers());
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let Some(target) = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
        else {
            break;
        };
        address = resolve(&address, target);
    }
    Err(FetchError::Redirects {
        url: url.to_owned(),
        limit: REDIRECTS_MAX,
    })
}

/// Address that `location` means on a page at `base` (absolute, or absolute path: what servers send).
fn resolve(base: &str, location: &str) -> String {
    if !location.starts_with('/') {
        return location.to_owned();
    }
    let scheme_end = base.find("://").map_or(0, |at| at + 3);
    let host_end = base[scheme_end..]
        .find('/')
        .map_or(base.len(), |at| scheme_end + at);
    format!("{}{location}", &base[..host_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_resolve_against_the_host() {
        let base = "https://hub.example/a/b";
        assert_eq!(
            resolve(base, "https://cdn.example/x"),
            "https://cdn.example/x"
        );
        assert_eq!(resolve(base, "/api/x"), "https://hub.example/api/x");
        assert_eq!(resolve("http://host", "/x"), "http://host/x");
    }

    #[test]
    fn only_digests_are_taken_from_headers() {
        let mut headers = HeaderMap::new();
        let sha256 = "ab".repeat(32);
        headers.insert("x-linked-etag", format!("\"{sha256}\"").parse().unwrap());
        headers.insert("etag", "W/\"not-a-digest\"".parse().unwrap());
        let mut stated = Stated::default();
        stated.add(&headers);
        assert_eq!(stated.sha256, Some(sha256));
        assert_eq!(stated.git_blob, None);
    }
}
