//! Toolchains that people keep below their home directory, shown inside at the same place, read-only.
//!
//! Only what holds programs is shown, never a whole home: `~/.cargo/bin`, not `~/.cargo`, in which a registry's token
//! lies. They keep their paths, for virtual environments and shims have them written into their files.

use std::path::{Path, PathBuf};

use crate::Bind;

/// Directories below a home that hold toolchains, each with the variable that tells its programs where it is.
const PLACES: [(&str, Option<&str>); 20] = [
    (".rustup", Some("RUSTUP_HOME")),
    (".cargo/bin", None),
    (".pyenv", Some("PYENV_ROOT")),
    (".nvm", Some("NVM_DIR")),
    (".volta", Some("VOLTA_HOME")),
    (".rbenv", Some("RBENV_ROOT")),
    (".asdf", Some("ASDF_DATA_DIR")),
    (".sdkman/candidates", None),
    (".local/share/mise/installs", None),
    (".local/share/mise/shims", None),
    (".local/share/uv/python", Some("UV_PYTHON_INSTALL_DIR")),
    (".local/share/uv/tools", None),
    (".local/share/pipx", None),
    (".local/share/fnm", None),
    (".local/share/pnpm", None),
    (".local/bin", None),
    (".bun/bin", None),
    (".deno/bin", None),
    (".ghcup/bin", None),
    ("go/bin", None),
];

/// Where the base image has its own programs.
const SYSTEM: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Trees that every sandbox shows anyway.
const SHOWN: [&str; 2] = ["/usr", "/opt"];

/// What makes a home's toolchains work inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchains {
    /// Directories to show.
    pub binds: Vec<Bind>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
}

/// Finds the toolchains of a home. `path_var` is the user's own `PATH`: its order is kept, and of its entries those that
/// exist inside.
#[must_use]
pub fn toolchains(home: &Path, path_var: &str) -> Toolchains {
    let present = PLACES.iter().map(|(place, variable)| (home.join(place), *variable));
    let present: Vec<(PathBuf, Option<&str>)> = present.filter(|(path, _)| path.is_dir()).collect();
    let binds = present.iter().map(|(path, _)| Bind { host: path.clone(), inside: path.clone() }).collect();
    let pointers = present
        .iter()
        .filter_map(|(path, variable)| Some(((*variable)?.to_owned(), path.to_str()?.to_owned())));
    let mut env: Vec<_> = pointers.collect();
    env.push(("PATH".to_owned(), search_path(&present, path_var)));
    if present.iter().any(|(path, _)| path.ends_with(".cargo/bin")) {
        // Its own place is read-only, and cargo writes locks and caches there.
        env.push(("CARGO_HOME".to_owned(), format!("{}/.cargo", crate::guest::HOME)));
    }
    Toolchains { binds, env }
}

fn search_path(present: &[(PathBuf, Option<&str>)], path_var: &str) -> String {
    let is_inside = |place: &&str| {
        let place = Path::new(place);
        SHOWN.iter().any(|shown| place.starts_with(shown))
            || present.iter().any(|(path, _)| place.starts_with(path))
    };
    let mut places: Vec<&str> = Vec::new();
    for place in path_var.split(':').filter(is_inside).chain(SYSTEM) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_are_shown_and_the_order_of_the_path_is_kept() {
        let home = tempfile::tempdir().unwrap();
        for place in [".cargo/bin", ".cargo/registry", ".rustup", ".pyenv/shims", ".ssh"] {
            std::fs::create_dir_all(home.path().join(place)).unwrap();
        }
        let at = home.path().to_str().unwrap();
        let path = format!("{at}/.pyenv/shims:{at}/.ssh:{at}/.cargo/bin:/usr/local/bin:/opt/x/bin:/secret");
        let Toolchains { binds, env } = toolchains(home.path(), &path);
        let shown: Vec<_> =
            binds.iter().map(|bind| bind.inside.strip_prefix(at).unwrap().to_str().unwrap()).collect();
        assert_eq!(shown, [".rustup", ".cargo/bin", ".pyenv"]);
        let env: Vec<_> =
            env.iter().map(|(name, value)| format!("{name}={}", value.replace(at, "~"))).collect();
        assert_eq!(
            env,
            [
                "RUSTUP_HOME=~/.rustup",
                "PYENV_ROOT=~/.pyenv",
                "PATH=~/.pyenv/shims:~/.cargo/bin:/usr/local/bin:/opt/x/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
                "CARGO_HOME=/home/agent/.cargo",
            ]
        );
    }
}
