use legwork_domain::{Connection, CustomPolicy, EventKind, NetworkPolicy, Phase, least_policy};

use super::{Call, Form, Which, find};
use crate::exit::Exit;
use crate::text::{ACCENT, DIM, Line, PLAIN};
use crate::{network, table};

/// What left a task's sandboxes, and what was blocked.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Which task.
    #[command(flatten)]
    which: Which,
    /// Print the least policies that let through again what was let through, as TOML for a recipe. Run a task with
    /// `--network all` first to learn what it needs.
    #[arg(long)]
    propose: bool,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let view = find::task(&args.which, call.client).await?;
    let wanted = |number: u8| args.which.attempt.is_none_or(|attempt| attempt == number);
    let mut seen: Vec<Connection> = Vec::new();
    for attempt in view.attempts.iter().filter(|attempt| wanted(attempt.attempt.number)) {
        for event in find::log(attempt, call.client).await? {
            if let EventKind::Connection { connection, .. } = event.kind {
                add(&mut seen, connection);
            }
        }
    }
    if args.propose {
        return proposed(&seen, call);
    }
    let heads = ["", "TIMES", "SENT/RECEIVED", "WHAT", "WHERE", "WANTED BY", "WHY"];
    call.list(&seen, &table::fitted(&heads, seen.iter().map(network::row).collect(), table::columns()))
}

/// What is alike is one line, over the whole log.
fn add(seen: &mut Vec<Connection>, next: Connection) {
    let alike = |known: &&mut Connection| {
        let counted = Connection {
            count: next.count,
            sent_bytes: next.sent_bytes,
            received_bytes: next.received_bytes,
            ..(**known).clone()
        };
        counted == next
    };
    match seen.iter_mut().find(alike) {
        Some(known) => {
            known.count += next.count;
            known.sent_bytes += next.sent_bytes;
            known.received_bytes += next.received_bytes;
        }
        None => seen.push(next),
    }
}

/// The two policies of a recipe.
#[derive(serde::Serialize)]
struct Proposal {
    network: NetworkPolicy,
    setup_network: NetworkPolicy,
}

fn proposed(seen: &[Connection], call: &Call<'_>) -> anyhow::Result<Exit> {
    let of = |policy: CustomPolicy| {
        if policy.allow.is_empty() { NetworkPolicy::None } else { NetworkPolicy::Custom(policy) }
    };
    let (setup, later): (Vec<_>, Vec<_>) = seen.iter().partition(|one| one.phase == Phase::Setup);
    let proposal = Proposal { network: of(least_policy(later)), setup_network: of(least_policy(setup)) };
    if call.form == Form::Json {
        return call.answer(&proposal, &[]);
    }
    let text = toml::to_string(&proposal)?;
    let mut lines: Vec<Line> = text.lines().map(|line| Line::default().with(PLAIN, line)).collect();
    lines.push(
        Line::default()
            .with(DIM, "# Put it into a recipe: ")
            .with(ACCENT, "legwork env set NAME --file FILE"),
    );
    call.answer(&proposal, &lines)
}
