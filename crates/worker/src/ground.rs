//! What a turn starts from: its checkout, its recipe, and the files that earlier work of the attempt left.
//!
//! A worker that is lost leaves its sandbox's files on the disk, and the log names the sandbox. So whoever goes on first asks
//! for what that sandbox left; then nothing that was done is lost. Where it is not to be had (another machine, another
//! disk), the last frozen layers are what there is, and the agent is told which of its calls they have not seen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_agent::{Brief, Files};
use legwork_domain::{
    Environment, EventKind, Failure, Kind, LaidRepository, Level, LocalChanges, Phase, Pins, Saved,
};
use legwork_environment::Detected;
use legwork_git::checkout::REPOSITORIES;
use legwork_sandbox::{Access, IfLost, LAYERS_MAX, Layer, Sandbox};

use crate::checkout::{self, Checkout, Ready};
use crate::compartment::Compartment;
use crate::end::End;
use crate::layers::{self, Stack};
use crate::root::{self, Root};
use crate::setup::{self, SetUp};
use crate::shelf::Shelf;
use crate::turn::Turn;
use crate::{detection, made, recipe, start};

/// Layers beyond which they are merged before a turn goes on. A turn adds up to two, so that happens every eleventh turn or
/// later, and each failure to open a file looks into fewer directories than this.
const DEPTH_MAX: usize = 24;

/// What the agent starts from.
pub(crate) struct Ground {
    pub(crate) checkout: Checkout,
    pub(crate) environment: Environment,
    /// What all sandboxes of the turn stand on.
    pub(crate) root: Root,
    /// What the agent is to know of it.
    notes: Vec<String>,
    /// What a set-up that nobody asked for made and no patch holds.
    pub(crate) made: Vec<String>,
    /// Checkout and set-up.
    pub(crate) clean: Stack,
    /// And what earlier work of the attempt did.
    pub(crate) stack: Stack,
    /// What that is to the history.
    pub(crate) files: Files,
}

impl Ground {
    /// What the agent is told. A check that nobody declared is no demand.
    pub(crate) fn brief(&self) -> Brief {
        let checks = self.environment.checks.iter().filter(|check| check.origin.is_declared());
        let network = self.environment.network.clone();
        Brief { checks: checks.cloned().collect(), network, notes: self.notes.clone() }
    }
}

/// What was set up by detection, for the agent.
fn set_up_as(detected: &Detected) -> Vec<String> {
    let stacks: Vec<&str> = detected.projects.iter().map(|project| project.stack.as_str()).collect();
    let commands: Vec<String> = detected.checks.iter().map(|check| format!("`{}`", check.command)).collect();
    let mut notes = Vec::new();
    if detected.setup.is_some() {
        notes.push(format!(
            "dependencies are installed as the repository's files ask for ({})",
            stacks.join(", ")
        ));
    }
    if !commands.is_empty() {
        notes.push(format!("its tests seem to run with {}", commands.join(", ")));
    }
    notes
}

impl Turn {
    pub(crate) async fn prepare(&self) -> Result<Ground, End> {
        let ready = self.checkout().await?;
        let (mut environment, detected) = self.recipe(&ready.checkout).await?;
        let (checkout, root) = self.stand(ready, &environment).await?;
        let (clean, notes) = self.set_up((&checkout, &root), &mut environment, detected.as_ref()).await?;
        let made = match &detected {
            Some(_) => made::by_setup(&self.worker, &clean, &self.compartment()).await?,
            None => Vec::new(),
        };
        let (mut stack, files) = self.earlier_work((&checkout, &clean)).await?;
        self.make_shallow(&mut stack).await;
        self.shelf().used(clean.paths().chain(stack.paths()).chain(root.paths()));
        Ok(Ground { checkout, environment, root, notes, made, clean, stack, files })
    }

    /// The checkout that the turn starts from.
    pub(crate) async fn checkout(&self) -> Result<Ready, End> {
        let pinned = self.assignment.pins.commit.as_deref();
        let source = &self.assignment.task.request.source;
        checkout::get(&self.worker, source, pinned, &self.compartment()).await
    }

    /// Its place in the caches.
    fn compartment(&self) -> Compartment {
        Compartment::of(&self.assignment)
    }

    /// Where it notes what it uses.
    pub(crate) fn shelf(&self) -> Shelf {
        self.worker.shelf.of(self.compartment().trust())
    }

    /// The root below the checkout: what the attempt stands on from now on, told to the log.
    pub(crate) async fn stand(
        &self,
        ready: Ready,
        environment: &Environment,
    ) -> Result<(Checkout, Root), End> {
        let Pins { commit, image, repositories, .. } = &self.assignment.pins;
        let root =
            root::get(&self.worker, &self.timeline, environment, image.as_deref(), &self.shelf()).await?;
        let mut ready = ready;
        ready
            .checkout
            .lay(&self.worker, &environment.repositories, repositories, &self.compartment())
            .await?;
        if commit.is_none() {
            self.tell_base(&ready, &root).await;
        }
        Ok((ready.checkout, root))
    }

    /// What is asked for, then what the repository says, and where both say nothing what its files look like.
    pub(crate) async fn recipe(&self, checkout: &Checkout) -> Result<(Environment, Option<Detected>), End> {
        let request = &self.assignment.task.request;
        let said = recipe::complete(&request.environment, checkout.recipe.as_deref());
        let mut environment = said.map_err(|why| {
            let mut sentence =
                format!("{why} The agent was not started; mend it or name checks and set-up with the task.");
            let source = &request.source;
            if source.repository.starts_with('/') && source.local_changes == LocalChanges::Leave {
                sentence.push_str(" What is not committed counts with --include-changes.");
            }
            End::failed(Failure::Setup, sentence)
        })?;
        if request.kind == Kind::Ask || !recipe::says_nothing(&environment) {
            return Ok((environment, None));
        }
        let detected = detection::of(&self.worker, checkout, &self.compartment()).await?;
        recipe::fill(&mut environment, detected.clone());
        Ok((environment, Some(detected)))
    }

    /// The layers after the set-up, and what the agent is to know of it. One that nobody asked for may fail.
    async fn set_up(
        &self,
        (checkout, root): (&Checkout, &Root),
        environment: &mut Environment,
        detected: Option<&Detected>,
    ) -> Result<(Stack, Vec<String>), End> {
        let fault = match setup::layers(&self.worker, &self.timeline, checkout, environment, root).await? {
            SetUp::Done(stack) => {
                let mut notes = detected.map(set_up_as).unwrap_or_default();
                notes.extend(checkout.repositories().into_iter().map(|laid| {
                        let LaidRepository { url, commit, path } = laid;
                        format!("{url} at {commit} lies in {REPOSITORIES}/{path}; what is changed there is no part of the patch")
                    }));
                notes.extend(
                    environment
                        .workdir
                        .iter()
                        .map(|at| format!("the part that is worked on is {at}; set-up and checks run there")),
                );
                return Ok((stack, notes));
            }
            SetUp::Failed(fault) => fault,
        };
        let Some(detected) = detected else { return Err(End::setup(&fault)) };
        let text = format!(
            "{} It was a set-up that was detected, not one that was asked for, so the agent goes on without it. Try it by itself: legwork env test",
            fault.words
        );
        self.timeline.notice(Level::Warning, text).await;
        environment.checks.clear();
        for name in detected.variables.keys() {
            environment.variables.remove(name);
        }
        let note = format!(
            "what the repository needs was not installed, since its set-up failed, so its tests may not run here. {}",
            fault.words
        );
        Ok((checkout.stack(), vec![note]))
    }

    /// Tells what later patches are against, and what of the repository is not in the checkout.
    async fn tell_base(&self, Ready { checkout, name }: &Ready, root: &Root) {
        let (turn, commit, tree) = (self.timeline.turn(), checkout.commit.clone(), checkout.tree.clone());
        let (name, image) = (name.clone(), root.pin().map(str::to_owned));
        let repositories = checkout.repositories();
        self.timeline.tell(EventKind::Base { turn, commit, tree, name, image, repositories }).await;
        for gap in checkout.gaps() {
            self.timeline.notice(Level::Warning, gap).await;
        }
    }

    /// The files as the attempt's work so far left them, as far as they are on this machine.
    async fn earlier_work(&self, (checkout, clean): (&Checkout, &Stack)) -> Result<(Stack, Files), End> {
        let assignment = &self.assignment;
        let seen = usize::try_from(assignment.layers_at).unwrap_or(usize::MAX);
        if assignment.layers.is_empty() {
            return Ok((clean.clone(), Files::Kept));
        }
        let Some(mut stack) = Stack::from_names(&assignment.layers) else {
            return self.without_layers((checkout, clean)).await;
        };
        let Some(live) = &assignment.live else { return Ok((stack, Files::AsOf(seen))) };
        let left = self.worker.config.backend.salvage(live).await.map_err(|error| End::sandbox(&error))?;
        if let Some(layer) = left {
            self.put_on(&mut stack, &layer)?;
            return Ok((stack, Files::Kept));
        }
        let text = "What the lost worker did to files since the last snapshot is not on this machine; the turn goes on from that snapshot.";
        self.timeline.notice(Level::Warning, text).await;
        Ok((stack, Files::AsOf(seen)))
    }

    /// The layers are not here. What the server has of them is taken; else a first turn can do its work again, and a later
    /// one stands on work that nobody has.
    async fn without_layers(&self, (checkout, clean): (&Checkout, &Stack)) -> Result<(Stack, Files), End> {
        if self.assignment.task.request.kind == Kind::Ask {
            // Such a turn leaves no files.
            return Ok((clean.clone(), Files::Kept));
        }
        if let Some(saved) = &self.assignment.saved {
            return self.carry((checkout, clean), saved).await;
        }
        if self.assignment.task.forked_from.is_some() {
            return Err(End::failed(
                Failure::Sandbox,
                "The files that this task starts from are not on this machine, or were removed after their time, and no patch of them is kept. Nothing was done. Fork where the files are still kept, or start a new task from the patch.",
            ));
        }
        if self.assignment.turn.number > 1 {
            return Err(End::failed(
                Failure::Sandbox,
                "The files that the attempt's earlier turns left are not on this machine, or were removed after their time, and no patch of them is kept. Try the last turn again from the start, or start a new task.",
            ));
        }
        let text = "The files of this turn are not on this machine; it goes on from a fresh checkout.";
        self.timeline.notice(Level::Warning, text).await;
        Ok((clean.clone(), Files::AsOf(0)))
    }

    /// Makes few layers of many. Where that fails, the turn goes on as it is, for as long as a sandbox takes so many.
    async fn make_shallow(&self, stack: &mut Stack) {
        let backend = self.worker.config.backend.as_ref();
        if stack.depth() > DEPTH_MAX
            && let Err(error) = stack.merge(backend, &self.shelf()).await
        {
            tracing::warn!(error, depth = stack.depth(), "an attempt's layers could not be merged");
        }
    }

    /// Puts what a sandbox left on top of what it stood on.
    pub(crate) fn put_on(&self, stack: &mut Stack, layer: &Layer) -> Result<(), End> {
        if layers::work_tree_is_gone(layer) {
            return Err(End::failed(
                Failure::Sandbox,
                "A command removed or replaced the work tree itself (/workspace), so there is nothing to make a patch of. Run the task again.",
            ));
        }
        // Before they are there: a crash on the way leaves nothing that nobody knows.
        self.shelf().used(layers::halves(layer).iter().map(PathBuf::as_path));
        stack.push(layer).map_err(End::internal)?;
        self.shelf().used(stack.paths());
        Ok(())
    }

    /// Makes the agent's sandbox and tells the log its name, so that what it leaves can be found.
    pub(crate) async fn sandbox(&self, ground: &Ground) -> Result<Arc<dyn Sandbox>, End> {
        if ground.stack.depth() > LAYERS_MAX {
            return Err(End::failed(
                Failure::Sandbox,
                "This attempt was taken up so often that its files lie in more layers than a sandbox can stand on. Its patches are kept; start a new task from the last one.",
            ));
        }
        let mut spec = self.worker.spec("turn", ground.stack.all(), &ground.environment, &ground.root);
        if self.assignment.task.request.kind == Kind::Ask {
            spec.workspace = Access::Read;
        }
        // Used once on any machine, also where a restored database gives an epoch again.
        let name = self.assignment.lease.id.to_string();
        (spec.name, spec.if_lost) = (name.clone(), IfLost::Kept);
        self.shelf().used([Path::new(&name)]);
        let sandbox = self.worker.open(&self.timeline, spec, &ground.environment, Phase::Agent).await?;
        // Set once: a lease has one sandbox.
        let _ = self.machine.set(Arc::clone(&sandbox));
        let (turn, layers) = (self.timeline.turn(), ground.stack.names());
        let saved = (ground.stack == ground.clean).then_some(Saved { patch: None });
        self.timeline.tell(EventKind::Snapshot { turn, layers, live: Some(name), saved }).await;
        start::run(&self.timeline, sandbox.as_ref(), &ground.environment)
            .await
            .map_err(|error| End::sandbox(&error))?;
        Ok(sandbox)
    }
}
