//! What the second task on a repository waits for: `cargo xtask bench second_task`.
//!
//! A repository of 1 GiB in 20,000 files, whose set-up writes 20,000 more. The first task on it makes mirror, checkout and set-up;
//! the second finds them. Told is the time from the lease to the agent's first command, with where it went, by the log's own
//! times. Beside it what a container does each time anew: `podman run`, `git clone`, and the same set-up.
//!
//! A number as the argument makes a repository of so many MiB, in as many files: for the shape of it in a debug build.

#![expect(clippy::print_stdout, reason = "figures for a person are the purpose")]

mod container;
mod source;
mod tasks;

use std::time::Duration;

/// The repository's files, in KiB; 20,000 of them are 1 GiB.
const FILES: usize = 20_000;
const FILE_KIB: usize = 52;

/// Rounds of what is quick: enough for a median.
const ROUNDS: usize = 9;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // Before any thread exists.
    legwork_sandbox::guest::run_if_guest();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Outcome<()> {
    let mib = std::env::args().nth(1).map(|text| text.parse::<usize>()).transpose()?;
    let files = mib.map_or(FILES, |mib| mib.saturating_mul(1024) / FILE_KIB).max(1);
    let place = tempfile::tempdir()?;
    let repository = source::make(place.path(), files, FILE_KIB)?;
    println!(
        "a repository of {files} files, {} MiB; a set-up that writes {files} more",
        files * FILE_KIB / 1024
    );
    println!("from the lease to the agent's first command:");
    let house = tasks::House::open(place.path()).await?;
    let cold = house.run(&repository, "cold").await?;
    tell("first task: nothing is there", &[cold]);
    let mut warm = Vec::new();
    for round in 0..ROUNDS {
        warm.push(house.run(&repository, &format!("warm {round}")).await?);
    }
    tell("second task: the same commit", &warm);
    let mut next = Vec::new();
    for round in 0..ROUNDS {
        source::change(&repository, round)?;
        next.push(house.run(&repository, &format!("next {round}")).await?);
    }
    tell("a task at the next commit", &next);
    println!("without Legwork, to the first command:");
    container::compare(&repository, place.path());
    Ok(())
}

/// One line: the median, and where it went.
fn tell(name: &str, times: &[tasks::Times]) {
    let part = |of: fn(&tasks::Times) -> Duration| median(times.iter().map(of).collect());
    println!(
        "  {name:44} {:>10.3?}   checkout {:.3?}, set-up {:.3?}, sandbox and model {:.3?}",
        part(tasks::Times::whole),
        part(|times| times.checkout),
        part(|times| times.setup),
        part(|times| times.rest),
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
