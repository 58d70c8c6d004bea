//! Times, and how they are shown.

use std::time::{Duration, Instant};

use legwork_client::Error;

/// Median, 99th percentile and the worst of many.
pub(crate) fn spread(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    println!("{:>9.2} ms  {name}: median", ms(at(50)));
    println!("{:>9.2} ms  {name}: p99", ms(at(99)));
    println!("{:>9.2} ms  {name}: worst of {}", ms(worst), times.len());
}

/// The spread of many calls, one after the other.
pub(crate) async fn many(
    name: &str,
    rounds: u32,
    mut call: impl AsyncFnMut(u32) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut times = Vec::new();
    for n in 0..rounds {
        let started = Instant::now();
        call(n).await?;
        times.push(started.elapsed());
    }
    spread(name, times);
    Ok(())
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
