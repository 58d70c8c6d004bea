//! Manifests, lists of them and configurations: what of their JSON is used (OCI image specification 1.1; Docker's schema 2
//! says the same with other media types).

use serde::Deserialize;

use crate::reference::Digest;
use crate::{Error, LAYERS_MAX};

/// The largest manifest (distribution specification: registries must take 4 MiB).
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The largest configuration. They hold a line for each step that made the image.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Images that a list may offer; each platform is one, each with an attestation.
const OFFERED_MAX: usize = 256;

/// Variables of an image, and bytes of one: as those of a recipe.
const VARIABLES_MAX: usize = 128;
const VARIABLE_BYTES_MAX: usize = 32 * 1024;

/// What is asked for, in the order of preference.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// What is said of a piece of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A manifest, or a list of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// The one that fits this machine.
    List(Descriptor),
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
struct ManifestJson {
    #[serde(default)]
    manifests: Option<Vec<DescriptorJson>>,
    #[serde(default)]
    config: Option<DescriptorJson>,
    #[serde(default)]
    layers: Option<Vec<DescriptorJson>>,
}

#[derive(Deserialize)]
struct DescriptorJson {
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl DescriptorJson {
    fn read(self) -> Result<Descriptor, String> {
        let digest = self.digest.parse().map_err(|why| format!("in its manifest, {why}"))?;
        Ok(Descriptor { digest, size: self.size })
    }

    fn fits(&self) -> bool {
        self.platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture())
    }
}

/// This machine's architecture, as Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Manifest {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let json: ManifestJson = serde_json::from_slice(bytes)
            .map_err(|error| format!("its manifest cannot be read ({error})"))?;
        if let Some(offered) = json.manifests {
            if offered.len() > OFFERED_MAX {
                return Err(format!("its list has {} images; at most {OFFERED_MAX}", offered.len()));
            }
            let found = offered.into_iter().find(DescriptorJson::fits);
            let found = found.ok_or_else(|| format!("it is not made for linux/{}", architecture()))?;
            return Ok(Self::List(found.read()?));
        }
        let (Some(config), Some(layers)) = (json.config, json.layers) else {
            return Err(
                "its manifest is of no form that is known (neither OCI nor Docker's schema 2)".to_owned()
            );
        };
        if layers.len() > LAYERS_MAX {
            return Err(format!("it has {} layers; at most {LAYERS_MAX}", layers.len()));
        }
        let layers = layers.into_iter().map(DescriptorJson::read).collect::<Result<_, _>>()?;
        Ok(Self::Image { config: config.read()?, layers })
    }
}

/// What its maker wrote down of an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) env: Vec<(String, String)>,
    /// Of each layer, when it is not compressed.
    pub(crate) layers: Vec<Digest>,
}

#[derive(Deserialize)]
struct ConfigJson {
    architecture: String,
    os: String,
    rootfs: RootJson,
    #[serde(default)]
    config: Option<RunJson>,
}

#[derive(Deserialize)]
struct RootJson {
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct RunJson {
    #[serde(default, rename = "Env")]
    env: Option<Vec<String>>,
}

impl Config {
    pub(crate) fn read(bytes: &[u8], layers: usize) -> Result<Self, String> {
        let json: ConfigJson = serde_json::from_slice(bytes)
            .map_err(|error| format!("its configuration cannot be read ({error})"))?;
        if (json.os.as_str(), json.architecture.as_str()) != ("linux", architecture()) {
            return Err(format!("it is made for {:.40}/{:.40}", json.os, json.architecture));
        }
        let ids = json.rootfs.diff_ids;
        if ids.len() != layers {
            return Err(format!("it has {layers} layers and speaks of {}", ids.len()));
        }
        let read = |id: String| id.parse().map_err(|why| format!("in its configuration, {why}"));
        let env = json.config.and_then(|run| run.env).unwrap_or_default();
        Ok(Self { env: variables(env)?, layers: ids.into_iter().map(read).collect::<Result<_, String>>()? })
    }
}

fn variables(env: Vec<String>) -> Result<Vec<(String, String)>, String> {
    if env.len() > VARIABLES_MAX || env.iter().any(|pair| pair.len() > VARIABLE_BYTES_MAX) {
        return Err(format!(
            "it sets more than {VARIABLES_MAX} variables, or longer ones than {VARIABLE_BYTES_MAX} bytes"
        ));
    }
    let pair = |pair: String| {
        let (name, value) = pair.split_once('=')?;
        let usable = !name.is_empty() && !pair.contains('\0');
        usable.then(|| (name.to_owned(), value.to_owned()))
    };
    Ok(env.into_iter().filter_map(pair).collect())
}

/// That an image can be made of what a registry says, in the caller's words.
pub(crate) fn usable<T>(image: &impl std::fmt::Display, read: Result<T, String>) -> Result<T, Error> {
    read.map_err(|why| Error::Unusable { image: image.to_string(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn of_a_list_the_one_for_this_machine_is_taken() {
        let list = format!(
            r#"{{"manifests":[{{"digest":"{}","size":1,"platform":{{"os":"linux","architecture":"s390x"}}}},
            {{"digest":"{}","size":2,"platform":{{"os":"linux","architecture":"{}"}}}}]}}"#,
            id('a'),
            id('b'),
            architecture()
        );
        let found = Descriptor { digest: id('b').parse().unwrap(), size: 2 };
        assert_eq!(Manifest::read(list.as_bytes()), Ok(Manifest::List(found)));
        assert!(Manifest::read(br#"{"manifests":[]}"#).unwrap_err().contains("not made for linux/"));
    }

    #[test]
    fn nonsense_is_no_manifest() {
        let layer = format!(r#"{{"digest":"{}","size":1}}"#, id('a'));
        let many = vec![layer.clone(); LAYERS_MAX + 1].join(",");
        for text in [
            "",
            "[]",
            "{}",
            r#"{"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#,
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            &format!(r#"{{"config":{layer},"layers":[{{"digest":"{}","size":-1}}]}}"#, id('a')),
            &format!(r#"{{"config":{layer},"layers":[{many}]}}"#),
        ] {
            assert!(Manifest::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_configuration_gives_its_variables_and_must_fit() {
        let text = |arch: &str| {
            format!(
                r#"{{"os":"linux","architecture":"{arch}","rootfs":{{"diff_ids":["{}"]}},
                "config":{{"User":"0","Entrypoint":["/x"],"Env":["PATH=/a:/b","X","=y","Y=a=b"]}}}}"#,
                id('c')
            )
        };
        let config = Config::read(text(architecture()).as_bytes(), 1).unwrap();
        assert_eq!(config.env, [("PATH".into(), "/a:/b".into()), ("Y".into(), "a=b".into())]);
        assert!(Config::read(text(architecture()).as_bytes(), 2).is_err());
        assert!(Config::read(text("s390x").as_bytes(), 1).is_err());
    }
}
