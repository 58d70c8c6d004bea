//! What is laid into a sandbox so that tools find their way out by themselves: proxy variables, and the certificates to
//! trust, in the forms and at the places where each tool looks.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use legwork_egress::{Proxy, STORE_PASSWORD};
use legwork_sandbox::{Bind, Error, Image, PROXY, Sandbox};
use rustix::fs::{FlockOperation, flock};

use super::ToolConfig;

/// Where the files lie inside.
const INSIDE: &str = "/etc/legwork";

/// Roots and the sandbox's authority together; the authority alone; the same for Java.
const BUNDLE: &str = "ca-bundle.pem";
const AUTHORITY: &str = "ca.pem";
const JAVA_STORE: &str = "ca-bundle.jks";

/// The home directory inside.
const HOME: &str = "/home/agent";

/// As much of a file there as is read to see that it is there.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where distributions keep the bundle that most programs read (Debian; Fedora; Alpine). It is shown there too, where there
/// is one: not every program knows a variable.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Below the data directory, a directory for each sandbox.
const LAID: &str = "egress";

/// Tries to have a directory before somebody takes it for one that was left behind. Once is rare.
const TRIES_MAX: usize = 10;

/// The files of one sandbox on the host; they go when this does.
pub(super) struct Laid {
    directory: PathBuf,
    /// Held while it lives: the kernel lets go of it when this process dies, however that is.
    _lock: File,
}

impl Drop for Laid {
    fn drop(&mut self) {
        // What stays is removed when the next worker starts.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Removes what processes that are dead have laid in this data directory.
pub(crate) fn sweep(data: &Path) {
    let entries = std::fs::read_dir(data.join(LAID)).into_iter().flatten().flatten();
    for directory in entries.map(|entry| entry.path()) {
        let Ok(file) = File::open(&directory) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Under the lock, so that nobody begins to lay there meanwhile; what stays is tried again.
            let _ = std::fs::remove_dir_all(&directory);
        }
    }
}

/// Makes a directory that is ours until the lock is dropped.
fn claim(directory: &Path) -> io::Result<File> {
    for _ in 0..TRIES_MAX {
        // A sandbox reads it as an ordinary user; above it, only this user may enter.
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let Ok(file) = File::open(directory) else { continue };
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let is_it = |there: Metadata| file.metadata().is_ok_and(|ours| ours.ino() == there.ino());
        if locked && std::fs::metadata(directory).is_ok_and(is_it) {
            return Ok(file);
        }
    }
    Err(io::Error::other(format!("{} is removed again and again", directory.display())))
}

/// Writes the files for a proxy of the sandbox of that name.
pub(super) fn lay(proxy: &Proxy, data: &Path, name: &str) -> io::Result<Laid> {
    let directory = data.join(LAID).join(name);
    let laid = Laid { _lock: claim(&directory)?, directory };
    let directory = &laid.directory;
    let files: [(&str, Vec<u8>); 3] = [
        (BUNDLE, proxy.bundle_pem().into_bytes()),
        (AUTHORITY, proxy.authority_pem().into_bytes()),
        (JAVA_STORE, proxy.bundle_for_java()),
    ];
    for (name, contents) in files {
        let path = directory.join(name);
        std::fs::write(&path, contents)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(laid)
}

impl Laid {
    /// Shows them inside. Where the bundle of a foreign image lies, and what of its path is a link, is not known here: there the
    /// variables lead to it.
    pub(super) fn binds(&self, image: &Image) -> Vec<Bind> {
        let whole = Bind { host: self.directory.clone(), inside: INSIDE.into() };
        let bundles = BUNDLES
            .iter()
            .filter(|place| std::fs::symlink_metadata(place).is_ok_and(|found| found.is_file()));
        let over = bundles.map(|place| Bind { host: self.directory.join(BUNDLE), inside: place.into() });
        let over = over.filter(|_| *image == Image::Host);
        std::iter::once(whole).chain(over).collect()
    }
}

/// The variables of a sandbox's commands, with those that lead out. What a recipe sets itself holds.
pub(super) fn environment(own: Vec<(String, String)>, tools: &ToolConfig) -> Vec<(String, String)> {
    let (host, port) = PROXY;
    let proxy = format!("http://{host}:{port}");
    let bundle = format!("{INSIDE}/{BUNDLE}");
    let java = format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts=localhost|127.*|[::1] -Djavax.net.ssl.trustStore={INSIDE}/{JAVA_STORE} \
         -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"
    );
    let none = "localhost,127.0.0.1,::1".to_owned();
    let laid = [
        ("http_proxy", &proxy),
        ("https_proxy", &proxy),
        ("HTTP_PROXY", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("ALL_PROXY", &proxy),
        ("all_proxy", &proxy),
        ("NO_PROXY", &none),
        ("no_proxy", &none),
        ("SSL_CERT_FILE", &bundle),
        ("CURL_CA_BUNDLE", &bundle),
        ("REQUESTS_CA_BUNDLE", &bundle),
        ("PIP_CERT", &bundle),
        ("GIT_SSL_CAINFO", &bundle),
        ("CARGO_HTTP_CAINFO", &bundle),
        ("AWS_CA_BUNDLE", &bundle),
        // Beside Node's own roots, among which those that this machine's operator has added are not.
        ("NODE_EXTRA_CA_CERTS", &bundle),
        ("NODE_USE_ENV_PROXY", &"1".to_owned()),
        ("JAVA_TOOL_OPTIONS", &java),
        // Nobody is there to type a password, also where a command has a terminal.
        ("GIT_TERMINAL_PROMPT", &"0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()));
    // `npm install -g` goes where the user may write. nvm has prefixes of its own and refuses any other.
    let prefix = own.iter().all(|(name, _)| name != "NVM_DIR").then(|| format!("{HOME}/.local"));
    let prefix = prefix.map(|prefix| ("NPM_CONFIG_PREFIX".to_owned(), prefix));
    let laid = laid.into_iter().chain(prefix).chain(tools.variables.iter().cloned());
    let mut all: Vec<_> = laid.filter(|(name, _)| own.iter().all(|(known, _)| known != name)).collect();
    all.extend(own);
    all
}

/// Lays the operator's files into the home directory. What a set-up has put there holds.
pub(super) async fn lay_files(sandbox: &dyn Sandbox, tools: &ToolConfig) -> Result<(), Error> {
    for (name, text) in &tools.files {
        let path = Path::new(HOME).join(name);
        // Only whether it is there counts: one that is larger is there.
        let found = sandbox.read(&path, FILE_BYTES_MAX).await;
        if matches!(found, Err(Error::Path { .. })) {
            sandbox.write(&path, text.as_bytes(), None).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_have_laid_is_swept_and_what_the_living_have_is_not() {
        let data = tempfile::tempdir().unwrap();
        let at = |name: &str| data.path().join(LAID).join(name);
        let held = claim(&at("living")).unwrap();
        drop(claim(&at("dead")).unwrap());
        std::fs::write(at("dead").join(BUNDLE), "x").unwrap();
        sweep(data.path());
        assert!(at("living").exists() && !at("dead").exists());
        drop(held);
        sweep(data.path());
        assert!(!at("living").exists());
    }
}
