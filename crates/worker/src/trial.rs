//! An environment, tried out: checkout, set-up, each check once on the base. No model, no agent.
//!
//! It takes the way of every turn up to where the agent would start, so what holds here holds there. What the set-up left is
//! frozen and named in the log, also when it failed, so that somebody can go in and look.

use legwork_domain::{Check, Environment, EventKind, Failure, Outcome, Verdict};
use legwork_environment::Detected;

use crate::backoff::patiently;
use crate::checks::Room;
use crate::end::End;
use crate::layers::Stack;
use crate::open::ENVIRONMENT;
use crate::setup::{self, Fault, SetUp};
use crate::turn::{Left, Turn};

impl Turn {
    /// Tries the environment out and says how it went.
    ///
    /// # Errors
    /// The turn's end, where no verdict could be come to.
    pub(crate) async fn try_out(&self, left: &mut Left) -> Result<End, End> {
        let ready = self.checkout().await?;
        let (environment, detected) = self.recipe(&ready.checkout).await?;
        if detected.as_ref().is_some_and(Detected::is_empty) {
            return Err(End::failed(Failure::Setup, NOTHING));
        }
        self.tell_environment(&environment).await?;
        let (checkout, root) = self.stand(ready, &environment).await?;
        let set_up = setup::layers(&self.worker, &self.timeline, &checkout, &environment, &root).await?;
        let stack = match set_up {
            SetUp::Done(stack) => stack,
            SetUp::Failed(fault) => {
                self.keep(&fault.left).await;
                return Err(broken(&fault));
            }
        };
        self.keep(&stack).await;
        let (worker, timeline) = (self.worker.as_ref(), &self.timeline);
        let room = Room {
            worker,
            timeline,
            environment: &environment,
            root: &root,
            checkout: &checkout,
            stack: &stack,
        };
        left.verdicts = room.try_once().await?;
        Ok(tried(&left.verdicts))
    }

    /// Keeps the environment as it turned out, for who opens a sandbox like it.
    async fn tell_environment(&self, environment: &Environment) -> Result<(), End> {
        let bytes = serde_json::to_vec(environment).map_err(End::internal)?;
        let client = &self.worker.config.client;
        let stored = patiently(|| client.put_blob(bytes.clone().into())).await;
        let blob =
            stored.map_err(|error| End::internal(format!("The environment could not be kept: {error}")))?;
        let (turn, name) = (self.timeline.turn(), ENVIRONMENT.to_owned());
        self.timeline.tell(EventKind::Artifact { turn, name, blob }).await;
        Ok(())
    }

    /// Tells the log where the files are, and has them kept for as long as those of any turn.
    async fn keep(&self, stack: &Stack) {
        self.shelf().used(stack.paths());
        let (turn, layers) = (self.timeline.turn(), stack.names());
        self.timeline.tell(EventKind::Snapshot { turn, layers, live: None, saved: None }).await;
    }
}

const NOTHING: &str = "No stack was recognized, so there is nothing to set up and nothing to run. Say what it needs in .legwork/environment.toml.";

fn broken(fault: &Fault) -> End {
    let mend = fault.mend.as_deref().map(|mend| format!(" {mend}")).unwrap_or_default();
    let sentence =
        format!("{}{mend} Its files are kept; look around in them: legwork env shell", fault.words);
    End::failed(Failure::Setup, sentence)
}

fn tried(verdicts: &[Verdict]) -> End {
    let failing: Vec<&Check> =
        verdicts.iter().filter(|verdict| !verdict.holds()).map(|verdict| &verdict.check).collect();
    if failing.is_empty() {
        let checks = match verdicts.len() {
            0 => "no command that checks it is known".to_owned(),
            1 => format!("`{}` passes", verdicts[0].check.command),
            many => format!("its {many} checks pass"),
        };
        let sentence = format!("The environment works: it is set up, and {checks}.");
        return End { outcome: Outcome::NoChange, sentence };
    }
    let named: Vec<String> = failing.iter().map(|check| format!("`{}`", check.command)).collect();
    let sentence = format!(
        "The environment is set up, but {} does not pass. Its output says why; look around in it: legwork env shell",
        named.join(", ")
    );
    End::failed(Failure::Verification, sentence)
}
