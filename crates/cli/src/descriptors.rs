//! How many files and sockets this process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Takes all that the system grants: the usual 1,024 are for programs that call `select`, and each watcher of a server and each
/// connection of a sandbox takes one or two.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused leaves what there was.
    let _ = setrlimit(Resource::Nofile, limit);
}
