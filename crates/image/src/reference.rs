//! Names of images, as Docker and the distribution specification have them: `[registry/]path[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The registry that is meant by a name without one.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The longest path of a repository (distribution specification, "Pulling manifests").
const PATH_BYTES_MAX: usize = 255;

/// The longest tag (the same).
const TAG_BYTES_MAX: usize = 128;

/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// A SHA-256, as `sha256:…`. Other algorithms are not taken: nobody uses them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// From the digits, which are the caller's own.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(bytes)))
    }

    /// The digits: safe as a file's name.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or_default()
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("sha256:").ok_or("its digest is not of the form sha256:…")?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == DIGEST_DIGITS && digits.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err("its digest is not 64 hexadecimal digits")
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which image of which registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host and perhaps port, as users write it: `docker.io`.
    pub registry: String,
    /// The repository in it: `library/debian`.
    pub path: String,
    /// `latest` if neither tag nor digest was named.
    pub tag: Option<String>,
    /// Names one content for ever.
    pub digest: Option<Digest>,
}

impl Reference {
    /// What a manifest is asked for by.
    pub(crate) fn target(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => &digest.0,
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.digest.is_some() { '@' } else { ':' };
        write!(f, "{}/{}{separator}{}", self.registry, self.path, self.target())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        parse(name).map_err(|why| Error::Name { name: name.chars().take(300).collect(), why: why.to_owned() })
    }
}

fn parse(name: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse()?)),
        None => (name, None),
    };
    // A colon before a slash is a port's.
    let (rest, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((rest, tag)) => (rest, Some(tag)),
        None => (rest, None),
    };
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let (registry, path) = match rest.split_once('/').filter(|(first, _)| is_registry(first)) {
        Some((registry, path)) => (registry, path.to_owned()),
        None if rest.contains('/') => (DEFAULT_REGISTRY, rest.to_owned()),
        None => (DEFAULT_REGISTRY, format!("library/{rest}")),
    };
    if !is_host(registry) {
        return Err("its registry is no host");
    }
    if path.len() > PATH_BYTES_MAX || !path.split('/').all(is_path_part) {
        return Err("its repository may have small letters, digits, and . _ - between them");
    }
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return Err("its tag may have letters, digits, and _ . - after the first, 128 in all");
    }
    let tag = tag.map(str::to_owned);
    Ok(Reference { registry: registry.to_ascii_lowercase(), path, tag, digest })
}

fn is_host(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').unwrap_or((registry, "443"));
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
    };
    host.len() <= PATH_BYTES_MAX
        && host.split('.').all(is_part)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_path_part(part: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(is_letter);
    ends(part.bytes().next())
        && ends(part.bytes().last())
        && part.bytes().all(|byte| is_letter(byte) || b"._-".contains(&byte))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(is_letter)
        && tag.bytes().all(|byte| is_letter(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, full) in [
            ("debian", "docker.io/library/debian:latest".to_owned()),
            ("debian:12-slim", "docker.io/library/debian:12-slim".to_owned()),
            ("me/x", "docker.io/me/x:latest".to_owned()),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1".to_owned()),
            ("localhost:5000/x", "localhost:5000/x:latest".to_owned()),
            (&format!("ghcr.io/x/y@{digest}"), format!("ghcr.io/x/y@{digest}")),
            (&format!("x:1@{digest}"), format!("docker.io/library/x@{digest}")),
        ] {
            assert_eq!(name.parse::<Reference>().unwrap().to_string(), full, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("x:{}", "t".repeat(129));
        let bad = [
            "",
            "/etc",
            "../x",
            "a/../b",
            "A",
            "a b",
            "x:",
            "x:-",
            "x@sha256:0",
            "x@md5:0",
            "a//b",
            "x/",
            "dir:/etc",
            "evil.io:0/x",
            "evil.io:99999/x",
            "-x.io/a",
            "a..b/x",
            "x\n",
            "u@h.io/x",
            "h.io/x?y=z",
            "h.io/x#y",
            "h.io\\x/y",
            &long,
        ];
        for name in bad {
            assert!(name.parse::<Reference>().is_err(), "{name:?}");
        }
    }
}
