//! The hosts of package managers: asked from the operator's own configuration of the tools, so that a company's mirror is
//! known without a list, beside each tool's own default. What a repository's files name is not looked at: it is hostile.

mod tools;

use std::path::Path;

use crate::config::Vars;

pub(crate) use tools::tools;

/// Where tools fetch from if nobody says otherwise, with the hosts that these send downloads on to (each tool's own
/// documentation).
const DEFAULTS: [&str; 40] = [
    // cargo, rustup
    "index.crates.io",
    "static.crates.io",
    "crates.io",
    "static.rust-lang.org",
    // pip, uv, poetry
    "pypi.org",
    "files.pythonhosted.org",
    // npm, yarn, pnpm, node
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "repo.yarnpkg.com",
    "nodejs.org",
    // Go
    "proxy.golang.org",
    "sum.golang.org",
    "storage.googleapis.com",
    "go.dev",
    "dl.google.com",
    // Maven, Gradle
    "repo.maven.apache.org",
    "repo1.maven.org",
    "plugins.gradle.org",
    "plugins-artifacts.gradle.org",
    "services.gradle.org",
    "downloads.gradle.org",
    // Bazel
    "bcr.bazel.build",
    "releases.bazel.build",
    "mirror.bazel.build",
    // Ruby
    "rubygems.org",
    "index.rubygems.org",
    // PHP
    "repo.packagist.org",
    "packagist.org",
    // .NET
    "api.nuget.org",
    "globalcdn.nuget.org",
    // Perl
    "www.cpan.org",
    "cpan.metacpan.org",
    "fastapi.metacpan.org",
    // Elixir
    "repo.hex.pm",
    "builds.hex.pm",
    // Debian, Ubuntu: apt signs what it fetches, and fetches it by plain HTTP.
    "http://deb.debian.org",
    "http://security.debian.org",
    "http://archive.ubuntu.com",
    "http://security.ubuntu.com",
    "http://ports.ubuntu.com",
];

/// The operator's files that name registries, below the home directory or at their full path.
const FILES: [&str; 18] = [
    ".cargo/config.toml",
    ".cargo/config",
    ".config/pip/pip.conf",
    ".pip/pip.conf",
    "/etc/pip.conf",
    ".config/uv/uv.toml",
    ".npmrc",
    "/etc/npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".config/pnpm/rc",
    ".config/go/env",
    ".m2/settings.xml",
    "/etc/maven/settings.xml",
    ".gradle/init.gradle",
    ".gradle/gradle.properties",
    ".gemrc",
    "/etc/apt/sources.list",
];

/// Directories of such files.
const DIRECTORIES: [&str; 2] = ["/etc/apt/sources.list.d", ".gradle/init.d"];

/// Variables that name registries.
const VARIABLES: [&str; 8] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "GOPROXY",
    "CARGO_REGISTRIES_CRATES_IO_INDEX",
];

/// Of one file, and of all together.
const FILE_BYTES_MAX: u64 = 256 << 10;
const HOSTS_MAX: usize = 200;

/// The hosts, as a policy has them.
pub(crate) fn hosts(home: &Path, vars: Vars<'_>) -> Vec<String> {
    let mut hosts: Vec<String> = DEFAULTS.iter().map(|&host| host.to_owned()).collect();
    let files = FILES.iter().map(|name| home.join(name));
    let listed = DIRECTORIES.iter().flat_map(|name| {
        let entries = std::fs::read_dir(home.join(name)).into_iter().flatten().flatten();
        entries.take(100).map(|entry| entry.path()).collect::<Vec<_>>()
    });
    let texts = files
        .chain(listed)
        .filter_map(|path| {
            let text = read(&path)?;
            // A document names its own form by URLs too.
            let is_document = path.extension().is_some_and(|extension| extension == "xml");
            Some(if is_document { tools::urls(&text) } else { text })
        })
        .chain(VARIABLES.iter().filter_map(|name| vars(name)));
    for host in texts.flat_map(|text| named(&text)) {
        if hosts.len() < HOSTS_MAX && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The hosts of all URLs in a text, whatever its format: each of these files names registries by URL. Lines that are
/// comments are left out.
fn named(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
    let urls = lines.flat_map(|line| {
        line.match_indices("://")
            .filter_map(|(at, _)| {
                let plain = line[..at].ends_with("http");
                let secure = line[..at].ends_with("https");
                let rest = &line[at + 3..];
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "-._:@%[]".contains(c)))
                    .unwrap_or(rest.len());
                // A user name and a password may stand before it.
                let place = rest[..end].rsplit('@').next().unwrap_or("");
                let authority =
                    legwork_egress::Authority::parse(place, Some(if plain { 80 } else { 443 })).ok()?;
                let port = match authority.port {
                    80 if plain => String::new(),
                    443 if secure => String::new(),
                    port => format!(":{port}"),
                };
                let scheme = if plain { "http://" } else { "" };
                (plain || secure).then(|| format!("{scheme}{}{port}", authority.host))
            })
            .collect::<Vec<_>>()
    });
    urls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_found_in_the_operators_files() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            ".cargo/config.toml",
            "[source.mirror]\nregistry = \"sparse+https://cargo.corp.example/index/\"\n",
        );
        write(".npmrc", "registry=https://user:pw@npm.corp.example:8443/x/\n# https://old.corp.example/\n");
        write(".config/pip/pip.conf", "[global]\nindex-url = http://pypi.corp.example/simple\n");
        write(
            ".m2/settings.xml",
            "<settings xmlns=\"http://form.example/1.0\"><!-- <url>https://old.corp.example</url> -->\n<url>https://maven.corp.example/all</url><url>http://0.0.0.0/</url></settings>",
        );
        let vars = |name: &str| (name == "GOPROXY").then(|| "https://go.corp.example,direct".to_owned());
        let hosts = hosts(home.path(), &vars);
        for host in [
            "cargo.corp.example",
            "npm.corp.example:8443",
            "http://pypi.corp.example",
            "go.corp.example",
            "maven.corp.example",
            "pypi.org",
        ] {
            assert!(hosts.iter().any(|known| known == host), "{host}: {hosts:?}");
        }
        assert!(
            !hosts
                .iter()
                .any(|host| ["old.corp", "pw", "form.", "0.0.0.0"].iter().any(|no| host.contains(no))),
            "{hosts:?}"
        );
    }
}
