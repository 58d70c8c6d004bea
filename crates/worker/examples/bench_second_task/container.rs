//! The same without Legwork: a clone and a set-up each time, in a container of this machine's own root, and without one.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::source::SETUP;

/// As little as a container can be that shows this machine's programs: what is compared is the way to the first command.
const PODMAN: [&str; 6] = ["run", "--rm", "--network=none", "--rootfs", "/:O", "/bin/sh"];

pub(crate) fn compare(repository: &Path, place: &Path) {
    let clone =
        format!("git -c safe.directory='*' clone -q 'file://{}' \"$1\" && cd \"$1\"", repository.display());
    let with_setup = format!("{clone} && {SETUP}");
    match probe() {
        Ok(()) => {
            for (name, script) in
                [("podman run + git clone", &clone), ("podman run + git clone + set-up", &with_setup)]
            {
                let arguments = PODMAN.iter().copied().chain(["-c", script, "sh", "/var/tmp/clone"]);
                tell(name, timed(Command::new("podman").args(arguments)));
            }
        }
        Err(why) => println!("  {:44} skipped: {why}", "podman run + git clone"),
    }
    for (name, script) in
        [("git clone, in no container", &clone), ("git clone + set-up, in no container", &with_setup)]
    {
        let clone = place.join("clone");
        tell(name, timed(Command::new("/bin/sh").args(["-c", script, "sh"]).arg(&clone)));
        // One that stays costs disk until the end.
        let _ = std::fs::remove_dir_all(clone);
    }
}

/// Whether podman is here and can run anything.
fn probe() -> Result<(), String> {
    let arguments = PODMAN.iter().copied().chain(["-c", "exit 0"]);
    let done = Command::new("podman").args(arguments).output().map_err(|error| format!("podman: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("podman did not say why").to_owned())
}

fn timed(command: &mut Command) -> Result<Duration, String> {
    let start = Instant::now();
    let done = command.output().map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(start.elapsed());
    }
    Err(String::from_utf8_lossy(&done.stderr).trim().chars().take(200).collect())
}

fn tell(name: &str, time: Result<Duration, String>) {
    match time {
        Ok(time) => println!("  {name:44} {time:>10.3?}"),
        Err(why) => println!("  {name:44} failed: {why}"),
    }
}
