//! The images that are here, and how others come here.
//!
//! ```text
//! layers/DIGEST     an unpacked layer, complete from the moment it has this name
//! incoming/RANDOM   what is downloaded or unpacked now
//! names/KEY.json    what a name stood for when it was last asked; KEY.lock while that is found out
//! ```
//! All of it can be made again. A layer that is taken away ([`Store::discard`]) is fetched anew when somebody wants it.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::manifest::{CONFIG_BYTES_MAX, Config, Descriptor, Manifest, architecture, usable};
use crate::reference::{Digest, Reference};
use crate::registry::{Registry, Repository};
use crate::unpack::{self, Rules};
use crate::{Error, Image, Named, Origin, Settings, Step, directory};

/// How long a tag is taken to stand for what it stood for. As long as rivals keep what they prepared.
const TAG_KEPT: Duration = Duration::from_secs(12 * 60 * 60);

/// Tries to download one layer, with a growing pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// What lies in `incoming` for so long is nobody's.
const INCOMING_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The images of a directory.
#[derive(Clone, Debug)]
pub struct Store {
    settings: Arc<Settings>,
}

/// What a name stood for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    digest: String,
    env: Vec<(String, String)>,
    /// Digits of the digests of its layers, lowest first.
    layers: Vec<String>,
    left_out: u64,
    /// Seconds since 1970.
    asked_at: u64,
}

/// What a pull found, beside the layers.
struct Found {
    kept: Kept,
    origin: Origin,
}

impl Store {
    /// Opens the directory; makes it if it is missing.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn open(settings: Settings) -> Result<Self, Error> {
        for part in ["", "layers", "incoming", "names"] {
            let path = settings.directory.join(part);
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.step(format!("make {}", path.display()))?;
        }
        let store = Self { settings: Arc::new(settings) };
        store.clear();
        Ok(store)
    }

    /// The image of this name, brought here if it is not. Callers of the same name wait for each other.
    ///
    /// # Errors
    /// [`Error`]; layers that were complete by then are kept for the next try.
    pub async fn get(&self, name: &str) -> Result<Image, Error> {
        match self.settings.named.get(name) {
            Some(Named::Path(path)) => self.local(name, path).await,
            Some(Named::Reference(reference)) => self.remote(name, &reference.parse()?).await,
            None => {
                let reference: Reference = name.parse()?;
                self.demand_allowed(&reference)?;
                self.remote(name, &reference).await
            }
        }
    }

    /// The image that this name stood for when its digest was this one, wherever the name leads by now.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is neither here nor at its registry any more, and all of [`Store::get`].
    pub async fn pinned(&self, name: &str, digest: &str) -> Result<Image, Error> {
        let exact = |reference: Reference| -> Result<Reference, Error> {
            let digest = digest.parse().map_err(|why: &str| Error::Name {
                name: name.to_owned(),
                why: format!("in its digest, {why}"),
            })?;
            Ok(Reference { digest: Some(digest), ..reference })
        };
        match self.settings.named.get(name) {
            Some(Named::Path(_)) => self.unpacked(name, digest),
            Some(Named::Reference(reference)) => self.remote(name, &exact(reference.parse()?)?).await,
            None => {
                let reference: Reference = name.parse()?;
                self.demand_allowed(&reference)?;
                self.remote(name, &exact(reference)?).await
            }
        }
    }

    /// What a path held when it was last read like this. Nobody else has it.
    fn unpacked(&self, name: &str, digest: &str) -> Result<Image, Error> {
        let place = digest.parse::<Digest>().ok().map(|digest| self.layer(digest.digits()));
        let place = place.filter(|place| place.is_dir()).ok_or_else(|| Error::Missing {
            image: format!("{name} ({digest})"),
            why: "what the worker's operator had there before is not kept".to_owned(),
        })?;
        Ok(Image {
            name: name.to_owned(),
            digest: digest.to_owned(),
            layers: vec![place],
            env: Vec::new(),
            origin: Origin::Kept,
            left_out: 0,
        })
    }

    /// Removes a layer's tree that nothing uses any more. `false`: it is none of this store's.
    pub fn discard(&self, tree: &Path) -> bool {
        if tree.parent() != Some(&self.path("layers")) || tree.file_name().is_none() {
            return false;
        }
        let trash = self.path("incoming").join(format!("{:016x}", fastrand::u64(..)));
        if std::fs::rename(tree, &trash).is_ok() {
            unpack::remove(&trash);
        }
        true
    }

    fn path(&self, part: &str) -> PathBuf {
        self.settings.directory.join(part)
    }

    fn known(&self, key: &str) -> PathBuf {
        self.path("names").join(format!("{key}.json"))
    }

    fn layer(&self, digits: &str) -> PathBuf {
        self.path("layers").join(digits)
    }

    fn rules(&self) -> Rules {
        Rules { owner: self.settings.owner, bytes_max: self.settings.layer_bytes_max }
    }

    fn demand_allowed(&self, reference: &Reference) -> Result<(), Error> {
        let allowed = |name: &String| name == "*" || name.eq_ignore_ascii_case(&reference.registry);
        if self.settings.registries.iter().any(allowed) {
            return Ok(());
        }
        Err(Error::NotAllowed {
            what: format!("The registry {} of {reference}", reference.registry),
            mend: "The operator of the worker may add it to `registries` under [worker].",
        })
    }

    async fn local(&self, name: &str, path: &Path) -> Result<Image, Error> {
        let (store, name, path) = (self.clone(), name.to_owned(), path.to_path_buf());
        let lock = self.lock(&key(&format!("path {name}"))).await?;
        let work = move || {
            let _lock = lock;
            let read = || format!("read the image {name:?}, which the worker's operator has named");
            let digest = directory::fingerprint(&path).step(read())?;
            let place = store.layer(digest.digits());
            let mut image = Image {
                digest: digest.to_string(),
                layers: vec![place.clone()],
                env: Vec::new(),
                origin: Origin::Kept,
                left_out: 0,
                name: name.clone(),
            };
            if !place.is_dir() {
                let archive = directory::archive(path).step(read())?;
                let unpacked = unpack::unpack(archive, &store.path("incoming"), store.rules(), &name)?;
                unpacked.keep(&place)?;
                image.left_out = unpacked.left_out;
                image.origin = Origin::Unpacked { layers: 1, fetched_bytes: 0 };
            }
            Ok(image)
        };
        blocking(work).await
    }

    async fn remote(&self, name: &str, reference: &Reference) -> Result<Image, Error> {
        let key = known_by(reference);
        let _lock = self.lock(&key).await?;
        let file = self.known(&key);
        let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.filter(|kept| kept.layers.iter().all(|layer| self.layer(layer).is_dir()));
        if let Some(kept) = kept.clone().filter(|kept| reference.digest.is_some() || kept.is_young()) {
            return Ok(self.image(name, kept, Origin::Kept));
        }
        match self.pull(reference).await {
            Ok(Found { kept, origin }) => {
                kept.write(&file).step("note an image")?;
                // Who wants it by its digest need not ask again.
                if let Ok(digest) = kept.digest.parse() {
                    let exact = Reference { digest: Some(digest), ..reference.clone() };
                    kept.write(&self.known(&known_by(&exact))).step("note an image")?;
                }
                Ok(self.image(name, kept, origin))
            }
            Err(error @ Error::Unreachable { .. }) => match kept {
                Some(kept) => Ok(self.image(name, kept, Origin::Unasked)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn image(&self, name: &str, kept: Kept, origin: Origin) -> Image {
        let Kept { digest, env, layers, left_out, .. } = kept;
        let layers = layers.iter().map(|layer| self.layer(layer)).collect();
        Image { name: name.to_owned(), digest, layers, env, origin, left_out }
    }

    async fn pull(&self, reference: &Reference) -> Result<Found, Error> {
        let access = self.settings.access.get(&reference.registry).cloned();
        let mut repository = Repository::new(reference, access.unwrap_or_default())?;
        let (digest, bytes) = repository.manifest(None).await?;
        let mut manifest = usable(reference, Manifest::read(&bytes))?;
        let mut digest = digest;
        if let Manifest::List(fits) = &manifest {
            let (inner, bytes) = repository.manifest(Some(fits)).await?;
            (digest, manifest) = (inner, usable(reference, Manifest::read(&bytes))?);
        }
        let Manifest::Image { config, layers } = manifest else {
            return usable(reference, Err("its list leads to another list".to_owned()));
        };
        self.demand_room(reference, &layers)?;
        let config = repository.blob(&config, CONFIG_BYTES_MAX).await?;
        let config = usable(reference, Config::read(&config, layers.len()))?;
        let (mut count, mut fetched_bytes, mut left_out) = (0, 0, 0);
        for (blob, plain) in layers.iter().zip(&config.layers) {
            if !self.layer(blob.digest.digits()).is_dir() {
                left_out += self.bring(&mut repository, reference, (blob, plain)).await?;
                count += 1;
                fetched_bytes += blob.size;
            }
        }
        let layers = layers.iter().map(|blob| blob.digest.digits().to_owned()).collect();
        let kept =
            Kept { digest: digest.to_string(), env: config.env, layers, left_out, asked_at: seconds() };
        Ok(Found { kept, origin: Origin::Unpacked { layers: count, fetched_bytes } })
    }

    fn demand_room(&self, reference: &Reference, layers: &[Descriptor]) -> Result<(), Error> {
        let bytes = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        let most = self.settings.layer_bytes_max;
        if bytes <= most {
            return Ok(());
        }
        usable(
            reference,
            Err(format!("its layers have {bytes} bytes; at most {most} are fetched of one image")),
        )
    }

    /// Brings one layer here: downloads it, and unpacks it once it is known to be the right one.
    async fn bring(
        &self,
        repository: &mut Repository<'_>,
        reference: &Reference,
        (blob, plain): (&Descriptor, &Digest),
    ) -> Result<u64, Error> {
        let file = Download(self.path("incoming").join(format!("{:016x}.blob", fastrand::u64(..))));
        let mut tries = 0;
        while let Err(error) = repository.download(blob, &file.0).await {
            tries += 1;
            if !matches!(error, Error::Unreachable { .. }) || tries == TRIES {
                return Err(error);
            }
            let _ = std::fs::remove_file(&file.0);
            tokio::time::sleep(PAUSE * tries).await;
        }
        let (store, place) = (self.clone(), self.layer(blob.digest.digits()));
        let (image, plain) = (reference.to_string(), plain.clone());
        let work = move || {
            let source = File::open(&file.0).step("read a layer")?;
            let unpacked = unpack::unpack(source, &store.path("incoming"), store.rules(), &image)?;
            if unpacked.digest != plain {
                let why = "a layer's content is not what its configuration says".to_owned();
                return Err(Error::Unusable { image, why });
            }
            unpacked.keep(&place)?;
            Ok(unpacked.left_out)
        };
        blocking(work).await
    }

    /// Waits for the right to find out what a name stands for, here and in other processes.
    async fn lock(&self, key: &str) -> Result<File, Error> {
        let path = self.path("names").join(format!("{key}.lock"));
        let work = move || {
            let lock = File::create(path).step("lock an image")?;
            lock.lock().step("lock an image")?;
            Ok(lock)
        };
        blocking(work).await
    }

    /// Removes what pulls of dead processes left.
    fn clear(&self) {
        for entry in std::fs::read_dir(self.path("incoming")).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > INCOMING_MAX)) {
                unpack::remove(&entry.path());
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Kept {
    /// Replaces the file in one step. Whoever else writes it at the same time writes the same.
    fn write(&self, file: &Path) -> io::Result<()> {
        let fresh = file.with_extension(format!("{:016x}", fastrand::u64(..)));
        std::fs::write(&fresh, serde_json::to_vec(self)?)?;
        std::fs::rename(&fresh, file)
    }

    fn is_young(&self) -> bool {
        seconds().checked_sub(self.asked_at).is_some_and(|age| age < TAG_KEPT.as_secs())
    }
}

/// A file that is gone with this.
struct Download(PathBuf);

impl Drop for Download {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Image {
    /// Whether something lies where commands look for a shell. Nothing is followed: links in a tree lead nowhere here.
    #[must_use]
    pub fn has_shell(&self) -> bool {
        let is_there = |tree: &PathBuf, name: &str| std::fs::symlink_metadata(tree.join(name)).is_ok();
        self.layers.iter().any(|tree| is_there(tree, "bin/sh") || is_there(tree, "usr/bin/sh"))
    }
}

/// How a registry is reached that the operator has not said anything of.
impl Registry {
    /// At another address, which may be private and without TLS.
    #[must_use]
    pub fn private(url: String) -> Self {
        Self { url: Some(url), is_private: true, credentials: None }
    }
}

fn known_by(reference: &Reference) -> String {
    key(&format!("{} {reference}", architecture()))
}

fn key(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn seconds() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |since: Duration| since.as_secs())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("it broke off")).step("unpack an image"))
}
