//! `[worker] backend` and `[worker.docker]`: what makes a worker's sandboxes.

use std::path::PathBuf;

use legwork_sandbox_docker::Settings as Engine;
use serde::Deserialize;

use super::Vars;

/// What makes a worker's sandboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendFile {
    /// The worker itself.
    #[default]
    Local,
    /// An engine with Docker's API: Docker or Podman.
    Docker,
}

/// `[worker.docker]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerFile {
    /// Where the engine listens; else the socket that `DOCKER_HOST` names.
    socket: Option<PathBuf>,
    /// The OCI runtime that containers are started with; the engine's own choice by default.
    runtime: Option<String>,
}

impl DockerFile {
    /// The engine that is meant.
    #[must_use]
    pub fn settings(&self, vars: Vars<'_>) -> Engine {
        let named = || vars("DOCKER_HOST").and_then(|host| Some(host.strip_prefix("unix://")?.into()));
        let socket =
            self.socket.clone().or_else(named).unwrap_or_else(|| legwork_sandbox_docker::SOCKET.into());
        Engine { socket, runtime: self.runtime.clone() }
    }
}
