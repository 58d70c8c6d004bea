//! A repository of any size, made quickly: `git fast-import` of bytes that no compression makes smaller.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// Commits of its history.
const COMMITS: usize = 20;

/// What a package manager leaves: directories of a hundred small files.
pub(crate) const SETUP: &str = r#"mkdir -p node_modules && cd node_modules && awk -v n="$(git -C .. ls-files | wc -l)" 'BEGIN {
  for (i = 0; i < n; i++) { d = "p" int(i / 100); if (i % 100 == 0) print d }
}' | xargs mkdir -p && awk -v n="$(git -C .. ls-files | wc -l)" 'BEGIN {
  for (i = 0; i < n; i++) { f = "p" int(i / 100) "/f" i ".js"; printf "module.exports = %d;\n", i > f; close(f) }
}'"#;

/// Makes it with so many files of so many KiB.
pub(crate) fn make(place: &Path, files: usize, kib: usize) -> Outcome<PathBuf> {
    let path = place.join("repository");
    git(place, &["init", "-q", "-b", "main", "repository"])?;
    let mut import = Command::new("git")
        .args(["-c", "core.compression=0", "-c", "pack.compression=0", "fast-import", "--quiet", "--force"])
        .current_dir(&path)
        .stdin(Stdio::piped())
        .spawn()?;
    let stdin = import.stdin.take().ok_or("no pipe")?;
    write(&mut BufWriter::new(stdin), files, kib)?;
    if !import.wait()?.success() {
        return Err("git fast-import failed".into());
    }
    git(&path, &["reset", "-q", "--hard", "main"])?;
    Ok(path)
}

fn write(out: &mut impl Write, files: usize, kib: usize) -> Outcome<()> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = vec![0_u8; kib * 1024];
    let a_commit = files.div_ceil(COMMITS);
    for file in 0..files {
        if file % a_commit == 0 {
            let time = 1_700_000_000 + file;
            write!(out, "commit refs/heads/main\ncommitter B <b@example.org> {time} +0000\ndata 1\nx\n")?;
            if file == 0 {
                write!(out, "M 100644 inline .gitignore\ndata 13\nnode_modules\n\n")?;
            }
        }
        for eight in bytes.chunks_exact_mut(8) {
            // xorshift64: quick, and nothing that zlib could shorten.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            eight.copy_from_slice(&random.to_le_bytes());
        }
        write!(out, "M 100644 inline src/d{}/f{file}.bin\ndata {}\n", file / 100, bytes.len())?;
        out.write_all(&bytes)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// One more commit, that changes one file.
pub(crate) fn change(repository: &Path, round: usize) -> Outcome<()> {
    std::fs::write(repository.join("changed"), format!("{round}\n"))?;
    git(repository, &["add", "changed"])?;
    git(repository, &["-c", "user.name=B", "-c", "user.email=b@example.org", "commit", "-q", "-m", "change"])
}

fn git(at: &Path, arguments: &[&str]) -> Outcome<()> {
    let done = Command::new("git").args(arguments).current_dir(at).status()?;
    if done.success() { Ok(()) } else { Err(format!("git {arguments:?} failed").into()) }
}
