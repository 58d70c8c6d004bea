//! Set-up scripts that other agents run: `.openhands/setup.sh`, `.openinspect/setup.sh`.

use super::Foreign;
use crate::tree::Tree;

const FILES: [&str; 2] = [".openhands/setup.sh", ".openinspect/setup.sh"];

pub(super) fn read(tree: &Tree) -> Vec<Foreign> {
    let present = FILES.into_iter().filter(|file| tree.has(file));
    let script = |file: &str| {
        let mut foreign = Foreign::of(file);
        foreign.note("a set-up script for another agent");
        foreign.setup.push(format!("bash ./{file}"));
        foreign
    };
    present.map(script).collect()
}
