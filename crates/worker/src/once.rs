//! Small files of the data directory that are made once and then stay, whoever else makes them at the same time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes.
///
/// # Errors
/// If the system has none.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// What the file holds, made now if it is not there. It is whole and on the disk before it has its name, so nobody reads half
/// of it; of several that make it, one is first and all get what that one made.
///
/// # Errors
/// If it can be neither read nor made.
pub(crate) fn file(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    if !path.try_exists()? {
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", hex::encode(random::<8>()?)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file.write_all(&make()?).and_then(|()| file.sync_all());
        let made = written.and_then(|()| fs::hard_link(&draft, path));
        fs::remove_file(&draft)?;
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_get_what_the_first_one_made() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("it");
        let makes = (0..8).map(|n: u8| {
            let path = path.clone();
            std::thread::spawn(move || file(&path, || Ok(vec![n; 1000])).unwrap())
        });
        let made: Vec<Vec<u8>> =
            makes.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(made.iter().all(|bytes| bytes.len() == 1000 && *bytes == made[0]));
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "no draft is left");
        assert_eq!(file(&path, || panic!("it is there")).unwrap(), made[0]);
    }
}
