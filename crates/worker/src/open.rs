//! A sandbox on what a task left, for somebody who wants to look.

use std::sync::Arc;

use legwork_domain::Environment;
use legwork_sandbox::{Backend, Error, Image, Sandbox, Toolchains};

use crate::layers::Stack;
use crate::spec::{Below, spec};

/// The artifact of a tried-out environment that holds it, whole, as JSON.
pub const ENVIRONMENT: &str = "environment.json";

/// Opens a sandbox on frozen files that a log names, with the environment that they were made with. What is done in it is gone
/// with it. The files must be on this machine, below the same backend.
///
/// # Errors
/// [`Error::Invalid`] if a layer is not here or the environment is not on the image `host`, and those of [`Backend::create`].
pub async fn open(
    backend: &dyn Backend,
    toolchains: &Toolchains,
    layers: &[String],
    environment: &Environment,
) -> Result<Arc<dyn Sandbox>, Error> {
    let missing =
        || Error::Invalid("the files are not on this machine, or were removed after their time".to_owned());
    let stack = Stack::from_names(layers).ok_or_else(missing)?;
    let name = format!("shell-{:x}-{}", legwork_agent::now().micros(), std::process::id());
    let Toolchains { binds, env } = toolchains.clone();
    backend.create(spec(name, Below { image: Image::Host, binds, env }, stack.all(), environment)).await
}
