//! The root file system that a turn's sandboxes stand on: this machine's own, or a base image that was brought here.

use std::path::Path;
use std::time::{Duration, Instant};

use legwork_agent::Timeline;
use legwork_domain::{Environment, Failure, Level};
use legwork_image::{Error, Image, Origin};
use legwork_sandbox::Bind;

use crate::end::End;
use crate::shelf::Shelf;
use crate::worker::Worker;

/// The image that is this machine itself.
const HOST: &str = "host";

/// How long an image may take before the log says what is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Variables that are the sandbox's own, whatever an image says.
const OWN: [&str; 5] = ["HOME", "USER", "LOGNAME", "TMPDIR", "PWD"];

/// What lies below all layers of a turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root {
    /// `None`: this machine's own.
    image: Option<Image>,
}

impl Root {
    /// Names its content exactly; on this machine's own, what is installed is the operator's to keep steady.
    pub(crate) fn digest(&self) -> &str {
        self.image.as_ref().map_or(HOST, |image| &image.digest)
    }

    /// What later turns of the attempt ask for, so that their layers stand on what they were made on.
    pub(crate) fn pin(&self) -> Option<&str> {
        self.image.as_ref().map(|image| image.digest.as_str())
    }

    /// Whether git and what else our own scripts need are in it.
    pub(crate) const fn has_our_programs(&self) -> bool {
        self.image.is_none()
    }

    /// Whether it is this machine's own.
    pub(crate) const fn is_host(&self) -> bool {
        self.image.is_none()
    }

    /// For a sandbox.
    pub(crate) fn files(&self) -> legwork_sandbox::Image {
        let trees = self.image.as_ref().map(|image| image.layers.clone());
        trees.map_or(legwork_sandbox::Image::Host, legwork_sandbox::Image::Trees)
    }

    /// What of the host is shown: its toolchains stand on its own libraries, so a foreign root gets only what its operator
    /// has named.
    pub(crate) fn binds(&self, worker: &Worker) -> Vec<Bind> {
        let config = &worker.config;
        let toolchains = config.toolchains.binds.iter().filter(|_| self.image.is_none());
        toolchains.chain(&config.mounts).cloned().collect()
    }

    /// Variables below the recipe's.
    pub(crate) fn env(&self, worker: &Worker) -> Vec<(String, String)> {
        match &self.image {
            None => worker.config.toolchains.env.clone(),
            Some(image) => {
                image.env.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).cloned().collect()
            }
        }
    }

    /// Where it lies on this machine's disk.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.image.iter().flat_map(|image| &image.layers).map(std::path::PathBuf::as_path)
    }
}

/// The root that an environment names, brought here if it is not; the log says what came from where.
///
/// # Errors
/// The turn's end, with a sentence on what can be done.
pub(crate) async fn get(
    worker: &Worker,
    timeline: &Timeline,
    environment: &Environment,
    pinned: Option<&str>,
    shelf: &Shelf,
) -> Result<Root, End> {
    let name = environment.image.as_str();
    if name == HOST {
        return Ok(Root::default());
    }
    let started = Instant::now();
    let mut getting = std::pin::pin!(named(worker, timeline, name, pinned));
    let got = tokio::select! {
        got = &mut getting => got,
        () = tokio::time::sleep(PATIENCE) => {
            timeline.notice(Level::Info, format!("The image {name} is being fetched and unpacked.")).await;
            getting.await
        }
    };
    let image = got.map_err(|error| refused(&error))?;
    shelf.used(image.layers.iter().map(std::path::PathBuf::as_path));
    tell(timeline, &image, started.elapsed()).await;
    Ok(Root { image: Some(image) })
}

/// What the attempt began on, if that can still be had; else what the name stands for now, with a warning.
async fn named(
    worker: &Worker,
    timeline: &Timeline,
    name: &str,
    pinned: Option<&str>,
) -> Result<Image, Error> {
    let images = &worker.config.images;
    let Some(digest) = pinned else { return images.get(name).await };
    match images.pinned(name, digest).await {
        Err(Error::Missing { why, .. }) => {
            let text = format!(
                "The attempt began on {name} as it was then ({digest}), which cannot be had any more: {why}. It goes on with what {name} stands for now, so what was installed may not fit."
            );
            timeline.notice(Level::Warning, text).await;
            images.get(name).await
        }
        got => got,
    }
}

async fn tell(timeline: &Timeline, image: &Image, took: Duration) {
    let Image { name, digest, .. } = image;
    let layers = image.layers.len();
    let how = match image.origin {
        Origin::Kept => format!("all {layers} layers were here"),
        Origin::Unpacked { layers: new, fetched_bytes: 0 } => {
            format!("{new} of {layers} layers unpacked in {:.1} s", took.as_secs_f64())
        }
        Origin::Unpacked { layers: new, fetched_bytes } => format!(
            "{new} of {layers} layers fetched and unpacked in {:.1} s, {:.1} MB",
            took.as_secs_f64(),
            fetched_bytes as f64 / 1e6
        ),
        Origin::Unasked => {
            format!("all {layers} layers were here; its registry cannot be reached, so it may be an old one")
        }
    };
    let level = if image.origin == Origin::Unasked { Level::Warning } else { Level::Info };
    timeline.notice(level, format!("The base image is {name} ({digest}): {how}.")).await;
    if image.left_out > 0 {
        let text = format!("{} devices, sockets and pipes of the image are left out.", image.left_out);
        timeline.notice(Level::Info, text).await;
    }
    if !image.has_shell() {
        let text =
            "The image has no shell (/bin/sh), so no set-up, no check and no command line can run in it.";
        timeline.notice(Level::Warning, text).await;
    }
}

fn refused(error: &Error) -> End {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    let what_to_do = match error {
        Error::Name { .. } => "Name one such as debian:12-slim, or `host` for the worker's own system.",
        Error::NotAllowed { .. } => "Or name another image.",
        Error::Missing { .. } => {
            "Look at its name, or have the worker's operator set what opens its registry."
        }
        Error::Unreachable { .. } => "Run the task again later; layers that came are kept.",
        Error::Unusable { .. } => "Nothing of it was kept. Name another image.",
        Error::Disk { .. } => "The worker's operator can mend it.",
    };
    let sentence = format!("{error}{cause}. The agent was not started. {what_to_do}");
    End::failed(Failure::Setup, sentence.replacen(". .", ".", 1))
}
