//! Packages and dependencies, by the registries' own clients, kept between runs.
//!
//! What is fetched is checked against the case's digests; what is kept is complete, since it is made aside and renamed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::case::{self, Case, Registry};
use crate::process::{bounded, run};
use crate::tree::Tree;

/// A slow registry may take a minute; pip also fetches what the package is built with.
const FETCH_SECONDS: u32 = 300;

/// Something outside is absent: the case cannot be tried here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Absent {
    /// No such program.
    #[error("{0} is not installed")]
    Toolchain(&'static str),
    /// Its registry does not answer.
    #[error("{0}")]
    Registry(String),
}

/// Whether the programs are there that a case of this registry needs.
pub(crate) fn toolchain(registry: Registry) -> Result<()> {
    match registry {
        Registry::Pypi => needs("python3", &["-c", "import venv, ensurepip"])?,
        Registry::Npm => needs("node", &["--version"]).and(needs("npm", &["--version"]))?,
        Registry::CratesIo => needs("cargo", &["--version"])?,
    };
    Ok(())
}

/// The sources of one version, as the registry has them.
pub(crate) fn sources(case: &Case, version: &str, sha256: &str) -> Result<Tree> {
    let name = format!("{}-{version}", case.package);
    let folder = kept(&name, |aside| match case.registry {
        Registry::Pypi => sdist(&case.package, version, sha256, aside),
        Registry::Npm => tarball(&case.package, version, sha256, aside),
        Registry::CratesIo => vendored_crate(&case.package, version, sha256, aside),
    })?;
    Tree::read(&folder.join("sources"))
}

/// A directory with what the tests of `base` need beside it; it may be empty.
pub(crate) fn dependencies(case: &Case, base: &Tree) -> Result<PathBuf> {
    if let Some(lock) = &case.deps.lock {
        return node_package(&case::folder().join(lock));
    }
    if case.deps.vendor {
        let name = format!("vendor-{}-{}", case.package, case.base_version);
        return kept(&name, |aside| vendored(base, aside));
    }
    if case.deps.pins.is_empty() {
        return kept("deps-none", |_| Ok(()));
    }
    let pins: Vec<String> =
        case.deps.pins.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    let name = format!("deps-{}-{}", python()?, &hex::encode(Sha256::digest(pins.join(" ")))[..16]);
    kept(&name, |aside| site_packages(&pins, aside))
}

/// The packages that a requirements file pins, installed into a directory of their own.
pub(crate) fn python_packages(requirements: &Path) -> Result<PathBuf> {
    let pins: Vec<String> = fs::read_to_string(requirements)?.lines().map(str::to_owned).collect();
    let name = format!("pip-{}-{}", python()?, &digest(requirements)?[..16]);
    kept(&name, |aside| site_packages(&pins, aside))
}

/// `npm ci` of the lock file's package, as it stands beside the tests.
pub(crate) fn node_package(lock: &Path) -> Result<PathBuf> {
    kept(&format!("npm-{}", &digest(lock)?[..16]), |aside| node_modules(lock, aside))
}

/// The directory `name` of the cache, made by `make` if it is not there. One process makes it, others wait.
fn kept(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay-cache");
    fs::create_dir_all(&cache)?;
    let lock = fs::File::create(cache.join(format!("{name}.lock")))?;
    lock.lock().context("locking the cache")?;
    let folder = cache.join(name);
    if !folder.exists() {
        let aside = tempfile::tempdir_in(&cache)?;
        make(aside.path()).with_context(|| format!("preparing {name}"))?;
        fs::rename(aside.keep(), &folder)?;
    }
    Ok(folder)
}

/// pip builds an sdist's metadata when it downloads one; its digest is checked before its content is used here.
fn sdist(package: &str, version: &str, sha256: &str, aside: &Path) -> Result<()> {
    let mut pip = pip(aside)?;
    pip.args(["download", "--quiet", "--no-deps", "--no-binary", package, "--dest", "artifact"]);
    fetch(pip.arg(format!("{package}=={version}")))?;
    unpack(aside, sha256)
}

fn tarball(package: &str, version: &str, sha256: &str, aside: &Path) -> Result<()> {
    fs::create_dir(aside.join("artifact"))?;
    let mut npm = bounded(FETCH_SECONDS, aside, "npm");
    npm.args(["pack", "--loglevel=error", "--ignore-scripts", "--pack-destination", "artifact"]);
    fetch(npm.arg(format!("{package}@{version}")))?;
    unpack(aside, sha256)
}

/// Takes the one archive in `artifact` for `sources`.
fn unpack(aside: &Path, sha256: &str) -> Result<()> {
    let archive = fs::read_dir(aside.join("artifact"))?.next().context("the client left no archive")??.path();
    ensure!(digest(&archive)? == sha256, "{} is not the archive of the case", archive.display());
    let sources = aside.join("sources");
    fs::create_dir(&sources)?;
    let mut tar = bounded(FETCH_SECONDS, aside, "tar");
    let ran = run(tar
        .args(["--extract", "--gzip", "--strip-components=1", "--file"])
        .arg(&archive)
        .arg("-C")
        .arg(&sources))?;
    ensure!(ran.passed(), "tar: {}", ran.tail());
    Ok(())
}

/// `cargo vendor` writes the archive's digest, which it checked, beside the sources.
fn vendored_crate(package: &str, version: &str, sha256: &str, aside: &Path) -> Result<()> {
    let manifest = format!(
        "[workspace]\n[package]\nname = \"fetch\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
         [dependencies]\n{package} = \"={version}\"\n"
    );
    fs::write(aside.join("Cargo.toml"), manifest)?;
    fs::write(aside.join("lib.rs"), "")?;
    fetch(bounded(FETCH_SECONDS, aside, "cargo").args(["vendor", "--quiet", "vendor"]))?;
    let vendored = aside.join("vendor").join(package);
    let checksum = vendored.join(".cargo-checksum.json");
    let checksums: serde_json::Value = serde_json::from_slice(&fs::read(&checksum)?)?;
    ensure!(checksums["package"] == sha256, "{package} {version} is not the archive of the case");
    fs::remove_file(checksum)?;
    Ok(fs::rename(vendored, aside.join("sources"))?)
}

/// Cargo takes a package below another project for a part of it, so this is done far from the target directory.
fn vendored(base: &Tree, aside: &Path) -> Result<()> {
    let package = tempfile::tempdir()?;
    base.write_to(package.path())?;
    let mut cargo = bounded(FETCH_SECONDS, package.path(), "cargo");
    fetch(cargo.args(["vendor", "--quiet", "--locked"]).arg(aside))
}

fn site_packages(pins: &[String], aside: &Path) -> Result<()> {
    let mut pip = pip(aside)?;
    pip.args(["install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", "."]);
    fetch(pip.args(pins))
}

fn node_modules(lock: &Path, aside: &Path) -> Result<()> {
    for file in ["package.json", "package-lock.json"] {
        fs::copy(lock.with_file_name(file), aside.join(file))?;
    }
    fetch(bounded(FETCH_SECONDS, aside, "npm").args([
        "ci",
        "--silent",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
    ]))
}

/// Runs a registry's client. That it fails is taken for a registry that does not answer: pins and lock files do not
/// change, so nothing else is likely, and its words are shown.
fn fetch(client: &mut Command) -> Result<()> {
    let ran = run(client)?;
    if !ran.passed() {
        // After `timeout`'s own two.
        let words: Vec<_> = client.get_args().skip(2).map(|word| word.to_string_lossy()).collect();
        bail!(Absent::Registry(format!("`{}` exited with {:?}:\n{}", words.join(" "), ran.code, ran.tail())));
    }
    Ok(())
}

/// pip of an environment of its own: a system's Python often comes without, or will not have it used.
fn pip(aside: &Path) -> Result<Command> {
    let environment = kept(&format!("python-{}", python()?), |aside| {
        let ran = run(bounded(FETCH_SECONDS, aside, "python3").args(["-m", "venv", "."]))?;
        ensure!(ran.passed(), "python3 -m venv: {}", ran.tail());
        Ok(())
    })?;
    let python = environment.join("bin/python3");
    let mut pip = bounded(FETCH_SECONDS, aside, python.to_str().context("the target directory's name")?);
    pip.args(["-m", "pip"]);
    Ok(pip)
}

/// Its version: what is installed for one is not taken for another.
fn python() -> Result<String> {
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    Ok(needs("python3", &["-c", version])?.trim().to_owned())
}

fn needs(program: &'static str, arguments: &[&str]) -> Result<String> {
    const SECONDS: u32 = 30;
    let ran = run(bounded(SECONDS, Path::new("/"), program).args(arguments))?;
    if !ran.passed() {
        bail!(Absent::Toolchain(program));
    }
    Ok(ran.stdout)
}

fn digest(path: &Path) -> Result<String> {
    Ok(hex::encode(Sha256::digest(fs::read(path)?)))
}
