//! Which machine a worker is of: its data directory, where the files of attempts lie.
//!
//! Workers come and go with each start of the program; what they leave on the disk stays. So the directory has a name of its
//! own, drawn when it is first used, and turns that go on from its files come back to whoever works over it. A copy of the
//! directory must get another name: remove the file from it.

use std::io;
use std::path::Path;

use legwork_domain::MachineId;

use crate::once;

/// The file with the name.
const FILE: &str = "machine";

/// The name of a data directory, which exists.
///
/// # Errors
/// If it can be neither read nor made, or is no name.
pub(crate) fn of(data: &Path) -> io::Result<MachineId> {
    let make = || Ok(MachineId::from_u128(u128::from_be_bytes(once::random()?)).to_string().into_bytes());
    let bytes = once::file(&data.join(FILE), make)
        .map_err(|error| io::Error::new(error.kind(), format!("its file `{FILE}`: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let mend = "remove it, and the directory gets a new name";
    text.trim().parse().map_err(|error| io::Error::other(format!("its file `{FILE}`: {error}; {mend}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_name() {
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let name = of(one.path()).unwrap();
        assert_eq!(of(one.path()).unwrap(), name);
        assert_ne!(of(two.path()).unwrap(), name);
        std::fs::write(one.path().join(FILE), "mach_x").unwrap();
        let refused = of(one.path()).unwrap_err().to_string();
        assert!(refused.contains("is not an id") && refused.contains("remove it"), "{refused}");
        std::fs::remove_file(one.path().join(FILE)).unwrap();
        std::os::unix::fs::symlink("nowhere", one.path().join(FILE)).unwrap();
        let refused = of(one.path()).unwrap_err().to_string();
        assert!(refused.starts_with("its file `machine`: "), "{refused}");
    }
}
