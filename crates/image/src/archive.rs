//! Entries of a tar archive, from hostile bytes.
//!
//! The crate reads headers; long names and the extended headers of pax are put together here, because their lengths come
//! from the archive and must be bounded. Sparse files are refused: no builder of images writes them.

use std::io::{self, Read};

use tar::{Archive, EntryType};

/// The longest name and the longest extended header: `PATH_MAX`, and some attributes of a file.
const NAME_BYTES_MAX: u64 = 4096;
const EXTENDED_BYTES_MAX: u64 = 256 * 1024;

/// Entries of one archive: several times those of the largest distributions' images.
const ENTRIES_MAX: usize = 2_000_000;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// With what it leads to.
    Symlink(Vec<u8>),
    /// A further name of this one.
    Link(Vec<u8>),
    /// Devices and the like.
    Other,
}

/// An entry's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) size: u64,
}

/// What long names and pax say of the entry that comes next.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Hands every entry, with its content, to `take`.
///
/// # Errors
/// Those of `take` and the stream; [`io::ErrorKind::InvalidData`] for what is no archive, or one that is not taken.
pub(crate) fn each(
    stream: impl Read,
    mut take: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = Archive::new(stream);
    let mut said = Said::default();
    for (at, entry) in archive.entries()?.raw(true).enumerate() {
        if at >= ENTRIES_MAX {
            return Err(wrong(format!("its archive has more than {ENTRIES_MAX} entries")));
        }
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            said.path = Some(name(&mut entry)?);
        } else if kind.is_gnu_longlink() {
            said.link = Some(name(&mut entry)?);
        } else if kind.is_pax_local_extensions() {
            said.extend(&bounded(&mut entry, EXTENDED_BYTES_MAX)?)?;
        } else if kind.is_pax_global_extensions() {
            // Comments for the whole archive: git writes its commit there.
            bounded(&mut entry, EXTENDED_BYTES_MAX)?;
        } else {
            let header = header(&entry, kind, std::mem::take(&mut said))?;
            take(&header, &mut entry)?;
        }
    }
    Ok(())
}

fn header(entry: &tar::Entry<'_, impl Read>, kind: EntryType, said: Said) -> io::Result<Entry> {
    let header = entry.header();
    let size = header.entry_size()?;
    if said.size.is_some_and(|said| said != size) {
        return Err(wrong("its archive has a file of 8 GiB or more, which is not taken"));
    }
    let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = || {
        said.link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .ok_or_else(|| wrong("its archive has a link that leads nowhere"))
    };
    let kind = if kind.is_gnu_sparse() {
        return Err(wrong("its archive has sparse files, which are not taken"));
    } else if kind.is_dir() || (kind.is_file() && path.ends_with(b"/")) {
        // Old archives end the name of a directory with a slash.
        Kind::Directory
    } else if kind.is_file() || kind.is_contiguous() {
        Kind::File
    } else if kind.is_symlink() {
        Kind::Symlink(link()?)
    } else if kind.is_hard_link() {
        Kind::Link(link()?)
    } else {
        Kind::Other
    };
    let mode = header.mode().unwrap_or(0o644);
    let modified = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
    Ok(Entry { path, kind, mode, modified, size })
}

fn name(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut name = bounded(entry, NAME_BYTES_MAX + 1)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn bounded(entry: &mut impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let count = entry.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if count as u64 > bytes_max {
        return Err(wrong(format!("its archive has a header of more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

impl Said {
    /// Records of `LENGTH KEY=VALUE\n` (POSIX, pax). Values may hold anything, so only the length ends a record.
    fn extend(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let broken = || wrong("its archive has an extended header that cannot be read");
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|text| text.parse::<usize>().ok());
            let length =
                length.filter(|length| *length > space + 1 && *length <= rest.len()).ok_or_else(broken)?;
            let (record, after) = rest.split_at(length);
            rest = after;
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            self.note(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn note(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.size = Some(size.ok_or_else(|| wrong("its archive gives a size that is no number"))?);
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(wrong("its archive has sparse files, which are not taken"));
            }
            // Times to the nanosecond, owners' names, attributes: none of them is kept.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut found = Vec::new();
        each(bytes, |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            found.push((entry.clone(), bytes));
            Ok(())
        })?;
        Ok(found)
    }

    fn raw(kind: EntryType, name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
        [header.as_bytes(), content, &padding].concat()
    }

    #[test]
    fn long_names_and_pax_are_put_together() {
        let long = "d/".repeat(150) + "file";
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o755);
        builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        let found = list(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(found[0].0.path, long.as_bytes());
        assert_eq!((found[0].0.mode, found[0].1.as_slice()), (0o755, &b"abc"[..]));
        let bytes =
            [raw(EntryType::XHeader, "x", b"12 path=b/c\n"), raw(EntryType::Regular, "a", b"")].concat();
        let found = list(&bytes).unwrap();
        assert_eq!((found[0].0.path.as_slice(), &found[0].0.kind), (&b"b/c"[..], &Kind::File));
    }

    #[test]
    fn headers_that_lie_are_refused() {
        for bytes in [
            raw(EntryType::GNULongName, "x", &[b'a'; 5000]),
            raw(EntryType::XHeader, "x", b"99 path=b\n"),
            raw(EntryType::XHeader, "x", b"3 \n"),
            raw(EntryType::XHeader, "x", b"0 a=b\n"),
            raw(EntryType::XHeader, "x", b"nonsense"),
            raw(EntryType::XHeader, "x", b"22 GNU.sparse.major=1\n"),
            raw(EntryType::GNUSparse, "x", b""),
            [raw(EntryType::XHeader, "x", b"10 size=9\n"), raw(EntryType::Regular, "a", b"")].concat(),
            raw(EntryType::Symlink, "x", b"")[..512].to_vec(),
            vec![b'x'; 1024],
        ] {
            assert!(list(&bytes).is_err(), "{}", String::from_utf8_lossy(&bytes[..20]));
        }
        assert!(list(&raw(EntryType::Regular, "a", &[1; 600])[..700]).is_err(), "cut off");
    }
}
