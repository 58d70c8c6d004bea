//! Many turns whose worker died at once.

use std::time::Instant;

use crate::figures::ms;
use crate::process::Process;
use crate::{Failed, asks, leased, now};

const TURNS: u32 = 1000;

pub(crate) async fn run(server: &Process) -> Result<(), Failed> {
    leased(&server.client, TURNS, "recovery").await?;
    let store = legwork_store::Store::open(&server.data.join("legwork.db")).await?;
    let started = Instant::now();
    // What the server does as soon as leases have lapsed, by a clock that is ahead.
    let mut expired = 0;
    loop {
        let some = store.expire(now().plus_ms(1_000_000)).await?.len();
        if some == 0 {
            break;
        }
        expired += some;
    }
    println!("{:>9.0} ms  until {expired} turns of a dead worker can be leased", ms(started.elapsed()));
    let started = Instant::now();
    for _ in 0..TURNS {
        server.client.lease(&asks()).await?.ok_or("no turn")?;
    }
    println!(
        "{:>9.0} ms  until {TURNS} of them are leased again, one after the other",
        ms(started.elapsed())
    );
    Ok(())
}
