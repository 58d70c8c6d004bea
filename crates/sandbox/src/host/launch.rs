//! From a spec to a guest: the sandbox's directory is made, a launcher called, and nothing left of what fails.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::base::Base;
use super::launcher::{Berth, Launcher, Order};
use super::machine::text;
use super::remains::Remains;
use super::state::{Live, State};
use super::{Launched, blocking};
use crate::protocol::Setup;
use crate::{Error, Limits};

/// What all sandboxes of a backend share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) state: State,
    pub(super) base: Base,
    pub(super) launcher: Arc<dyn Launcher>,
}

/// A sandbox to start.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) limits: Limits,
    /// All but what lies in the sandbox's own directory.
    pub(super) setup: Setup,
}

/// A guest that makes its machine, and what it will leave.
pub(super) struct Started {
    pub(super) remains: Remains,
    pub(super) launched: Guest,
}

/// The guest itself.
pub(super) struct Guest {
    pub(super) pid: i32,
    pub(super) socket: std::os::fd::OwnedFd,
}

impl Host {
    pub(super) fn open(state: &Path, launcher: Arc<dyn Launcher>) -> Result<Self, Error> {
        let state = State::open(state)?;
        let base = Base::open(&state)?;
        Ok(Self { state, base, launcher })
    }

    /// Makes the directory of a sandbox and has its guest started in it. It goes on by itself if the caller goes away, and ends
    /// then with all its parts.
    pub(super) async fn launch(self: &Arc<Self>, wanted: Wanted) -> Result<Started, Error> {
        let (answer, started) = oneshot::channel();
        let host = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(Ok(unwanted)) = answer.send(host.start(wanted).await) {
                let Started { remains, launched } = unwanted;
                drop(launched);
                std::thread::spawn(move || remains.bury());
            }
        });
        started.await.map_err(|_| Error::Gone)?
    }

    async fn start(self: &Arc<Self>, wanted: Wanted) -> Result<Started, Error> {
        let host = Arc::clone(self);
        let Wanted { name, limits, setup } = wanted;
        let live = blocking(move || host.claim(&name)).await?;
        let launched = match self.berth(&live, limits, setup) {
            Ok(berth) => self.launcher.launch(berth).await,
            Err(error) => Err(error),
        };
        match launched {
            Ok(Launched { init, guest, socket, after }) => {
                let remains = Remains::new(live, Some(after), Some(init));
                Ok(Started { remains, launched: Guest { pid: guest, socket } })
            }
            Err(error) => {
                let removed = move || {
                    live.remove();
                    Ok(())
                };
                let _ = blocking(removed).await;
                Err(error)
            }
        }
    }

    fn claim(&self, name: &str) -> Result<Live, Error> {
        let live = self.state.claim(name)?;
        live.fill(self.state.ids).inspect_err(|_| live.remove())?;
        Ok(live)
    }

    fn berth(&self, live: &Live, limits: Limits, setup: Setup) -> Result<Berth, Error> {
        let setup = Setup {
            upper: text(&live.upper())?,
            work: text(&live.path.join("work"))?,
            root: text(&self.state.path("mount/root"))?,
            ..setup
        };
        Ok(Berth {
            label: live.label.clone(),
            state: self.state.root().to_owned(),
            directory: live.path.clone(),
            owner: self.state.ids,
            limits,
            order: Order(setup),
        })
    }
}
