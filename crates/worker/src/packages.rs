//! System packages that an environment names: installed where the root is an image, since its files are a copy of the
//! sandbox's own; looked for where it is the worker's machine, whose files nobody inside changes.
//!
//! Nobody inside is root, so a package manager cannot do all of its work there. What of Debian is missing is fetched by apt,
//! which knows what needs what, and unpacked; scripts of packages, which make users and start services, are not run.

use legwork_agent::Timeline;
use legwork_domain::{Environment, Level};
use legwork_git::Script;
use legwork_sandbox::Bind;

use crate::clean;
use crate::end::End;
use crate::root::Root;
use crate::worker::Worker;

/// Where this machine's package managers know what is installed; the others' lie below `/usr` and `/lib`.
const DATABASES: [&str; 2] = ["/var/lib/dpkg", "/var/lib/rpm"];

/// As much as the names of [`legwork_domain::Environment::packages`] can take.
const NAMES_BYTES_MAX: u64 = 64 * 1024;

/// Time for the look: rpm opens its database for each package.
const LOOK_MS: u64 = 60 * 1000;

/// Says which of `$LW_PACKAGES` are missing, a line each. 3: no package manager is known here.
const MISSING: &str = r#"for p in $LW_PACKAGES; do
  if [ -e /var/lib/dpkg/status ] && command -v dpkg-query >/dev/null 2>&1; then
    dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed && continue
    dpkg-query -W -f '${db:Status-Status} ${Provides}\n' 2>/dev/null | grep '^installed ' | grep -qwF -e "$p" && continue
  elif command -v rpm >/dev/null 2>&1; then
    rpm -q --whatprovides "$p" >/dev/null 2>&1 && continue
  elif command -v apk >/dev/null 2>&1; then
    apk info -e "$p" >/dev/null 2>&1 && continue
  else
    exit 3
  fi
  echo "$p"
done
"#;

/// Installs `$missing`, in an image.
const INSTALL: &str = r#"if [ -z "$missing" ]; then echo "all system packages are there"; exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "these packages are missing, and only apt's can be installed in a sandbox; use an image that has them:" $missing >&2
  exit 1
fi
echo "missing:" $missing
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
debs=$(mktemp -d)
mkdir -p "$debs/partial" /var/lib/apt/lists/partial
apt="apt-get -q -o Dpkg::Use-Pty=0 -o Debug::NoLocking=1 -o Dir::Cache::archives=$debs"
apt="$apt -o Acquire::https::CAInfo=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
$apt update
$apt install -y --no-install-recommends --download-only $missing
for deb in "$debs"/*.deb; do
  [ -e "$deb" ] || continue
  echo "unpacking $(basename "$deb")"
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C / --keep-directory-symlink --no-overwrite-dir --no-same-owner --no-same-permissions -f -
  { dpkg-deb -f "$deb" | sed 's/^Package:.*/&\nStatus: install ok installed/'; echo; } >> /var/lib/dpkg/status
done
rm -rf "$debs"
ldconfig 2>/dev/null || true
"#;

/// What installs them in an image; nothing where there are none or the root is this machine's own.
pub(crate) fn script(environment: &Environment, root: &Root) -> Option<String> {
    if environment.packages.is_empty() || root.is_host() {
        return None;
    }
    // Words by `Environment::validate_needs`, which nothing of the shell means.
    let names = environment.packages.join(" ");
    let unknown = "echo 'this image has no package manager that is known here (dpkg, rpm, apk)' >&2; exit 1";
    Some(format!("set -e\nmissing=$(LW_PACKAGES='{names}'\n{MISSING}) || {{ {unknown}; }}\n{INSTALL}"))
}

/// Tells which of them this machine lacks, where it is the root.
///
/// # Errors
/// The turn's end, if a sandbox cannot be made.
pub(crate) async fn look(
    worker: &Worker,
    timeline: &Timeline,
    environment: &Environment,
    root: &Root,
) -> Result<(), End> {
    if environment.packages.is_empty() || !root.is_host() {
        return Ok(());
    }
    let binds: Vec<Bind> = DATABASES
        .iter()
        .filter(|place| std::path::Path::new(place).is_dir())
        .map(|place| clean::bind(place.as_ref(), place))
        .collect();
    let backend = worker.config.backend.as_ref();
    let failed = |error| End::sandbox(&error);
    let sandbox =
        clean::sandbox(backend, worker.name("packages"), Vec::new(), binds).await.map_err(failed)?;
    let env = [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("LC_ALL", "C")];
    let mut env: Vec<(String, String)> =
        env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    env.push(("LW_PACKAGES".to_owned(), environment.packages.join(" ")));
    let script = Script { text: MISSING, env };
    let said =
        clean::run_within(LOOK_MS, sandbox.as_ref(), &script, NAMES_BYTES_MAX).await.map_err(failed)?;
    tokio::spawn(async move { sandbox.destroy().await });
    if let Some(text) = told(&said, environment) {
        timeline.notice(Level::Warning, text).await;
    }
    Ok(())
}

fn told(said: &clean::Said, environment: &Environment) -> Option<String> {
    let mend = "On the image host nothing is installed: its operator can, or the environment names an image.";
    if !said.succeeded() {
        let names = environment.packages.join(", ");
        return Some(format!(
            "The environment needs system packages ({names}), and whether the worker's machine has them cannot be told here. {mend}"
        ));
    }
    let missing: Vec<&str> =
        std::str::from_utf8(&said.stdout).unwrap_or_default().split_whitespace().collect();
    (!missing.is_empty()).then(|| {
        format!(
            "The environment needs system packages that the worker's machine lacks: {}. {mend}",
            missing.join(", ")
        )
    })
}
